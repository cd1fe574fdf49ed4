"""Trackers: CSV exports of Weights & Biases and of MLflow as readings."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ablate.errors import RecordsError
from ablate.readers.columns import as_numbers, unpivot
from ablate.readers.dialects import peek, sniff
from ablate.readers.readings import COMPLETE, FAILED, LOST, RUNNING, Reading, require_column
from ablate.readers.tables import read_tables

STATUS = {
    "finished": COMPLETE,
    "failed": FAILED,
    "crashed": LOST,
    "killed": LOST,
    "running": RUNNING,
    "pending": RUNNING,
    "scheduled": RUNNING,
}
BOOKKEEPING = ("Notes", "User", "Tags", "Created", "Source Type", "Source Name", "Start Time", "Duration")
RUN_NAME = "tags.mlflow.runName"
UNTOLD = "The export does not tell configuration from scores: name the column of scores and the factors."


def read_run_table(paths: Sequence[Path], text: Sequence[str] = ()) -> Reading:
    """A run table as the web pages of W&B (`Name`, `State`) or MLflow (`Run ID`, `Status`) export it: a row per run.

    The column `run` is the run's identifier, or its name; where a name stands twice, the row is added to it.

    Raises:
        RecordsError: not such a table, or a state that neither tool knows.
    """
    frame = read_tables(paths, text)
    tool = "MLflow" if "Run ID" in frame else "W&B"
    identity, state = ("Run ID", "Status") if tool == "MLflow" else ("ID" if "ID" in frame else "Name", "State")
    for column in (identity, state):
        require_column(frame, column, str(paths[0]))
    names = frame[identity].astype("str")
    twice = names.duplicated(keep=False)
    numbered = names + " (row " + (frame.index + 1).astype("str") + ")"
    frame = frame.rename(columns={"run": "config.run", "status": "config.status"})
    frame.insert(0, "run", names.where(~twice, numbered))
    frame.insert(1, "status", _translate(frame[state], str(paths[0])))
    swept = "Sweep" in frame and bool(frame["Sweep"].notna().any())
    notes = [f"Read {len(frame)} runs from the run table of {tool}.", UNTOLD]
    if twice.any():
        notes.append(f"{int(twice.sum())} runs share a name with another; they are kept apart by their row.")
    if swept:
        notes.append("Runs of a sweep are there: if it was not a grid, their settings were chosen by their scores.")
    frame = frame.drop(columns=[state, *[c for c in BOOKKEEPING if c in frame]])
    return Reading(frame, {"run": "run", "status": "status"}, tuple(notes), tuple(map(str, paths)))


def read_history(paths: Sequence[Path], curve: bool = False) -> Reading:
    """A chart as W&B exports it: a step, then `run - metric`, `run - metric__MIN` and `__MAX` for every run.

    Args:
        paths: the files; all with the same first column.
        curve: every value by step, not only the last of each run.

    Raises:
        RecordsError: a column that is not `run - metric`.
    """
    parts = []
    for path in paths:
        clock, *names = read_header(path)
        wanted = [name for name in names if not name.endswith(("__MIN", "__MAX"))]
        odd = [name for name in wanted if " - " not in name]
        if odd:
            raise RecordsError(f"the column {odd[0]!r} is not `run - metric`", where=str(path))
        frame = read_tables([path], names)  # as text: a gap differs from NaN
        parts.append(frame[[clock, *wanted]].rename(columns={clock: "step"}).melt("step", var_name="series"))
    long = pd.concat(parts, ignore_index=True).dropna(subset="value")
    split = long.pop("series").str.rsplit(" - ", n=1, expand=True)
    long = long.assign(run=split[0], metric=split[1], value=as_numbers(long["value"]))[
        ["run", "metric", "step", "value"]
    ]
    if not curve:
        long = long.drop_duplicates(["run", "metric"], keep="last")
    roles = {"run": "run", "metric": "metric", "value": "value", **({"budget": "step"} if curve else {})}
    kept = "Every logged value, by step." if curve else "A run's score is what it logged last, not its best."
    notes = (f"Read the charts of {long['run'].nunique()} runs from W&B; they say nothing of configuration.", kept)
    return Reading(long.reset_index(drop=True), roles, notes, tuple(map(str, paths)))


def read_mlflow(paths: Sequence[Path]) -> Reading:
    """Runs as `mlflow.search_runs().to_csv` and `mlflow experiments csv` write them: a row per run and metric.

    Parameters and tags are columns without their prefix, as text; MLflow's own tags are left out. An empty metric
    stays as NaN: the file does not tell a metric that was never logged from one that was NaN.

    Raises:
        RecordsError: no metrics, or a status that MLflow does not know.
    """
    header = read_header(paths[0])
    frame = read_tables(paths, [name for name in header if name.startswith(("params.", "tags."))])
    metrics = [name for name in header if name.startswith("metrics.")]
    if not metrics:
        raise RecordsError("no run logged a metric", where=str(paths[0]), allowed=["metrics.*"])
    for column in ("run_id", "status", "start_time", "end_time"):
        require_column(frame, column, str(paths[0]))
    frame["status"] = _translate(frame["status"], str(paths[0]))
    start, end = (pd.to_datetime(frame[name], utc=True, errors="coerce") for name in ("start_time", "end_time"))
    frame["seconds"] = (end - start).dt.total_seconds()
    names = _shorten([name for name in header if name.startswith(("params.", "tags."))])
    frame = frame.rename(columns=names)
    keys = ["run_id", *names.values(), "status", "seconds"]
    long = unpivot(frame, metrics, keys, "metric")
    long["metric"] = long["metric"].str.removeprefix("metrics.")
    empty = int(long["value"].isna().sum())
    notes = (
        f"Read {len(frame)} runs of MLflow and {len(metrics)} metric(s), each run's last value.",
        *[f"{empty} metric fields are empty: never logged, or NaN; they stay as NaN."] * bool(empty),
    )
    roles = {"run": "run_id", "status": "status", "metric": "metric", "value": "value"}
    return Reading(long, roles, notes, tuple(map(str, paths)))


def _shorten(columns: Sequence[str]) -> dict[str, str]:
    """Columns of parameters and of tags other than MLflow's own -> names without the prefix, where that is free."""
    taken = {"run_id", "status", "seconds", "metric", "value"}
    names = {RUN_NAME: "run_name"} if RUN_NAME in columns else {}
    for column in sorted(columns):  # parameters first
        short = column.partition(".")[2]
        if not column.startswith("tags.mlflow."):
            names[column] = column if short in taken | {*names.values()} else short
    return names


def read_header(path: Path) -> tuple[str, ...]:
    """The names of a text table's columns."""
    return sniff(peek(path), str(path)).header


def _translate(states: pd.Series, where: str) -> pd.Series:
    words = states.astype("str").str.lower()
    strange = sorted(set(words.dropna()) - set(STATUS))
    if strange or words.isna().any():
        raise RecordsError(f"unknown state {(strange or ['(empty)'])[0]!r}", where=where, allowed=STATUS)
    return words.map(STATUS).astype("str")
