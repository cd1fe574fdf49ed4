"""Sample efficiency against the plainest spelling, and how often its tests and intervals hold."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.errors import PlanError
from ablate.stats.attribution import attribute

BUDGETS = np.array([100, 200, 400, 800, 1600])
ASKED = {"factors": ["arm"], "value": "score", "run": "run", "budget": "budget", "families": ["efficiency"]}


def curves(rng, times=1.0, runs=5, sd=0.01):
    """Runs × budgets of the arms a and b: a tenth more for ten times the data; b learns as if it had `times` it."""
    levels = 0.5 + 0.1 * np.log10(np.multiply.outer([1, times], BUDGETS) / 100)
    noise = sd * rng.normal(size=(2, runs, 1)) + 0.2 * sd * rng.normal(size=(2, runs, len(BUDGETS)))
    return levels[:, None] + noise


def frame_of(values, sign=1.0):
    return pd.DataFrame(
        {"arm": "ab"[a], "run": f"{a}.{s}", "seed": s, "budget": BUDGETS[b], "score": sign * values[a, s, b]}
        for a, s, b in np.ndindex(values.shape)
    )


def ask(frame, **options):
    found = attribute(frame, **{**ASKED, **options}).frame
    return found.assign(what=found.factor.str.partition(":")[0]).set_index("what")


@pytest.mark.parametrize("blocked", [False, True])
def test_areas_are_t_tests_of_trapezoids(blocked):
    values = curves(np.random.default_rng(0))
    x = np.log(BUDGETS)
    areas = ((values[..., 1:] + values[..., :-1]) / 2 * np.diff(x)).sum(-1) / (x[-1] - x[0])
    test = stats.ttest_rel if blocked else stats.ttest_ind
    expected = test(areas[1], areas[0], **({} if blocked else {"equal_var": False}))
    row = ask(frame_of(values), **({"block": "seed"} if blocked else {})).loc["area"]
    assert (row.estimate, row.p) == pytest.approx((areas[1].mean() - areas[0].mean(), expected.pvalue))
    assert (row.n_runs, row.n_domains) == (10, 1)


def test_budgets_to_a_score_are_t_tests_of_their_logarithms():
    values = 0.5 + 0.1 * np.log2(BUDGETS / np.array([[150, 160, 180], [90, 80, 100]])[..., None])
    row = ask(frame_of(values), threshold=0.6).loc["budget to 0.6"]
    logs = np.log(2.0 * np.array([[150, 160, 180], [90, 80, 100]]))
    expected = stats.ttest_ind(logs[1], logs[0], equal_var=False)
    assert (row.estimate, row.p) == pytest.approx((np.exp(logs[1].mean() - logs[0].mean()), expected.pvalue))
    ends = np.exp(expected.confidence_interval(1 - 0.05 / 2))
    assert (row.low, row.high) == pytest.approx(tuple(ends))
    assert row.verdict == "cheaper"


def test_who_never_reaches_the_score_counts_with_all_that_it_spent():
    values = np.array([0.5 + 0.1 * np.log2(BUDGETS / start) for start in [9000, 160, 180, 90, 80, 100]]).reshape(
        2, 3, 5
    )
    row = ask(frame_of(values), threshold=0.6).loc["budget to 0.6"]
    logs = np.log([[1600, 320, 360], [180, 160, 200]])
    assert row.estimate == pytest.approx(np.exp(logs[1].mean() - logs[0].mean()))
    assert row.note == "1 of 6 runs never reached it and count with all they spent"


@pytest.mark.parametrize("blocked", [False, True])
def test_a_minimised_metric_is_the_same_with_the_other_sign(blocked):
    values = curves(np.random.default_rng(3), times=4.0)
    options = {"block": "seed"} if blocked else {}
    up = ask(frame_of(values), threshold=0.6, **options)
    down = ask(frame_of(values, -1.0), threshold=-0.6, direction="minimize", **options)
    assert down.estimate["area"] == pytest.approx(-up.estimate["area"])
    assert down.estimate.iloc[1:].to_numpy() == pytest.approx(up.estimate.iloc[1:].to_numpy())
    assert list(down.verdict) == list(up.verdict) == ["better", "cheaper", "described"]
    assert up.estimate.iloc[1:].to_numpy() == pytest.approx(0.25, rel=0.3)


def multiplier(others, values):
    """Per run the log budget at which it has the others' mean final score, over theirs, by interpolation."""
    goal = others[:, -1].mean()
    best = np.maximum.accumulate(values, -1)
    return np.array([np.interp(goal, run, np.log(BUDGETS)) - np.log(BUDGETS[-1]) for run in best])


def test_a_multiplier_knows_the_error_of_the_score_it_is_held_to():
    values = curves(np.random.default_rng(1), times=4.0, runs=4)
    row = ask(frame_of(values)).loc["data multiplier"]
    logs = multiplier(*values)
    jackknife = [multiplier(np.delete(values[0], i, 0), values[1]).mean() for i in range(4)]
    parts = logs.var(ddof=1) / 4, 3 * np.var(jackknife)
    half = stats.t.isf(0.025, sum(parts) ** 2 / (sum(p**2 for p in parts) / 3)) * np.sqrt(sum(parts))
    assert row.estimate == pytest.approx(np.exp(logs.mean()))
    assert (row.low, row.high) == pytest.approx((np.exp(logs.mean() - half), np.exp(logs.mean() + half)))
    assert np.isnan(row.p)
    assert (row.verdict, row.level_ci) == ("described", 0.95)


def test_a_multiplier_that_is_a_bound_has_no_interval():
    row = ask(frame_of(curves(np.random.default_rng(0), times=0.5))).loc["data multiplier"]
    assert row.estimate <= 1
    assert np.isnan([row.p, row.low, row.high]).all()
    assert row.note == "5 of 5 runs never reached the other's final score: at least so much"


@pytest.mark.slow
@pytest.mark.parametrize("blocked", [False, True])
def test_multipliers_cover_their_truth(blocked):
    rng = np.random.default_rng(0)
    options = {"block": "seed"} if blocked else {}
    rows = [ask(frame_of(curves(rng, times=6.0, runs=6)), **options).loc["data multiplier"] for _ in range(400)]
    told = [row for row in rows if np.isfinite(row.low)]
    assert len(told) > 390
    covered = sum(row.low <= 1 / 6 <= row.high for row in told)
    assert stats.binomtest(covered, len(told), 0.95).pvalue > 0.01


def test_curves_that_cannot_be_compared_are_refused():
    frame = frame_of(curves(np.random.default_rng(0)))
    short = ask(frame[(frame.run != "1.0") | (frame.budget < 1600)])
    assert set(short.refusal) == {"R19"}
    two = ask(frame[frame.seed < 2])
    assert set(two.refusal) == {"R02"}
    with pytest.raises(PlanError, match="no run was scored at two budgets"):
        ask(frame[frame.budget == 100])
