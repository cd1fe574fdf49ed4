"""Readers: results that others wrote, as one tidy frame: tables, studies, loggers, trackers, benchmarks.

`read` tells the formats apart, `guess` tells what the columns of a table without a format are.
"""

from collections.abc import Sequence
from pathlib import Path

from ablate.errors import RecordsError
from ablate.readers.benchmarks import SAMPLES, read_amlb, read_lm_eval
from ablate.readers.columns import as_numbers, as_text, unpivot
from ablate.readers.dialects import peek, sniff
from ablate.readers.guesses import assign_types, guess, guess_direction
from ablate.readers.loggers import HPARAMS, METRICS, read_runs
from ablate.readers.readings import ROLES, Reading, list_files
from ablate.readers.studies import read_study
from ablate.readers.tables import TEXTS, read_tables, suffix_of
from ablate.readers.trackers import read_history, read_mlflow, read_run_table
from ablate.records import COLUMNS

__all__ = [
    "KINDS",
    "ROLES",
    "Reading",
    "as_numbers",
    "as_text",
    "assign_types",
    "guess",
    "guess_direction",
    "read",
    "sniff_kind",
    "unpivot",
]

KINDS = ("table", "records", "optuna", "lightning", "wandb", "wandb_history", "mlflow", "lm_eval", "amlb")


def read(
    paths: Sequence[str | Path],
    *,
    kind: str | None = None,
    text: Sequence[str] = (),
    study_name: str | None = None,
    samples: bool = False,
    curve: bool = False,
) -> Reading:
    """Results of one kind, from files, folders or the URL of a database.

    Args:
        paths: what to read; several of one kind are read as one.
        kind: one of `KINDS`; found from the names and the first bytes unless given.
        text: columns of a table that stay text as written (factors with levels such as `1e-4`).
        study_name: which Optuna study, where a storage holds several.
        samples: lm-evaluation-harness: a row per item.
        curve: Lightning and charts of W&B: every logged value, by step.

    Raises:
        RecordsError: nothing there, files of several kinds, or a file that its reader refuses.
    """
    if not paths:
        raise RecordsError("no file is named", remedy="name a file, a folder or the URL of an Optuna storage")
    if kind is not None and kind not in KINDS:
        raise RecordsError(f"there is no kind {kind!r}", allowed=KINDS, word=kind)
    kinds = {path: kind or sniff_kind(path) for path in paths}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{path}: {name}" for path, name in kinds.items())
        raise RecordsError(f"results of several kinds ({found})", remedy="read one kind at a time")
    kind = next(iter(kinds.values()))
    if kind == "optuna":
        if len(paths) > 1:
            raise RecordsError("several storages of Optuna's", allowed=["one at a time"])
        return read_study(paths[0], study_name)
    files = [Path(path) for path in paths]
    if kind == "lightning":
        return read_runs([path if path.is_dir() else path.parent for path in files], curve)
    if kind == "lm_eval":
        return read_lm_eval(files, samples)
    if kind == "wandb_history":
        return read_history(files, curve)
    if kind == "wandb":
        return read_run_table(files, text)
    if kind in ("mlflow", "amlb"):
        return read_mlflow(files) if kind == "mlflow" else read_amlb(files)
    return _read_records(files, text) if kind == "records" else _read_table(files, text)


def sniff_kind(path: str | Path) -> str:
    """Which of `KINDS` a path is, from its name, its first bytes or, a folder, the files under it.

    Raises:
        RecordsError: there is nothing of a known kind.
    """
    if "://" in str(path):
        return "optuna"
    path = Path(path)
    if path.is_dir():
        return _sniff_folder(path)
    if (path.name.startswith("results_") and path.suffix == ".json") or SAMPLES.fullmatch(path.name):
        return "lm_eval"
    if path.suffix in (".db", ".sqlite", ".sqlite3", ".journal", ".log"):
        return "optuna"
    if suffix_of(path) not in TEXTS:
        return "table"
    names = sniff(peek(path), str(path)).header
    found = set(names)
    if path.name == METRICS and "step" in found and (path.parent / HPARAMS).exists():
        return "lightning"
    if {"run_id", "status"} <= found and any(
        name.startswith(("params.", "metrics.", "tags.mlflow.")) for name in names
    ):
        return "mlflow"
    if {"Name", "State"} <= found or {"Run ID", "Status", "Duration"} <= found:
        return "wandb"
    if any(name.endswith("__MIN") for name in names) and all(" - " in name for name in names[1:]):
        return "wandb_history"
    if {"task", "framework", "fold", "result"} <= found:
        return "amlb"
    return "records" if set(COLUMNS) <= found else "table"


def _sniff_folder(path: Path) -> str:
    names = {file.name for file in list_files(path, (".json", ".jsonl", ".csv"))}
    if any((name.startswith("results_") and name.endswith(".json")) or SAMPLES.fullmatch(name) for name in names):
        return "lm_eval"
    if METRICS in names:
        return "lightning"
    allowed = ["results_*.json of lm-evaluation-harness", "metrics.csv of Lightning's CSVLogger"]
    raise RecordsError("no results of a known kind", where=str(path), allowed=allowed, remedy="name the files")


def _read_table(paths: Sequence[Path], text: Sequence[str]) -> Reading:
    frame = read_tables(paths, text)
    return Reading(frame, {}, (f"Read {len(frame):,} rows.",), tuple(map(str, paths)))


def _read_records(paths: Sequence[Path], text: Sequence[str]) -> Reading:
    """Records of `ablate run`: the factors stand between `trial` and `seed`."""
    names = [*read_tables(paths[:1]).columns]
    factors = names[names.index("trial") + 1 : names.index("seed")]
    frame = read_tables(paths, [*factors, *text, "trial", "domain", "domain_group", "shift", "metric"])
    own = {role: role for role in ("block", "domain", "shift", "metric", "value", "status", "phase") if role in names}
    rest = {"run": "trial", "se": "score_se", "eval_hash": "eval_hash", "hpo_trials": "hpo_trials"}
    roles = {"factors": factors, **own, **rest}
    known = {role: column for role, column in roles.items() if role == "factors" or frame[column].notna().any()}
    note = f"Read {len(frame):,} rows of records of `ablate run`."
    return Reading(frame, known, (note,), tuple(map(str, paths)))
