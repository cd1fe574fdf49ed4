from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.crossed import Crossed
from ablate.stats.maxima import dunnett_upper_critical
from ablate.stats.selections import compare_with_best, constrain
from tests.stats.samples import case, draw

FORMS = [Crossed(blocked, variances) for blocked in (False, True) for variances in ("welch", "pooled")]
TARGETS = ["these_domains", "new_domains"]


def to_best(means):
    """Each mean less the best of the others."""
    own = np.eye(means.shape[-1], dtype=bool)
    return means - np.where(own, -np.inf, means[..., None, :]).max(-1)


def test_plantgrowth_by_hsus_formula_with_loops():
    scores = np.array([g.weight for _, g in case("plantgrowth.csv").groupby("group")])[..., None]
    scores[0, 8:] = np.nan  # unequal runs
    runs, means = [8, 10, 10], np.nanmean(scores, axis=(1, 2))
    error = sum(np.nansum((scores[i] - means[i]) ** 2) for i in range(3)) / 25
    found = compare_with_best(scores, Crossed(variances="pooled"))
    d, se = np.zeros(3), np.zeros((3, 3))
    for i in range(3):
        others = [j for j in range(3) if j != i]
        d[i] = dunnett_upper_critical(0.05, [sqrt(runs[j] / (runs[i] + runs[j])) for j in others], 25)
        for j in others:
            se[i, j] = sqrt(error * (1 / runs[i] + 1 / runs[j]))
    high = [max(0, min(means[i] - means[j] + d[i] * se[i, j] for j in range(3) if j != i)) for i in range(3)]
    good = [j for j in range(3) if high[j] > 0]
    for i in range(3):
        below = [means[i] - means[j] - d[j] * se[i, j] for j in good if j != i]
        assert found.low[i] == pytest.approx(min(0, min(below)) if below else 0, rel=1e-10)
    assert found.high == pytest.approx(high, rel=1e-10)
    assert found.estimate == pytest.approx(to_best(means), rel=1e-10)
    assert found.may_be_best.tolist() == [True, False, True]


@pytest.mark.parametrize("engine", FORMS, ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_two_cells_are_one_sided_t_intervals(engine, target):
    scores = np.random.default_rng(3).normal(size=(2, 5, 4))
    found, pair = compare_with_best(scores, engine, target), engine(scores, np.array([1, -1]))
    variance, df = pair.variance(target)
    reach = stats.t.isf(0.05, df) * sqrt(variance)
    expected = [max(0, sign * pair.estimate + reach) for sign in (1, -1)]
    assert found.high == pytest.approx(expected, rel=1e-9)
    assert found.low == pytest.approx([min(0, -e) for e in expected[::-1]], rel=1e-9)


@pytest.mark.parametrize("engine", FORMS, ids=str)
@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=4)
@given(st.integers(0, 2**32 - 1), st.permutations(range(4)))
def test_identities(engine, target, seed, order):
    scores = draw(np.random.default_rng(seed), 1, 4, 5, effects=(0, 0, 1, 2), tau=0.5)[0][0]
    found = compare_with_best(scores, engine, target)
    assert (found.low <= 0).all()
    assert (found.high >= 0).all()
    assert (found.low <= found.estimate + 1e-12).all()
    assert (found.estimate <= found.high + 1e-12).all()
    assert found.may_be_best[np.argmax(scores.mean((1, 2)))]
    assert found.is_best.sum() == (found.may_be_best.sum() == 1)
    moved = compare_with_best(scores[list(order)], engine, target)
    turned = compare_with_best(-scores, engine, target, direction="min")
    for end in ("estimate", "low", "high"):
        assert getattr(moved, end) == pytest.approx(getattr(found, end)[list(order)], rel=1e-7, abs=1e-9)
        assert getattr(turned, end) == pytest.approx(getattr(found, end), rel=1e-7, abs=1e-9)


def test_replicates_are_compared_one_by_one():
    scores = draw(np.random.default_rng(0), 2, 4, 3, effects=(0, 1, 1))[0]
    for engine, target in product(FORMS, TARGETS):
        together = compare_with_best(scores, engine, target)
        for i, one in enumerate(scores):
            alone = compare_with_best(one, engine, target)
            assert together.low[i] == pytest.approx(alone.low)
            assert together.high[i] == pytest.approx(alone.high)


def test_one_clear_winner_is_certain():
    difference = np.array([[0, 5, 6], [-5, 0, 1], [-6, -1, 0]], float)
    estimate, low, high = constrain(difference, np.full((3, 3), 2.0))
    assert estimate.tolist() == [5, -5, -6]
    assert low.tolist() == [0, -7, -8]
    assert high.tolist() == [7, 0, 0]


def test_one_candidate_is_refused():
    with pytest.raises(ValueError, match="two candidates"):
        compare_with_best(np.zeros((1, 3, 2)), Crossed())


def hold(n, engine, target, effects, tau, seed=5):
    """Share of studies in which all intervals hold at once, and of best cells the share that may be best."""
    scores, truth = draw(
        np.random.default_rng(seed), n, 5, 8, effects=effects, tau=tau, run_sd=0.5, block_sd=float(engine.blocked)
    )
    truth = truth if target == "these_domains" else np.broadcast_to(effects, truth.shape)
    found, distance = compare_with_best(scores, engine, target), to_best(truth)
    held = ((found.low <= distance + 1e-12) & (distance <= found.high + 1e-12)).all(-1)
    return held.mean(), found.may_be_best[truth == truth.max(-1, keepdims=True)].mean()


SETTINGS = [((0.0, 0.3, 0.6, 0.8), 0.7), ((0.0,) * 8, 0.0)]  # one best cell; eight that are alike


def check(n, engine, target, setting):
    held, kept = hold(n, engine, target, *setting)
    assert min(held, kept) >= 0.95 - 3 * sqrt(0.05 * 0.95 / n), (held, kept)
    return kept


@pytest.mark.parametrize(("engine", "target"), [(FORMS[0], "new_domains"), (FORMS[1], "these_domains")])
def test_simultaneous_coverage(engine, target):
    check(600, engine, target, SETTINGS[0])


def test_each_of_eight_equal_cells_is_left_out_in_one_study_of_twenty_and_no_more():
    assert check(400, FORMS[1], "these_domains", SETTINGS[1]) == pytest.approx(0.95, abs=0.015)  # exact
    check(200, FORMS[2], "new_domains", SETTINGS[1])


@pytest.mark.slow
@pytest.mark.parametrize("engine", FORMS, ids=str)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("setting", SETTINGS, ids=["one", "eight"])
def test_simultaneous_coverage_at_full_size(engine, target, setting):
    check(10000, engine, target, setting)
