from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.errors import RecordsError
from ablate.stats.improvement import ProbabilityOfImprovement

TARGETS = ("these_domains", "new_domains")


def by_loops(x, y):
    """rliable's estimate: Mann and Whitney's U/(nm), mean over tasks."""
    return np.mean([stats.mannwhitneyu(x[:, d], y[:, d]).statistic / (len(x) * len(y)) for d in range(x.shape[1])])


@given(st.integers(3, 8), st.integers(3, 8), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_estimate_is_rliables(n, m, domains, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, (n, domains)) / 4, rng.integers(0, 6, (m, domains)) / 4
    for nested in (False, True):
        found = ProbabilityOfImprovement(nested=nested)(x, y)
        assert found.estimate == pytest.approx(by_loops(x, y), abs=1e-12)
        other = ProbabilityOfImprovement(nested=nested)(y, x)
        assert found.estimate + other.estimate == pytest.approx(1)
        for target in TARGETS:
            assert found.variance(target) == pytest.approx(other.variance(target), nan_ok=True)
            if not found.lacks(target):
                low, high = found.interval(target)
                assert 0 <= low < found.estimate < high <= 1
                assert (1 - high, 1 - low) == pytest.approx(other.interval(target))
                assert (found.p_value(target) < 0.05) == (not low < 0.5 < high)


def test_rounding_does_not_decide_where_variances_tie():
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 6, (5, 3)) / 4, rng.integers(0, 6, (3, 3)) / 4
    found, other = ProbabilityOfImprovement()(x, y), ProbabilityOfImprovement()(y, x)
    assert found.components.domain == pytest.approx(found.components.joint, rel=1e-10)
    assert found.variance("new_domains") == pytest.approx(other.variance("new_domains"))


def test_one_domain_is_brunner_and_munzel():
    rng = np.random.default_rng(2)
    x, y = rng.normal(0.3, 2, 7), rng.normal(0, 1, 5)
    found = ProbabilityOfImprovement()(x[:, None], y[:, None])
    expected = stats.brunnermunzel(y, x, distribution="t")  # a positive statistic: the second sample is larger
    variance, df = found.variance("these_domains")
    assert (found.estimate - 0.5) / sqrt(variance) == pytest.approx(expected.statistic)
    p = 2 * stats.t.sf(abs(found.estimate - 0.5) / sqrt(variance), df)
    assert p == pytest.approx(expected.pvalue)


def test_by_hand():
    x, y = np.array([[1, 5], [3, 6], [5, 7.0]]), np.array([[2, 5], [4, 5], [0, 9.0]])
    found = ProbabilityOfImprovement()(x, y)
    assert found.by_domain == pytest.approx([5 / 9 + 1 / 9, (1 + 2 + 2) / 9])  # wins 1 + 2 + 3; ties of run 0: two
    placements = np.array([(1 / 3 + 1 / 3) / 2, (2 / 3 + 2 / 3) / 2, (1 + 2 / 3) / 2])
    others = np.array([(2 / 3 + 5 / 6) / 2, (1 / 3 + 5 / 6) / 2, (1 + 0) / 2])
    variance = (placements.var(ddof=1) + others.var(ddof=1)) / 3
    assert found.variance("these_domains")[0] == pytest.approx(variance)
    blocked = ProbabilityOfImprovement(blocked=True)(x, y)
    assert blocked.estimate == found.estimate
    assert blocked.variance("these_domains") == pytest.approx(((placements + others).var(ddof=1) / 3, 2))


def test_nested_new_domains_is_t_over_domains():
    rng = np.random.default_rng(4)
    x, y = rng.normal(0.5, 1, (5, 6)), rng.normal(0, 1, (4, 6))
    x[4, 0] = y[3, 2] = np.nan
    found = ProbabilityOfImprovement(nested=True)(x, y)
    assert found.variance("new_domains") == pytest.approx((found.by_domain.var(ddof=1) / 6, 5))
    shuffled = ProbabilityOfImprovement(nested=True)(rng.permuted(x, axis=0), y)  # place means nothing
    assert shuffled.variance("these_domains") == pytest.approx(found.variance("these_domains"))
    one = [ProbabilityOfImprovement()(x[~np.isnan(x[:, d])][:, [d]], y[~np.isnan(y[:, d])][:, [d]]) for d in range(6)]
    expected = sum(part.variance("these_domains")[0] for part in one) / 36
    assert found.variance("these_domains")[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("x", "y", "lacks"),
    [
        (np.eye(2), np.eye(3)[:, :2], ("runs", "runs")),
        (np.eye(3)[:, :2], np.eye(3)[:, :2], ("", "domains")),
        (np.eye(3) + 9, np.eye(3), ("separated", "separated")),
        (np.ones((3, 3)), np.ones((4, 3)), ("separated", "separated")),
    ],
)
def test_what_is_lacking_is_said(x, y, lacks):
    found = ProbabilityOfImprovement()(x, y)
    assert tuple(map(found.lacks, TARGETS)) == lacks
    for target, lack in zip(TARGETS, lacks, strict=True):
        assert (found.pivot(target) is None) == np.isnan(found.p_value(target)) == bool(lack)
        assert np.isnan(found.interval(target)).all() == bool(lack)


def test_runs_that_do_not_exist_are_left_out_and_holes_refused():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(4, 4))
    longer = np.vstack([x[:2], np.full(4, np.nan), x[2:]])
    assert ProbabilityOfImprovement()(longer, y).variance("new_domains") == ProbabilityOfImprovement()(x, y).variance(
        "new_domains"
    )
    holed = x.copy()
    holed[1, 2] = np.nan
    for engine, arms, match in [
        (ProbabilityOfImprovement(), (holed, y), "lacks scores"),
        (ProbabilityOfImprovement(blocked=True), (longer, y), "block"),
        (ProbabilityOfImprovement(blocked=True), (x, y), "pairs of a block"),
        (ProbabilityOfImprovement(), (x, y[:, :3]), "runs × domains expected"),
        (ProbabilityOfImprovement(nested=True), (x, np.full((4, 4), np.nan)), "no run of an arm"),
    ]:
        with pytest.raises(RecordsError, match=match):
            engine(*arms)


def cover(n, seeds, domains, *, tau=0.0, run_sd=0.0, effect=0.0, blocked=False, nested=False):
    """Share of 95 % intervals that hold the truth, for both targets; no interval claims nothing."""
    rng = np.random.default_rng(seeds * 100 + domains)
    engine, hits = ProbabilityOfImprovement(blocked, nested), dict.fromkeys(TARGETS, 0)
    spread = sqrt(2 * (1 + run_sd**2 + blocked))
    new = stats.norm.cdf(effect / sqrt(spread**2 + tau**2))
    for _ in range(n):
        own, block = rng.normal(effect, tau, domains), blocked * rng.normal(size=(seeds, 1))
        per_run = (seeds, domains) if nested else (seeds, 1)
        x, y = (block + run_sd * rng.normal(size=per_run) + rng.normal(size=(seeds, domains)) for _ in range(2))
        found = engine(x + own, y)
        for target, truth in zip(TARGETS, (stats.norm.cdf(own / spread).mean(), new), strict=True):
            low, high = found.interval(target)
            hits[target] += not (truth < low or truth > high)
    return {target: count / n for target, count in hits.items()}


def check(n, low, *setting, **options):
    for target, covered in cover(n, *setting, **options).items():
        assert covered >= low - 3 * sqrt(0.05 * 0.95 / n), (target, covered)


@pytest.mark.parametrize("seeds", [3, 10])
def test_coverage(seeds):
    check(300, 0.945, seeds, 6, tau=1, run_sd=0.7)


GRID = list(product((3, 5, 10), (6, 20), (0, 1), (0, 0.7)))


@pytest.mark.slow
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("setting", GRID, ids=str)
def test_coverage_and_size_on_the_grid(blocked, setting):
    seeds, domains, tau, run_sd = setting
    check(2000, 0.945, seeds, domains, tau=tau, run_sd=run_sd, blocked=blocked)  # the truth is .5: size, too


@pytest.mark.slow
@pytest.mark.parametrize("setting", GRID, ids=str)
def test_coverage_away_from_one_half(setting):
    seeds, domains, tau, run_sd = setting
    check(2000, 0.945, seeds, domains, tau=tau, run_sd=run_sd, effect=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("setting", GRID, ids=str)
def test_coverage_of_nested_runs(setting):
    seeds, domains, tau, run_sd = setting
    check(2000, 0.93, seeds, domains, tau=tau, run_sd=run_sd, nested=True)
