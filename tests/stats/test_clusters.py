import time

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats

from ablate.errors import PlanError, RecordsError
from ablate.stats.clusters import cluster_robust
from tests.stats.samples import case

KINDS = ["CR0", "CR1", "CR1S", "CR2", "CR3"]


@pytest.mark.parametrize("kind", KINDS)
def test_ablation_agrees_with_clubsandwich(kind):
    frame = case("ablation6x5.csv")
    x = np.c_[np.ones(len(frame)), frame.arm == "full"]
    found = cluster_robust(x, frame.score, frame.domain, kind)
    for i, expected in enumerate(case("tests_expected.json")[f"ablation_ols_{kind}"]):
        pivot = found.pivot(i)
        assert (pivot.estimate, pivot.se, pivot.df) == pytest.approx(
            (expected["beta"], expected["SE"], expected["df_Satt"]), rel=1e-9
        )
        assert (pivot.statistic(), pivot.p_value()) == pytest.approx((expected["tstat"], expected["p_Satt"]), rel=1e-6)


def draw_rows(seed, clusters=7, p=3):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(clusters), rng.integers(1, 7, clusters)))
    labels = np.r_[labels, np.arange(clusters)]
    x = np.c_[np.ones(len(labels)), rng.normal(size=(len(labels), p - 1))]
    x[:, 1] += labels % 2  # unbalanced leverage
    return x, rng.normal(size=len(labels)) + rng.normal(size=clusters)[labels], labels


def dense(x, y, labels, kind, contrast):
    """The definition, with matrices of rows × rows."""
    n, m = len(y), len(set(labels))
    inverse = np.linalg.inv(x.T @ x)
    maker = np.eye(n) - x @ inverse @ x.T
    e, variance, p = maker @ y, 0.0, []
    for label in sorted(set(labels)):
        rows = np.flatnonzero(labels == label)
        left = maker[np.ix_(rows, rows)]
        power = {"CR2": -0.5, "CR3": -1}.get(kind, 0)
        a = np.real(linalg.fractional_matrix_power(left, power)) if power else np.eye(len(rows))
        g = a @ x[rows] @ inverse @ contrast
        variance += (g @ e[rows]) ** 2
        p.append(maker[:, rows] @ g)
    gram = np.array(p) @ np.array(p).T
    factor = {"CR1": m / (m - 1), "CR1S": m * (n - 1) / ((m - 1) * (n - x.shape[1]))}.get(kind, 1)
    return contrast @ inverse @ x.T @ y, np.sqrt(factor * variance), np.trace(gram) ** 2 / (gram**2).sum()


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_small_matrices_agree_with_the_definition(seed, kind):
    x, y, labels = draw_rows(seed)
    contrast = np.array([0.5, 1.0, -2.0])
    found = cluster_robust(x, y, labels, kind, contrasts=contrast).pivot(0)
    assert (found.estimate, found.se, found.df) == pytest.approx(dense(x, y, labels, kind, contrast), rel=1e-7)


def test_cr1s_is_what_statsmodels_calls_cluster():
    x, y, labels = draw_rows(3)
    expected = sm.OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": labels})
    assert cluster_robust(x, y, labels, "CR1S").se == pytest.approx(expected.bse, rel=1e-9)


@pytest.mark.parametrize(("kind", "name"), [("CR0", "HC0"), ("CR2", "HC2"), ("CR3", "HC3")])
def test_clusters_of_one_row_are_the_errors_for_unequal_variances(kind, name):
    x, y, _ = draw_rows(4)
    expected = sm.OLS(y, x).fit(cov_type=name)
    assert cluster_robust(x, y, np.arange(len(y)), kind).covariance == pytest.approx(expected.cov_params(), rel=1e-9)


def test_equal_clusters_are_the_t_test_of_their_means():
    rng = np.random.default_rng(5)
    y = rng.normal(0.3, 1, (8, 5)) + rng.normal(size=(8, 1))
    found = cluster_robust(np.ones((40, 1)), y.ravel(), np.repeat(np.arange(8), 5)).pivot(0)
    expected = stats.ttest_1samp(y.mean(1), 0)
    assert (found.statistic(), found.df, found.p_value()) == pytest.approx(
        (expected.statistic, 7, expected.pvalue), rel=1e-10
    )


def test_fixed_effects_of_clusters_leave_what_is_within_them():
    """Dummies of clusters are fitted by single clusters: the slope within clusters has an error all the same."""
    rng = np.random.default_rng(6)
    labels = np.repeat(np.arange(6), 6)
    slope = np.tile([0.0, 1.0], 18)
    y = rng.normal(size=36) + 3 * rng.normal(size=6)[labels]
    x = np.c_[slope, labels[:, None] == np.arange(6)]
    pairs = y[slope == 1].reshape(6, 3).mean(1) - y[slope == 0].reshape(6, 3).mean(1)
    found = cluster_robust(x, y, labels, contrasts=[np.eye(7)[0]]).pivot(0)
    expected = stats.ttest_1samp(pairs, 0)
    assert (found.statistic(), found.df) == pytest.approx((expected.statistic, 5), rel=1e-8)


def rejections(rng, n, kind):
    sizes = np.array([1, 1, 2, 2, 3, 4, 6, 8, 12, 20, 30, 40])
    labels = np.repeat(np.arange(12), sizes)
    ones, p, z = np.ones((len(labels), 1)), [], []
    for _ in range(n):
        pivot = cluster_robust(ones, rng.normal(size=len(labels)) + rng.normal(size=12)[labels], labels, kind).pivot(0)
        p.append(pivot.p_value())
        z.append(abs(pivot.statistic()) > 1.96)
    return np.mean(np.array(p) < 0.05), np.mean(z)


def test_type_one_error_with_a_dozen_unequal_clusters():
    ours, _ = rejections(np.random.default_rng(7), 300, "CR2")
    assert ours <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
    _, usual = rejections(np.random.default_rng(7), 150, "CR1S")
    assert usual > 0.1  # the sandwich with z


@pytest.mark.slow
def test_a_million_rows_take_about_a_second():
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 200_000, 1_000_000)
    y, x = rng.normal(size=1_000_000), np.ones((1_000_000, 1))
    begun = time.perf_counter()
    found = cluster_robust(x, y, labels)
    assert time.perf_counter() - begun < 5  # half a second on an idle machine
    assert found.df[0] > 1e5


def test_what_has_no_robust_error_is_refused():
    x, y, labels = draw_rows(9)
    with pytest.raises(PlanError, match="CR2"):
        cluster_robust(x, y, labels, "cr2")
    with pytest.raises(RecordsError, match="one cluster"):
        cluster_robust(x, y, np.zeros(len(y)))
    with pytest.raises(RecordsError, match="depend"):
        cluster_robust(np.c_[x, x[:, 1]], y, labels)
    with pytest.raises(RecordsError, match="missing"):
        cluster_robust(x, np.where(labels == 1, np.nan, y), labels)
    with pytest.raises(RecordsError, match="missing"):
        cluster_robust(x, y, [None, *map(str, labels[1:])])
    with pytest.raises(RecordsError, match="for each"):
        cluster_robust(x, y[1:], labels)
    with pytest.raises(RecordsError, match="no variance"):
        cluster_robust(np.c_[labels == 0, np.ones(len(y))], y, labels, contrasts=[[1, 1]])
