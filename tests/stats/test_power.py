"""Power against statsmodels, PowerTOST and simulation of the very code that judges studies."""

from dataclasses import replace
from itertools import product
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from ablate.errors import PlanError
from ablate.stats.crossed import Components, Crossed
from ablate.stats.nested import Nested
from ablate.stats.power import (
    Claim,
    allocate,
    compute_power,
    further_seeds,
    plan_table,
    seeds_needed,
    simulate_power,
    smallest_effect,
    smallest_margin,
)
from ablate.stats.prospects import MeanSquares, Prospect
from tests.stats.samples import draw

NEW = Claim(target="new_domains")
STUDY = Prospect(5, 6, run=0.7, error=1.0, domain=0.5)
GRID = list(product((3, 5, 10), (6, 20), (0.0, 1.0), (0.0, 0.7)))
QUICK = [(3, 6, 1.0, 0.7), (5, 20, 0.0, 0.0), (10, 6, 1.0, 0.0)]
ENGINES = {
    "unblocked": Crossed(),
    "blocked": Crossed(blocked=True),
    "pooled": Crossed(variances="pooled"),
    "nested": Nested(),
    "nested, blocked": Nested(blocked=True),
}


@pytest.mark.parametrize(("n", "effect"), [(3, 2.0), (5, 0.4), (30, 0.6)])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 7])
def test_paired_and_pooled_runs_agree_with_statsmodels(n, effect, alpha):
    claim = Claim(alpha=alpha)
    paired = Prospect(n, run=sqrt(0.5), error=0.0, engine=Crossed(blocked=True))
    assert compute_power(paired, effect, claim) == pytest.approx(TTestPower().power(effect, n, alpha), abs=1e-10)
    one = Prospect(n, run=1.0, error=0.0, weights=(1.0,))
    assert compute_power(one, effect, claim) == pytest.approx(TTestPower().power(effect, n, alpha), abs=1e-10)
    two = Prospect(n, run=1.0, error=0.0, engine=ENGINES["pooled"])
    assert compute_power(two, effect, claim) == pytest.approx(TTestIndPower().power(effect, n, alpha), abs=1e-10)
    uneven = Prospect((n, 2 * n), run=1.0, error=0.0, engine=ENGINES["pooled"])
    assert compute_power(uneven, effect, claim) == pytest.approx(
        TTestIndPower().power(effect, n, alpha, ratio=2), abs=1e-10
    )
    assert compute_power(two, smallest_effect(two, claim, 0.9), claim) == pytest.approx(0.9, abs=1e-8)


def test_welch_with_few_runs_is_not_the_noncentral_t():
    """Its degrees of freedom are estimated: .155, where t with four would promise .207."""
    promised = TTestIndPower().power(1.2, 3, 0.05)
    assert promised - compute_power(Prospect(3, run=1.0, error=0.0), 1.2) > 0.05
    rate = simulate_power(
        lambda x: stats.ttest_ind(x[..., 0], x[..., 1], axis=1, equal_var=False).pvalue < 0.05,
        lambda rng, n: rng.normal([0, 1.2], size=(n, 3, 2)),
        4000,
        np.random.default_rng(2),
    )
    assert rate.value == pytest.approx(compute_power(Prospect(3, run=1.0, error=0.0), 1.2), abs=4 * rate.se)


def test_seeds_needed_agree_with_statsmodels():
    for effect in (0.5, 2.5):
        exact = TTestIndPower().solve_power(effect, None, 0.05, 0.8)
        study = Prospect(3, run=1.0, error=0.0, engine=ENGINES["pooled"])
        assert seeds_needed(study, effect) == max(3, np.ceil(exact))
        assert seeds_needed(study, effect, Claim(tests=5)) == np.ceil(
            TTestIndPower().solve_power(effect, None, 0.01, 0.8)
        )


@pytest.mark.parametrize(("cv", "n", "expected"), [(0.25, 24, 0.7391155), (0.3, 40, 0.8158453)])
def test_equivalence_agrees_with_powertost(cv, n, expected):
    """Ratio .95 within .8 to 1.25, a two-period crossover, each test at .05 (PowerTOST's manual)."""
    crossover = MeanSquares(((2 * log(1 + cv**2) / n, n - 2.0),))
    claim = Claim("equivalence", alpha=0.1, margin=log(1.25))
    assert compute_power(crossover, log(0.95), claim) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("df", [2.0, 4.5, 40.0])
def test_equivalence_and_noninferiority_are_integrals_over_the_mean_square(df):
    squares, effect, margin, sd = MeanSquares(((0.25, df),)), 0.2, 1.7, 0.5

    def clear(square, sides):
        half = stats.t.isf(0.025, df) * sd * sqrt(square / df)
        room = (margin - half - effect) / sd, (margin - half + effect) / sd
        inside = stats.norm.cdf(room[0]) - stats.norm.sf(room[1]) if sides == 2 else stats.norm.cdf(room[1])
        return max(inside, 0.0) * stats.chi2.pdf(square, df)

    widest = df * (margin / (stats.t.isf(0.025, df) * sd)) ** 2
    expected = integrate.quad(clear, 0, widest, (2,), epsabs=1e-12, limit=200)[0]
    assert compute_power(squares, effect, Claim("equivalence", margin=margin)) == pytest.approx(expected, abs=1e-8)
    noncentral = stats.nct.sf(stats.t.isf(0.025, df), df, (effect + margin) / sd)
    assert compute_power(squares, effect, Claim("noninferiority", margin=margin)) == pytest.approx(noncentral, abs=1e-9)


@pytest.mark.parametrize("target", ["these_domains", "new_domains"])
@pytest.mark.parametrize("engine", ENGINES)
def test_more_is_more(engine, target):
    study, claim, effect = Prospect(4, 5, 0.5, 1.0, 0.5, engine=ENGINES[engine]), Claim(target=target), 1.2
    chance = compute_power(study, effect, claim)
    assert chance < compute_power(study, effect * 1.1, claim)
    assert chance > compute_power(study, effect, Claim(target=target, tests=3))
    assert chance < compute_power(study.at(6), effect, claim)
    assert compute_power(study, -effect, claim) == pytest.approx(chance, abs=1e-12)
    scaled = Prospect(4, 5, 5.0, 10.0, 5.0, engine=ENGINES[engine])
    assert compute_power(scaled, 10 * effect, claim) == pytest.approx(chance, abs=1e-9)


def test_the_smallest_effect_and_margin_have_the_power_asked_for():
    for claim in (Claim(), NEW, Claim(tests=4)):
        assert compute_power(STUDY, smallest_effect(STUDY, claim), claim) == pytest.approx(0.8, abs=1e-8)
    for kind, target in product(("equivalence", "noninferiority"), ("these_domains", "new_domains")):
        margin = smallest_margin(STUDY, Claim(kind, target), 0.1, 0.7)
        assert compute_power(STUDY, 0.1, Claim(kind, target, margin=margin)) == pytest.approx(0.7, abs=1e-6)


def test_a_plan_is_a_row_per_number_of_seeds():
    table = plan_table(STUDY, 1.0, seeds=(3, 10))
    assert list(table.columns) == ["seeds", "power", "smallest_effect"]
    assert table["power"].tolist() == [compute_power(STUDY.at(n), 1.0) for n in (3, 10)]
    assert table["smallest_effect"][1] == smallest_effect(STUDY.at(10))
    equivalence = plan_table(STUDY, 0.0, Claim("equivalence", margin=1.0), seeds=(5, 10))
    assert (equivalence["power"] > 0.8).tolist() == (equivalence["smallest_margin"] < 1.0).tolist()


def test_new_domains_have_a_floor():
    study = Prospect(5, 6, 0.3, 1.0, 1.0)
    assert seeds_needed(study, 1.0, NEW) is None
    assert 3 <= seeds_needed(study, 1.0) < 20
    needed = seeds_needed(study, 2.2, NEW)
    assert compute_power(study.at(needed - 1), 2.2, NEW) < 0.8 <= compute_power(study.at(needed), 2.2, NEW)


def test_further_seeds_come_from_the_components_of_a_study():
    found = Components(0.3, 0.04, 0.05, 0.01, 8.0, 5.0, 40.0, 5, 6)
    more = further_seeds(found)
    chances = [compute_power(found.scaled(5 + n, 6), 0.3) for n in (more - 1, more)]
    assert chances[0] < 0.8 <= chances[1]
    assert further_seeds(Components(3.0, 0.04, 0.05, 0.01, 8.0, 5.0, 40.0, 5, 6)) == 0
    assert further_seeds(found, NEW) is None


@pytest.mark.parametrize("name", ["unblocked", "blocked", "nested", "nested, blocked"])
def test_a_pilot_of_many_runs_finds_the_truth(name):
    engine, weights = ENGINES[name], (-1.0, 1.0)
    scores, _ = draw(np.random.default_rng(5), 1, 400, 300, tau=0.8, run_sd=0.6)
    if name.startswith("nested"):  # each score is a run of its own
        scores, _ = draw(np.random.default_rng(5), 1, 400, 300, tau=0.8)
    study = Prospect.of(engine(scores[0], np.array(weights)), weights, engine)
    expected = Prospect(400, 300, 0.0 if name.startswith("nested") else 0.6, 1.0, 0.8, weights, engine)
    for own, true in ((study.run, expected.run), (study.error, 1.0), (study.domain, 0.8)):
        assert own == pytest.approx(true, abs=0.06)
    assert study.mean_squares().run[0][0] == pytest.approx(expected.mean_squares().run[0][0], rel=0.15)


def test_what_a_pilot_found_is_what_its_prospect_expects():
    scores, _ = draw(np.random.default_rng(0), 1, 6, 8, tau=1.5, run_sd=1.2)
    for engine in (Crossed(), Crossed(True), Nested()):
        found = engine(scores[0], np.array([-1, 1]))
        expected = Prospect.of(found, (-1, 1), engine).mean_squares()
        for target in ("these_domains", "new_domains"):
            assert expected.variance(target) == pytest.approx(found.variance(target)[0])
        sure = Prospect.of(found, (-1, 1), engine, assurance=0.8).mean_squares()
        ratio = sum(run for run, _ in sure.run) / found.run
        assert ratio == pytest.approx(found.df_run / stats.chi2.ppf(0.2, found.df_run))


@pytest.mark.slow
def test_assurance_is_the_share_of_pilots_whose_plan_has_the_power():
    """Blocked, one domain: plans from pilots of 6 blocks, at the variances found and at their 80 % bounds."""
    engine, truth, enough = Crossed(blocked=True), Prospect(6, engine=Crossed(blocked=True)), {None: 0, 0.8: 0}
    for pilot in np.random.default_rng(8).normal(size=(400, 2, 6, 1)):
        found = engine(pilot, np.array([-1, 1]))
        for assurance in enough:
            seeds = seeds_needed(Prospect.of(found, (-1, 1), engine, assurance), 0.5)
            enough[assurance] += compute_power(truth.at(seeds), 0.5) >= 0.8
    assert enough[None] / 400 < 0.5
    assert enough[0.8] / 400 == pytest.approx(0.8, abs=0.06)


def promise_and_rate(name, claim, setting, chance, n):
    """A study planned to show its claim with that chance, and how often it does."""
    engine, (seeds, domains, tau, run_sd) = ENGINES[name], setting
    study = Prospect(seeds, domains, run_sd, 1.0, tau, engine=engine)
    effect = 0.1 if claim.kind != "difference" else smallest_effect(study, claim, chance)
    if claim.kind != "difference":
        claim = replace(claim, margin=smallest_margin(study, claim, effect, chance))
    nested = isinstance(engine, Nested)

    def sample(rng, size):
        shared = 0.0 if nested else run_sd
        scores, truth = draw(rng, size, seeds, domains, effects=(0.0, effect), tau=tau, run_sd=shared, block_sd=0.0)
        if nested:  # every score is a run of its own
            scores = scores + run_sd * rng.normal(size=scores.shape)
        if claim.target == "these_domains":  # the effect on these domains is the one promised
            scores[:, 1] += (effect - truth[:, 1])[:, None, None]
        return scores

    def judge(scores):
        found = engine(scores, np.array([-1, 1]))
        variance, df = found.variance(claim.target)
        half, estimate = stats.t.isf(claim.alpha / 2, df) * np.sqrt(variance), found.estimate
        if claim.kind == "difference":
            return np.abs(estimate) > half
        return np.abs(estimate) + half < claim.margin if claim.kind == "equivalence" else estimate + claim.margin > half

    return chance, simulate_power(judge, sample, n, np.random.default_rng(7), batch=1000)


def check(name, claim, setting, chance, n):
    promised, rate = promise_and_rate(name, claim, setting, chance, n)
    assert abs(rate.value - promised) <= 4 * rate.se + 0.001, (promised, rate)


CLAIMS = [Claim(), NEW, Claim("equivalence"), Claim("equivalence", "new_domains"), Claim("noninferiority")]


@pytest.mark.parametrize("claim", CLAIMS[:4], ids=lambda claim: f"{claim.kind}-{claim.target}")
@pytest.mark.parametrize("setting", QUICK, ids=str)
def test_what_is_promised_is_kept(setting, claim):
    check("unblocked", claim, setting, 0.8, 2000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("setting", GRID, ids=str)
def test_what_is_promised_is_kept_on_the_grid(setting, name):
    for claim, chance in product(CLAIMS if name == "unblocked" else CLAIMS[:2], (0.5, 0.8)):
        check(name, claim, setting, chance, 20000)


@pytest.mark.parametrize("target", ["these_domains", "new_domains"])
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("variances", ["welch", "pooled"])
def test_three_cells_keep_their_promise(variances, blocked, target):
    engine, weights, claim = Crossed(blocked, variances), (1.0, -0.5, -0.5), Claim(target=target)
    study = Prospect(3, 5, 0.8, 1.0, 0.0, weights, engine)
    effect = smallest_effect(study, claim)

    def judge(scores):
        found = engine(scores, np.array(weights))
        variance, df = found.variance(target)
        return np.abs(found.estimate) > stats.t.isf(0.025, df) * np.sqrt(variance)

    def sample(rng, n):
        return draw(rng, n, 3, 5, effects=(effect, 0.0, 0.0), run_sd=0.8, block_sd=float(blocked))[0]

    rate = simulate_power(judge, sample, 3000, np.random.default_rng(4))
    assert abs(rate.value - 0.8) <= 4 * rate.se + 0.001


def test_unequal_deviations_and_interactions_keep_their_promise():
    weights, sds, seeds = (1.0, -1.0, -1.0, 1.0), (0.2, 0.2, 1.0, 2.0), (3, 3, 4, 6)
    study = Prospect(seeds, 4, sds, 1.0, 0.0, weights)

    def sample(rng, size):
        scores = rng.normal(size=(size, 4, 6, 4)) + np.array(sds)[:, None, None] * rng.normal(size=(size, 4, 6, 1))
        scores[:, 3] += smallest_effect(study)
        for cell, runs in enumerate(seeds):
            scores[:, cell, runs:] = np.nan
        return scores

    def judge(scores):
        variance, df = Crossed()(scores, np.array(weights)).variance("these_domains")
        return np.abs(Crossed()(scores, np.array(weights)).estimate) > stats.t.isf(0.025, df) * np.sqrt(variance)

    rate = simulate_power(judge, sample, 3000, np.random.default_rng(3))
    assert abs(rate.value - 0.8) <= 4 * rate.se + 0.001


def test_simulated_power():
    rate = simulate_power(lambda x: x < 0.3, lambda rng, n: rng.random(n), 1234, np.random.default_rng(0))
    assert abs(rate.value - 0.3) < 4 * rate.se
    assert rate.se == pytest.approx(sqrt(0.3 * 0.7 / 1234), rel=0.05)
    again = simulate_power(lambda x: x < 0.3, lambda rng, n: rng.random(n), 1234, np.random.default_rng(0))
    assert again == rate
    never = simulate_power(lambda x: x > 2, lambda rng, n: rng.random(n), 100, np.random.default_rng(0))
    assert never.value == 0
    assert never.se > 0
    with pytest.raises(PlanError, match="one for each of 10"):
        simulate_power(lambda x: True, lambda rng, n: rng.random(n), 10, np.random.default_rng(0))


@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=3), st.integers(0, 9))
def test_an_allocation_is_the_best_there_is(sds, extra):
    cells, total = len(sds), 2 * len(sds) + extra
    weights = np.linspace(-1, 1.5, cells)

    def variance(runs):
        return float((weights**2 * np.array(sds) ** 2 / np.array(runs)).sum())

    found = allocate(sds, weights, total, at_least=2)
    assert sum(found) == total
    every = [runs for runs in product(range(2, extra + 3), repeat=cells) if sum(runs) == total]
    assert variance(found) == pytest.approx(min(map(variance, every)))


def test_an_allocation_follows_neyman_and_lowers_the_variance():
    sds, weights = (0.5, 1.0, 2.0), np.array([[-1, 1, 0], [-1, 0, 1]])
    runs = allocate(sds, weights, 400)
    expected = np.sqrt((weights**2).sum(0)) * sds
    assert np.array(runs) / 400 == pytest.approx(expected / expected.sum(), abs=0.005)
    assert allocate((1.0, 1.0), (-1, 1), 7) in ((4, 3), (3, 4))
    better = Prospect(allocate((0.2, 2.0), (-1, 1), 20), run=(0.2, 2.0), error=0.0)
    assert compute_power(better, 1.0) > compute_power(Prospect(10, run=(0.2, 2.0), error=0.0), 1.0)


def claims_after_allocation(n, keep, seed=0):
    """Share of null studies called different: 20 runs of two equal cells, allocated by the deviations of 3 each."""
    rng, total, hits = np.random.default_rng(seed), 20, 0
    for _ in range(n):
        runs = rng.normal(size=(2, total))
        pilot = runs[:, :3] if keep else rng.normal(size=(2, 3))
        first, second = allocate(pilot.std(1, ddof=1), (-1, 1), total)
        parts = [(x.mean(), x.var(ddof=1) / len(x), len(x) - 1) for x in (runs[0, :first], runs[1, :second])]
        square = parts[0][1] + parts[1][1]
        df = square**2 / sum(own**2 / df for _, own, df in parts)
        hits += abs(parts[0][0] - parts[1][0]) > -special.stdtrit(df, 0.025) * sqrt(square)
    return hits / n


@pytest.mark.slow
def test_a_pilot_that_allocates_must_not_be_judged():
    assert claims_after_allocation(20000, keep=False) == pytest.approx(0.05, abs=0.005)
    assert claims_after_allocation(20000, keep=True) > 0.08


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Prospect(1),
        lambda: Prospect(3, 0),
        lambda: Prospect(3, run=-1.0),
        lambda: Prospect((3, 4, 5)),
        lambda: Prospect((3, 4), engine=Crossed(blocked=True)),
        lambda: Prospect(3, run=(1.0, 2.0), engine=Crossed(variances="pooled")),
        lambda: Prospect(3, engine=Crossed(domain_variance="pooled")),
        lambda: Prospect(3, engine=Nested(blocked=True, folds=True)),
        lambda: Claim("difference", "some_domains"),
        lambda: Claim("superiority"),
        lambda: Claim(alpha=0.0),
        lambda: Claim("equivalence", margin=-1.0),
        lambda: compute_power(STUDY, 0.0, Claim("equivalence")),
        lambda: compute_power(Prospect(3, 1), 1.0, NEW),
        lambda: compute_power(Prospect(3, 2), 1.0, NEW),
        lambda: compute_power(Prospect(3, 1, error=0.0), 1.0),
        lambda: smallest_effect(STUDY, power=0.01),
        lambda: smallest_effect(STUDY, Claim("equivalence", margin=1.0)),
        lambda: smallest_margin(STUDY, Claim()),
        lambda: seeds_needed(MeanSquares(((1.0, 4.0),)), 1.0),
        lambda: allocate((1.0, 1.0), (-1, 1), 5),
        lambda: allocate((1.0, 1.0), (-1, 1, 0), 9),
    ],
)
def test_what_cannot_be_planned_is_said_at_once(wrong):
    with pytest.raises(PlanError):
        wrong()
