from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from ablate.stats.crossed import Crossed
from ablate.stats.unbalanced import Unbalanced
from tests.stats.rscript import run_r
from tests.stats.samples import draw

TARGETS = ["these_domains", "new_domains"]
FORMS = [(blocked, variances) for blocked in (False, True) for variances in ("welch", "pooled")]
DIFFERENCE = np.array([-1.0, 1.0])


def thin(rng, scores, runs=None, share=0.12):
    """Without some scores at random, and with unequal runs; drawn again until every cell × domain has one."""
    scores = scores.copy()
    for cell, n in enumerate(runs or []):
        scores[cell, n:] = np.nan
    while True:
        found = np.where(rng.random(scores.shape) < share, np.nan, scores)
        present = ~np.isnan(found)
        if present.any(1).all() and (present.any(2).sum(1) >= 2).all():
            return found


def balanced(seed, cells, blocked, tau=2.0, run_sd=1.5):
    rng = np.random.default_rng(seed)
    scores, _ = draw(rng, 1, 5, 6, effects=(0.0,) * cells, tau=tau, run_sd=run_sd, block_sd=float(blocked))
    return scores[0]


CONTRASTS = [[-1, 1], [-1, 1, 0], [-0.5, 0.5, -0.5, 0.5], [-1, 0.25, 0.75]]


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("weights", CONTRASTS, ids=str)
@pytest.mark.parametrize(("seed", "large"), [(0, True), (1, False), (2, False)])
def test_balanced_these_domains_is_the_closed_form(blocked, weights, seed, large):
    scores = balanced(seed, len(weights), blocked, run_sd=1.5 if large else 0.0)  # zero: often below the error
    found = Unbalanced(blocked, "pooled")(scores, weights, "these_domains")
    closed = Crossed(blocked, "pooled")(scores, np.array(weights))
    assert found.estimate == pytest.approx(closed.estimate, abs=1e-9)
    assert (found.se**2, found.df) == pytest.approx(closed.variance("these_domains"), rel=1e-8)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tau", "run_sd"), [(2.0, 1.5), (2.0, 0.0), (0.0, 1.5), (0.0, 0.0)])
def test_balanced_new_domains_is_the_closed_form(blocked, seed, tau, run_sd):
    scores = balanced(seed, 2, blocked, tau, run_sd)
    found = Unbalanced(blocked, "pooled")(scores, DIFFERENCE, "new_domains")
    closed = Crossed(blocked, "pooled")(scores, DIFFERENCE)
    variance, df = closed.variance("new_domains")
    assert found.estimate == pytest.approx(closed.estimate, abs=1e-9)
    if not blocked:  # also where the largest variance decides
        assert found.bounded == closed.bounded
        assert (found.se, found.df) == pytest.approx((variance**0.5, df), rel=1e-6)
    elif found.bounded:
        assert closed.bounded
        assert (found.se, found.df) == pytest.approx((variance**0.5, df), rel=1e-6)
    else:  # with blocks × domains at zero the two tables' errors are pooled
        assert found.se == pytest.approx(variance**0.5, rel=0.15)


@pytest.mark.parametrize("seed", range(8))
def test_three_balanced_blocks_are_weighed_with_the_closed_forms_caution(seed):
    scores = balanced(seed, 2, True)[:, :3]
    found = Unbalanced(True, "pooled")(scores, DIFFERENCE, "new_domains")
    variance, df = Crossed(True, "pooled")(scores, DIFFERENCE).variance("new_domains")
    assert found.df == pytest.approx(df, rel=0.05)  # errors of blocks × domains at zero are pooled
    assert found.se == pytest.approx(variance**0.5, rel=0.05)


@pytest.mark.parametrize(("seed", "n0", "n1", "run_effect"), [(0, 2, 6, True), (1, 5, 3, True), (2, 4, 2, False)])
def test_unequal_runs_on_every_domain_are_welchs_t(seed, n0, n1, run_effect):
    scores = balanced(seed, 2, False, run_sd=1.0 * run_effect)
    scores = np.concatenate([scores, scores[:, :1] + 1.0], axis=1)
    scores[0, n0:], scores[1, n1:] = np.nan, np.nan
    found = Unbalanced()(scores, DIFFERENCE, "these_domains")
    expected = stats.ttest_ind(np.nanmean(scores[1, :n1], -1), np.nanmean(scores[0, :n0], -1), equal_var=False)
    assert (found.estimate / found.se, found.df) == pytest.approx((expected.statistic, expected.df), rel=1e-6)


@pytest.mark.parametrize("weights", CONTRASTS[:3], ids=str)
def test_blocked_these_domains_is_the_t_of_contrasts_within_blocks(weights):
    scores = balanced(5, len(weights), True, run_sd=0.3)
    scores[0] += np.random.default_rng(1).normal(0, 4, (5, 1))  # one cell's runs vary far more than the others'
    found = Unbalanced(blocked=True)(scores, weights, "these_domains")
    expected = stats.ttest_1samp(np.einsum("cbd,c->b", scores, weights) / 6, 0)
    assert (found.estimate / found.se, found.df) == pytest.approx((expected.statistic, 4), rel=1e-6)


def test_one_domain_is_the_t_of_runs():
    scores = balanced(2, 2, False)[..., :1]
    found = Unbalanced()(scores, DIFFERENCE, "these_domains")
    expected = stats.ttest_ind(scores[1, :, 0], scores[0, :, 0], equal_var=False)
    assert (found.estimate / found.se, found.df) == pytest.approx((expected.statistic, expected.df), rel=1e-9)
    blocked = Unbalanced(blocked=True)(scores, DIFFERENCE, "these_domains")
    expected = stats.ttest_rel(scores[1, :, 0], scores[0, :, 0])
    assert (blocked.estimate / blocked.se, blocked.df) == pytest.approx((expected.statistic, 4), rel=1e-9)


@pytest.mark.parametrize(("blocked", "variances"), FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_new_domains_are_never_surer_than_these(blocked, variances, seed):
    rng = np.random.default_rng(seed)
    tau, run_sd = seed % 2, seed // 2  # each of them absent and present
    scores = thin(rng, balanced(seed, 2, blocked, tau, run_sd))
    these, new = (Unbalanced(blocked, variances)(scores, DIFFERENCE, target) for target in TARGETS)
    assert new.se >= these.se * (1 - 1e-12)
    assert new.bounded or not new.at_zero
    assert new.pivot.interval(0.95)[0] < new.estimate


@pytest.mark.parametrize(("blocked", "variances"), FORMS)
@pytest.mark.parametrize("target", TARGETS)
def test_labels_units_and_sides_do_not_matter(blocked, variances, target):
    rng = np.random.default_rng(8)
    scores, engine = thin(rng, balanced(8, 3, blocked)), Unbalanced(blocked, variances)
    weights = np.array([-1.0, 0.4, 0.6])
    found = engine(scores, weights, target)
    cells, runs, domains = rng.permutation(3), rng.permutation(5), rng.permutation(6)
    again = engine(100 - 3 * scores[cells][:, runs][..., domains], weights[cells], target)
    assert (again.estimate, again.se, again.df) == pytest.approx(
        (-3 * found.estimate, 3 * found.se, found.df), rel=1e-5
    )


def test_a_domain_that_one_cell_lacks_still_speaks_for_new_domains():
    scores = balanced(9, 2, False)
    whole = Unbalanced()(scores, DIFFERENCE, "new_domains")
    scores[0, :, 3] = np.nan
    found = Unbalanced()(scores, DIFFERENCE, "new_domains")
    assert found.se > whole.se
    with pytest.raises(ValueError, match=r"no score in \(cell, domain\) \(0, 3\)"):
        Unbalanced()(scores, DIFFERENCE, "these_domains")


def test_runs_that_leave_no_error_are_judged_by_what_is_between_them():
    scores = np.full((2, 6, 3), np.nan)
    for run in range(6):  # a score a run, but for one run of each cell
        scores[:, run, run % 3] = np.random.default_rng(run).normal(size=2)
    scores[0, 0, 1], scores[1, 0, 2] = 0.3, -0.2
    found = Unbalanced()(scores, DIFFERENCE, "these_domains")
    assert 3 <= found.df <= 8
    means = np.nanmean(scores, 1).mean(-1)
    assert abs(found.estimate - (means[1] - means[0])) < 1e-12
    assert found.se > 0


@pytest.mark.parametrize("weights", [[0.0, 1.0], [1.0, -0.3]], ids=str)
@pytest.mark.parametrize("blocked", [False, True])
def test_weights_need_not_sum_to_zero(blocked, weights):
    scores = balanced(4, 2, blocked)
    found = Unbalanced(blocked)(scores, weights, "these_domains")
    closed = Crossed(blocked)(scores, np.array(weights))
    assert found.estimate == pytest.approx(closed.estimate)
    assert (found.se**2, found.df) == pytest.approx(closed.variance("these_domains"), rel=1e-7)


def test_what_cannot_be_estimated_is_named():
    scores, engine = balanced(9, 3, False), Unbalanced()
    weights = np.array([-1.0, 1, 0])
    lacking = scores.copy()
    lacking[1] = np.nan
    with pytest.raises(ValueError, match="cell 1 of the contrast has no score"):
        engine(lacking, weights, "new_domains")
    assert engine(lacking, weights[[0, 2, 1]], "new_domains").se > 0  # a cell that is not needed
    lacking[1, 0] = 0.5
    with pytest.raises(ValueError, match="cell 1 of the contrast has 1 run"):
        engine(lacking, weights, "these_domains")
    with pytest.raises(ValueError, match="two domains"):
        engine(scores[..., :1], weights, "new_domains")
    with pytest.raises(ValueError, match="all weights are zero"):
        engine(scores, 0 * weights, "new_domains")
    apart = scores.copy()
    apart[0, :3], apart[1, 3:] = np.nan, np.nan
    with pytest.raises(ValueError, match="no block holds runs of both sides"):
        Unbalanced(blocked=True)(apart, weights, "these_domains")
    apart[0, 2] = scores[0, 2]
    with pytest.raises(ValueError, match="too few blocks"):
        Unbalanced(blocked=True)(apart, weights, "these_domains")


GRID = list(product((3, 5, 10), (6, 20), (0, 1), (0, 0.7)))
BOUNDS = {"these_domains": (0.935, 0.98), "new_domains": (0.935, 0.99)}


def check(engine, n, setting, seed=0):
    """Coverage with 12 % of scores missing and unequal runs."""
    seeds, domains, tau, run_sd = setting
    rng, hits = np.random.default_rng(seed), dict.fromkeys(BOUNDS, 0)
    runs = (seeds, seeds) if engine.blocked else (seeds, seeds + 2)
    for _ in range(n):
        drawn, truth = draw(rng, 1, max(runs), domains, tau=tau, run_sd=run_sd, block_sd=float(engine.blocked))
        scores = thin(rng, drawn[0], runs)
        for target, value in (("these_domains", truth[0, 1]), ("new_domains", 0.0)):
            low, high = engine(scores, DIFFERENCE, target).pivot.interval(0.95)
            hits[target] += low <= value <= high
    slack = 3 * sqrt(0.95 * 0.05 / n)
    for target, (low, high) in BOUNDS.items():
        assert low - slack <= hits[target] / n <= min(high + slack, 1.0), (target, hits[target] / n)


@pytest.mark.slow
@pytest.mark.parametrize("setting", GRID, ids=str)
def test_coverage_on_the_grid(setting):
    check(Unbalanced(), 2000, setting)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [(3, 6, 0, 0), (3, 6, 0, 0.7), (5, 6, 1, 0), (3, 20, 1, 0.7)], ids=str)
def test_coverage_within_blocks(setting):
    check(Unbalanced(blocked=True), 2000, setting)


@pytest.mark.slow
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("setting", [(3, 6, 0, 0.7), (5, 6, 1, 0.7)], ids=str)
def test_coverage_of_pooled_variances(blocked, setting):
    check(Unbalanced(blocked, "pooled"), 2000, setting)


@pytest.mark.r
@pytest.mark.parametrize("seed", range(3))
def test_new_domains_agree_with_lmer_in_three_directions(seed):
    rng = np.random.default_rng(seed)
    scores = thin(rng, balanced(seed, 2, False), share=0.2)
    found = Unbalanced(variances="pooled")(scores, DIFFERENCE, "new_domains")
    cell, run, domain = np.nonzero(~np.isnan(scores))
    script = """
    suppressPackageStartupMessages({library(lmerTest); library(pbkrtest)})
    d <- as.data.frame(values); d$cell <- factor(d$cell)
    control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = .01, rhoend = 1e-11, maxfun = 1e5))
    m <- lmer(y ~ 0 + cell + (1 | run) + (0 + along | domain) + (1 | domain), d, control = control)
    answer <- as.list(unlist(contest1D(m, c(-1, 1), ddf = "Kenward-Roger")))
    """
    values = {
        "y": scores[cell, run, domain],
        "cell": cell,
        "run": 10 * cell + run,
        "domain": domain,
        "along": cell - 0.5,
    }
    expected = run_r(script, values)
    assert not found.bounded
    assert (found.estimate, found.se, found.df) == pytest.approx(
        (expected["Estimate"], expected["Std. Error"], expected["df"]), rel=1e-6
    )
