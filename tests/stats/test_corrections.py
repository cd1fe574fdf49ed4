from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.corrections import dunnett_level, dunnett_p, holm
from ablate.stats.crossed import Crossed
from tests.stats.samples import case


def test_holm_gives_the_figures_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).beta(0.5, 3, 40)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-15)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_bonferroni_test(p):
    """A hypothesis falls when every intersection that holds it falls by Bonferroni."""
    m = len(p)
    subsets = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
    closed = [max(min(1, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in range(m)]
    assert holm(p) == pytest.approx(closed, abs=1e-12)


def test_a_missing_p_counts_in_the_family():
    adjusted = holm([0.01, np.nan, 0.02])
    assert adjusted[[0, 2]] == pytest.approx([0.03, 0.04])
    assert np.isnan(adjusted[1])


def test_plantgrowth_by_dunnett():
    frame, expected = case("plantgrowth.csv"), case("tests_expected.json")["plantgrowth_dunnett"]
    scores = np.array([frame[frame.group == g].weight for g in ("ctrl", "trt1", "trt2")])[..., None]
    engine = Crossed(variances="pooled")
    level = dunnett_level(0.05, [0.5**0.5] * 2, 27)
    interval = stats.dunnett(*scores[1:, :, 0], control=scores[0, :, 0]).confidence_interval(0.95)
    for i in (1, 2):
        found = engine(scores, np.eye(3)[i] - np.eye(3)[0])
        t = found.estimate / found.run**0.5
        assert (found.estimate, t) == pytest.approx((expected["est"][i - 1], expected["t"][i - 1]), rel=1e-8)
        assert dunnett_p(t, [0.5**0.5] * 2, 27) == pytest.approx(expected["p"][i - 1], abs=3e-4)
        half = stats.t.isf((1 - level) / 2, 27) * found.run**0.5
        assert found.estimate - half == pytest.approx(interval.low[i - 1], abs=2e-3)


@pytest.mark.parametrize(("runs", "df", "t"), [((5, 5, 5, 5), 16, 2.4), ((4, 9, 3), 7, 2.0), ((12, 2, 2, 30), 40, 3.0)])
def test_dunnett_is_the_multivariate_t(runs, df, t):
    loadings = np.sqrt(np.array(runs[1:]) / (runs[0] + np.array(runs[1:])))
    correlation = np.outer(loadings, loadings)
    np.fill_diagonal(correlation, 1)
    reach = np.full(len(loadings), t)
    inside = stats.multivariate_t(shape=correlation, df=df, seed=0).cdf(reach, lower_limit=-reach)
    assert dunnett_p(t, loadings, df) == pytest.approx(1 - inside, abs=3e-4)


def test_dunnett_with_one_comparison_is_t_even_far_out():
    for df in (1, 4, 200):
        for t in (0.1, 2.0, 15.0):
            assert dunnett_p(t, [0.6], df) == pytest.approx(2 * stats.t.sf(t, df), rel=1e-6)
    assert dunnett_level(0.05, [0.6], 4) == pytest.approx(0.95)


def test_dunnett_lies_between_one_test_and_bonferroni():
    for m in (2, 5, 17):
        level = dunnett_level(0.05, [0.5**0.5] * m, 8)
        assert 0.95 < level < 1 - 0.05 / m
        critical = stats.t.isf((1 - level) / 2, 8)
        assert dunnett_p(critical, [0.5**0.5] * m, 8) == pytest.approx(0.05, abs=1e-8)
