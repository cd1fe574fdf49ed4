import numpy as np
import pytest
from scipy import stats

from ablate.errors import PlanError, RecordsError
from ablate.stats.folds import correlated_t
from tests.stats.samples import case


@pytest.mark.parametrize("number", [1, 2, 3])
def test_ten_times_ten_folds_agree_with_scmamp(number):
    frame, expected = case("kcv_example.csv"), case("kcv_correlated_t_expected.json")[f"DB{number}_C_vs_D"]
    frame = frame[frame["DB"] == number]
    differences = (frame.AlgC - frame.AlgD).to_numpy()
    found = correlated_t(differences, 0.1)
    assert len(differences) == expected["n"]
    assert (found.statistic(), found.p_value()) == pytest.approx((expected["t"], expected["p"]), rel=1e-9)
    assert stats.ttest_1samp(differences, 0).pvalue == pytest.approx(expected["naive_t_p"], rel=1e-9)


def test_a_vanishing_test_set_leaves_the_plain_t():
    differences = np.random.default_rng(0).normal(0.3, 1, 12)
    found, plain = correlated_t(differences, 1e-15), stats.ttest_1samp(differences, 0)
    assert (found.statistic(), found.df) == pytest.approx((plain.statistic, plain.df), rel=1e-12)


def test_type_one_error_where_folds_correlate_by_the_test_fraction():
    rng, n, fraction = np.random.default_rng(1), 30, 0.1
    p, naive = [], []
    for _ in range(500):
        values = np.sqrt(fraction) * rng.normal() + np.sqrt(1 - fraction) * rng.normal(size=n)
        p.append(correlated_t(values, fraction).p_value())
        naive.append(2 * stats.t.sf(abs(values.mean() / values.std(ddof=1) * n**0.5), n - 1))
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 500) ** 0.5)
    assert np.mean(np.array(naive) < 0.05) > 0.3


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction):
    with pytest.raises(PlanError, match="test_fraction"):
        correlated_t([1, 2], fraction)


@pytest.mark.parametrize("differences", [[], [1.0], [1.0, 1.0], [1.0, float("nan")]])
def test_nothing_to_test_is_refused(differences):
    with pytest.raises(RecordsError, match="no variance"):
        correlated_t(differences, 0.1)
