"""Sources: records, or anybody's frame, in one shape: runs, their scores, and the plan that judges them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ablate.analyses import Analysis, Comparison
from ablate.designs import cumulative, full_factorial, leave_one_out, one_at_a_time
from ablate.errors import RecordsError
from ablate.factors import Cell, Factor, level_name
from ablate.plans import CLEAN, WHOLE, Plan
from ablate.records import Records

FAILED = ("failed", "lost")  # a preempted trial resumes: it is missing, not failed


@dataclass(frozen=True)
class Source:
    """What is analysed.

    Attributes:
        runs: a row per training run: run (unique), cell, block, status (complete, failed or missing).
        scores: a row per score of a complete run: run, group, item (domain, or domain/shift), value.
        plan: what judges them; levels as text.
        planned: cell -> number of runs that were to be.
        notes: what a reader must know about how the data were read.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    plan: Plan
    planned: Mapping[Cell, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Which columns of a frame hold what; see `attribution.attribute`."""

    factors: Sequence[str] | Mapping[str, Sequence[Any]]
    run: str
    value: str
    domain: str | None = None
    shift: str | None = None
    block: str | None = None
    status: str | None = None
    across: Sequence[str] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict)

    @property
    def used(self) -> list[str]:
        """Every column named."""
        named = [*self.factors, self.run, self.value, self.domain, self.shift, self.block, self.status]
        return [column for column in named if column is not None]


def read_records(records: Records, metric: str) -> Source:
    """Records as a source. Rows of tuning trials (phase `search`) are left out and counted in a note.

    Raises:
        RecordsError: no complete trial has the metric.
    """
    plan, frame = textual(records.plan), records.frame
    searched = frame["phase"] == "search"
    notes = [f"{frame[searched]['trial'].nunique()} tuning trials are not evidence and were left out"]
    frame = frame[~searched]
    runs = frame.drop_duplicates("trial").rename(columns={"trial": "run"})
    runs = _runs(runs, plan, runs["block"].fillna(runs["seed"]), runs["status"])
    rows = frame[(frame["status"] == "complete") & (frame["metric"] == metric)]
    if rows.empty:
        known = sorted(frame.loc[frame["status"] == "complete", "metric"].dropna().unique())
        raise RecordsError(f"no complete trial has the metric {metric!r}", where="metric", allowed=known, word=metric)
    if (rows["domain_group"] != WHOLE).any():
        rows = rows[rows["domain_group"] != WHOLE]
    item = rows["domain"].where(rows["shift"] == CLEAN, rows["domain"] + "/" + rows["shift"])
    scores = pd.DataFrame({"run": rows["trial"], "group": rows["domain_group"], "item": item, "value": rows["value"]})
    absent = [group for group in plan.domains if group not in set(scores["group"])]
    if absent:
        notes.append(f"declared domain groups without any score: {', '.join(absent)}")
    planned = dict.fromkeys(plan.cells, len(plan.seeds))
    return Source(runs, scores, plan, planned, tuple(notes if searched.any() else notes[1:]))


def read_frame(frame: pd.DataFrame, columns: Columns, **declared: Any) -> Source:
    """Any long table as a source. A run with a missing or infinite score counts as failed.

    Args:
        frame: a row per score.
        columns: which columns hold what.
        declared: metric, direction, margin and analysis of the plan.

    Raises:
        RecordsError: a column is not there, a level is missing, or the block of a run is unknown.
        PlanError: a declared level or baseline is not in the data.
    """
    for column in columns.used:
        if column not in frame:
            raise RecordsError(f"no column {column!r}", where="attribute", allowed=map(str, frame), word=column)
    frame = frame.reset_index(drop=True)
    names = list(columns.factors)
    levels = pd.DataFrame({key: _level_names(frame[key]) for key in names})
    factors = _factors(levels, columns)
    cells = [Cell(dict(zip(names, row, strict=True))) for row in levels.itertuples(index=False, name=None)]
    order = {cell: i for i, cell in enumerate(full_factorial(factors))}
    distinct = sorted(set(cells), key=order.__getitem__)
    runs, note = _identify(frame, cells, columns)
    plan = Plan(
        name="frame",
        factors=factors,
        cells=tuple(distinct),
        seeds=(0,),
        design=_design(factors, distinct),
        blocking="seed" if columns.block else "none",
        **declared,
    )
    item = frame[columns.domain].map(str) if columns.domain else pd.Series(WHOLE, frame.index)
    scores = pd.DataFrame(
        {"run": runs["run"], "group": item, "item": item, "value": frame[columns.value].astype(float)}
    )
    if columns.shift:
        scores["item"] = item + "/" + frame[columns.shift].map(str)
    finished = np.isfinite(scores["value"])
    if columns.status:
        finished &= frame[columns.status] == "complete"
    failed = set(scores.loc[~finished, "run"])
    status = runs["run"].map(lambda run: "failed" if run in failed else "complete")
    runs = _runs(runs.drop_duplicates("run"), plan, runs["block"], status)
    per_cell = runs["cell"].map(plan.cells.index).value_counts()
    blocks = int(runs["block"].nunique()) if columns.block else 0
    planned = {cell: blocks or int(per_cell[i]) for i, cell in enumerate(plan.cells)}
    return Source(runs, scores[~scores["run"].isin(failed)], plan, planned, note)


def textual(plan: Plan) -> Plan:
    """The same plan with every level as its printed name, as the records have them."""
    comparisons = tuple(replace(c, cell=_names(c.cell), versus=_names(c.versus)) for c in plan.analysis.comparisons)
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
    return replace(value, cell=_names(value.cell), versus=_names(value.versus))


def _names(levels: Mapping[str, Any]) -> dict[str, Any]:
    return {key: level_name(level) for key, level in levels.items()}


def _runs(frame: pd.DataFrame, plan: Plan, block: pd.Series, status: pd.Series) -> pd.DataFrame:
    if "cell" in frame:
        cells = frame["cell"].tolist()
    else:
        keys = [f.key for f in plan.factors]
        cells = [Cell(dict(zip(keys, row, strict=True))) for row in frame[keys].itertuples(index=False, name=None)]
    status = status.loc[frame.index].map(lambda s: s if s == "complete" else "failed" if s in FAILED else "missing")
    return pd.DataFrame(
        {"run": frame["run"].tolist(), "cell": cells, "block": block.loc[frame.index].tolist(), "status": list(status)}
    )


def _level_names(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if column.isna().any():
        raise RecordsError("a level is missing", where=str(column.name), remedy="give every row its level")
    return column.map(lambda level: level_name(level.item() if hasattr(level, "item") else level))


def _factors(levels: pd.DataFrame, columns: Columns) -> tuple[Factor, ...]:
    made = []
    for key in columns.factors:
        found = list(dict.fromkeys(levels[key]))
        if isinstance(columns.factors, Mapping):
            declared = [level_name(level) for level in columns.factors[key]]
            strange = [level for level in found if level not in declared]
            if strange:
                raise RecordsError(f"levels that were not declared: {', '.join(strange)}", where=key, allowed=declared)
            found = declared
        baseline = level_name(columns.baseline[key]) if key in columns.baseline else found[0]
        role = "across" if key in columns.across else "factor"
        made.append(Factor(str(key), tuple(found), baseline=baseline, role=role))  # type: ignore[arg-type]
    for name, keys in (("baseline", columns.baseline), ("across", columns.across)):
        for key in keys:
            if key not in columns.factors:
                raise RecordsError(f"{key!r} is not a factor", where=name, allowed=columns.factors, word=key)
    return tuple(made)


def _identify(frame: pd.DataFrame, cells: list[Cell], columns: Columns) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Runs by cell and run column: a seed that recurs in another cell is another training."""
    ids = frame[columns.run]
    if ids.isna().any():
        raise RecordsError("a row belongs to no run", where=columns.run, remedy="give every row the id of its run")
    named = pd.DataFrame({"id": ids.map(str), "cell": cells}, index=frame.index)
    block = frame[columns.block] if columns.block else pd.Series(np.nan, frame.index)
    if columns.block and block.isna().any():
        raise RecordsError("a run has no block", where=columns.block, remedy="give every run its block, or none at all")
    per_id = named.groupby("id")["cell"].nunique()
    note: tuple[str, ...] = ()
    if (per_id > 1).any():
        named["run"] = [f"{cell} {columns.run}={i}" for i, cell in zip(named["id"], cells, strict=True)]
        if not columns.block:
            note = (
                f"values of `{columns.run}` recur across cells and were taken as different trainings; where equal "
                f'ones share randomness, say `block="{columns.run}"`',
            )
    else:
        named["run"] = named["id"]
    named["block"] = block
    changing = named.groupby("run")["block"].nunique() > 1
    if changing.any():
        raise RecordsError(f"run {changing.idxmax()} is in several blocks", where=str(columns.block))
    return named, note


def _design(factors: Sequence[Factor], cells: Sequence[Cell]) -> str:
    compared = [f for f in factors if f.role == "factor"]
    inner = {Cell({f.key: cell[f.key] for f in compared}) for cell in cells}
    for design in (full_factorial, one_at_a_time, cumulative, leave_one_out):
        if inner == set(design(compared)):
            return design.__name__
    return "frame"
