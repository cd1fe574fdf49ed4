import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.aggregates import (
    OptimalityGap,
    PerformanceProfile,
    ProfileArea,
    interquartile_mean,
    mean,
    median,
)


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_they_are_rliables(runs, domains, seed):
    scores = np.random.default_rng(seed).normal(0.5, 1, (2, runs, domains))
    for i, one in enumerate(scores):
        expected = {
            interquartile_mean: stats.trim_mean(one, proportiontocut=0.25, axis=None),
            mean: one.mean(0).mean(0),
            median: np.median(one.mean(0), axis=0),
            OptimalityGap(0.8): 0.8 - np.minimum(one, 0.8).mean(),
        }
        for statistic, value in expected.items():
            assert statistic(scores)[i] == pytest.approx(value, abs=1e-12)
        profile = PerformanceProfile((0.0, 0.5))(scores)[i]
        assert profile == pytest.approx([(one > 0).mean(), (one > 0.5).mean()], abs=1e-12)


@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_runs_that_do_not_exist_do_not_count(runs, domains, seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(runs, domains))
    holed = np.vstack([scores, np.full((2, domains), np.nan)])
    for statistic in (interquartile_mean, mean, median, OptimalityGap(), PerformanceProfile((0.0,)), ProfileArea(0, 1)):
        assert statistic(holed) == pytest.approx(statistic(scores), abs=1e-12)
    scores[0, 0] = np.nan
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores[~np.isnan(scores)], 0.25), abs=1e-12)
    assert mean(scores) == pytest.approx(np.mean([np.nanmean(scores[:, d]) for d in range(domains)]))


def test_the_area_under_the_profile_is_its_integral():
    scores = np.random.default_rng(0).normal(size=(5, 4))
    thresholds = np.linspace(-1, 2, 1501)
    profile = PerformanceProfile(tuple(thresholds))(scores)
    assert ProfileArea(-1, 2)(scores) == pytest.approx(np.trapezoid(profile, thresholds) / 3, abs=1e-3)
    assert ProfileArea(-9, -8)(scores) == 1
