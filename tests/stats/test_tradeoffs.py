from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.errors import RecordsError
from ablate.stats.crossed import Crossed
from ablate.stats.pivots import Transformed
from ablate.stats.tradeoffs import Exact, compare_costs, find_front, share_front

WEIGHTS = np.array([-1, 1])


def test_unpaired_and_paired_log_ratios_are_scipys_t():
    costs = np.exp(np.random.default_rng(0).normal([[0], [1]], 0.3, (2, 6)))
    for engine, expected in (
        (Crossed(), stats.ttest_ind(*np.log(costs[::-1]), equal_var=False)),
        (Crossed(blocked=True), stats.ttest_rel(*np.log(costs[::-1]))),
    ):
        found = compare_costs(costs, WEIGHTS, engine)
        assert isinstance(found, Transformed)
        assert found.p_value() == pytest.approx(expected.pvalue, rel=1e-10)
        interval = expected.confidence_interval(0.9)
        assert found.interval(0.9) == pytest.approx((np.exp(interval.low), np.exp(interval.high)), rel=1e-10)
        geometric = stats.gmean(costs[1]) / stats.gmean(costs[0])
        assert found.estimate == pytest.approx(geometric)
        assert found.p_value(found.interval(0.9)[1]) == pytest.approx(0.1)


def test_a_unit_does_not_matter_and_a_missing_run_is_left_out():
    costs = np.exp(np.random.default_rng(1).normal(size=(2, 5)))
    costs[0, 3:] = np.nan
    found, other = (compare_costs(unit * costs, WEIGHTS, Crossed()) for unit in (1, 3600))
    whole = stats.ttest_ind(np.log(costs[1]), np.log(costs[0, :3]), equal_var=False)
    assert found.p_value() == pytest.approx(whole.pvalue)
    assert (other.estimate, *other.interval(0.95)) == pytest.approx((found.estimate, *found.interval(0.95)))


@pytest.mark.parametrize("engine", [Crossed(), Crossed(True), Crossed(variances="pooled")], ids=str)
def test_constant_costs_are_known(engine):
    costs = np.repeat([[1e6], [3e6]], 4, axis=1)
    found = compare_costs(costs, WEIGHTS, engine)
    assert isinstance(found, Exact)
    assert found.estimate == pytest.approx(3)
    assert found.interval(0.95) == (found.estimate, found.estimate)
    assert isnan(found.p_value())


def test_one_constant_cell_leaves_a_test():
    costs = np.array([[2.0, 2, 2, 2], [3, 4, 5, 3]])
    found = compare_costs(costs, WEIGHTS, Crossed())
    expected = stats.ttest_1samp(np.log(costs[1]), np.log(2))
    assert found.p_value() == pytest.approx(expected.pvalue)


def test_a_free_run_is_refused():
    with pytest.raises(RecordsError, match=r"cost of 0(?s:.*)cell 1, run 2"):
        compare_costs(np.array([[1.0, 2, 3], [4, 5, 0]]), WEIGHTS, Crossed())


def test_a_front_by_hand():
    quality, cost = [0.9, 0.8, 0.7, 0.8, 0.9], [10, 5, 6, 5, 12]
    values = np.column_stack([quality, cost])
    assert find_front(values, [True, False]).tolist() == [True, True, False, True, False]
    assert find_front(values, [True, True]).tolist() == [False, False, False, False, True]
    assert find_front(values[:, :1], [True]).tolist() == [True, False, False, False, True]


def test_rounding_does_not_break_a_tie():
    same = 0.1 + 0.2, 0.3
    assert find_front(np.array([[1.0, same[0]], [1.0, same[1]]]), [True, False]).all()


fronts = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=8)


@given(fronts, st.lists(st.booleans(), min_size=3, max_size=3))
def test_the_front_with_loops(rows, larger):
    values = np.array(rows, float)

    def beats(a, b):
        signed = [(x - y) * (1 if up else -1) for x, y, up in zip(a, b, larger, strict=True)]
        return min(signed) >= 0 and max(signed) > 0

    found = find_front(values, larger)
    assert found.tolist() == [not any(beats(other, row) for other in rows) for row in rows]
    assert found.any()
    assert find_front(np.stack([values, values[::-1]]), larger).tolist() == [found.tolist(), found[::-1].tolist()]


@pytest.mark.parametrize("blocked", [False, True])
def test_membership_of_clear_and_of_tied_cells(blocked):
    rng = np.random.default_rng(2)
    quality = np.array([0.9, 0.8, 0.5])[:, None] + 0.01 * rng.normal(size=(3, 5))
    values = np.stack([quality, np.repeat([[3e6], [1e6], [2e6]], 5, axis=1)], -1)
    assert share_front(values, [True, False], 0, blocked=blocked).tolist() == [1, 1, 0]
    copies = np.concatenate([values, values])
    tied = share_front(copies, [True, False], 0, blocked=blocked)
    if blocked:  # the same runs are drawn for a cell and its copy: still tied, and both on the front
        assert tied.tolist() == [1, 1, 0, 1, 1, 0]
    else:
        assert tied[0] + tied[3] == pytest.approx(1, abs=0.02)
    assert (share_front(values, [True, False], 3) == share_front(values, [True, False], 3)).all()


def test_blocks_carry_differences_that_are_certain_within_them():
    rng = np.random.default_rng(3)
    luck = rng.normal(size=6)
    values = np.stack([luck, luck + 0.1], 0)[..., None]
    assert share_front(values, [True], 0, blocked=True).tolist() == [0, 1]
    assert 0.1 < share_front(values, [True], 0)[0] < 0.9
    assert (share_front(values, [True], 0) != share_front(values, [True], 1)).any()


def test_membership_spreads_as_means_do():
    values = np.random.default_rng(4).normal(size=(2, 4, 1))
    values = (values - values.mean(1, keepdims=True)) / values.std(1, ddof=1, keepdims=True)
    values[1] += 1.0
    found = share_front(values, [True], 5, resamples=20000)
    assert found[1] == pytest.approx(stats.norm.cdf(1 / sqrt(2 / 4)), abs=0.03)


def test_what_cannot_be_resampled_is_refused():
    with pytest.raises(ValueError, match="every measure"):
        find_front(np.array([[1.0, np.nan], [2.0, 3.0]]), [True, False])
    values = np.zeros((2, 3, 1))
    values[0, 1:] = np.nan
    with pytest.raises(ValueError, match="two runs"):
        share_front(values, [True], 0)
    values[0, 1] = 0
    with pytest.raises(ValueError, match="every block"):
        share_front(values, [True], 0, blocked=True)


def covered(n, engine, seed=6):
    """Share of studies whose interval holds the true ratio of median latencies, 1.5; costs are log-normal."""
    rng, held = np.random.default_rng(seed), 0
    for _ in range(n):
        logs = np.log([[1.0], [1.5]]) + [[0.1], [0.3]] * rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=5)
        low, high = compare_costs(np.exp(logs), WEIGHTS, engine).interval(0.95)
        held += low <= 1.5 <= high
    return held / n


def test_coverage():
    assert covered(200, Crossed(blocked=True)) == pytest.approx(0.95, abs=3 * sqrt(0.05 * 0.95 / 200))


@pytest.mark.slow
def test_coverage_at_full_size():
    assert covered(20000, Crossed(blocked=True)) == pytest.approx(0.95, abs=0.005)
    assert 0.935 <= covered(20000, Crossed()) <= 1  # too wide where blocks are ignored
