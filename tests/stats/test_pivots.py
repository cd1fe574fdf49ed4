import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.pivots import SignFlips, Student
from tests.stats.samples import case

values = st.lists(st.integers(-500, 500), min_size=2, max_size=9, unique=True).map(lambda x: np.array(x) / 100)


@given(st.floats(-3, 3), st.floats(0.1, 3), st.floats(1, 50), st.floats(-2, 2))
def test_student_is_scipys_t(estimate, se, df, against):
    pivot, t = Student(estimate, se, df), stats.t(df, estimate, se)
    assert pivot.p_value(against, "greater") == pytest.approx(t.cdf(against), rel=1e-9)
    assert pivot.p_value(against, "less") == pytest.approx(t.sf(against), rel=1e-9)
    assert pivot.p_value(against) == pytest.approx(2 * min(t.cdf(against), t.sf(against)), rel=1e-9)
    assert pivot.interval(0.9) == pytest.approx(t.interval(0.9), rel=1e-9)


@given(values, st.sampled_from(["two-sided", "greater", "less"]))
def test_sign_flips_are_scipys_permutation_test(x, side):
    expected = stats.permutation_test(
        (x,), np.mean, permutation_type="samples", alternative=side, n_resamples=np.inf, vectorized=True
    )
    assert SignFlips(x).p_value(0.0, side) == pytest.approx(expected.pvalue, abs=1e-12)


@given(values, st.sampled_from([0.5, 0.75, 0.9, 0.95]))
def test_the_interval_holds_what_the_test_does_not_reject(x, level):
    pivot = SignFlips(x)
    low, high = pivot.interval(level)
    assert low <= np.median(x.mean()) <= high
    if np.isfinite(low):
        gap = 1e-6 * (1 + abs(low))
        assert pivot.p_value(low - gap, "greater") <= (1 - level) / 2 + 1e-12
        assert pivot.p_value(low + gap, "greater") > (1 - level) / 2
        assert pivot.p_value(high + gap, "less") <= (1 - level) / 2 + 1e-12
    else:
        assert 2.0 ** -len(x) > (1 - level) / 2


def test_the_sleep_data_permuted_exactly():
    sleep, expected = case("sleep.csv"), case("tests_expected.json")["sleep"]
    one, two = (sleep[sleep.group == g].extra.to_numpy() for g in (1, 2))
    assert SignFlips(one - two).p_value() == expected["perm_exact_paired"]


def test_the_smallest_p_is_attained():
    assert [SignFlips(np.ones(n) + np.arange(n)).smallest_p for n in (5, 6)] == [0.0625, 0.03125]
    assert SignFlips(np.arange(1.0, 6)).p_value() == 0.0625
    assert SignFlips(np.arange(0.0, 6)).smallest_p == SignFlips(np.arange(0.0, 6)).p_value() == 0.0625


def test_many_blocks_are_sampled_and_near_t():
    x = np.random.default_rng(0).normal(0.3, 1, 40)
    pivot = SignFlips(x)
    assert pivot.p_value() == pytest.approx(stats.ttest_1samp(x, 0).pvalue, abs=0.01)
    assert pivot.interval(0.95) == pytest.approx(stats.ttest_1samp(x, 0).confidence_interval(), abs=0.03)
    assert pivot.p_value() == SignFlips(x).p_value()
