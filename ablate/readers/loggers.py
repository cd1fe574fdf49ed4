"""Loggers: folders of Lightning's CSVLogger as a reading, a row per run and metric."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.errors import RecordsError
from ablate.readers.columns import as_numbers
from ablate.readers.dialects import HEADER_ONLY, peek, sniff
from ablate.readers.documents import flatten, frame_of_rows
from ablate.readers.readings import COMPLETE, LOST, Reading, list_files
from ablate.readers.tables import name_files
from ablate.readers.texts import read_texts

METRICS, HPARAMS = "metrics.csv", "hparams.yaml"
CLOCKS = ("step", "epoch")
OWN = ("run", "status", "domain", "metric", "value", *CLOCKS)
LOADER = "/dataloader_idx_"
YAML_BYTES, YAML_KEYS = 1 << 20, 10_000


def read_runs(roots: Sequence[Path], curve: bool = False) -> Reading:
    """Runs of Lightning's CSVLogger: every folder under `roots` with a `metrics.csv` or a `hparams.yaml`.

    A run's score is what it logged last: of the `test_*` metrics if it has any, else of every metric. A last value
    of `nan` stays NaN, so a run that diverged is not read as its last good step. Several dataloaders of one metric
    are domains. Hyperparameters are columns, nested ones joined by dots; they are read as plain data, and no object
    that a file names is built.

    Args:
        roots: folders.
        curve: every logged value of the metrics that are not `test_*`, with `step` as the budget.

    Raises:
        RecordsError: no run, or a file that cannot be read.
    """
    files = [path for root in roots for path in list_files(root, (METRICS, HPARAMS)) if path.name in (METRICS, HPARAMS)]
    folders = sorted({path.parent for path in files})
    if not folders:
        raise RecordsError(f"no {METRICS} in any folder", where=", ".join(map(str, roots)))
    names = name_files([folder / METRICS for folder in folders])
    rows = []
    for folder, name in zip(folders, names, strict=True):
        run = {"run": str(Path(name).parent) if len(folders) > 1 else folder.name, **_read_hparams(folder / HPARAMS)}
        logged = _read_log(folder / METRICS)
        if logged.empty:
            rows.append({**run, "status": LOST, "metric": None, "value": math.nan})
        rows += [{**run, "status": COMPLETE, **_plain(row)} for row in _choose(logged, curve).to_dict("records")]
    frame = frame_of_rows(rows).astype({"value": "float64"})
    frame.loc[frame["status"] == LOST, "metric"] = None
    roles = {"run": "run", "status": "status", "metric": "metric", "value": "value"}
    roles |= {role: column for role, column in [("domain", "domain"), ("budget", "step")] if column in frame}
    if not curve:
        roles.pop("budget", None)
    lost = int((frame["status"] == LOST).sum())
    notes = (
        f"Read {len(folders)} runs of Lightning's CSVLogger.",
        "Every logged value of a run, by step." if curve else "A run's score is what it logged last, not its best.",
        *[f"{lost} runs logged nothing; they stay as lost."] * bool(lost),
    )
    return Reading(frame, roles, notes, tuple(map(str, roots)))


def _read_log(path: Path) -> pd.DataFrame:
    """What a run logged: metric, value, step and epoch; metric by metric, each in the order of the file."""
    nothing = pd.DataFrame({"metric": [], "value": []}, dtype="str")
    if not path.is_file() or not path.stat().st_size:
        return nothing
    try:
        header = sniff(peek(path), str(path)).header
    except RecordsError as error:
        if error.what == HEADER_ONLY:
            return nothing
        raise
    frame, _ = read_texts([path], frozenset(header))  # as text: a gap differs from NaN
    clocks = [clock for clock in CLOCKS if clock in frame]
    long = frame.melt(clocks, var_name="metric").dropna(subset="value", ignore_index=True)
    for column in ("value", *clocks):
        long[column] = as_numbers(long[column].rename(f"{column} of {path}"))
    return long


def _choose(logged: pd.DataFrame, curve: bool) -> pd.DataFrame:
    test = logged["metric"].str.startswith(("test_", "test/")).astype(bool)
    if curve:
        return logged[~test]
    return (logged[test] if test.any() else logged).drop_duplicates("metric", keep="last")


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    metric, _, loader = str(row["metric"]).partition(LOADER)
    when = {clock: int(row[clock]) for clock in CLOCKS if math.isfinite(row.get(clock, math.nan))}
    return {"metric": metric, **({"domain": loader} if loader else {}), "value": row["value"], **when}


# --- hyperparameters -------------------------------------------------------------------------------------------------


@cache
def _plain_loader() -> Any:
    """OmegaConf's safe YAML loader, to which a tag that names a Python object is the plain data beneath it."""
    from omegaconf._utils import get_yaml_loader

    loader = get_yaml_loader()
    loader.add_multi_constructor("tag:yaml.org,2002:python/", _read_plain)
    return loader


def _read_plain(loader: Any, _: str, node: Any) -> Any:
    if node.id == "mapping":
        return loader.construct_mapping(node, deep=True)
    if node.id == "sequence":
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) or node.tag.rpartition(":")[2]


def _read_hparams(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if path.stat().st_size > YAML_BYTES:
        raise RecordsError(f"more than {YAML_BYTES >> 20} MiB of hyperparameters", where=str(path))
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        values = _plain_loader()(text).get_single_data()
        size = _measure(values, {})
    except Exception as error:  # YAML's own errors, and aliases that hold themselves
        raise RecordsError(f"this is not YAML: {error!s:.120}", where=str(path)) from error
    if size > YAML_KEYS:
        raise RecordsError(f"{size:,} hyperparameters", where=str(path), allowed=[f"up to {YAML_KEYS:,}"])
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecordsError("hyperparameters are not a mapping", where=str(path))
    flat = flatten(values)
    return {f"hparams.{key}" if key in OWN else key: value for key, value in flat.items()}


def _measure(value: Any, known: dict[int, int]) -> int:
    """How many values there are once aliases are written out; one that holds itself raises RecursionError."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_measure(item, known) for item in inside)
    return known[id(value)]
