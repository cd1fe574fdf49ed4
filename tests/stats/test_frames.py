"""Frames against the plainest loop over rows, and every column that a frame may have."""

import time
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ablate as ab
from ablate.analyses import Analysis
from ablate.errors import PlanError, RecordsError
from ablate.factors import Cell, level_name
from ablate.stats.columns import Columns, looks_like_folds
from ablate.stats.frames import read_frame
from ablate.stats.layouts import build_layouts
from tests.strategies import AWKWARD, level


def read(frame, **columns):
    declared = {key: columns.pop(key) for key in ("direction", "margin", "costs") if key in columns}
    costs = declared.pop("costs", ())
    columns = {"factors": ["x"], "value": "y", "run": "run", **columns}
    return read_frame(
        frame, Columns(**columns), metric="y" if "metric" not in columns else "acc",
        analysis=Analysis(costs=costs), **{"direction": "maximize", **declared},
    )  # fmt: skip


def plain(frame, *, domain="domain", shift=None):
    """Cell -> run -> domain -> mean of the means of its items, by the plainest loop; NaN fails a run."""
    table = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list))))
    for row in frame.to_dict("records"):
        cell = level_name(row["x"])
        table[cell][(cell, str(row["run"]))][str(row[domain])][str(row[shift]) if shift else ""].append(row["y"])
    found = {}
    for cell, runs in table.items():
        found[cell] = {}
        for run, domains in runs.items():
            values = {d: [np.mean(v) for v in items.values()] for d, items in domains.items()}
            if all(np.isfinite(v).all() for v in values.values()):
                found[cell][run] = {d: np.mean(v) for d, v in values.items()}
    return found


def shuffled(rng, rows):
    return pd.DataFrame(rows).sample(frac=1, random_state=rng.integers(2**31)).reset_index(drop=True)


names = st.lists(
    st.one_of(st.sampled_from(AWKWARD), level.filter(lambda v: v is not None)),
    min_size=2,
    max_size=3,
    unique_by=level_name,
)
domain_names = st.lists(st.sampled_from([*AWKWARD, 1, 2]), min_size=1, max_size=3, unique_by=str)


@settings(max_examples=25, deadline=None)
@given(names, domain_names, st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_a_frame_is_what_the_plainest_loop_makes_of_it(levels, domains, shifts, holes, seed):
    rng = np.random.default_rng(seed)
    rows = [
        {"x": x, "run": run, "domain": d, "shift": s, "y": rng.normal()}
        for x in levels for run in range(3) for d in domains for s in ((0, 1) if shifts else (0,))
    ]  # fmt: skip
    frame = shuffled(rng, rows)
    if holes:
        frame.loc[frame.index[::7], "y"] = np.nan
    frame["x"] = frame["x"].astype(object)
    source = read(frame, domain="domain", shift="shift" if shifts else None)
    expected = plain(frame, shift="shift" if shifts else None)
    (layout,) = build_layouts(source)
    assert [str(cell["x"]) for cell in layout.cells] == list(dict.fromkeys(map(level_name, frame.x)))
    for place, cell in enumerate(layout.cells):
        mine = expected[cell["x"]]
        assert layout.complete[place] == len(mine)
        assert layout.failed[place] == 3 - len(mine)
        found = sorted(tuple(row) for row in layout.scores[place][~np.isnan(layout.scores[place]).all(1)])
        wanted = sorted(tuple(run[group] for group in layout.groups) for run in mine.values())
        assert np.array(found) == pytest.approx(np.array(wanted), abs=1e-12)


def rows(cells=("a", "b"), runs=2, domains=("d0", "d1"), **more):
    rng = np.random.default_rng(0)
    made = [
        {"x": x, "run": f"{x}{r}", "seed": r, "domain": d, "y": rng.normal()}
        for x in cells for r in range(runs) for d in domains
    ]  # fmt: skip
    return pd.DataFrame(made).assign(**more)


@pytest.mark.parametrize(
    ("levels", "texts"),
    [
        ([1, 2], ["1", "2"]),
        ([1.0, 2.5], ["1.0", "2.5"]),
        ([False, True], ["false", "true"]),
        (np.array([3, 4], "int8"), ["3", "4"]),
        (pd.Categorical(["u", "v"], categories=["v", "u", "w"]), ["u", "v"]),
        (pd.array([1, 2], dtype="Int64"), ["1", "2"]),
        (pd.array(["u", "v"], dtype="string"), ["u", "v"]),
        (np.array([1, True], object), ["1", "true"]),
        (np.array([0, False], object), ["0", "false"]),
        (np.array([1.5, "1.5x"], object), ["1.5", "1.5x"]),
    ],
    ids=str,
)
def test_levels_of_any_type_are_text(levels, texts):
    frame = pd.DataFrame({"x": levels, "run": ["r", "s"], "y": [1.0, 2.0]})
    source = read(frame)
    assert [str(cell["x"]) for cell in source.plan.cells] == texts
    assert [str(cell["x"]) for cell in source.runs["cell"]] == texts


def test_declared_levels_set_order_and_baseline():
    source = read(rows(), factors={"x": ["b", "a"]})
    assert [str(cell["x"]) for cell in source.plan.cells] == ["b", "a"]
    assert read(rows(), baseline={"x": "b"}).plan.baseline == Cell({"x": "b"})
    assert [
        f.role
        for f in read(
            rows().assign(z="u", w=lambda f: f.seed), factors=["x", "w"], across=["w"], run="seed"
        ).plan.factors
    ] == ["factor", "across"]


def test_run_ids_that_recur_are_other_trainings_and_said_to_be():
    source = read(rows(), run="seed")
    assert len(source.runs) == 4
    assert "recur across cells" in source.notes[0]
    assert read(rows(), run="seed", block="seed").notes == ()
    assert read(rows()).notes == ()
    assert source.runs["run"].tolist() == ["x=a seed=0", "x=a seed=1", "x=b seed=0", "x=b seed=1"]


def test_a_failed_run_leaves_no_score_and_is_counted():
    for bad in (np.nan, np.inf, -np.inf):
        frame = rows()
        frame.loc[1, "y"] = bad
        source = read(frame, domain="domain")
        assert source.runs["status"].tolist() == ["failed", "complete", "complete", "complete"]
        assert set(source.scores["run"]) == {1, 2, 3}
    said = rows(status="complete")
    said.loc[said.run == "b1", "status"] = "diverged"
    assert read(said, status="status").runs["status"].tolist() == ["complete"] * 3 + ["failed"]


def test_missing_entries_of_any_kind_are_missing():
    frame = rows().assign(y=rows().y.astype("Float64").mask(rows().run == "a0"))
    assert read(frame).runs["status"].tolist() == ["failed", *["complete"] * 3]
    said = pd.array(["complete", "complete", None, *["complete"] * 5], dtype="string")
    assert read(rows(status=said), status="status").runs["status"].tolist() == ["complete", "failed", *["complete"] * 2]
    phase = pd.array([None, None, "search", "search", *[None] * 4], dtype="string")
    assert read(rows(phase=phase), phase="phase").runs["status"].tolist() == ["complete", "search", *["complete"] * 2]


def test_a_run_without_the_metric_is_left_out_unless_it_failed():
    """One that diverged before it was measured is a failure all the same: else the rest would be a selection."""
    frame = rows(metric="acc", status="complete")
    frame.loc[frame.run == "b1", ["metric", "status"]] = ["loss", "diverged"]
    assert read(frame, metric="metric", status="status").runs["status"].tolist() == [*["complete"] * 3, "failed"]
    source = read(frame, metric="metric")
    assert source.runs["status"].tolist() == [*["complete"] * 3, "silent"]
    assert source.notes == ("1 runs have no row of acc and were left out.",)


def test_one_metric_of_several_in_a_column():
    frame = pd.concat([rows(metric="acc"), rows(metric="loss").assign(y=np.nan), rows(metric="flops").assign(y=7.0)])
    source = read(frame, metric="metric", costs=("flops",))
    assert len(source.scores) == 8
    assert (source.runs["status"] == "complete").all()  # a missing loss is no failed accuracy
    assert source.whole["value"].tolist() == [7.0] * 4
    with pytest.raises(RecordsError, match=r"(?s)no row has the metric.*allowed: f1"):
        read(rows(metric="f1"), metric="metric")
    with pytest.raises(RecordsError, match=r"(?s)no cost 'flop'.*did you mean 'flops'"):
        read(frame, metric="metric", costs=("flop",))


def test_costs_are_columns_too_and_of_the_run():
    source = read(rows(watts=[1.0, 3.0] * 4), costs=("watts",))
    assert source.whole["value"].tolist() == [2.0] * 4


def test_the_largest_budget_of_a_run_is_judged_and_all_are_its_curve():
    frame = pd.concat([rows(steps=10).assign(y=np.nan), rows(steps=20), rows(steps=40).assign(y=lambda f: f.y + 1)])
    source = read(frame, domain="domain", budget="steps")
    assert (source.runs["status"] == "complete").all()  # a missing score on the way is no failure
    assert sorted(source.scores["value"]) == pytest.approx(sorted(rows().y + 1))
    means = (rows().groupby("run").y.mean()).to_numpy()
    curve = source.curves.pivot(index="run", columns="budget", values="value")
    assert curve[20.0].to_numpy() == pytest.approx(means)
    assert curve[40.0].to_numpy() == pytest.approx(means + 1)
    for bad in (0, -1, None, "many"):
        with pytest.raises(RecordsError, match="a budget is not a positive number"):
            read(frame.assign(steps=bad), budget="steps")


def test_tuning_trials_are_no_evidence_and_are_kept_apart():
    frame = pd.concat([rows(phase="confirm"), rows(phase="search").assign(run=lambda f: "t" + f.run, y=9.0)])
    source = read(frame, domain="domain", phase="phase")
    assert source.runs["status"].value_counts().to_dict() == {"complete": 4, "search": 4}
    assert (source.scores["value"] < 9).all()
    assert source.searched["value"].tolist() == [9.0] * 8
    assert source.notes == ("4 tuning trials are not evidence and were left out.",)
    assert list(source.planned.values()) == [2, 2]
    same = pd.concat([rows(phase="confirm"), rows(phase="search").assign(y=np.nan)])  # a run with rows of both
    assert (read(same, domain="domain", phase="phase").runs["status"] == "complete").all()


def test_what_is_known_of_a_score_goes_with_it():
    frame = rows(se=0.5, kind="k", tried=[3] * 4 + [9] * 4, text=["e", "f"] * 4, doc=["u", "v"] * 4)
    source = read(frame, domain="domain", se="se", eval_hash="kind", hpo_trials="tried", example="text", cluster="doc")
    assert (source.scores["se"] == 0.5).all()
    assert (source.scores["eval_hash"] == "k").all()
    assert source.runs["hpo_trials"].tolist() == [3, 3, 9, 9]
    assert source.scores[["example", "cluster"]].nunique().tolist() == [2, 2]


def test_blocks_and_folds_share_something():
    blocked = read(rows(), block="seed")
    assert blocked.plan.blocking == "seed"
    assert blocked.runs["block"].tolist() == [0, 1, 0, 1]
    assert list(blocked.planned.values()) == [2, 2]
    folds = read(rows(), run=None, fold="seed", domain="domain")
    assert (folds.folds, folds.plan.blocking, len(folds.runs)) == ("declared", "seed", 8)
    assert read(rows().rename(columns={"seed": "fold"}), run="fold").folds == "undeclared"
    assert read(rows().rename(columns={"seed": "fold"}), block="fold").folds == "undeclared"
    assert read(rows(), run="seed").folds == "none"


@pytest.mark.parametrize(
    "name", ["fold", "Fold", "cv", "kfold", "k-fold", "cv_fold", "test.fold", "fold_id", "foldid", "folds", "fold3"]
)
def test_names_of_folds(name):
    assert looks_like_folds(name)


@pytest.mark.parametrize("name", ["seed", "run", "folder", "scaffold", "manifold_run", "recv", "cvar", "unfold"])
def test_names_of_no_folds(name):
    assert not looks_like_folds(name)


def test_a_frame_without_runs_is_of_summaries():
    frame = rows(runs=1, se=0.1).drop(columns="run")
    source = read(frame, run=None, domain="domain", se="se")
    assert source.summaries
    assert source.runs["run"].tolist() == ["x=a summary", "x=b summary"]
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(RecordsError, match=r"(?s)standard error is not a positive number.*se"):
            read(frame.assign(se=bad), run=None, domain="domain", se="se")


@pytest.mark.parametrize(
    ("frame", "columns", "error", "words"),
    [
        (rows(), {"value": "z"}, RecordsError, "no column 'z'"),
        (rows()[:0], {}, RecordsError, "the table has no rows"),
        (rows().assign(y="high"), {}, RecordsError, "what is no number"),
        (rows().assign(tried="many"), {"hpo_trials": "tried"}, RecordsError, "what is no number"),
        (rows().assign(x=["a", None] * 4), {}, RecordsError, "a level is missing"),
        (rows().assign(run=[None, *["r"] * 7]), {}, RecordsError, "a row belongs to no run"),
        (rows().assign(domain=[None, *["d"] * 7]), {"domain": "domain"}, RecordsError, "a row has no domain"),
        (rows().assign(seed=[None, *[1] * 7]), {"block": "seed"}, RecordsError, "a run has no block"),
        (rows().assign(seed=range(8)), {"block": "seed"}, RecordsError, "run a0 is in several blocks"),
        (rows(), {"factors": {"x": ["a"]}}, RecordsError, "levels that were not declared: b"),
        (rows(), {"baseline": {"x": "c"}}, PlanError, "c"),
        (rows(), {"baseline": {"z": "c"}}, RecordsError, "'z' is not a factor"),
        (rows(), {"across": ["z"]}, RecordsError, "'z' is not a factor"),
    ],
)
def test_what_a_frame_lacks_is_named(frame, columns, error, words):
    with pytest.raises(error, match=words):
        read(frame, **columns)


@pytest.mark.parametrize(
    ("cells", "design"),
    [
        ([("off", "off"), ("off", "on"), ("on", "off"), ("on", "on")], "full_factorial"),
        ([("off", "off"), ("off", "on"), ("on", "off")], "one_at_a_time"),
        ([("off", "off"), ("on", "off"), ("on", "on")], "cumulative"),
        ([("off", "off"), ("on", "on")], "frame"),
    ],
)
def test_the_design_is_recognised(cells, design):
    frame = pd.DataFrame([{"p": p, "q": q, "run": f"{p}{q}{s}", "y": 0.1} for p, q in cells for s in range(2)])
    assert read(frame, factors=["p", "q"]).plan.design == design


@pytest.mark.slow
def test_a_million_rows():
    """Per-example scores of 8 cells × 10 runs × 5 domains; the time is printed, the means are checked."""
    rng, n = np.random.default_rng(0), 10**6
    code = np.arange(n)
    frame = pd.DataFrame(
        {
            "p": np.array(["u", "v"])[code % 2], "q": code // 2 % 4, "run": code // 8 % 10, "domain": code // 80 % 5,
            "item": code // 400, "y": rng.normal(size=n),
        }
    )  # fmt: skip
    begun = time.perf_counter()
    source = read(frame, factors=["p", "q"], domain="domain", example="item")
    (layout,) = build_layouts(source)
    print(f"{n} rows: {time.perf_counter() - begun:.2f} s")
    means = frame.groupby(["p", "q", "run", "domain"]).y.mean()
    assert layout.scores.shape == (8, 10, 5)
    for place, cell in enumerate(layout.cells):
        expected = means[cell["p"]][int(cell["q"])].unstack().to_numpy()
        assert layout.scores[place] == pytest.approx(expected, abs=1e-12)


def test_runs_that_end_at_different_budgets_are_said_to():
    rows = [(arm, f"{arm}{run}", steps, run + steps) for arm in "ab" for run in range(3) for steps in (10, 20)]
    frame = pd.DataFrame(rows, columns=["arm", "run", "steps", "acc"])
    columns = {"factors": ["arm"], "run": "run", "value": "acc", "budget": "steps", "families": ["main"]}
    assert not any("last budget" in note for note in ab.attribute(frame, **columns).notes)
    early = frame[~((frame.run == "a0") & (frame.steps == 20))]
    assert any(
        "last budget of each, which is between 10 and 20" in note for note in ab.attribute(early, **columns).notes
    )
