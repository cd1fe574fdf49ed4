"""E-values against reference figures, and how often they call a true null false when looked at after every block."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from ablate.errors import PlanError, RecordsError
from ablate.stats.eprocesses import Anytime, EProcess, log_e
from ablate.stats.sequences import NormalMixture
from tests.stats.samples import case

blocks = st.lists(st.integers(-300, 300), min_size=3, max_size=30, unique=True).map(lambda n: np.array(n) / 100)


@pytest.mark.parametrize("row", case("t_eprocess_expected.json")["cases"], ids=str)
def test_log_e_agrees_with_the_reference(row):
    assert log_e(row["t"], row["n"], row["g"]) == pytest.approx(row["logE"], abs=1e-8)


def test_log_e_is_the_mixture_of_noncentral_t():
    t, n, g = 2.1, 6, 0.7

    def weighted(effect):
        return stats.nct.pdf(t, n - 1, effect * sqrt(n)) * stats.norm.pdf(effect, 0, sqrt(g))

    mixture = integrate.quad(weighted, -8, 8, epsabs=1e-12)[0]
    assert log_e(t, n, g) == pytest.approx(log(mixture / stats.t.pdf(t, n - 1)), abs=1e-8)


def test_many_blocks_bring_the_known_variance():
    n, z, g = 10**7, 2.5, 0.3
    assert log_e(z, n, g) == pytest.approx(NormalMixture(1 / g).log_e(z * sqrt(n), n), abs=1e-5)


@given(blocks, st.floats(0.05, 5))
def test_every_look_is_its_own_t(values, g):
    found = EProcess(g=g).log_e(values)
    for n in range(2, len(values) + 1):
        spread = values[:n].std(ddof=1)
        if spread > 1e-3:
            expected = log_e(values[:n].mean() / (spread / sqrt(n)), n, g)
            assert found[n - 2] == pytest.approx(expected, abs=1e-6)


@given(blocks, st.floats(-2, 2), st.floats(0.2, 3))
def test_the_interval_is_what_no_look_rejects(values, shift, g):
    process = EProcess(g=g)
    low, high = process.interval(values)
    if np.isfinite(low):
        for inside, at in ((True, low + 1e-6), (False, low - 1e-6), (True, high - 1e-6), (False, high + 1e-6)):
            if high - low > 1e-5:
                assert (process.p(values - at) > 0.05) == inside
    moved = process.interval(values + shift)
    assert moved == pytest.approx((low + shift, high + shift), nan_ok=True, abs=1e-6)


def test_a_mean_that_moved_leaves_no_interval():
    values = np.concatenate([np.tile([0.9, 1.1], 20), np.tile([4.9, 5.1], 2000)])
    assert np.isnan(EProcess().interval(values)).all()
    assert EProcess().interval([1.0, 1.2]) == (-np.inf, np.inf)


def test_decisions():
    values = np.array([0.5, 1.4, 0.2, 1.1])
    process = EProcess()
    decision = process.decide(values)
    assert decision.verdict == "go on"
    t = [values.mean() / (values.std(ddof=1) / sqrt(4 + more)) for more in (decision.more - 1, decision.more)]
    reached = [
        log_e(x, 4 + more, 1.0) >= log(20) for x, more in zip(t, (decision.more - 1, decision.more), strict=True)
    ]
    assert reached == [False, True]
    assert process.decide(np.tile([0.9, 1.1], 8)).verdict == "stop"
    assert process.decide([1.0, -1.0, 0.001]).more is None
    assert process.decide([0.5, 0.5, 0.5]) == process.decide([0.0, 0.0])  # no spread to judge by
    assert process.p([0.5] * 20) == 1.0


def test_the_prior_can_be_chosen_for_a_number_of_blocks():
    chosen = EProcess.at(40)
    needed = [
        next(t for t in np.arange(0, 9, 0.01) if log_e(t, 40, g) > log(20))
        for g in (chosen.g / 4, chosen.g, chosen.g * 4)
    ]
    assert needed[1] < min(needed[0], needed[2])


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], 3.0, [[1.0, 2.0], [1.0, 3.0]]], ids=str)
def test_only_values_of_blocks_are_taken(values):
    with pytest.raises(RecordsError, match="block"):
        EProcess().decide(values)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"g": 0.0}, {"g": np.inf}])
def test_no_process(wrong):
    with pytest.raises(PlanError):
        EProcess(**wrong)


def claimed(n, g, seed):
    return (EProcess(g=g).p(np.random.default_rng(seed).normal(size=(n, 100))) <= 0.05).mean()


def test_peeking_after_every_block_keeps_alpha():
    assert claimed(2000, 1.0, 0) <= 0.05


def test_an_effect_is_found_and_the_sequence_holds_it():
    values = np.random.default_rng(3).normal(0.8, 1.0, (1000, 60))
    assert (EProcess().p(values) <= 0.05).mean() > 0.95
    low, high = EProcess().interval(values)
    assert ((low <= 0.8) & (high >= 0.8)).mean() >= 0.95


@given(values=blocks, level=st.sampled_from([0.8, 0.95]), against=st.floats(-3, 3))
def test_one_sided_p_and_interval_agree(values, level, against):
    """At alpha/2 a side is left behind exactly where the confidence sequence has left it behind at some look."""
    pivot = Anytime(values, 0.5)
    p = {side: pivot.p_value(against, side) for side in ("greater", "less", "two-sided")}
    n = range(2, len(values) + 1)
    looks = [EProcess(1 - level, 0.5).interval(values[:k]) for k in n]
    low, high = max(a for a, _ in looks if not np.isnan(a)), min(b for _, b in looks if not np.isnan(b))
    if min(abs(low - against), abs(high - against)) > 1e-6 and not np.isnan(pivot.interval(level)).any():
        assert (p["greater"] <= (1 - level) / 2) == (low > against)
        assert (p["less"] <= (1 - level) / 2) == (high < against)
    now = "greater" if values.mean() > against else "less"
    assert p["two-sided"] == min(1.0, 2 * p[now])
    assert p["two-sided"] >= EProcess(g=0.5).p(values - against)


def test_half_a_width_is_that_of_the_last_look():
    values = np.random.default_rng(0).normal(size=9)
    process = EProcess(0.1, 0.7)
    half = process.half_width(values.std(ddof=1), 9)
    assert Anytime(values, 0.7).p_value(values.mean() - half * 1.0001, "greater") <= 0.05
    t = half * 3 / values.std(ddof=1)
    assert log_e(t, 9, 0.7) == pytest.approx(log(10))
    assert process.half_width(1.0, 2) == np.inf


@pytest.mark.slow
@pytest.mark.parametrize("g", [0.1, 0.5, 1.0, 4.0])
def test_peeking_after_every_block_keeps_alpha_at_full_size(g):
    assert claimed(20000, g, 1) <= 0.05


@pytest.mark.slow
def test_why_two_arms_without_blocks_are_refused():
    """Welch's t with the count of all runs in the same formula: .064 with standard deviations of 1 and 5."""
    n = np.arange(2, 101)
    scores = np.random.default_rng(1).normal(size=(20000, 100, 2)) * [1, 5]
    total, squares = np.cumsum(scores, 1)[:, 1:], np.cumsum(scores**2, 1)[:, 1:]
    own = (squares - total**2 / n[:, None]) / ((n - 1) * n)[:, None]
    t = (total[..., 0] - total[..., 1]) / n / np.sqrt(own.sum(-1))
    assert (log_e(t, 2 * n).max(1) >= log(20)).mean() > 0.06
    assert (EProcess().p(scores[..., 0] - scores[..., 1]) <= 0.05).mean() <= 0.05
