"""Layouts: how runs and domains cross, and what of them serves a contrast."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import ablate as ab
from ablate.analyses import Analysis
from ablate.factors import Cell
from ablate.stats.columns import Columns
from ablate.stats.frames import read_frame
from ablate.stats.layouts import build_layouts
from ablate.stats.parts import bound_worst_case, select_part
from tests.stats.samples import make_records, tabulate

A, B, C = (Cell({"x": name}) for name in "abc")


def lay(frame, **columns):
    columns = {"factors": ["x"], "value": "y", "run": "run", "domain": "domain", **columns}
    return list(
        build_layouts(read_frame(frame, Columns(**columns), metric="y", analysis=Analysis(), direction="maximize"))
    )


def one(scores, *, nested=False, **columns):
    (layout,) = lay(tabulate(scores, nested=nested), **columns)
    return layout


def table(cells=2, seeds=4, domains=3, rng=0):
    return np.random.default_rng(rng).normal(size=(cells, seeds, domains))


def without(scores, *places):
    scores = scores.copy()
    for place in places:
        scores[place] = np.nan
    return scores


@pytest.mark.parametrize(
    ("scores", "nested", "crossing"),
    [
        (table(), False, "crossed"),
        (without(table(), (1, 2)), False, "crossed"),  # a run less
        (without(table(), (1, 2, 0)), False, "partial"),
        (table(), True, "nested"),
        (without(table(), (1, 2, 0)), True, "nested"),
        (table(domains=1), True, "crossed"),
    ],
)
def test_how_runs_and_domains_cross(scores, nested, crossing):
    assert one(scores, nested=nested).crossing == crossing


def test_scores_stand_where_their_run_and_domain_are():
    scores = without(table(), (0, 1), (1, 3, 2))
    layout = one(scores, block="seed")
    assert layout.scores == pytest.approx(scores, nan_ok=True)
    assert layout.blocked
    for c, s, d in np.argwhere(~np.isnan(scores)):
        assert layout.names[layout.owners[c, s, d]] == f"{c}.{s}"
    assert (layout.owners[np.isnan(scores)] == -1).all()
    assert layout.complete.tolist() == [3, 4]
    only = layout.only("d01")
    assert only.scores == pytest.approx(scores[:, :, [1]], nan_ok=True)
    assert (only.groups, only.crossing) == (("d01",), "crossed")


def test_severities_are_averaged_before_domains():
    frame = tabulate(table())
    twice = pd.concat([frame.assign(shift=1), frame.assign(shift=2, y=frame.y + 1), frame.assign(domain="z", shift=1)])
    (layout,) = lay(twice, shift="shift")
    assert layout.groups == ("d00", "d01", "d02", "z")
    assert layout.scores[:, :, :3] == pytest.approx(table() + 0.5)


def test_strata_are_laid_out_apart():
    frame = tabulate(table(cells=4)).assign(w=lambda f: f.x.isin(["c", "d"]).map({True: "late", False: "early"}))
    frame["x"] = frame.x.map({"a": "a", "b": "b", "c": "a", "d": "b"})
    early, late = lay(frame, factors=["x", "w"], across=["w"])
    assert (early.stratum, late.stratum) == ("w=early", "w=late")
    assert (early.cells, late.cells) == ((A, B), (A, B))
    assert late.scores == pytest.approx(table(cells=4)[2:])


@pytest.mark.parametrize("pooled", [False, True])
def test_whole_blocks_serve_a_blocked_contrast(pooled):
    scores = without(table(3), (1, 2), (2, 0))
    layout = one(scores, block="seed")
    part = select_part(layout, {A: -1.0, B: 1.0}, pooled)
    keep = [1, 3] if pooled else [0, 1, 3]
    assert part.scores == pytest.approx(scores[: 3 if pooled else 2][:, keep])
    assert part.weights.tolist() == ([-1, 1, 0] if pooled else [-1, 1])
    assert (part.n_seeds, part.complete) == (len(keep), True)
    assert part.estimate == pytest.approx((scores[1] - scores[0])[keep].mean())
    assert set(part.trials) == {f"{c}.{s}" for c in (0, 1) for s in keep}
    every = select_part(layout, {A: -1.0, B: 1.0}, pooled, whole_blocks=False)
    assert not every.complete
    assert len(every.trials) == 7
    assert (every.refusal, part.refusal.code if pooled else part.refusal) == (None, "R02" if pooled else None)


def test_blocks_that_no_compared_cell_has_are_left_out():
    scores = without(table(3), (0, 3), (1, 3))
    part = select_part(one(scores, block="seed"), {A: -1.0, B: 1.0}, False, whole_blocks=False)
    assert part.complete
    assert part.scores == pytest.approx(scores[:2, :3])


def test_blocks_of_nested_runs_are_whole_in_each_domain_for_itself():
    scores = without(table(), (0, 0, 0), (1, 1, 0))
    layout = one(scores, nested=True, block="seed")
    part = select_part(layout, {A: -1.0, B: 1.0}, False)
    assert np.isnan(part.scores[:, :2, layout.groups.index("d00")]).all()
    assert (~np.isnan(part.scores)).sum() == 2 * (2 + 4 + 4)
    assert (part.n_seeds, len(part.trials)) == (2, 20)
    expected = [(scores[1] - scores[0])[:, d][~np.isnan(scores[:, :, d]).any(0)].mean() for d in range(3)]
    assert part.estimate == pytest.approx(np.mean(expected))


def test_nested_runs_that_share_no_block_are_refused():
    scores = without(table(), (0, slice(0, 2), 0), (1, slice(2, 4), 0))
    part = select_part(one(scores, nested=True, block="seed"), {A: -1.0, B: 1.0}, False)
    assert part.refusal.code == "R01"


def test_cells_with_something_wrong_lend_no_variance():
    scores = table(3)
    scores[2] = scores[2, 0]
    part = select_part(one(scores), {A: -1.0, B: 1.0}, True)
    assert part.refusal is None
    assert part.weights.tolist() == [-1, 1]
    assert select_part(one(table(3)), {A: -1.0, B: 1.0}, True).weights.tolist() == [-1, 1, 0]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.booleans())
def test_an_estimate_is_the_contrast_of_means_of_means(seed, nested):
    rng = np.random.default_rng(seed)
    scores = table(3, 4, 3, rng=rng)
    scores[rng.random(scores.shape) < 0.2] = np.nan
    weights = {A: -1.0, B: 0.25, C: 0.75}
    if np.isnan(scores).all((1, 2)).any():
        return
    layout = one(scores, nested=nested)
    part = select_part(layout, weights, False)
    expected = 0.0
    for cell, weight in enumerate(weights.values()):
        domains = [
            [v for v in scores[cell, :, d] if not np.isnan(v)] for d in range(3) if not np.isnan(scores[:, :, d]).all()
        ]
        expected += weight * (np.mean([np.mean(v) for v in domains]) if all(domains) else np.nan)
    assert part.estimate == pytest.approx(expected, nan_ok=True, abs=1e-12)
    runs = (~np.isnan(scores)).sum() if nested else (~np.isnan(scores)).any(2).sum()
    assert len(part.trials) == len(set(part.trials)) == runs


@pytest.mark.parametrize(("runs", "expected"), [((5, 5), 0.5**0.5), ((8, 2), 0.2**0.5)])
def test_the_loading_of_a_comparison_with_the_baseline(runs, expected):
    """sqrt(n_i / (n_0 + n_i))."""
    scores = table(2, max(runs))
    for cell, n in enumerate(runs):
        scores[cell, n:] = np.nan
    assert select_part(one(scores), {A: -1.0, B: 1.0}, False).loading == pytest.approx(expected)


def test_the_worst_case_of_failed_runs():
    frame = tabulate(table())
    frame.loc[(frame.run == "1.0") & (frame.domain == "d01"), "y"] = np.nan
    (layout,) = lay(frame)
    assert layout.failed.tolist() == [0, 1]
    low, high = bound_worst_case(layout, {A: -1.0, B: 1.0}, (-5.0, 5.0))
    rest = table()[1, 1:].mean()
    assert (low, high) == pytest.approx([(3 * rest + bound) / 4 - table()[0].mean() for bound in (-5, 5)])


def test_errors_of_a_cell_are_those_of_one_run():
    frame = tabulate(table()).assign(se=lambda f: np.where(f.seed % 2, 0.3, 0.4))
    (layout,) = lay(frame, se="se")
    assert layout.errors == pytest.approx(np.full((2, 3), (0.125) ** 0.5))
    frame.loc[3, "se"] = np.nan
    assert lay(frame, se="se")[0].errors is None


def test_two_runs_of_a_cell_in_one_block_are_an_error():
    with pytest.raises(Exception, match="two runs of the cell x=a in one block"):
        lay(tabulate(table()).assign(block="same"), block="block")


def measure_shared_runs(rng, *, seeds=5, run_sd=1.0, blocking="none"):
    """Records of two trained cells under two levels each; a run's luck is shared by its levels, and nothing is true."""
    study = ab.plan(
        {"data": ["raw", "clean"], "use": ["plain", "fast"]},
        metric="accuracy",
        seeds=seeds,
        blocking=blocking,
        evaluation=["use"],
        analysis={"target": "these_domains", "families": ["main", "interaction"]},
    )
    luck = {(data, seed): run_sd * rng.normal() for data in ("raw", "clean") for seed in study.seeds}

    def score(trial):
        values = luck[trial.cell["data"], trial.seed] + 0.1 * rng.normal(size=3)
        return [{"domain": f"d{d}", "metric": "accuracy", "value": value} for d, value in enumerate(values)]

    return make_records(study, score)


@pytest.mark.parametrize("blocking", ["none", "seed"])
def test_levels_of_one_run_are_compared_within_runs(blocking):
    records = measure_shared_runs(np.random.default_rng(1), blocking=blocking)
    frame = ab.attribute(records).select(target="these_domains", domain="all").frame
    means = records.complete.groupby(["seed", "data", "use"])["value"].mean().unstack(["data", "use"])
    table = {
        "use": (means["raw", "fast"] + means["clean", "fast"], means["raw", "plain"] + means["clean", "plain"]),
        "data": (means["clean", "plain"] + means["clean", "fast"], means["raw", "plain"] + means["raw", "fast"]),
        "data:use": (
            means["clean", "fast"] - means["clean", "plain"],
            means["raw", "fast"] - means["raw", "plain"],
        ),
    }
    found = {str(row["factor"]).replace(" × ", ":"): row for row in frame.to_dict("records")}
    for factor, (one, other) in table.items():
        p = stats.ttest_rel(one, other).pvalue
        assert found[factor]["p"] == pytest.approx(p, abs=1e-9), factor
    assert found["use"]["se"] < 0.1 < found["data"]["se"]  # what a run's luck does to both levels has cancelled


@pytest.mark.slow
def test_the_null_is_rejected_at_the_nominal_rate_where_levels_share_runs():
    rng, n = np.random.default_rng(5), 600
    rejected = {"data": 0, "use": 0, "data × use": 0}
    for _ in range(n):
        frame = ab.attribute(measure_shared_runs(rng)).select(target="these_domains", domain="all").frame
        for row in frame.to_dict("records"):
            rejected[row["factor"]] += row["p"] < 0.05
    for factor, count in rejected.items():  # each beside the exact binomial of a nominal test
        assert stats.binomtest(count, n, 0.05).pvalue > 0.001, (factor, count / n)
