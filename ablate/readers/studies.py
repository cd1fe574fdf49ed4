"""Studies of Optuna's as readings: a row per trial and objective. The storage is opened to read, never written."""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from ablate.errors import RecordsError
from ablate.factors import level_name
from ablate.readers.dialects import require_file
from ablate.readers.documents import flatten, frame_of_rows
from ablate.readers.readings import COMPLETE, FAILED, PRUNED, RUNNING, Reading

if TYPE_CHECKING:
    import optuna

STATUS = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED, "RUNNING": RUNNING}  # one that waits has not begun
OWN = ("trial", "status", "phase", "metric", "value", "seconds")
SQLITE = "sqlite:///"


def read_study(source: str | Path, study_name: str | None = None) -> Reading:
    """The trials of an Optuna study.

    Parameters and user attributes are columns of their own names; a name that is taken gets `params.` or
    `user_attrs.` before it. Trials are in the search phase, except those that `ablate run` booked: a sampler that
    looks at scores chose their parameters, so their scores are no fair sample of what these parameters give.

    Args:
        source: the URL of a database, the path of a SQLite file, or the path of a journal file.
        study_name: which study, where the storage holds several.

    Raises:
        RecordsError: no storage of Optuna's, no such study, several and none is named, or no trial.
    """
    where = re.sub(r"//[^/@]*@", "//", str(source))
    study = _load(source, study_name, where)
    trials = study.get_trials(deepcopy=False)
    own = "excluded_booked" in study.user_attrs
    metrics = _name_objectives(study)
    kept = [t for t in trials if t.user_attrs.get("status") != "excluded" and t.state.name in STATUS]
    if not kept:
        raise RecordsError(f"the study {study.study_name!r} has no trials", where=where)
    categorical = sorted({n for t in kept for n, d in t.distributions.items() if hasattr(d, "choices")})
    names = {name: f"params.{name}" if name in OWN else name for t in kept for name in t.params}
    rows = [row for t in kept for row in _rows(t, metrics, names, "confirm" if own else "search")]
    frame = frame_of_rows(rows).astype({"value": "float64", "seconds": "float64"})
    for name in categorical:
        frame[names[name]] = _choices(rows, names[name])
    varied = [names[name] for name in categorical if frame[names[name]].nunique(dropna=False) > 1]
    roles = {"run": "trial", "status": "status", "phase": "phase", "metric": "metric", "value": "value"}
    directions = {m: d.name.lower() for m, d in zip(metrics, study.directions, strict=True)}
    drawn = sorted(set(names) - set(categorical))
    notes = (
        f"Read {len(kept)} trials of the Optuna study {study.study_name!r}, {len(metrics)} objective(s).",
        _tell_phase(own),
        *[f"Numbers are columns, not factors: {', '.join(drawn)}."] * bool(drawn),
    )
    return Reading(frame, roles | ({"factors": varied} if varied else {}), notes, (where,), directions)


def _tell_phase(own: bool) -> str:
    if own:
        return "The ledger of an ablate study: planned trials, so they are in the confirm phase."
    return (
        "A sampler may have chosen these parameters by looking at scores, so the trials are in the search phase: "
        "rerun the chosen settings on fresh seeds before testing them."
    )


def _load(source: str | Path, study_name: str | None, where: str) -> "optuna.Study":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental classes, and tqdm's of widgets
        import optuna

        try:
            storage = _open(source)
            names = optuna.study.get_all_study_names(storage)
        except RecordsError:
            raise
        except Exception as error:  # whatever the database's driver raises
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise RecordsError(f"no storage of Optuna's can be opened: {reason}", where=where) from error
        if not names:
            raise RecordsError("the storage holds no study", where=where)
        if study_name is None and len(names) > 1:
            raise RecordsError("the storage holds several studies", where=where, allowed=names, remedy="name one")
        if study_name is not None and study_name not in names:
            raise RecordsError(f"there is no study {study_name!r}", where=where, allowed=names, word=study_name)
        return optuna.load_study(storage=storage, study_name=study_name or names[0])


def _open(source: str | Path) -> Any:
    """The storage, opened so that nothing is created or migrated in it."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    url = str(source)
    if url.startswith(SQLITE):
        source = Path(url.removeprefix(SQLITE).partition("?")[0])
    elif "://" in url:
        return optuna.storages.RDBStorage(url)
    path = Path(source)
    require_file(path)
    with path.open("rb") as file:
        sqlite = file.read(15) == b"SQLite format 3"
    if sqlite:
        return optuna.storages.RDBStorage(f"{SQLITE}file:{quote(str(path.absolute()))}?mode=ro&uri=true")
    return optuna.storages.JournalStorage(JournalFileBackend(str(path)))


def _name_objectives(study: "optuna.Study") -> list[str]:
    count = len(study.directions)
    return list(study.metric_names or (["value"] if count == 1 else [f"value_{i}" for i in range(count)]))


def _rows(
    trial: "optuna.trial.FrozenTrial", metrics: Sequence[str], names: Mapping[str, str], phase: str
) -> list[dict[str, Any]]:
    head: dict[str, Any] = {"trial": trial.number, **{names[name]: value for name, value in trial.params.items()}}
    for name, value in flatten(trial.user_attrs).items():
        head[f"user_attrs.{name}" if name in (*OWN, *names.values()) else name] = value
    status = STATUS[trial.state.name]
    values = trial.values if status == COMPLETE and trial.values else [float("nan")] * len(metrics)
    seconds = trial.duration.total_seconds() if trial.duration else float("nan")
    tail = {"seconds": seconds, "status": status, "phase": phase}
    return [{**head, **tail, "metric": metric, "value": value} for metric, value in zip(metrics, values, strict=True)]


def _choices(rows: Sequence[Mapping[str, Any]], name: str) -> pd.Series:
    """A categorical parameter: its choices as they are, so that None, True, 1 and 1.0 are four levels."""
    return pd.Series([level_name(row[name]) if name in row else None for row in rows], dtype="str", name=name)
