"""What differs between domains, what a new one will show, and what a shift costs: against scipy and planted truths."""

import numpy as np
import pytest
from scipy import stats

from ablate.errors import PlanError
from tests.stats.samples import rows_of, tabulate


def draw(seed, *, cells=2, runs=5, domains=6, tau=0.0, run_sd=1.0, effect=0.0):
    """Cells × runs × domains; the last cell's effect differs between domains by `tau`."""
    rng = np.random.default_rng(seed)
    own = np.zeros((cells, 1, domains))
    own[-1] = effect + tau * rng.normal(size=domains)
    return own + run_sd * rng.normal(size=(cells, runs, 1)) + rng.normal(size=(cells, runs, domains))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("blocked", [False, True])
def test_gaps_and_what_changes_them_are_t_tests_of_what_runs_lose(direction, blocked):
    sign = 1 if direction == "maximize" else -1
    scores = draw(0, domains=3)
    scores[:, :, 1] -= 3
    scores[1, :, 1] -= 6  # b loses more
    options = {"families": ["robustness"], "clean": "d00", "direction": direction, "block": "seed" if blocked else None}
    found = rows_of(tabulate(sign * scores), **options).set_index(["domain", "factor", "level"])
    lost = sign * (scores[:, :, 0] - scores[:, :, 1])
    test = stats.ttest_rel(lost[1], lost[0]) if blocked else stats.ttest_ind(lost[1], lost[0], equal_var=False)
    row = found.loc["d01", "x", "b on d00 less d01"]
    assert (row.estimate, row.p) == pytest.approx((lost[1].mean() - lost[0].mean(), test.pvalue))
    assert (row.verdict, row.family_size) == ("worse", 2)
    gap = found.loc["d01", "gap", "x=a"]
    assert (gap.low, gap.high) == pytest.approx(tuple(stats.ttest_1samp(lost[0], 0).confidence_interval()))
    assert np.isnan(gap.p)


def test_a_clean_group_must_be_declared_and_known():
    frame = tabulate(draw(0))
    with pytest.raises(PlanError, match="no clean domain group is declared"):
        rows_of(frame, families=["robustness"])
    with pytest.raises(PlanError, match="there is no domain group 'd9'"):
        rows_of(frame, families=["robustness"], clean="d9")


def test_a_prediction_is_the_effect_and_a_wider_interval():
    frame = tabulate(draw(1, effect=2.0, tau=1.0))
    found = rows_of(frame, families=["main", "prediction"]).query("target == 'new_domains'").set_index("family")
    mean, new = found.loc["main"], found.loc["prediction"]
    assert new.estimate == pytest.approx(mean.estimate)
    assert new.low < mean.low < mean.high < new.high
    assert new.verdict == "described"
    few = rows_of(tabulate(draw(1, domains=4)), families=["prediction"]).iloc[0]
    assert (few.refusal, few.verdict) == ("R12", "refused")


def test_heterogeneity_needs_the_error_of_the_test_set():
    frame = tabulate(draw(2, tau=2.0))
    assert rows_of(frame, families=["heterogeneity"]).refusal.tolist() == ["R13"]
    exact = rows_of(frame.assign(se=1e-9), families=["heterogeneity"], se="se").iloc[0]
    loose = rows_of(frame.assign(se=1.0), families=["heterogeneity"], se="se").iloc[0]
    assert exact.verdict == "varies"
    assert loose.estimate < exact.estimate
    assert loose.p > exact.p


def test_without_item_error_heterogeneity_is_the_f_test_of_the_interaction():
    scores = draw(3, tau=1.0, run_sd=0.0)
    row = rows_of(tabulate(scores).assign(se=1e-9), families=["heterogeneity"], se="se", variances="pooled").iloc[0]
    apart = scores[1].mean(0) - scores[0].mean(0)
    within = scores - scores.mean(1, keepdims=True) - scores.mean(2, keepdims=True) + scores.mean((1, 2), keepdims=True)
    error = (within**2).sum() / (2 * 4 * 5)
    effect = 5 * apart.var(ddof=1) / 2
    assert row.statistic == pytest.approx(effect / error, rel=1e-6)
    assert row.p == pytest.approx(stats.f.sf(effect / error, 5, 40), rel=1e-5)
    assert row.estimate == pytest.approx(np.sqrt(2 * (effect - error) / 5), rel=1e-6)


@pytest.mark.slow
def test_predictions_cover_the_effect_in_a_new_domain():
    rng = np.random.default_rng(0)
    hits = []
    for seed in range(300):
        row = rows_of(tabulate(draw(seed, tau=1.0, domains=10)), families=["prediction"]).iloc[0]
        hits.append(row.low <= rng.normal() <= row.high)
    assert stats.binomtest(sum(hits), 300, 0.95, "less").pvalue > 0.01
