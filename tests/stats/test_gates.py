"""Gates by the plainest search over alpha, and the error rate over all families by simulation."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import ablate as ab
from ablate.analyses import Analysis
from ablate.stats.contrasts import Contrast
from ablate.stats.corrections import correct, holm
from ablate.stats.gates import TRUNCATION, reject_in_parallel
from ablate.stats.pivots import Student
from ablate.stats.refusals import IDENTICAL_RUNS
from ablate.stats.results import Result
from tests.stats.samples import tabulate

NAMES = ("main", "interaction", "simple", "noninferiority")
probability = st.sampled_from([0.001, 0.004, 0.01, 0.012, 0.02, 0.024, 0.03, 0.04, 0.06, 0.2, 0.7, 1.0, np.nan])
chains = st.lists(st.lists(probability, min_size=1, max_size=3), min_size=1, max_size=3)


def result(family, p, *, target="these_domains", p_equivalence=np.nan, stratum=""):
    refusal = IDENTICAL_RUNS if np.isnan(p) else None
    return Result(
        Contrast(family, "x", "b", "a", {}), stratum, "all", target, 1.0, None,
        None if refusal else Student(1.0, 1.0, 9.0), refusal, None, "E1", p=p, p_equivalence=p_equivalence,
    )  # fmt: skip


def adjust(families, gatekeeping, names=NAMES):
    """Adjusted p-values, family by family, of raw ones."""
    results = [result(name, p) for name, ps in zip(names, families, strict=False) for p in ps]
    adjusted = [r.p_adjusted for r in correct(results, Analysis(gatekeeping=gatekeeping))]
    return list(np.split(np.array(adjusted), np.cumsum([len(ps) for ps in families])[:-1]))


def reject_by_holm(p, alpha):
    """The plainest step-down; a missing p stops it."""
    rejected, order = [False] * len(p), sorted(range(len(p)), key=lambda i: (np.isnan(p[i]), p[i]))
    for step, i in enumerate(order):
        if not p[i] <= alpha / (len(p) - step):
            break
        rejected[i] = True
    return rejected


def serial_at(families, alpha):
    """A family is tested at alpha where every test before has rejected."""
    out, open_ = [], True
    for p in families:
        out.append(reject_by_holm(p, alpha) if open_ else [False] * len(p))
        open_ = open_ and all(out[-1])
    return out


def parallel_at(families, alpha):
    """Dmitrienko, Tamhane and Wiens 2008: truncated Holm, then alpha less the error rate of the accepted ones."""
    out, left = [], alpha
    for place, p in enumerate(families):
        gamma = 1.0 if place == len(families) - 1 else TRUNCATION
        m, rejected = len(p), [False] * len(p)
        order = sorted(range(m), key=lambda i: (np.isnan(p[i]), p[i]))
        for step, i in enumerate(order):
            if not (left > 0 and p[i] <= (gamma / (m - step) + (1 - gamma) / m) * left):
                break
            rejected[i] = True
        out.append(rejected)
        accepted = m - sum(rejected)
        left = left - (gamma + (1 - gamma) * accepted / m) * left if accepted else left
    return out


@settings(max_examples=25)
@given(chains, st.sampled_from(["serial", "parallel"]))
def test_an_adjusted_p_is_the_smallest_alpha_that_rejects(families, gatekeeping):
    reject = serial_at if gatekeeping == "serial" else parallel_at
    adjusted = adjust(families, gatekeeping)
    for alpha in np.linspace(0.0011, 0.9991, 60):
        for p, rejected in zip(adjusted, reject(families, alpha), strict=True):
            assert (p <= alpha).tolist() == rejected


@settings(max_examples=30)
@given(chains, st.sampled_from(["serial", "parallel"]))
def test_gates_never_lower_a_p_and_keep_missing_ones(families, gatekeeping):
    for p, adjusted in zip(families, adjust(families, gatekeeping), strict=True):
        own = holm(p)
        assert (np.isnan(own) == np.isnan(adjusted)).all()
        known = ~np.isnan(own)
        assert (adjusted[known] >= own[known] - 1e-12).all()


def test_a_missing_p_shuts_a_serial_gate_and_leaves_a_parallel_one_ajar():
    serial = adjust([[0.001, np.nan], [0.001]], "serial")
    assert np.isnan(serial[0][1])
    assert serial[1][0] == 1
    parallel = adjust([[0.001, np.nan], [0.001]], "parallel")
    assert parallel[1][0] == pytest.approx(0.004)  # a quarter of alpha is left where one of two is accepted
    assert adjust([[0.3, 0.4], [1e-9]], "parallel")[1][0] > 0.3


def test_one_family_is_holm():
    p = [0.01, 0.04, 0.03]
    for gatekeeping in ("serial", "parallel"):
        assert adjust([p], gatekeeping)[0] == pytest.approx(holm(p), abs=1e-12)


def test_strata_and_targets_are_gated_apart():
    results = [
        result("main", 0.5 if (stratum, target) == ("a", "new_domains") else 0.01, stratum=stratum, target=target)
        for stratum, target in product("ab", ("these_domains", "new_domains"))
    ]
    results += [result("simple", 0.02, stratum=r.stratum, target=r.target) for r in results]
    after = correct(results, Analysis(gatekeeping="serial"))[4:]
    assert [r.p_adjusted for r in after] == pytest.approx([0.02, 0.5, 0.02, 0.02])


@pytest.mark.parametrize("gatekeeping", ["serial", "parallel"])
def test_one_sided_families_pass_at_half_of_alpha(gatekeeping):
    """Their p is judged at alpha/2, so that it is doubled on its way through the gates."""
    shut = adjust([[0.03], [0.001]], gatekeeping, ("noninferiority", "main"))
    assert (shut[0][0], shut[1][0]) == pytest.approx((0.03, 0.06))
    opened = adjust([[0.02], [0.001]], gatekeeping, ("noninferiority", "main"))
    assert opened[1][0] == pytest.approx(0.04)
    assert adjust([[0.8]], gatekeeping, ("noninferiority",))[0][0] == pytest.approx(0.8)  # and not .5


@pytest.mark.parametrize("gatekeeping", ["serial", "parallel"])
def test_equivalence_holds_over_all_families_and_waits_for_its_gate(gatekeeping):
    results = [result("main", 0.001, p_equivalence=0.01), result("simple", 0.6, p_equivalence=0.004)]
    found = correct(results, Analysis(gatekeeping=gatekeeping))
    assert [r.p_equivalence_adjusted for r in found] == pytest.approx([0.01, 0.008])
    shut = correct([result("main", 0.2), *results[1:]], Analysis(gatekeeping=gatekeeping))
    assert shut[1].p_equivalence_adjusted == pytest.approx(0.1)
    alone = correct(results, Analysis())
    assert [r.p_equivalence_adjusted for r in alone] == pytest.approx([0.01, 0.004])


def test_families_stand_in_the_order_of_the_analysis():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 6, 5)) * 0.1
    scores[1, :, 0] += 5.0  # an effect in one domain, of whose mean little is known
    columns = {"factors": ["x"], "run": "run", "domain": "domain", "value": "y", "gatekeeping": "serial"}
    for families in (("domain", "main"), ("main", "domain")):
        effects = ab.attribute(tabulate(scores), families=families, **columns).select(target="these_domains")
        first, second = (effects.frame[effects.frame.family == name].p_adjusted for name in families)
        assert list(dict.fromkeys(effects.frame.family)) == list(families)
        assert second.min() >= first.max()
        assert any(f"in the order {', '.join(families)}" in note for note in effects.notes)


def p_values(rng, n, planted):
    """n studies of three families of three tests; z of correlation .5, and 3 more where an effect is planted."""
    shared = rng.normal(size=(n, 1))
    z = sqrt(0.5) * shared + sqrt(0.5) * rng.normal(size=(n, 9)) + 3.0 * np.asarray(planted)
    return 2 * special.ndtr(-np.abs(z))


def errors(gatekeeping, n, planted, seed=0):
    """Share of studies in which any true null falls at .05."""
    null = ~np.asarray(planted, bool)
    wrong = 0
    for p in p_values(np.random.default_rng(seed), n, planted):
        families = list(p.reshape(3, 3))
        if gatekeeping == "parallel":
            rejected = np.concatenate(reject_in_parallel(families, 0.05))
        else:
            rejected = np.concatenate([np.array(r) for r in serial_at(families, 0.05)])
        wrong += bool((rejected & null).any())
    return wrong / n


PLANTED = {
    "nothing": [0] * 9,
    "all of the first": [1, 1, 1, 0, 0, 0, 0, 0, 0],
    "one of the first": [1, 0, 0, 0, 0, 0, 0, 0, 0],
    "some of each": [1, 1, 0, 1, 0, 0, 1, 0, 0],
    "the first two": [1, 1, 1, 1, 1, 1, 0, 0, 0],
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("gatekeeping", ["serial", "parallel"])
def test_the_error_rate_holds_over_all_families_at_worst(gatekeeping, planted):
    """True nulls whose small p-values never come together, which Bonferroni's bound is exact for; no sampling error."""
    null = ~np.asarray(planted, bool)
    places = np.cumsum(null) / null.sum()
    studies = np.where(null, (np.linspace(0, 1, 1000, endpoint=False)[:, None] + places) % 1, 1e-12)
    reject = reject_in_parallel if gatekeeping == "parallel" else serial_at
    fallen = [np.concatenate(reject(list(p.reshape(3, 3)), 0.05)) for p in studies]
    assert (np.array(fallen) & null).any(1).mean() <= 0.05 + 0.009  # a grid point for each of nine


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("gatekeeping", ["serial", "parallel"])
def test_the_error_rate_at_full_size(gatekeeping, planted):
    n = 20000
    assert errors(gatekeeping, n, planted, seed=1) <= 0.05 + 3 * sqrt(0.05 * 0.95 / n)


def test_gates_spend_what_they_may():
    """With overwhelming effects before them the last family's tests are those of Holm alone: nothing is given away."""
    for gatekeeping in ("serial", "parallel"):
        adjusted = adjust([[1e-12] * 3, [1e-12] * 2, [0.01, 0.02]], gatekeeping)
        assert adjusted[2] == pytest.approx([0.02, 0.02], rel=1e-9)
