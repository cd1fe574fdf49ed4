"""Coverage, family-wise error and power of the closed form, by simulation of the very code that judges studies."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from ablate.stats.corrections import dunnett_level
from ablate.stats.crossed import Crossed
from tests.stats.samples import draw

GRID = list(product((3, 5, 10), (6, 20), (0, 1), (0, 0.7)))
QUICK = [(3, 20, 1, 0.7), (5, 6, 0, 0), (5, 20, 1, 0.7), (10, 6, 1, 0)]
BOUNDS = {"these_domains": (0.935, 0.98), "new_domains": (0.935, 0.99)}
CAUTIOUS = 0.996  # new domains, three blocks, neither runs nor domains vary: the price of tails that hold elsewhere


def cover(engine, n, seeds, domains, tau, run_sd, seed=0):
    """Share of intervals that hold the truth: of these domains, and of the population of domains."""
    rng = np.random.default_rng(seed)
    hits = dict.fromkeys(BOUNDS, 0)
    for size in [min(n, 2000)] * (n // min(n, 2000)):
        block_sd = 1.0 if engine.blocked else 0.0
        scores, truth = draw(rng, size, seeds, domains, tau=tau, run_sd=run_sd, block_sd=block_sd)
        found = engine(scores, np.array([-1, 1]))
        for target, value in (("these_domains", truth[:, 1]), ("new_domains", 0.0)):
            variance, df = found.variance(target)
            hits[target] += int((np.abs(found.estimate - value) <= stats.t.isf(0.025, df) * np.sqrt(variance)).sum())
    return {target: count / n for target, count in hits.items()}


def check(engine, n, setting):
    slack = 0.0 if n >= 20000 else 3 * sqrt(0.95 * 0.05 / n)
    covered = cover(engine, n, *setting)
    for target, (low, high) in BOUNDS.items():
        high = CAUTIOUS if engine.blocked and target == "new_domains" and setting[0] == 3 else high
        assert low - slack <= covered[target] <= high + slack, (target, covered)


ENGINES = [Crossed(), Crossed(blocked=True)]


@pytest.mark.parametrize("engine", ENGINES, ids=["unblocked", "blocked"])
@pytest.mark.parametrize("setting", QUICK, ids=str)
def test_coverage(engine, setting):
    check(engine, 2000, setting)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES, ids=["unblocked", "blocked"])
@pytest.mark.parametrize("setting", GRID, ids=str)
def test_coverage_on_the_grid(engine, setting):
    check(engine, 20000, setting)


@pytest.mark.slow
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("setting", [(3, 6, 0, 0.7), (5, 6, 1, 0.7), (5, 20, 0, 0)], ids=str)
def test_coverage_of_pooled_variances(blocked, setting):
    check(Crossed(blocked, "pooled"), 20000, setting)


@pytest.mark.slow
@pytest.mark.parametrize("setting", list(product((3, 4, 5, 6), (6, 20), (0, 1), (0.7, 1.5))), ids=str)
def test_far_tails_within_blocks(setting):
    """Seventeen tests corrected by Bonferroni, each as simulated: Satterthwaite alone would reject .09 to .25."""
    tests, n = 17, 60000
    seeds, domains, tau, run_sd = setting
    rng, rejected = np.random.default_rng(2), 0
    for _ in range(n // 2000):
        scores, _ = draw(rng, 2000, seeds, domains, tau=tau, run_sd=run_sd, block_sd=1.0)
        found = Crossed(blocked=True)(scores, np.array([-1, 1]))
        variance, df = found.variance("new_domains")
        rejected += int((np.abs(found.estimate) > stats.t.isf(0.025 / tests, df) * np.sqrt(variance)).sum())
    rate, slack = rejected / n, 3 * sqrt(0.05 / tests / n)
    assert tests * (rate - slack) <= 0.08, tests * rate


def family_wise_error(n, *, blocked, dunnett=False, target="these_domains", seed=1):
    """Share of null studies (4 variants and a baseline, 5 seeds, 6 domains) in which anything is called different."""
    scores, _ = draw(np.random.default_rng(seed), n, 5, 6, effects=(0.0,) * 5, run_sd=0.7, block_sd=float(blocked))
    engine = Crossed(blocked, "pooled" if dunnett else "welch")
    smallest = np.ones(n)
    for variant in range(1, 5):
        found = engine(scores, np.eye(5)[variant] - np.eye(5)[0])
        variance, df = found.variance(target)
        smallest = np.minimum(smallest, 2 * stats.t.sf(np.abs(found.estimate) / np.sqrt(variance), df))
    # Holm rejects something exactly when the smallest p is below alpha/m
    threshold = 1 - dunnett_level(0.05, [0.5**0.5] * 4, float(df.flat[0])) if dunnett else 0.05 / 4
    return (smallest < threshold).mean()


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize(
    ("dunnett", "target"), [(False, "these_domains"), (False, "new_domains"), (True, "these_domains")]
)
def test_family_wise_error(blocked, dunnett, target):
    n = 4000
    error = family_wise_error(n, blocked=blocked, dunnett=dunnett, target=target)
    assert error <= 0.055 + 3 * sqrt(0.05 * 0.95 / n)
    if dunnett:  # exact, so it must not be conservative either
        assert error >= 0.05 - 3 * sqrt(0.05 * 0.95 / n)


@pytest.mark.slow
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize(
    ("dunnett", "target"), [(False, "these_domains"), (False, "new_domains"), (True, "these_domains")]
)
def test_family_wise_error_at_full_size(blocked, dunnett, target):
    assert family_wise_error(20000, blocked=blocked, dunnett=dunnett, target=target) <= 0.055


@pytest.mark.parametrize("blocked", [False, True])
def test_a_planted_effect_is_found_as_often_as_the_noncentral_t_says(blocked):
    seeds, domains, effect, run_sd = 5, 6, 1.2, 0.4
    scores, _ = draw(np.random.default_rng(4), 4000, seeds, domains, effects=(0, effect), run_sd=run_sd)
    found = Crossed(blocked, "pooled")(scores, np.array([-1, 1]))
    variance, df = found.variance("these_domains")
    power = (2 * stats.t.sf(np.abs(found.estimate) / np.sqrt(variance), df) < 0.05).mean()
    df = (seeds - 1) * (1 if blocked else 2)
    shift = effect / sqrt(2 * (run_sd**2 + 1 / domains) / seeds)
    expected = stats.nct.sf(stats.t.isf(0.025, df), df, shift) + stats.nct.cdf(-stats.t.isf(0.025, df), df, shift)
    assert power == pytest.approx(expected, abs=0.03)
