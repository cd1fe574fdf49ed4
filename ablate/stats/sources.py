"""Sources: records, or anybody's frame, in one shape: runs, their scores, and the plan that judges them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.analyses import Analysis, Comparison
from ablate.errors import RecordsError
from ablate.factors import Cell, Factor, level_name
from ablate.plans import CLEAN, WHOLE, Plan
from ablate.records import Records

FAILED = ("failed", "lost")  # a preempted trial resumes: it is missing, not failed
SEARCH = "search"  # the phase of tuning trials
AT = "@"  # a metric `accuracy@0.1` is the metric at a tenth of the budget


def _no_rows(*columns: str) -> pd.DataFrame:
    return pd.DataFrame({column: np.empty(0) for column in columns})


@dataclass(frozen=True)
class Source:
    """What is analysed.

    Attributes:
        runs: a row per training run: run (its name), cell, block, status (complete, failed or missing), hpo_trials.
        scores: a row per score of a complete run: run and item (rows of `runs` and `items`), value, and where they are
            given se (its standard error), eval_hash, example (what was scored) and cluster (what examples share).
        items: a row per item (a domain, or domain/shift): item, group.
        plan: what judges them; levels as text.
        planned: cell -> number of runs that were to be.
        notes: what a reader must know about how the data were read.
        whole: what belongs to a run as a whole: run, metric, value.
        curves: the metric at several budgets: run, budget, value.
        searched: a row per tuning trial: cell, value.
        folds: whether the runs of a cell are cross-validation folds, `declared` as such or not.
        summaries: whether there are no runs: a row is a score and its standard error.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    items: pd.DataFrame
    plan: Plan
    planned: Mapping[Cell, int]
    notes: tuple[str, ...] = ()
    whole: pd.DataFrame = field(default_factory=lambda: _no_rows("run", "metric", "value"))
    curves: pd.DataFrame = field(default_factory=lambda: _no_rows("run", "budget", "value"))
    searched: pd.DataFrame = field(default_factory=lambda: _no_rows("cell", "value"))
    folds: Literal["none", "declared", "undeclared"] = "none"
    summaries: bool = False


def read_records(records: Records, metric: str) -> Source:
    """Records as a source. Rows of tuning trials (phase `search`) are left out and counted in a note.

    Raises:
        RecordsError: no complete trial has the metric.
    """
    plan, frame = textual(records.plan), records.frame
    keys = [f.key for f in plan.factors]
    searched = frame["phase"] == SEARCH
    notes = []
    if searched.any():
        notes.append(f"{frame[searched]['trial'].nunique()} tuning trials are not evidence and were left out.")
    tuning, frame = frame[searched & (frame["metric"] == metric)], frame[~searched]
    first = frame.drop_duplicates("trial")
    runs = pd.DataFrame(
        {
            "run": first["trial"].to_numpy(),
            "cell": _cells(first, keys),
            "block": first["block"].fillna(first["seed"]).to_numpy(),
            "status": [s if s == "complete" else "failed" if s in FAILED else "missing" for s in first["status"]],
            "hpo_trials": first["hpo_trials"].to_numpy(float, na_value=np.nan),
        }
    )
    place = pd.Series(np.arange(len(runs)), index=runs["run"])
    done = frame[frame["status"] == "complete"]
    rows = done[done["metric"] == metric]
    if rows.empty and tuning.empty:
        known = sorted(done["metric"].dropna().unique())
        raise RecordsError(f"no complete trial has the metric {metric!r}", where="metric", allowed=known, word=metric)
    if (rows["domain_group"] != WHOLE).any():
        rows = rows[rows["domain_group"] != WHOLE]
    names = rows["domain"].where(rows["shift"] == CLEAN, rows["domain"] + "/" + rows["shift"])
    codes, items = pd.factorize(names)
    groups = rows["domain_group"].to_numpy()[np.unique(codes, return_index=True)[1]]
    scores = pd.DataFrame(
        {
            "run": place[rows["trial"]].to_numpy(),
            "item": codes,
            "value": rows["value"].to_numpy(),
            "se": rows["score_se"].to_numpy(),
            "eval_hash": rows["eval_hash"].to_numpy(),
        }
    )
    absent = [group for group in plan.domains if group not in set(groups)]
    if absent:
        notes.append(f"declared domain groups without any score: {', '.join(absent)}")
    other = done[(done["domain_group"] == WHOLE) & (done["metric"] != metric)]
    curve = done[done["metric"].str.startswith(metric + AT, na=False)]
    budgets = pd.to_numeric(curve["metric"].str.removeprefix(metric + AT), errors="coerce")
    return Source(
        runs,
        _drop_empty(scores),
        pd.DataFrame({"item": items, "group": groups}),
        plan,
        _owed(plan, runs),
        tuple(notes),
        whole=_by_run(place[other["trial"]], other["value"], metric=other["metric"]),
        curves=_by_run(place[curve["trial"]], curve["value"], budget=budgets).dropna(),
        searched=pd.DataFrame({"cell": _cells(tuning, keys), "value": tuning["value"].to_numpy()}),
    )


def _owed(plan: Plan, runs: pd.DataFrame) -> dict[Cell, int]:
    """Cell -> its runs if all is done: of every seed; or, where seeds are added until decided, those begun."""
    begun = Counter(runs["cell"])
    return {cell: len(plan.seeds) if plan.analysis.stopping == "fixed" else begun[cell] for cell in plan.cells}


def textual(plan: Plan) -> Plan:
    """The same plan with every level as its printed name, as the records have them."""
    comparisons = tuple(make_comparison(c) for c in plan.analysis.comparisons)
    return replace(
        plan,
        factors=tuple(
            Factor(f.key, tuple(map(level_name, f.levels)), baseline=level_name(f.baseline), role=f.role)
            for f in plan.factors
        ),
        cells=tuple(Cell(_names(cell)) for cell in plan.cells),
        analysis=replace(plan.analysis, comparisons=comparisons),
    )


def make_comparison(value: Comparison | Mapping[str, Any]) -> Comparison:
    """A comparison from a value or plain mapping, levels as text."""
    if not isinstance(value, Comparison):
        (value,) = Analysis.from_dict({"comparisons": [value]}).comparisons
    base = None if value.base is None else _names(value.base)
    return replace(value, cell=_names(value.cell), versus=_names(value.versus), base=base)


def _names(levels: Mapping[str, Any]) -> dict[str, Any]:
    return {key: level_name(level) for key, level in levels.items()}


def _cells(frame: pd.DataFrame, keys: list[str]) -> NDArray[np.object_]:
    """The cell of every row."""
    made = [Cell(dict(zip(keys, row, strict=True))) for row in frame[keys].itertuples(index=False, name=None)]
    cells = np.empty(len(made), dtype=object)
    cells[:] = made
    return cells


def _by_run(run: "pd.Series[Any]", value: "pd.Series[Any]", **key: "pd.Series[Any]") -> pd.DataFrame:
    """The mean of a run's values for each of another column's."""
    ((name, column),) = key.items()
    frame = pd.DataFrame({"run": np.asarray(run), name: np.asarray(column), "value": np.asarray(value, float)})
    return frame.groupby(["run", name], sort=False)["value"].mean().reset_index()


def _drop_empty(scores: pd.DataFrame) -> pd.DataFrame:
    """Without the optional columns in which nothing stands."""
    empty = [name for name in ("se", "eval_hash") if name in scores and scores[name].isna().all()]
    return scores.drop(columns=empty)
