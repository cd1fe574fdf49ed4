from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from ablate.stats.crossed import Crossed
from ablate.stats.predictions import chance_above, predict, prediction_variance
from tests.stats.samples import draw

GRID = list(product((3, 5, 10), (6, 20), (0, 1), (0, 0.7)))
QUICK = [(3, 6, 0, 0.7), (3, 6, 1, 0.7), (5, 20, 1, 0), (10, 6, 1, 0.7)]
ENGINES = [Crossed(), Crossed(blocked=True)]
WEIGHTS = np.array([-1, 1])


@pytest.mark.parametrize("engine", ENGINES, ids=["unblocked", "blocked"])
def test_the_formula_whichever_component_is_bounded(engine):
    seeds, domains, seen = 5, 8, set()
    for seed in range(40):
        scores = draw(np.random.default_rng(seed), 1, seeds, domains, tau=0.2, run_sd=0.2)[0][0]
        found = engine(scores, WEIGHTS)
        spread = np.var(scores[1].mean(0) - scores[0].mean(0), ddof=1)
        prediction = predict(found)
        new, _ = found.variance("new_domains")
        assert prediction.se**2 == pytest.approx(spread + new, rel=1e-10)
        if not found.bounded:
            parts = ((domains + 1) * found.domain, found.run, found.joint)
            freedoms = (found.df_domain, found.df_run, found.df_joint)
            df = (spread + new) ** 2 / sum(p**2 / f for p, f in zip(parts, freedoms, strict=True))
        elif found.domain >= found.run:
            df = found.df_domain
        else:
            df = (spread + new) ** 2 / (spread**2 / found.df_domain + new**2 / found.df_run)
        assert prediction.df == pytest.approx(df, rel=1e-10)
        seen.add((bool(found.bounded), bool(found.domain >= found.run)))
    assert len(seen) == 4


def test_chances_and_intervals_are_of_one_distribution():
    prediction = predict(Crossed()(draw(np.random.default_rng(1), 1, 5, 8, effects=(0, 1), tau=1)[0][0], WEIGHTS))
    low, high = prediction.interval(0.9)
    assert (chance_above(prediction, low), chance_above(prediction, high)) == pytest.approx((0.95, 0.05))
    assert chance_above(prediction, prediction.estimate) == pytest.approx(0.5)
    assert 0.5 < chance_above(prediction) < 1


def cover(engine, n, seeds, domains, tau, run_sd, seed=0):
    """Share of prediction intervals that hold the effect in a new domain."""
    rng = np.random.default_rng(seed)
    scores, _ = draw(rng, n, seeds, domains, tau=tau, run_sd=run_sd, block_sd=float(engine.blocked))
    found = engine(scores, WEIGHTS)
    variance, df = prediction_variance(found)
    return (np.abs(found.estimate - rng.normal(0, tau, n)) <= stats.t.isf(0.025, df) * np.sqrt(variance)).mean()


@pytest.mark.parametrize("engine", ENGINES, ids=["unblocked", "blocked"])
@pytest.mark.parametrize("setting", QUICK, ids=str)
def test_coverage(engine, setting):
    assert cover(engine, 2000, *setting) >= 0.94 - 3 * sqrt(0.95 * 0.05 / 2000)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES, ids=["unblocked", "blocked"])
@pytest.mark.parametrize("setting", GRID, ids=str)
def test_coverage_on_the_grid(engine, setting):
    assert cover(engine, 20000, *setting) >= 0.94
