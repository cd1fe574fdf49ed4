from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.corrections import dunnett_level, dunnett_p
from ablate.stats.crossed import Crossed
from ablate.stats.maxima import (
    correlate,
    dunnett_upper_critical,
    dunnett_upper_p,
    max_t,
    max_t_level,
    max_t_p,
    tukey_level,
    tukey_p,
)
from tests.stats.samples import case

HALF = [sqrt(0.5)] * 8


def with_one(contrasts):
    """The correlation of comparisons with one cell, all with equal runs."""
    return np.full((contrasts, contrasts), 0.5) + np.eye(contrasts) / 2


def test_dunnetts_comparisons_of_plantgrowth_and_oats():
    expected = case("tests_expected.json")["plantgrowth_dunnett"]
    assert max_t_p(expected["t"], with_one(2), 27, 0) == pytest.approx(expected["p"], abs=1e-4)
    rows = case("lme_emmeans_expected.json")["oats_nf_dunnett"]
    t, p = [r["t.ratio"] for r in rows], [r["p.value"] for r in rows]
    assert max_t_p(t, with_one(3), 45, 0) == pytest.approx(p, abs=3e-4)


def test_pigs_by_a_correlation_that_is_no_product():
    frame, rows = case("pigs.csv"), case("lme_emmeans_expected.json")["pigs_dunnettmvt"]
    design = np.column_stack([np.ones(len(frame))] + [frame.source == s for s in ("skim", "soy")])
    design = np.column_stack([design] + [frame.percent == p for p in (12, 15, 18)]).astype(float)
    y = np.log(frame.conc.to_numpy())
    covariance = np.linalg.inv(design.T @ design)
    beta, df = covariance @ design.T @ y, len(y) - design.shape[1]
    se = np.sqrt(((y - design @ beta) ** 2).sum() / df * np.diag(covariance))[3:]
    correlation = correlate(np.eye(6)[3:] @ np.linalg.cholesky(covariance), np.ones(6))
    assert max_t_p(beta[3:] / se, correlation, df, 0) == pytest.approx([r["p.value"] for r in rows], abs=3e-4)
    half = stats.t.isf((1 - max_t_level(0.05, correlation, df, 0)) / 2, df) * se
    assert beta[3:] - half == pytest.approx([r["lower.CL"] for r in rows], abs=3e-4)


def test_tukeys_comparisons_of_plantgrowth_and_warpbreaks():
    frame = case("plantgrowth.csv")
    error = frame.groupby("group").weight.var().mean()
    half = stats.t.isf((1 - tukey_level(0.05, 3, 27)) / 2, 27) * sqrt(error / 5)
    for row in case("tests_expected.json")["plantgrowth_tukey"]:
        assert tukey_p(row["diff"] / sqrt(error / 5), 3, 27) == pytest.approx(row["p adj"], rel=1e-8)
        assert row["diff"] - half == pytest.approx(row["lwr"], rel=1e-8)
    half = stats.t.isf((1 - tukey_level(0.05, 3, 48)) / 2, 48)
    for row in case("lme_emmeans_expected.json")["warp_tukey"]:
        assert tukey_p(row["t.ratio"], 3, 48) == pytest.approx(row["p.value"], rel=1e-7)
        assert row["estimate"] - half * row["SE"] == pytest.approx(row["lower.CL"], rel=1e-8)


@pytest.mark.parametrize(("contrasts", "slack"), [(2, 3e-5), (8, 1e-4), pytest.param(30, 3e-4, marks=pytest.mark.slow)])
def test_the_general_form_agrees_with_the_exact_ones(contrasts, slack):
    loadings = [sqrt(0.5)] * contrasts
    two, one = (max_t(with_one(contrasts), 8, 1, side) for side in ("two-sided", "greater"))
    for t in (2.0, 3.0):
        p = stats.t.sf(t, 8)
        assert two.exceeds(2 * p) == pytest.approx(dunnett_p(t, loadings, 8), rel=3e-3, abs=slack)
        assert one.exceeds(p) == pytest.approx(dunnett_upper_p(t, loadings, 8), rel=3e-3, abs=slack)
    assert two.level(0.05) == pytest.approx(dunnett_level(0.05, loadings, 8), abs=slack / 3)


def test_all_pairs_have_a_singular_correlation():
    pairs = np.array([np.eye(4)[i] - np.eye(4)[j] for i in range(4) for j in range(i)])
    joint = max_t(correlate(pairs, np.ones(4)), 12, 0)
    assert joint.rank == 3
    for t in (2.0, 3.0, 6.0):
        assert joint.exceeds(2 * stats.t.sf(t, 12)) == pytest.approx(tukey_p(t, 4, 12), rel=1e-3)


def test_own_variances_by_plain_simulation():
    correlation, df = np.array([[1, 0.5, 0.2], [0.5, 1, -0.3], [0.2, -0.3, 1]]), np.array([3.2, 10, 6])
    rng, n = np.random.default_rng(5), 30_000
    t = rng.multivariate_normal(np.zeros(3), correlation, n) / np.sqrt(rng.chisquare(df, (n, 3)) / df)
    smallest = {"two-sided": 2 * stats.t.sf(np.abs(t), df), "greater": stats.t.sf(t, df), "less": stats.t.cdf(t, df)}
    for side, p in smallest.items():
        seen = (p.min(1) <= 0.05).mean()
        joint = max_t(correlation, df, 0, side, points=2**12)
        assert joint.exceeds(0.05) == pytest.approx(seen, abs=4 * sqrt(seen / n))
        assert joint.exceeds(1e-7) == pytest.approx(3e-7, rel=0.01)  # far out they do not overlap


@settings(max_examples=4)
@given(st.integers(2, 6), st.booleans(), st.sampled_from(["two-sided", "greater", "less"]), st.integers(0, 2**32 - 1))
def test_between_one_test_and_bonferroni(cells, own, side, seed):
    rng = np.random.default_rng(seed)
    correlation = correlate(rng.normal(size=(cells, cells)), rng.uniform(0.5, 2, cells))
    joint = max_t(correlation, rng.uniform(2, 30, cells) if own else 9.0, seed, side, points=2**12)
    seen = [joint.exceeds(p) for p in (0.001, 0.01, 0.05, 0.2)]
    for p, q in zip((0.001, 0.01, 0.05, 0.2), seen, strict=True):
        assert p <= q <= min(1.0, cells * p)
    assert seen == sorted(seen)
    assert joint.exceeds(1 - joint.level(0.05)) == pytest.approx(0.05, rel=1e-5)


def test_a_seed_is_used_and_makes_p_values_and_intervals_agree():
    correlation, df = with_one(3), np.array([4.0, 6.0, 9.0])
    level = max_t_level(0.05, correlation, df, 7)
    t = stats.t.isf((1 - level) / 2, df)
    assert max_t_p(t * [1, -1, 1], correlation, df, 7) == pytest.approx([0.05] * 3, rel=1e-5)
    assert max_t(correlation, df, 8, points=64).along[0, 0] != max_t(correlation, df, 7, points=64).along[0, 0]
    assert max_t_p([2.0], [[1.0]], 5, 0) == pytest.approx([2 * stats.t.sf(2.0, 5)])
    assert max_t_level(0.05, [[1.0]], 5, 0) == 0.95


def test_the_critical_value_is_the_tables():
    # Dunnett 1955, table 1a: one-sided, joint 95 %, equal runs
    for contrasts, df, value in ((2, 10, 2.15), (8, 10, 2.76), (3, 5, 2.68)):
        assert dunnett_upper_critical(0.05, HALF[:contrasts], df) == pytest.approx(value, abs=0.005)
    assert dunnett_upper_critical(0.05, HALF[:1], 10) == stats.t.isf(0.05, 10)


def test_what_is_no_correlation_is_refused():
    for wrong in ([[2.0, 0], [0, 1]], [[1, 0.5], [0.2, 1]], [[1, 2], [2, 1]]):
        with pytest.raises(ValueError, match="correlation"):
            max_t(wrong, 5, 0)
    with pytest.raises(ValueError, match="degrees of freedom"):
        max_t(with_one(2), [1.0, 2.0, 3.0], 0)


def family_wise_error(n, seed=0):
    """Welch's comparisons of four variants with a baseline, own variances and degrees of freedom, none different."""
    sds = np.array([1, 1, 2, 4, 1])[:, None, None]
    scores = sds * np.random.default_rng(seed).normal(size=(n, 5, 5, 1))
    weights = np.eye(5)[1:] - np.eye(5)[0]
    found = [Crossed()(scores, w) for w in weights]
    t = np.abs(np.stack([f.estimate / np.sqrt(f.run) for f in found], -1))
    df, variances = np.stack([f.df_run for f in found], -1), scores.var(-2, ddof=1)[..., 0] / 5
    own = (2 * stats.t.sf(t, df)).min(1)
    joint = [max_t(correlate(weights, v), d, 0, points=2**7) for v, d in zip(variances, df, strict=True)]
    return np.mean([j.exceeds(p) < 0.05 for j, p in zip(joint, own, strict=True)])


def test_family_wise_error_of_own_variances():
    n = 120
    assert family_wise_error(n) <= 0.055 + 3 * sqrt(0.05 * 0.95 / n)


@pytest.mark.slow
def test_family_wise_error_of_own_variances_at_full_size():
    assert 0.04 <= family_wise_error(20000) <= 0.055
