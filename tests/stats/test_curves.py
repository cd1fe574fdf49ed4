from math import exp, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.errors import PlanError, RecordsError
from ablate.stats.curves import (
    Times,
    compare_times,
    data_multiplier,
    log_area,
    median_time,
    pseudo_values,
    restricted_mean,
    survival_curve,
    times_to,
)

BUDGETS = np.array([10.0, 100.0, 1000.0])


def censored(logs, reached):
    return Times(np.array(logs, float), np.array(reached, bool))


def test_area_by_hand():
    assert log_area(BUDGETS, [[0.0, 0.5, 1.0], [0.2, 0.2, 0.2], [0.0, 1.0, 1.0]]) == pytest.approx([0.5, 0.2, 0.75])
    assert log_area([1, 2, 8], [0.0, 0.3, 0.3]) == pytest.approx((0.15 + 0.6) / 3)  # one doubling, then two
    assert log_area(BUDGETS / 7, [0.0, 1.0, 1.0]) == pytest.approx(0.75)  # units of the budget do not matter


def test_times_by_hand():
    curves = [[0.2, 0.6, 0.8], [0.2, 0.3, 0.4], [0.7, 0.1, 0.9], [0.4, 0.4, 0.4], [0.3, 0.2, 0.5]]
    found = times_to(BUDGETS, curves, [0.4, 0.5, 0.6, 0.4, 0.4])
    assert found.reached.tolist() == [True, False, True, True, True]
    # halfway between the first two points; never; before the first; at the first; best so far is .3, then .5
    expected = [sqrt(1000), 1000, 10, 10, sqrt(100000)]
    assert np.exp(found.log) == pytest.approx(expected)
    losses = times_to(BUDGETS, -np.array(curves), -np.array([0.4, 0.5, 0.6, 0.4, 0.4]), "minimize")
    assert (losses.log, losses.reached.tolist()) == (pytest.approx(found.log), found.reached.tolist())


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_times_are_where_the_best_so_far_crosses(seed, score):
    values = np.random.default_rng(seed).random((4, 6))
    x = np.geomspace(1, 32, 6)
    found = times_to(x, values, score)
    best = np.maximum.accumulate(values, -1)
    assert (found.reached == (best[:, -1] >= score)).all()
    for run in np.flatnonzero(found.reached):
        at = np.interp(found.log[run], np.log(x), best[run])
        assert at == pytest.approx(max(score, best[run, 0]))


def test_multiplier_by_hand():
    slow = [[0.0, 0.2, 0.4, 0.6], [0.0, 0.1, 0.2, 0.3]]
    fast = [[0.1, 0.4], [0.2, 0.6]]
    found = data_multiplier([1, 10, 100, 1000], slow, [1, 10], fast, blocked=True)
    assert np.exp(found.log) == pytest.approx([10, 100])  # .4 at 100 for 10; .6 never, though it had 1000
    assert found.reached.tolist() == [True, False]
    shared = data_multiplier([1, 10, 100, 1000], slow, [1, 10], fast, blocked=False)
    assert np.exp(shared.log[0]) == pytest.approx(sqrt(100 * 1000) / 10)  # .5, the mean of .4 and .6
    same = data_multiplier(BUDGETS, [[0.1, 0.2, 0.3]] * 3, BUDGETS, [[0.1, 0.2, 0.3]] * 3, blocked=True)
    assert same.log == pytest.approx(0)
    with pytest.raises(RecordsError, match="pairs if blocked"):
        data_multiplier(BUDGETS, [[0.1, 0.2, 0.3]], BUDGETS, [[0.1, 0.2, 0.3]] * 2, blocked=True)


def test_kaplan_and_meier_by_hand():
    # reached at 1 and 3, ended without at 2: S is 1 to 1, 2/3 to 3, then 0
    times = censored([1, 2, 3], [True, False, True])
    steps, survival = survival_curve(times)
    assert (steps.tolist(), survival) == ([1, 3], pytest.approx([2 / 3, 0]))
    assert restricted_mean(times, exp(3)) == pytest.approx(1 + 2 * 2 / 3)
    assert restricted_mean(times, exp(2.5)) == pytest.approx(1 + 1.5 * 2 / 3)
    assert restricted_mean(times, exp(0.5)) == pytest.approx(0.5)
    assert restricted_mean(times) == pytest.approx(1 + 2 / 3)  # up to the run that ended at 2
    assert median_time(times) == 3
    assert median_time(censored([1, 2, 2], [True, False, False])) == inf
    # each left out: (2, 3): 3; (1, 3): (1 + 3)/2; (1, 2+): cannot reach 3
    assert pseudo_values(times, exp(2)) == pytest.approx([3 * 5 / 3 - 2 * 2, 3 * 5 / 3 - 2 * 1.5, 3 * 5 / 3 - 2 * 1.5])


def test_a_run_that_never_reached_it_counts_with_all_it_spent():
    times = censored([1, 2, 4, 4], [True, True, False, False])
    assert times.restricted() == pytest.approx([1, 2, 4, 4])
    assert times.restricted(exp(3)) == pytest.approx([1, 2, 3, 3])
    assert times.restricted().mean() == pytest.approx(restricted_mean(times)) == pytest.approx(11 / 4)
    assert median_time(times) == 2


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=3, max_size=8))
def test_pseudo_values_without_early_censoring_are_the_restricted_values(runs):
    times = censored([4.0 if not reached else at for at, reached in runs], [reached for _, reached in runs])
    assert pseudo_values(times, exp(4)) == pytest.approx(times.restricted(exp(4)))
    assert restricted_mean(times, exp(4)) == pytest.approx(times.restricted(exp(4)).mean())


def test_runs_that_ended_early_are_not_averaged():
    times = censored([1, 2, 4], [True, False, True])
    with pytest.raises(RecordsError, match="without reaching") as caught:
        times.restricted(exp(3))
    assert "pseudo_values" in str(caught.value)
    with pytest.raises(RecordsError, match="as far as the horizon"):
        restricted_mean(censored([1, 2], [True, False]), exp(3))
    with pytest.raises(RecordsError, match="left out"):
        pseudo_values(censored([1, 2], [True, True]))


def test_uncensored_comparison_is_scipys_welch():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 6), rng.normal(0, 2, 5)
    found = compare_times(censored(a, a < 99), censored(b, b < 99))
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert (found.estimate, found.statistic(), found.df) == pytest.approx(
        (a.mean() - b.mean(), expected.statistic, expected.df)
    )
    doubled = compare_times(censored(b + log(2), b < 99), censored(b, b < 99))
    assert exp(doubled.estimate) == pytest.approx(2)
    with pytest.raises(RecordsError, match="no run-to-run variance"):
        compare_times(censored([3, 3, 3], [False] * 3), censored([3, 3, 3], [False] * 3))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("runs", [3, 10])
def test_equal_arms_differ_at_the_nominal_rate_at_most(runs, share):
    rng = np.random.default_rng(runs)
    end, rejected, n = stats.norm.isf(share) if share else 9.0, 0, 150
    for _ in range(n):
        sides = [censored(np.minimum(x, end), x <= end) for x in rng.normal(size=(2, runs))]
        if np.ptp(np.concatenate([side.log for side in sides])):
            rejected += compare_times(*sides).p_value() < 0.05
    assert rejected / n <= 0.05 + 3 * sqrt(0.05 * 0.95 / n)


@pytest.mark.parametrize(
    ("budgets", "values", "match"),
    [
        ([0, 1], [1, 2], "above zero"),
        ([2, 1], [1, 2], "increasing"),
        ([1], [1], "two or more"),
        ([1, 2], [1, 2, 3], "2 finite values"),
        ([1, 2], [1, np.nan], "2 finite values"),
    ],
)
def test_what_is_no_curve(budgets, values, match):
    for call in (log_area, lambda x, y: times_to(x, y, 0.5)):
        with pytest.raises(RecordsError, match=match):
            call(budgets, values)


def test_unknown_direction():
    with pytest.raises(PlanError, match="direction"):
        times_to(BUDGETS, [1.0, 2.0, 3.0], 2, "up")
