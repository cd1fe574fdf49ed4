"""Records: the one tidy table, a row per (trial, domain, shift, metric), with the plan that made it.

Failures stay as rows with a status and a reason. Quantities of the whole run (parameters, seconds, latency)
stand in the domain `all`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ablate.carriers import find_carrier
from ablate.errors import RecordsError
from ablate.factors import Trial, is_text, level_name
from ablate.measurements import OPTIONAL, find_values, measurements
from ablate.plans import CLEAN, WHOLE, Plan

__all__ = ["CLEAN", "COLUMNS", "STATUSES", "WHOLE", "Records", "measurements"]

STATUSES = ("complete", "failed", "diverged", "pruned", "lost", "preempted")

# column -> dtype, in the order of the file; the factor columns (text: level names) stand after `trial`.
COLUMNS: dict[str, str] = {
    "trial": "str",
    "seed": "Int64",
    "block": "Int64",
    "phase": "str",
    "domain_group": "str",
    "domain": "str",
    "shift": "str",
    "metric": "str",
    "value": "float64",
    "n_examples": "Int64",
    "score_se": "float64",
    "eval_hash": "str",
    "hpo_trials": "Int64",
    "status": "str",
    "reason": "str",
    "attempt": "Int64",
    "seconds": "float64",
    "hardware": "str",
}
PLACE = ["trial", "domain", "shift", "metric"]  # what one row is about


@dataclass(frozen=True, eq=False)
class Records:
    """The tidy table of a study and its plan.

    Attributes:
        frame: the columns of `COLUMNS` and one text column per factor (level names); where nuisances are tuned, one
            more per nuisance, and `proposal`; where there are evaluation factors, `carried_by`: the trial from whose
            training run a trial was measured, which has its seconds too.
        plan: what was to be run.

    Raises:
        RecordsError: a column is missing or of the wrong type, a row belongs to no cell or seed of the plan, one
            trial has two, a value stands twice, or a complete row has no finite value.
    """

    frame: pd.DataFrame
    plan: Plan = field(repr=False)

    def __post_init__(self) -> None:
        kinds = _columns(self.plan)
        missing = [c for c in kinds if c not in self.frame]
        if missing:
            raise RecordsError(f"columns are missing: {', '.join(missing)}", where="records", allowed=[*self.frame])
        try:
            frame = self.frame[list(kinds)].astype(kinds)
        except (ValueError, TypeError) as error:
            raise RecordsError(f"a column has the wrong type: {error}", where="records") from error
        frame.attrs = {}
        for f in self.plan.factors:
            known = [level_name(level) for level in f.levels]
            strange = sorted({str(level) for level in frame[f.key].unique()} - set(known))
            if strange:
                raise RecordsError(f"levels the plan does not have: {', '.join(strange)}", where=f.key, allowed=known)
        strange = sorted({str(status) for status in frame["status"].unique()} - set(STATUSES))
        if strange:
            raise RecordsError(f"unknown status: {', '.join(strange)}", where="status", allowed=STATUSES)
        _check_trials(frame, self.plan)
        _check_values(frame)
        object.__setattr__(self, "frame", frame.reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        rows = self.frame[self.frame["phase"] == "confirm"]
        done, failed = (
            rows["trial"][own].nunique() for own in (rows["status"] == "complete", rows["status"] != "complete")
        )
        head = f"Records of {self.plan.name!r}: {done} of {len(self.plan.trials)} trials complete, {failed} failed"
        return f"{head}\n{self.frame!r}"

    @property
    def complete(self) -> pd.DataFrame:
        """Rows of the trials that finished: what statistics are made from."""
        return self.frame[self.frame["status"] == "complete"]

    @property
    def failures(self) -> pd.DataFrame:
        """Rows of the trials that have no complete attempt: status and reason instead of a value."""
        return self.frame[self.frame["status"] != "complete"]

    def of_trials(self, trials: Iterable[Trial]) -> Self:
        """The records of some of the trials that report, and of all that tune."""
        ids = {trial.id for trial in trials}
        kept = self.frame["trial"].isin(ids) | (self.frame["phase"] != "confirm")
        return type(self)(self.frame[kept], self.plan)

    @classmethod
    def of(cls, plan: Plan, outcomes: Mapping[str, Mapping[str, Any]]) -> Self:
        """Records of a plan from its trials' outcomes (trial id -> record), in the plan's own order of cells and seeds.

        Trials without an outcome are left out; see `Plan.trials` for what is owed. Tuning trials stand last.
        """
        place = {cell: i for i, cell in enumerate(plan.cells)}
        ordered = sorted(plan.trials, key=lambda t: (place[t.cell], plan.seeds.index(t.seed)))
        rows = [
            row
            for trial in [*ordered, *plan.search_trials()]
            if trial.id in outcomes
            for row in _rows(trial, outcomes[trial.id], plan)
        ]
        return cls(pd.DataFrame(rows, columns=list(_columns(plan))), plan)

    def write(self, path: Path) -> Path:
        """Write as CSV or Parquet, by the suffix. A Parquet file holds the plan; beside a CSV lies `plan.json`."""
        if path.suffix == ".parquet":
            frame = self.frame.copy()
            frame.attrs["plan"] = json.dumps(self.plan.to_dict())
            frame.to_parquet(path, index=False)
        elif path.suffix == ".csv":
            self.frame.to_csv(path, index=False, lineterminator="\n")
        else:
            raise RecordsError(f"cannot write {path.suffix!r}", where=str(path), allowed=[".csv", ".parquet"])
        return path

    @classmethod
    def read(cls, path: Path, plan: Plan | None = None) -> Self:
        """Records from a CSV (with `plan.json` beside it, unless given) or a Parquet file."""
        if not path.is_file():
            raise RecordsError("there are no records", where=str(path), remedy="run the study first")
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            if plan is None and "plan" not in frame.attrs:
                raise RecordsError("the file carries no plan", where=str(path), remedy="give `plan=`")
            plan = plan or Plan.from_dict(json.loads(frame.attrs["plan"]))
        else:
            plan = plan or Plan.read(path.parent)
            kinds = _columns(plan)
            # "null" and "NA" are level names here; only the empty field is missing
            try:
                frame = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
            except ValueError as error:
                raise RecordsError(f"the table cannot be read: {error}", where=str(path)) from error
        return cls(frame, plan)

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """The inverse of `of`: trial id -> record; what a study resumes from when its `runs/` are not there."""
        found: dict[str, dict[str, Any]] = {}
        for row in self.frame.to_dict("records"):
            row = {str(k): None if pd.isna(v) else v for k, v in row.items()}
            head = {k: row[k] for k in ("status", "reason", "attempt", "seconds", "hardware")}
            if self.plan.tuning:
                head["settings"] = {n.key: row[n.key] for n in self.plan.tuning.space if row[n.key] is not None}
                head["hpo_trials"] = row["hpo_trials"]
            outcome = found.setdefault(row["trial"], {**head, "rows": []})
            if row["metric"] is not None:
                keep = ("domain_group", "domain", "shift", "metric", "value", *OPTIONAL)
                outcome["rows"].append({k: row[k] for k in keep if row[k] is not None})
        for outcome in found.values() if self.plan.tuning else ():
            if values := find_values(outcome["rows"], self.plan):
                outcome["values"] = values
        return found


def _check_trials(frame: pd.DataFrame, plan: Plan) -> None:
    """Every row is a cell and seed of the plan, and one trial is one of them."""
    keys = [f.key for f in plan.factors]
    seeds = {"confirm": plan.seeds, "search": plan.tuning.seeds if plan.tuning else ()}
    cells = [tuple(level_name(cell[key]) for key in keys) for cell in plan.cells]
    owed = {(*cell, seed, phase) for phase in seeds for cell in cells for seed in seeds[phase]}
    found = frame[["trial", *keys, "seed", "phase"]].drop_duplicates()
    for row in found.itertuples(index=False, name=None):
        if row[1:] not in owed:
            named = ", ".join(f"{key}={value}" for key, value in zip([*keys, "seed", "phase"], row[1:], strict=True))
            raise RecordsError(
                f"trial {row[0]} is not in the plan: {named}",
                where="records",
                remedy="read them with the plan they were made with",
            )
    twice = found["trial"][found["trial"].duplicated() | found["trial"].isna()]
    if len(twice):
        raise RecordsError(f"trial {twice.iloc[0]} stands for several cells or seeds", where="trial")


def _check_values(frame: pd.DataFrame) -> None:
    """A complete row has a finite value, once."""
    complete = frame[frame["status"] == "complete"]
    bad = complete[~np.isfinite(complete["value"]) | complete["metric"].isna()]
    if len(bad):
        row = bad.iloc[0]
        raise RecordsError(f"trial {row['trial']} is complete, but {row['metric']} is {row['value']}", where="value")
    twice = complete[complete.duplicated(PLACE)]
    if len(twice):
        named = ", ".join(f"{key} {twice.iloc[0][key]}" for key in PLACE)
        raise RecordsError(f"a value stands twice: {named}", where="records", remedy="keep one row of each")


def _columns(plan: Plan) -> dict[str, str]:
    """Column -> dtype of a plan's records, in the order of the file."""
    space = plan.tuning.space if plan.tuning else ()
    tuned = {**{n.key: "Int64" if n.integer else "float64" for n in space}, **({"proposal": "Int64"} if space else {})}
    keys = {f.key: "str" for f in plan.factors} | ({"carried_by": "str"} if plan.evaluation else {})
    return {"trial": "str", **keys, **tuned, **{name: kind for name, kind in COLUMNS.items() if name != "trial"}}


def _rows(trial: Trial, outcome: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    shared = plan.blocked and trial.phase == "confirm"
    head: dict[str, Any] = {
        "trial": trial.id,
        **{key: level_name(level) for key, level in trial.cell.items()},
        **(outcome.get("settings") or {}),
        "proposal": trial.proposal,
        "seed": trial.seed,
        "block": trial.seed if shared else None,
        "phase": trial.phase,
        **{key: outcome.get(key) for key in ("status", "reason", "attempt", "seconds", "hardware", "hpo_trials")},
    }
    if plan.carriers[trial.cell] != trial.cell:  # its seconds are its carrier's
        head |= {"carried_by": find_carrier(plan, trial).id, "seconds": None}
    if head["reason"] is not None:  # an exception's text: anything
        head["reason"] = "".join(c if is_text(c) else " " for c in head["reason"])
    return [{**head, **row} for row in outcome.get("rows") or [{}]]
