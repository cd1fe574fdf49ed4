from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.crossed import Crossed
from ablate.stats.heterogeneity import Heterogeneity, judge_heterogeneity
from tests.stats.samples import case, cube, draw, item_covariance

FORMS = [Crossed(blocked, variances) for blocked in (False, True) for variances in ("welch", "pooled")]
WEIGHTS = np.array([-1, 1])
ABLATION = cube(case("ablation6x5.csv"), ["arm"], "seed", "domain", "score")[1]


def test_tau_of_the_ablation_is_lmers():
    rows = case("lme_tight_expected.json")["ablation6x5"]["vc"]
    variance = next(r["vcov"] for r in rows if r["grp"] in ("domain:arm", "arm:domain"))
    found = judge_heterogeneity(ABLATION, WEIGHTS, Crossed())
    assert found.estimate**2 == pytest.approx(2 * variance, rel=1e-6)


def test_without_items_it_is_the_ratio_of_mean_squares():
    differences = ABLATION.mean(1)[1] - ABLATION.mean(1)[0]
    ms_d = 5 * np.var(differences, ddof=1) / 2
    residual = ABLATION - ABLATION.mean(1, keepdims=True) - ABLATION.mean(2, keepdims=True)
    residual = residual + ABLATION.mean((1, 2), keepdims=True)
    ms_e = (residual**2).sum() / (2 * 4 * 5)
    found = judge_heterogeneity(ABLATION, WEIGHTS, Crossed(variances="pooled"))
    assert found.statistic() == pytest.approx((ms_d / ms_e, 5, 40), rel=1e-10)
    assert found.p_value() == pytest.approx(stats.f.sf(ms_d / ms_e, 5, 40), rel=1e-10)


def test_equal_known_variances_are_cochrans_q_and_its_profile():
    effects = np.array([0.2, -0.1, 0.5, 0.3, -0.4, 0.6])
    found = Heterogeneity(effects, 0.0, 40, 0.02 * np.eye(6))

    def q(tau):
        return ((effects - effects.mean()) ** 2).sum() / (0.02 + tau**2)

    assert found.p_value() == pytest.approx(stats.chi2.sf(q(0), 5), rel=1e-6)
    assert (q(0) / 5, 5) == pytest.approx(found.statistic()[:2], rel=1e-12)
    low, high = found.interval(0.95)
    assert (q(low), q(high)) == pytest.approx(stats.chi2.isf([0.025, 0.975], 5), rel=1e-6)
    assert q(found.estimate) == pytest.approx(5)


@pytest.mark.parametrize("engine", FORMS, ids=str)
@settings(max_examples=3)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 3.0]), st.sampled_from([0.0, 0.1]))
def test_identities(engine, seed, tau, items):
    rng = np.random.default_rng(seed)
    scores, weights = draw(rng, 1, 4, 6, effects=(0, 0, 1), tau=tau, run_sd=1)[0][0], np.array([-1, 0.5, 0.5])
    found = judge_heterogeneity(scores, weights, engine, items)
    low, high = found.interval(0.9)
    for end, side, beyond in ((low, "greater", low > 0), (high, "less", high > 0)):
        p = found.p_value(end, side)
        assert p == pytest.approx(0.05, rel=1e-6) if beyond else (p >= 0.05) == (side == "greater")
    assert 0 <= low <= high
    luck = rng.normal(size=(3, 4, 1)) if not engine.blocked else rng.normal(size=(4, 1))
    moved = judge_heterogeneity(scores + rng.normal(size=6), weights, engine, items * np.eye(6))
    scaled = judge_heterogeneity(-2 * scores, weights, engine, np.full(6, 4 * items))
    lucky = judge_heterogeneity(scores + luck, weights, engine, items)  # luck of a run, in all domains
    together = judge_heterogeneity(scores, weights, engine, items * np.eye(6) + 7.0)  # luck of items, in all domains
    for same, scale in ((moved, 1), (scaled, 2), (lucky, 1), (together, 1)):
        assert same.statistic() == pytest.approx(found.statistic(), rel=1e-6)
        assert same.estimate == pytest.approx(scale * found.estimate, rel=1e-6, abs=1e-6)
        assert same.interval(0.9) == pytest.approx((scale * low, scale * high), rel=1e-5, abs=1e-6)


def test_one_domain_is_refused():
    with pytest.raises(ValueError, match="several domains"):
        judge_heterogeneity(np.zeros((2, 3, 1)), WEIGHTS, Crossed())


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("blocked", [False, True])
def test_the_covariance_of_items_is_recovered(shared, blocked):
    rng, truth, found = np.random.default_rng(6), np.array([[2.0, 1.2, 0], [1.2, 2.0, 0], [0, 0, 1]]), []
    root = np.linalg.cholesky(truth)
    for _ in range(100):
        difficulty = 5 * rng.normal(size=(3, 1, 1, 40))
        own = np.einsum("de,ecri->dcri", root, rng.normal(size=(3, 2, 1, 40)))
        of_run = 2 * rng.normal(size=(3, 2, 3, 40)) + blocked * 3 * rng.normal(size=(3, 1, 3, 40))
        found.append(item_covariance(list(difficulty + own + of_run), WEIGHTS, shared=shared, blocked=blocked))
    expected = 2 * truth / 40 if shared else np.diag(np.diag(2 * truth / 40))
    assert np.mean(found, axis=0) == pytest.approx(expected, abs=4 * 0.05 / sqrt(100))


def trap(n, *, shared, seed=7):
    """Share of studies in which domains seem to differ, none of which do, by run noise alone and with that of items.

    Ten domains, five runs, 100 items a domain; a cell finds some items easier than others do.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        own = rng.normal(0, 0.4, (10, 2, 1, 100)) + shared * rng.normal(0, 0.2, (2, 1, 100))
        items = own + rng.normal(0, 0.3, (10, 2, 5, 100)) + rng.normal(0, 0.1, (2, 5, 1))
        scores = items.mean(-1).transpose(1, 2, 0)
        covariances = np.zeros((10, 10)), item_covariance(list(items), WEIGHTS, shared=shared)
        found.append([judge_heterogeneity(scores, WEIGHTS, Crossed(), c).p_value() < 0.05 for c in covariances])
    return np.mean(found, axis=0)


@pytest.mark.parametrize("shared", [False, True])
def test_the_heterogeneity_trap(shared):
    runs_alone, with_items = trap(60, shared=shared)
    assert runs_alone >= 0.9
    assert with_items <= 0.06 + 3 * sqrt(0.05 * 0.95 / 60)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_the_heterogeneity_trap_at_full_size(shared):
    runs_alone, with_items = trap(4000, shared=shared)
    assert runs_alone >= 0.95
    assert with_items == pytest.approx(0.05, abs=0.015)


def cover(n, engine, tau, items, seed=8):
    """Share of 95 % intervals that hold tau, 5 runs and 8 domains."""
    rng, held = np.random.default_rng(seed), 0
    for _ in range(n):
        scores = draw(rng, 1, 5, 8, tau=0.0, run_sd=0.7)[0][0]
        scores[1] += rng.normal(0, sqrt(tau**2 + items), 8)
        found = judge_heterogeneity(scores, WEIGHTS, engine, items)
        held += found.p_value(tau, "two-sided") > 0.05
    return held / n


@pytest.mark.parametrize(("tau", "items"), [(0.0, 0.0), (1.0, 0.3)])
def test_coverage_of_tau(tau, items):
    assert cover(150, FORMS[0], tau, items) == pytest.approx(0.95, abs=0.01 + 3 * sqrt(0.05 * 0.95 / 150))


@pytest.mark.slow
@pytest.mark.parametrize("engine", FORMS[::2], ids=str)
@pytest.mark.parametrize(("tau", "items"), [(0.0, 0.0), (0.0, 0.3), (0.5, 0.0), (1.0, 0.3)])
def test_coverage_of_tau_at_full_size(engine, tau, items):
    assert cover(20000, engine, tau, items) == pytest.approx(0.95, abs=0.01)
