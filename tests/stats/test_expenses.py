"""What a gain costs: ratios against scipy, the front and tuning curves against counting."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.errors import PlanError, RecordsError
from ablate.stats.attribution import attribute

ASKED = {"factors": ["m"], "value": "y", "run": "run", "domain": "dom", "costs": ["ms"], "families": ["cost"]}


def frame_of(quality, costs):
    """Cells × runs of quality, a little less on the second domain, and what each run costs; NaN where there is none."""
    quality, costs = np.asarray(quality, float), np.asarray(costs, float)
    return pd.DataFrame(
        {"m": "abc"[c], "run": f"{c}.{s}", "seed": s, "dom": f"d{d}", "y": quality[c, s] - d, "ms": costs[c, s]}
        for c, s, d in np.ndindex(*quality.shape, 2)
        if np.isfinite(quality[c, s])
    )


def ask(frame, **options):
    return attribute(frame, **{**ASKED, **options}).frame.set_index(["factor", "level"])


RNG = np.random.default_rng(0)
QUALITY = RNG.normal(size=(2, 5))
COSTS = np.exp(0.1 * RNG.normal(size=(2, 5)) + [[0], [0.5]])


@pytest.mark.parametrize("blocked", [False, True])
def test_ratios_are_t_tests_of_log_costs(blocked):
    row = ask(frame_of(QUALITY, COSTS), **({"block": "seed"} if blocked else {})).loc["ms: m", "b"]
    logs = np.log(COSTS)
    expected = stats.ttest_rel(logs[1], logs[0]) if blocked else stats.ttest_ind(logs[1], logs[0], equal_var=False)
    assert (row.estimate, row.p) == pytest.approx((np.exp(logs[1].mean() - logs[0].mean()), expected.pvalue))
    assert (row.low, row.high) == pytest.approx(tuple(np.exp(expected.confidence_interval())))
    assert row.verdict == "costlier"
    turned = ask(frame_of(QUALITY, 1 / COSTS), direction="minimize", **({"block": "seed"} if blocked else {}))
    assert turned.loc["ms: m", "b"].verdict == "cheaper"


def test_costs_of_unequal_runs_are_of_the_runs_there_are():
    quality = np.array([[1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5, np.nan]])
    costs = np.exp(np.array([[1.0, 1.2, 1.1, 0.9], [2.0, 2.1, 1.9, 0.0]]))
    found = ask(frame_of(quality, costs))
    expected = stats.ttest_ind([2.0, 2.1, 1.9], [1.0, 1.2, 1.1, 0.9], equal_var=False)
    assert found.loc["ms: m", "b"].p == pytest.approx(expected.pvalue)
    assert found.loc["Pareto front"].refusal.eq("").all()


def test_a_cost_that_never_varies_is_known_and_not_tested():
    row = ask(frame_of(QUALITY, [[2.0] * 5, [3.0] * 5])).loc["ms: m", "b"]
    assert (row.estimate, row.low, row.high) == pytest.approx((1.5, 1.5, 1.5))
    assert np.isnan(row.p)
    assert row.verdict == "described"


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_front_knows_which_way_is_better(direction):
    sign = 1 if direction == "maximize" else -1
    noise = 0.01 * np.random.default_rng(1).normal(size=(3, 4))
    quality = sign * (np.array([[1.0], [2.0], [1.0]]) + noise)  # c is as good as a and costs more
    front = ask(frame_of(quality, np.exp(noise + np.array([[1.0], [2.0], [3.0]]))), direction=direction).loc[
        "Pareto front"
    ]
    assert list(front.estimate[["m=a", "m=b"]]) == [1.0, 1.0]
    assert front.estimate["m=c"] == 0
    assert front.p.isna().all()


def test_a_front_without_runs_or_costs_of_a_cell_is_refused():
    costs = COSTS.copy()
    costs[1, 1:] = np.nan
    found = ask(frame_of(QUALITY, costs))
    assert set(found.refusal) == {"R10"}
    with pytest.raises(PlanError, match="no cost is declared"):
        ask(frame_of(QUALITY, COSTS), costs=[])
    with pytest.raises(RecordsError, match="no cost 'mss'"):
        ask(frame_of(QUALITY, COSTS), costs=["mss"])
    with pytest.raises(RecordsError, match="has no ratio"):
        ask(frame_of(QUALITY, 0 * COSTS))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_tuning_curves_are_means_of_the_best_over_all_sets(direction):
    trials = {"a": [0.1, 0.5, 0.2, 0.9], "b": [0.4, 0.3, 0.8, 0.6]}
    search = pd.DataFrame(
        {"m": m, "run": f"{m}{i}", "dom": "d0", "y": y, "phase": "search"}
        for m, ys in trials.items()
        for i, y in enumerate(ys)
    )
    confirm = frame_of(QUALITY, COSTS).drop(columns=["ms", "seed"]).assign(phase="confirm")
    found = attribute(
        pd.concat([confirm, search]), **{**ASKED, "costs": None, "families": ["tuning"]},
        phase="phase", sampler="random", direction=direction,
    ).frame.set_index(["factor", "level", "quantity"])  # fmt: skip
    best = max if direction == "maximize" else min
    expected = {(m, n): np.mean([best(s) for s in combinations(ys, n)]) for m, ys in trials.items() for n in (1, 2, 4)}
    for (m, n), value in expected.items():
        assert found.estimate[f"best of {n}", f"m={m}", "score"] == pytest.approx(value)
        if m == "b":
            apart = value - expected["a", n]
            assert found.estimate[f"best of {n}", "m=b", "difference"] == pytest.approx(apart)
    assert (found.verdict == "described").all()
