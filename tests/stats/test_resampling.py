from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.errors import PlanError, RecordsError
from ablate.stats.aggregates import (
    OptimalityGap,
    PerformanceProfile,
    ProfileArea,
    interquartile_mean,
    mean,
    median,
)
from ablate.stats.crossed import Crossed
from ablate.stats.resampling import TARGETS, Resampling
from tests.stats.samples import draw

DIFFERENCE = np.array([-1.0, 1.0])
PROFILE = PerformanceProfile(tuple(np.linspace(-3, 3, 13)))


def sample(cells=2, runs=5, domains=6, seed=0):
    return draw(np.random.default_rng(seed), 1, runs, domains, effects=(0.0,) * cells, tau=0.5, run_sd=0.7)[0][0]


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize(("scheme", "target"), [("runs", "these_domains"), ("pigeonhole", "new_domains")])
def test_for_the_mean_it_is_e1(blocked, scheme, target):
    scores = sample(runs=4)
    found = Resampling(scheme, blocked=blocked, resamples=20000)(scores, 1, mean, DIFFERENCE)
    exact = Crossed(blocked)(scores, DIFFERENCE)
    variance, df = exact.variance(target)
    assert found.target == target
    assert found.estimate == pytest.approx(exact.estimate, abs=1e-12)
    assert (found.se, found.df) == pytest.approx((sqrt(variance), df), rel=0.04)


@pytest.mark.parametrize("blocked", [False, True])
def test_for_the_mean_of_nested_runs_it_is_e2(blocked):
    scores = sample(runs=5)
    if not blocked:
        scores[0, 4, 1] = scores[1, 0, 3] = scores[1, 1, 3] = np.nan
    found = Resampling("stratified", blocked=blocked, resamples=20000)(scores, 1, mean, DIFFERENCE)
    counts, spread = (~np.isnan(scores)).sum(1), np.nanvar(scores, 1, ddof=1)
    if blocked:
        counts, spread = counts[:1], (scores[1] - scores[0]).var(0, ddof=1)[None]
    parts = spread / counts / 36
    expected = sqrt(parts.sum()), parts.sum() ** 2 / (parts**2 / (counts - 1)).sum()
    assert (found.se, found.df) == pytest.approx(expected, rel=0.05)
    new = Resampling("domains", blocked=blocked, resamples=20000)(scores, 1, mean, DIFFERENCE)
    by_domain = np.nanmean(scores[1], 0) - np.nanmean(scores[0], 0)
    assert (new.se, new.df) == (pytest.approx(by_domain.std(ddof=1) / sqrt(6), rel=0.03), 5)


def test_stratified_percentiles_are_those_of_a_plain_loop():
    scores = sample(1, 6, 5)
    found = Resampling("stratified", "percentile", resamples=20000)(scores, 3)
    rng = np.random.default_rng(4)
    values = []
    for _ in range(1000):
        rows = [[scores[0, rng.integers(6), d] for d in range(5)] for _ in range(6)]
        values.append(stats.trim_mean(rows, 0.25, axis=None))
    low, high = np.quantile(values, [0.025, 0.975])
    assert found.estimate[0] == pytest.approx(stats.trim_mean(scores[0], 0.25, axis=None), abs=1e-12)
    spread = np.std(values)
    assert (found.low[0], found.high[0]) == pytest.approx((low, high), abs=4 * 2.7 * spread / sqrt(1000))
    assert found.se[0] == pytest.approx(spread, rel=0.1)


def test_a_seed_is_used_and_no_other_state_touched():
    scores = sample()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for scheme in TARGETS:
        engine = Resampling(scheme, resamples=200)
        one, same, other = engine(scores, 1), engine(scores, np.random.default_rng(1)), engine(scores, 2)
        assert (one.draws == same.draws).all()
        assert (one.low == same.low).all()
        assert (one.low != other.low).all()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_shapes_are_those_asked_for():
    scores = sample(3)
    for statistic, points in [(interquartile_mean, ()), (PROFILE, (13,))]:
        for weights, front in [(None, (3,)), ([-1, 1, 0], ()), (np.eye(3)[:2], (2,))]:
            found = Resampling("runs", resamples=100)(scores, 0, statistic, weights)
            for part in (found.estimate, found.low, found.high, found.se, found.df, found.draws[0]):
                assert np.shape(part) == front + points


@given(st.integers(0, 2**32 - 1), st.floats(0.125, 8), st.floats(-4, 4))
def test_units_and_signs(seed, scale, shift):
    scores = sample(seed=seed)
    for scheme in TARGETS:
        engine = Resampling(scheme, resamples=100)
        found = engine(scores, 5, weights=DIFFERENCE)
        scaled = engine(scale * scores + shift, 5, weights=DIFFERENCE)
        assert (scaled.low, scaled.high) == pytest.approx((scale * found.low, scale * found.high), rel=1e-6, abs=1e-9)
        swapped = engine(scores, 5, weights=-DIFFERENCE)
        assert (-swapped.high, -swapped.low) == pytest.approx((found.low, found.high), rel=1e-9)


def test_any_function_can_be_resampled_but_claims_no_level():
    scores = sample()
    for statistic in (lambda s: s.max((-1, -2)) - s.min((-1, -2)), median, PerformanceProfile((0.0,))):
        found = Resampling("pigeonhole", resamples=200)(scores, 0, statistic, DIFFERENCE)
        assert found.low < found.estimate < found.high
        assert not found.nominal
        assert found.label == "range of resamples, no level claimed"


@pytest.mark.parametrize(
    ("scheme", "interval", "runs", "domains", "nominal"),
    [
        ("runs", "t", 3, 1, True),
        ("runs", "t", 2, 6, False),
        ("pigeonhole", "t", 3, 3, True),
        ("pigeonhole", "t", 3, 2, False),
        ("runs", "percentile", 10, 6, False),
        ("stratified", "percentile", 10, 6, False),
    ],
)
def test_a_level_is_claimed_only_where_it_holds(scheme, interval, runs, domains, nominal):
    found = Resampling(scheme, interval, level=0.9, resamples=100)(sample(2, runs, domains), 0)
    assert found.nominal == nominal
    assert (found.label == "90 % interval") == nominal


def test_what_does_not_vary_has_no_interval():
    scores = np.ones((2, 4, 5)) * np.array([0.1, 0.3])[:, None, None]
    for scheme in TARGETS:
        found = Resampling(scheme, resamples=100)(scores, 0, mean)
        assert np.isnan([found.low, found.high]).all()
    profile = Resampling("runs", resamples=100)(sample(), 0, PerformanceProfile((-99.0, 0.0)))
    assert np.isnan(profile.low).tolist() == [[True, False]] * 2


def test_a_simultaneous_band_is_wider_at_every_point():
    alone = Resampling("runs")(sample(runs=8), 0, PROFILE)
    band = Resampling("runs", simultaneous=True)(sample(runs=8), 0, PROFILE)
    inside = ~np.isnan(alone.low)
    assert inside.sum() > 10
    assert (band.low[inside] < alone.low[inside]).all()
    assert (band.high[inside] > alone.high[inside]).all()
    assert alone.method.endswith("each point alone")
    assert band.method.endswith("simultaneous over points")


def test_runs_that_do_not_exist_are_left_out():
    scores = sample(runs=5)
    longer = np.full((2, 7, 6), np.nan)
    longer[0, [0, 2, 3, 5, 6]], longer[1, :5] = scores
    for scheme in TARGETS:
        found, expected = (Resampling(scheme, resamples=100)(x, 0, weights=DIFFERENCE) for x in (longer, scores))
        assert (found.low, found.high, found.df) == (expected.low, expected.high, expected.df)


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": "row"},
        {"scheme": "runs", "interval": "bca"},
        {"scheme": "runs", "level": 1.0},
        {"scheme": "runs", "resamples": 10},
        {"scheme": "runs", "interval": "percentile", "simultaneous": True},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(PlanError):
        Resampling(**options)


def test_data_that_cannot_be_resampled():
    holed = sample()
    holed[0, 1, 2] = np.nan
    for engine, scores, match in [
        (Resampling("pigeonhole"), holed, "lacks scores"),
        (Resampling("stratified", blocked=True), holed, "block"),
        (Resampling("runs"), sample(runs=1), "two runs"),
        (Resampling("pigeonhole"), sample(domains=1), "two domains"),
        (Resampling("runs"), sample()[0], "cells × runs × domains"),
    ]:
        with pytest.raises(RecordsError, match=match):
            engine(scores, 0)


NORMAL = stats.norm.ppf((np.arange(1000) + 0.5) / 1000)[:, None]


def cover(n, scheme, interval, statistic, seeds, domains, tau, run_sd, difficulty=1.0, **options):
    """Share of intervals of a difference of two arms that hold the truth, and the share without interval.

    Both arms have the same distribution of domain means, so that on new domains they do not differ; on these domains
    the truth is the statistic of a thousand equally likely runs.
    """
    rng = np.random.default_rng(100 * seeds + domains)
    engine = Resampling(scheme, interval, resamples=200, **options)
    nested, held, without = scheme in ("stratified", "domains"), 0.0, 0.0
    for _ in range(n):
        means = rng.normal(0, difficulty, domains) + rng.normal(0, tau / sqrt(2), (2, domains))
        runs = run_sd * rng.normal(size=(2, seeds, domains if nested else 1))
        scores = means[:, None] + runs + rng.normal(size=(2, seeds, domains))
        truth = 0.0
        if TARGETS[scheme] == "these_domains":
            truth = DIFFERENCE @ statistic(means[:, None] + sqrt(1 + run_sd**2) * NORMAL)
        found = engine(scores, rng, statistic, DIFFERENCE)
        inside = ~((truth < found.low) | (truth > found.high))
        held += inside.all() if engine.simultaneous else inside.mean()
        without += np.isnan(found.low).mean()
    return held / n, without / n


def check(n, *setting, low=0.935, high=0.99, **options):
    slack = 3 * sqrt(0.05 * 0.95 / n)
    held, _ = cover(n, *setting, **options)
    assert low - slack <= held <= high + slack, held


@pytest.mark.parametrize("scheme", TARGETS)
def test_coverage(scheme):
    check(60, scheme, "t", interquartile_mean, 3, 6, 1, 0.7)


def test_percentiles_of_few_runs_do_not_cover():
    held, _ = cover(150, "runs", "percentile", interquartile_mean, 3, 6, 1, 0.7)
    assert held < 0.88


GRID = list(product((3, 5, 10), (6, 20), (0, 1), (0, 0.7)))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", TARGETS)
@pytest.mark.parametrize("setting", GRID, ids=str)
def test_coverage_on_the_grid(scheme, setting):
    check(1000, scheme, "t", interquartile_mean, *setting)


@pytest.mark.slow
@pytest.mark.parametrize(
    "statistic", [mean, OptimalityGap(0.5), ProfileArea(-1, 2)], ids=lambda s: getattr(s, "__name__", str(s))
)
@pytest.mark.parametrize("scheme", TARGETS)
@pytest.mark.parametrize("setting", [(3, 6, 1, 0.7), (3, 20, 0, 0), (10, 20, 1, 0.7), (5, 3, 1, 0.7)], ids=str)
def test_coverage_of_other_statistics(statistic, scheme, setting):
    check(1000, scheme, "t", statistic, *setting, high=1.0)
