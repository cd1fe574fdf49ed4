from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multivariate import test_mvmean as hotelling
from statsmodels.stats.oneway import anova_oneway

from ablate.stats.crossed import Crossed
from ablate.stats.omnibus import Omnibus, judge_jointly
from ablate.stats.refusals import Refusal
from tests.stats.samples import case

hotelling.__test__ = False
DIFFERENCES = np.array([[-1, 1, 0, 0], [-1, 0, 1, 0], [-1, 0, 0, 1]], float)


def groups(rng, counts, sds):
    scores = np.full((len(counts), max(counts), 1), np.nan)
    for cell, (n, sd) in enumerate(zip(counts, sds, strict=True)):
        scores[cell, :n, 0] = rng.normal(0, sd, n)
    return scores


def figures(found):
    assert isinstance(found, Omnibus)
    return found.statistic, found.df, found.df_error, found.p_value


@settings(max_examples=10)
@given(st.lists(st.integers(2, 6), min_size=2, max_size=5), st.integers(0, 2**32 - 1))
def test_a_one_way_layout_is_welchs_and_fishers_test(counts, seed):
    rng = np.random.default_rng(seed)
    scores = groups(rng, counts, rng.uniform(1, 4, len(counts)))
    contrasts = np.eye(len(counts))[1:] - np.eye(len(counts))[0]
    samples = [row[~np.isnan(row)] for row in scores[..., 0]]
    for variances, use in (("welch", "unequal"), ("pooled", "equal")):
        expected = anova_oneway(samples, use_var=use, welch_correction=True)
        found = judge_jointly(scores, contrasts, variances=variances)
        assert figures(found) == pytest.approx((expected.statistic, *expected.df, expected.pvalue), rel=1e-10)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("variances", ["welch", "pooled"])
def test_one_contrast_is_the_engines_t_squared(blocked, variances):
    scores = np.random.default_rng(1).normal(size=(4, 5, 3)) * [[[1]], [[2]], [[4]], [[1]]]
    weights = np.array([-1, 0.5, 0.5, 0])
    components = Crossed(blocked, variances)(scores, weights)
    variance, df = components.variance("these_domains")
    found = judge_jointly(scores, weights, blocked=blocked, variances=variances)
    assert figures(found)[:3] == pytest.approx((components.estimate**2 / variance, 1, df), rel=1e-10)


def test_plantgrowth_and_warpbreaks_are_rs_analyses_of_variance():
    frame, expected = case("plantgrowth.csv"), case("tests_expected.json")["plantgrowth_anova"][0]
    scores = np.array([g.weight for _, g in frame.groupby("group")])[..., None]
    found = judge_jointly(scores, DIFFERENCES[:2, :3], variances="pooled")
    assert figures(found) == pytest.approx((expected["F value"], 2, 27, expected["Pr(>F)"]), rel=1e-8)
    frame, rows = case("warpbreaks.csv"), case("lme_emmeans_expected.json")["warp_anova"]
    scores = np.array([g.breaks for _, g in frame.groupby(["wool", "tension"])], float)[..., None]
    tension = np.array([[1, -1, 0], [1, 0, -1]])
    terms = {"wool": np.kron([[1, -1]], [[1, 1, 1]]), "tension": np.kron([[1, 1]], tension)}
    terms["wool:tension"] = np.kron([[1, -1]], tension)
    for row in rows[:3]:
        found = judge_jointly(scores, terms[row["_row"]], variances="pooled")
        assert figures(found) == pytest.approx((row["F value"], row["Df"], 48, row["Pr(>F)"]), rel=1e-8)


def test_blocked_is_hotellings_test_and_the_randomised_block_analysis():
    scores = np.random.default_rng(2).normal(size=(4, 7, 2))
    expected = hotelling((DIFFERENCES @ scores.mean(-1)).T, np.zeros(3))
    found = judge_jointly(scores, DIFFERENCES, blocked=True)
    assert figures(found) == pytest.approx((expected.statistic, *expected.df, expected.pvalue), rel=1e-10)
    means = scores.mean(-1)
    rows = len(means) * ((means.mean(0) - means.mean()) ** 2).sum()
    columns = means.shape[1] * ((means.mean(1) - means.mean()) ** 2).sum()
    error = ((means - means.mean()) ** 2).sum() - rows - columns
    found = judge_jointly(scores, DIFFERENCES, blocked=True, variances="pooled")
    assert figures(found)[:3] == pytest.approx((columns / 3 / (error / 18), 3, 18), rel=1e-10)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("variances", ["welch", "pooled"])
@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_any_contrasts_that_say_the_same_give_the_same(blocked, variances, seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(4, 6, 2))
    other = np.vstack([rng.normal(size=(3, 3)) @ DIFFERENCES, DIFFERENCES[1] - 2 * DIFFERENCES[0]])
    found = judge_jointly(scores, DIFFERENCES, blocked=blocked, variances=variances)
    for same in (
        judge_jointly(scores, other, blocked=blocked, variances=variances),
        judge_jointly(-3 * scores + rng.normal(size=2), DIFFERENCES, blocked=blocked, variances=variances),
        judge_jointly(scores[[2, 0, 3, 1]], DIFFERENCES, blocked=blocked, variances=variances),
    ):
        assert figures(same) == pytest.approx(figures(found), rel=1e-6)


def test_what_cannot_be_tested_is_refused():
    scores = np.random.default_rng(0).normal(size=(4, 3, 2))
    found = judge_jointly(scores, DIFFERENCES, blocked=True)
    assert isinstance(found, Refusal)
    assert (found.code, found.detail) == ("R20", "3 blocks, 3 contrasts")
    flat = np.broadcast_to(scores[:, :1], scores.shape)
    for blocked, variances in ((False, "welch"), (False, "pooled"), (True, "welch"), (True, "pooled")):
        found = judge_jointly(flat, DIFFERENCES[:2], blocked=blocked, variances=variances)
        assert isinstance(found, Refusal)
        assert found.code == "R05"
    with pytest.raises(ValueError, match="two runs"):
        judge_jointly(scores[:, :1], DIFFERENCES)
    with pytest.raises(ValueError, match="no contrast"):
        judge_jointly(scores, 0 * DIFFERENCES)
    scores[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="every run"):
        judge_jointly(scores, DIFFERENCES)


def false_alarms(n, counts, sds, *, blocked=False, variances="welch", seed=3):
    rng = np.random.default_rng(seed)
    contrasts = np.eye(len(counts))[1:] - np.eye(len(counts))[0]
    p = [
        judge_jointly(groups(rng, counts, sds), contrasts, blocked=blocked, variances=variances).p_value
        for _ in range(n)
    ]
    return (np.array(p) < 0.05).mean()


UNEQUAL = {(5, 5, 5): (1, 2, 4), (10, 5, 5): (1, 3, 3), (5, 5, 5, 5): (1, 1, 1, 5)}


@pytest.mark.parametrize("counts", [(5, 5, 5), (5, 5, 5, 5)], ids=str)
def test_type_one_error_at_unequal_variances(counts):
    n = 300
    assert abs(false_alarms(n, counts, UNEQUAL[counts]) - 0.05) <= 0.01 + 3 * sqrt(0.05 * 0.95 / n)


@pytest.mark.slow
@pytest.mark.parametrize("counts", UNEQUAL, ids=str)
def test_type_one_error_at_unequal_variances_at_full_size(counts):
    assert abs(false_alarms(20000, counts, UNEQUAL[counts]) - 0.05) <= 0.01


@pytest.mark.slow
def test_the_exact_forms_are_exact():
    slack = 3 * sqrt(0.05 * 0.95 / 10000)
    for blocked, variances in ((False, "pooled"), (True, "welch"), (True, "pooled")):
        assert abs(false_alarms(10000, (5, 5, 5), (1, 1, 1), blocked=blocked, variances=variances) - 0.05) <= slack
    assert abs(false_alarms(10000, (5, 5, 5), (1, 2, 4), blocked=True) - 0.05) <= slack


def test_pooling_unequal_variances_is_why_welch_is_the_default():
    assert false_alarms(200, (10, 3, 3), (1, 4, 4), variances="pooled") > 0.15
