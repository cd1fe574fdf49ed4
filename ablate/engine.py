"""The engine: lock the plan, tune, then what is left -> launch -> record, look by look, until nothing is left."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ablate.accounts import read_account
from ablate.carriers import find_carrier, list_carried, list_launches
from ablate.courses import Course, Look
from ablate.drives import Drive
from ablate.errors import PlanError, StudyError
from ablate.factors import Cell, Trial
from ablate.files import write_whole
from ablate.launchers import InProcess, Launcher, LocalPool
from ablate.locks import RECORDS_FILE, find_provenance, read_lock, refuse_drift
from ablate.plans import PLAN_FILE, Plan
from ablate.records import Records
from ablate.runs import Record, Runs, Task, folder_name

if TYPE_CHECKING:
    from ablate.ledger import Ledger
    from ablate.tunings import Selection

CONTAMINATION_FILE = "contamination.json"


class Standing(Protocol):
    """How a study stands after a look: the cells that need more seeds, and a line per contrast."""

    @property
    def cells(self) -> Collection[Cell]: ...
    def lines(self) -> Sequence[str]: ...


def run(
    plan: Plan,
    task: Task,
    *,
    folder: str | Path | None = None,
    workers: int = 0,
    timeout: float | None = None,
    retries: int = 2,
    launcher: Launcher | None = None,
    progress: bool = True,
    stand: Callable[[Records], Standing] | None = None,
) -> Records:
    """Run what is left of a plan and give its records; see `ablate.driving.run`, which knows how a study stands.

    Args:
        plan: the study.
        task: called with a `Trial`.
        folder: the study's folder.
        workers: 0 runs in this process, n in a pool of n warm processes.
        timeout: seconds a trial may take (with workers).
        retries: how often a trial whose worker died is launched again.
        launcher: where trials run, instead of `workers` and `timeout`.
        progress: show progress.
        stand: how a study stands after a look, where seeds are added until decided.
    """
    home = Path(folder if folder is not None else f"outputs/{folder_name(plan)}")
    home = home.absolute()  # a task may change the working directory
    _check_call(task, workers, timeout, retries)
    plan = replace(plan, provenance={**plan.provenance, **find_provenance(task, home)})
    launcher = launcher or (LocalPool(workers=workers, timeout=timeout) if workers else InProcess())
    from ablate.ledger import Ledger

    _make(home)
    with Ledger(home, plan) as ledger, _accounted(home):
        runs = Runs(home)
        drive = Drive(plan, task, launcher, runs, retries, progress)
        locked = read_lock(home, plan, runs)
        outcomes = read_outcomes(home, plan, runs) if locked else {}
        course, selection = Course.read(home, plan), _read_selection(home, plan)
        seeds_fixed = plan.analysis.stopping == "fixed"
        if not (seeds_fixed or course.over) or _left(drive, course.trials, outcomes):
            plan = _lock(drive, locked, selection, course, outcomes, home)
            drive = replace(drive, plan=plan)
            if plan.tuning and selection is None:
                selection = _tune(drive, home, outcomes)
            _open(drive, selection, home, read_outcomes(home, plan, runs), course)
        return _confirm(drive, ledger, selection, home, stand)


def load(folder: str | Path) -> Records:
    """The records of a study's folder: from its runs where they are there, else from its `records.csv`.

    Raises:
        StudyError: no plan is locked there.
    """
    home = Path(folder)
    plan = Plan.read(home)
    return Records.of(plan, read_outcomes(home, plan, Runs(home)))


def read_outcomes(home: Path, plan: Plan, runs: Runs) -> dict[str, Record]:
    """Trial id -> outcome: the runs' own records, and the rows of `records.csv` for trials without a complete one."""
    outcomes = runs.outcomes(plan)
    table = home / RECORDS_FILE
    if table.is_file() and (home / PLAN_FILE).is_file():
        for trial_id, outcome in Records.read(table, plan).outcomes().items():
            if outcome["status"] == "complete" and outcomes.get(trial_id, {}).get("status") != "complete":
                outcomes[trial_id] = outcome
            outcomes.setdefault(trial_id, outcome)
    return outcomes


def _check_call(task: object, workers: int, timeout: float | None, retries: int) -> None:
    if not callable(task):
        raise PlanError(f"the task is a {type(task).__name__}", where="task", allowed=["a function of a Trial"])
    if type(retries) is not int or retries < 0:
        raise PlanError(f"retries is {retries!r}", where="retries", allowed=["a whole number from 0"])
    if timeout is not None and not workers:
        raise PlanError("a time limit needs worker processes", where="timeout", remedy="give `workers=1` or more")


def _make(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(
            f"the study's folder cannot be made: {error}", where=str(home), remedy="choose another folder"
        ) from error


def _left(drive: Drive, trials: Iterable[Trial], outcomes: Mapping[str, Record]) -> list[Trial]:
    """The trials to launch: those without an outcome that stands, or the ones that carry them."""
    launches = {trial: find_carrier(drive.plan, trial) for trial in trials}
    left = [run for trial, run in launches.items() if not drive.counts(run, outcomes.get(trial.id))]
    return [replace(run, carries=list_carried(drive.plan, run.cell)) for run in dict.fromkeys(left)]


def _read_selection(home: Path, plan: Plan) -> "Selection | None":
    """The settings that tuning selected; None where it has not yet, or nothing is tuned."""
    if plan.tuning is None:
        return None
    from ablate.tunings import Selection

    return Selection.read(home, plan)


def _settle(trials: Sequence[Trial], selection: "Selection | None") -> list[Trial]:
    """Trials with the settings that were selected for their cells."""
    return [selection.settle(trial) if selection else trial for trial in trials]


def _one_per_cell(trials: Iterable[Trial]) -> list[Trial]:
    return list({trial.cell: trial for trial in trials}.values())


def _lock(
    drive: Drive,
    locked: Plan | None,
    selection: "Selection | None",
    course: Course,
    outcomes: Mapping[str, Record],
    home: Path,
) -> Plan:
    """Try every cell on one batch, fingerprint the training data, and write the plan before anything is trained."""
    plan = drive.plan
    trials = _one_per_cell(_left(drive, course.trials, outcomes))
    refuse_drift(locked or plan, replace(plan, provenance={**plan.provenance, "data": _data(locked)}), home)
    if plan.tuning and selection is None:  # the seal: no test set is opened before a setting is chosen
        drive.check("preflight_search", [replace(trial, phase="search") for trial in trials])
    else:
        drive.check("preflight", _settle(trials, selection))
    firsts = [trial for trial in plan.trials[: len(plan.cells)] if trial.cell in {t.cell for t in trials}]
    found = drive.check("fingerprint", firsts)
    if prints := {f"{name} ({trial.cell})": text for trial, said in found for name, text in said.items()}:
        plan = replace(plan, provenance={**plan.provenance, "data": {**_data(locked), **prints}})
    refuse_drift(locked or plan, plan, home)
    if locked is None:
        plan.write(home)
    elif prints and plan.provenance["data"] != locked.provenance.get("data"):  # of cells not looked at before
        replace(locked, provenance={**locked.provenance, "data": plan.provenance["data"]}).write(home)
    return plan


def _data(locked: Plan | None) -> dict[str, Any]:
    return dict(locked.provenance.get("data", {})) if locked else {}


def _tune(drive: Drive, home: Path, outcomes: Mapping[str, Record]) -> "Selection":
    """Tune the nuisances of every cell on validation data, and freeze what is selected."""
    from ablate.tuners import Tuner

    tuner = Tuner(home, drive.plan, outcomes)
    with tuner:
        drive(tuner, tuner.total, tuner.total - tuner.left)
    _collect(home, drive.plan)
    selection = tuner.select()
    selection.write(home)
    return selection


def _open(
    drive: Drive, selection: "Selection | None", home: Path, outcomes: Mapping[str, Record], course: Course
) -> None:
    """Break the seal: try every cell on its test sets, and look for training data in them."""
    left = _settle(_left(drive, course.trials, outcomes), selection)
    if drive.plan.tuned_cells and left:
        drive.check("preflight", _one_per_cell(left))
    path = home / CONTAMINATION_FILE
    if left and not path.is_file() and (found := drive.check("audit", _settle(course.trials, selection))):
        write_whole(path, json.dumps(_merge(found, drive.plan), indent=1) + "\n")
    if path.is_file() and hasattr(drive.task, "audit"):
        drive.task.contamination = path  # type: ignore[attr-defined] # of a task that audits


def _merge(found: Sequence[tuple[Trial, Any]], plan: Plan) -> dict[str, Any]:
    """Per domain: its items, those that are in some trial's training data, and why a level was skipped.

    A stratum may have test sets of its own: its name then stands behind the domain's.
    """
    merged: dict[str, Any] = {}
    for trial, domains in sorted(found, key=lambda each: each[0].id):
        stratum = plan.stratum(trial.cell)
        for name, overlap in domains.items():
            place = f"{name} [{stratum}]" if stratum else name
            into = merged.setdefault(place, {"items": overlap["items"], "skipped": overlap["skipped"], "trials": 0})
            into["trials"] += 1
            for level in ("exact", "normalised", "near"):
                into[level] = sorted({*into.get(level, ()), *overlap[level]})
    return merged


def _confirm(
    drive: Drive,
    ledger: "Ledger",
    selection: "Selection | None",
    home: Path,
    stand: Callable[[Records], Standing] | None,
) -> Records:
    """Run the trials that report: all of them, or look by look those of the cells that are not decided."""
    plan, course = drive.plan, Course(drive.plan)
    if plan.analysis.stopping != "fixed" and stand is None:
        remedy = "run it by `ablate.run`, which knows"
        raise PlanError("nobody says how the study stands after a look", where="stand", remedy=remedy)
    while True:
        outcomes = read_outcomes(home, plan, drive.runs)
        trials = course.trials
        left = _left(drive, trials, outcomes)
        ledger.reconcile(outcomes, _settle(left, selection))
        if left:
            owed = len(list_launches(plan, trials))
            drive(ledger, owed, owed - len(left))
        if left and plan.evaluation:
            ledger.reconcile(read_outcomes(home, plan, drive.runs), [])  # books what was carried
        records = _collect(home, plan)
        if plan.analysis.stopping == "fixed" or stand is None:
            return records
        standing = stand(records.of_trials(course.trials))
        look = Look(plan.looks[len(course.taken)], _widen(plan, standing.cells), tuple(standing.lines()))
        course = Course(plan, (*course.taken, look))
        course.write(home)
        if course.over:
            return records


def _widen(plan: Plan, cells: Collection[Cell]) -> tuple[Cell, ...]:
    """These cells and those that are measured from the same training runs, in the plan's order."""
    trained = {plan.carriers[cell] for cell in cells}
    return tuple(cell for cell, carrier in plan.carriers.items() if carrier in trained)


@contextmanager
def _accounted(home: Path) -> Iterator[None]:
    """Keep the account of every attempt, however the drive ends."""
    try:
        yield
    finally:
        read_account(home).write(home)


def _collect(home: Path, plan: Plan) -> Records:
    records = Records.of(plan, read_outcomes(home, plan, Runs(home)))
    aside = records.write(home / f".{RECORDS_FILE[:-4]}.tmp.csv")
    aside.replace(home / RECORDS_FILE)
    return records
