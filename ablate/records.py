"""Records: the one tidy table, a row per (trial, domain, shift, metric), with the plan that made it.

Failures stay as rows with a status and a reason. Quantities of the whole run (parameters, seconds, latency)
stand in the domain `all`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ablate.errors import PlanError, RecordsError, TrialError
from ablate.factors import Trial, is_text, level_name
from ablate.plans import CLEAN, WHOLE, Plan

__all__ = ["CLEAN", "COLUMNS", "STATUSES", "WHOLE", "Records", "measurements"]

STATUSES = ("complete", "failed", "lost", "preempted")

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
OPTIONAL = ("score_se", "eval_hash", "n_examples")
MEASUREMENT = ("domain", "shift", "metric", "value", *OPTIONAL)  # what a row of a task's result may hold
PLACE = ["trial", "domain", "shift", "metric"]  # what one row is about


def measurements(result: object, plan: Plan) -> list[dict[str, Any]]:
    """A task's result as rows: domain group, domain, shift, metric, value, and what else was given.

    Args:
        result: a number (the primary metric), `{metric: number}`, or rows (mappings with `metric`, `value` and
            optionally `domain`, `shift`, `n_examples`, `score_se`, `eval_hash`).
        plan: for the primary metric and the declared domain groups.

    Raises:
        TrialError: not numbers, NaN or infinite, an undeclared domain, a value given twice, a key that nobody
            reads, or the primary metric is missing.
    """
    result = _plain(result)
    if isinstance(result, Real):
        rows: list[Mapping[str, Any]] = [{"metric": plan.metric, "value": result}]
    elif isinstance(result, Mapping):
        rows = [{"metric": metric, "value": value} for metric, value in result.items()]
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes | pd.DataFrame):
        rows = list(result)
    else:
        raise TrialError(
            f"the task returned a {type(result).__name__}: {result!r:.80}",
            allowed=["a number", "{metric: number}", "rows with metric, value, domain, shift"],
        )
    made = [_measurement(row, plan) for row in rows]
    places = [tuple(row[key] for key in PLACE[1:]) for row in made]
    twice = (
        next((place for place in places if places.count(place) > 1), None) if len(set(places)) < len(places) else None
    )
    if twice:
        domain, shift, metric = twice
        raise TrialError(f"{metric} is given twice for domain {domain!r}, shift {shift!r}", where="the task's result")
    metrics = sorted({str(row["metric"]) for row in made})
    if plan.metric not in metrics:
        raise TrialError(
            f"the primary metric {plan.metric!r} was never logged",
            where="the task's result",
            allowed=metrics,
            remedy="log it where the task tests, or name one of these as `metric`",
            word=plan.metric,
        )
    return made


def _plain(value: object) -> object:
    """A zero-dimensional array or tensor as the number it holds; anything else as it is."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


def _measurement(row: object, plan: Plan) -> dict[str, Any]:
    where = "the task's result"
    if not isinstance(row, Mapping) or not {"metric", "value"} <= set(row):
        raise TrialError(f"a row without metric and value: {row!r:.120}", where=where)
    unknown = [key for key in row if key not in MEASUREMENT]
    if unknown:
        raise TrialError(f"unknown key {unknown[0]!r} in a row", where=where, allowed=MEASUREMENT, word=unknown[0])
    metric, domain, shift = str(row["metric"]), str(row.get("domain", WHOLE)), str(row.get("shift", CLEAN))
    if not all(map(is_text, (metric, domain, shift))):
        raise TrialError(f"a control character in {metric!r}, {domain!r} or {shift!r}", where=where)
    try:
        group = WHOLE if domain == WHOLE else plan.group_of(domain if shift == CLEAN else f"{domain}/{shift}")
    except PlanError as error:
        remedy = "declare it under `domains`, or do not return it"
        raise TrialError(error.what, where=where, allowed=error.allowed, remedy=remedy, word=domain) from error
    value = _number(row["value"], metric, where)
    extras = _extras({key: _plain(row[key]) for key in OPTIONAL if row.get(key) is not None}, where)
    return {"domain_group": group, "domain": domain, "shift": shift, "metric": metric, "value": value, **extras}


def _extras(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a row says beside its value, as the plain values that a record can hold."""
    extras: dict[str, Any] = {}
    if "score_se" in given:
        extras["score_se"] = _number(given["score_se"], "score_se", where)
        if extras["score_se"] < 0:
            raise TrialError(f"score_se is {given['score_se']}", where=where, allowed=["a number, not negative"])
    if "n_examples" in given:
        count = given["n_examples"]
        if not isinstance(count, Integral) or not 1 <= int(count) < 2**63:
            raise TrialError(f"n_examples is {count!r:.80}", where=where, allowed=["a whole number from 1"])
        extras["n_examples"] = int(count)
    if "eval_hash" in given:
        extras["eval_hash"] = str(given["eval_hash"])
        if not is_text(extras["eval_hash"]):
            raise TrialError(f"a control character in eval_hash {extras['eval_hash']!r:.80}", where=where)
    return extras


def _number(value: object, name: str, where: str) -> float:
    value = _plain(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TrialError(f"{name} is {value!r:.80}", where=where, allowed=["a number"])
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise TrialError(f"{name} is {number} (diverged)", where=where, allowed=["a finite number"])
    return number


@dataclass(frozen=True, eq=False)
class Records:
    """The tidy table of a study and its plan.

    Attributes:
        frame: the columns of `COLUMNS` and one text column per factor (level names).
        plan: what was to be run.

    Raises:
        RecordsError: a column is missing or of the wrong type, a row belongs to no cell or seed of the plan, one
            trial has two, a value stands twice, or a complete row has no finite value.
    """

    frame: pd.DataFrame
    plan: Plan = field(repr=False)

    def __post_init__(self) -> None:
        keys = [f.key for f in self.plan.factors]
        missing = [c for c in [*COLUMNS, *keys] if c not in self.frame]
        if missing:
            raise RecordsError(f"columns are missing: {', '.join(missing)}", where="records", allowed=[*self.frame])
        kinds = {**COLUMNS, **dict.fromkeys(keys, "str")}
        order = ["trial", *keys, *[c for c in COLUMNS if c != "trial"]]
        try:
            frame = self.frame[order].astype(kinds)
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
        done, failed = self.complete["trial"].nunique(), self.failures["trial"].nunique()
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

    @classmethod
    def of(cls, plan: Plan, outcomes: Mapping[str, Mapping[str, Any]]) -> Self:
        """Records of a plan from its trials' outcomes (trial id -> record), in the plan's own order of cells and seeds.

        Trials without an outcome are left out; see `Plan.trials` for what is owed.
        """
        place = {cell: i for i, cell in enumerate(plan.cells)}
        rows = [
            row
            for trial in sorted(plan.trials, key=lambda t: (place[t.cell], plan.seeds.index(t.seed)))
            if trial.id in outcomes
            for row in _rows(trial, outcomes[trial.id], plan)
        ]
        columns = ["trial", *[f.key for f in plan.factors], *[c for c in COLUMNS if c != "trial"]]
        return cls(pd.DataFrame(rows, columns=columns), plan)

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
            kinds = {**COLUMNS, **{f.key: "str" for f in plan.factors}}
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
            outcome = found.setdefault(row["trial"], {**head, "rows": []})
            if row["metric"] is not None:
                keep = ("domain_group", "domain", "shift", "metric", "value", *OPTIONAL)
                outcome["rows"].append({k: row[k] for k in keep if row[k] is not None})
        return found


def _check_trials(frame: pd.DataFrame, plan: Plan) -> None:
    """Every row is a cell and seed of the plan, and one trial is one of them."""
    keys = [f.key for f in plan.factors]
    owed = {(*map(level_name, (cell[key] for key in keys)), seed) for cell in plan.cells for seed in plan.seeds}
    found = frame[["trial", *keys, "seed"]].drop_duplicates()
    for row in found.itertuples(index=False, name=None):
        if row[1:] not in owed:
            named = ", ".join(f"{key}={value}" for key, value in zip([*keys, "seed"], row[1:], strict=True))
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


def _rows(trial: Trial, outcome: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    head: dict[str, Any] = {
        "trial": trial.id,
        **{key: level_name(level) for key, level in trial.cell.items()},
        "seed": trial.seed,
        "block": trial.seed if plan.blocking == "seed" else None,
        "phase": "confirm",
        **{key: outcome.get(key) for key in ("status", "reason", "attempt", "seconds", "hardware")},
    }
    if head["reason"] is not None:  # an exception's text: anything
        head["reason"] = "".join(c if is_text(c) else " " for c in head["reason"])
    return [{**head, **row} for row in outcome.get("rows") or [{}]]
