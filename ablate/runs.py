"""Attempts on disk: `runs/<trial id>/<attempt>/`, the truth about what was measured.

The process that runs a trial writes its own `record.json`, whole, before anybody is told. So no launcher, queue or
database can lose a result, and the first complete attempt of a trial is the one that counts.
"""

import json
import os
import platform
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.carriers import find_carrier, list_carried, list_levels, share
from ablate.environments import describe, hardware
from ablate.errors import Diverged, Pruned, StudyError
from ablate.factors import Cell, Trial, is_text, level_name
from ablate.files import write_whole
from ablate.measurements import measurements, name_values
from ablate.plans import Plan
from ablate.signals import readings, told

Task = Callable[[Trial], object]
Record = dict[str, Any]
STARTED = "started.json"  # the mark of the process that runs an attempt
CLAIM = "claim.json"  # what the driver claimed: for a process that is told the folder alone


@dataclass(frozen=True)
class Attempt:
    """One try at one trial, with the folder that is its own.

    Attributes:
        trial: what is run.
        number: 1 for the first try.
        folder: `runs/<trial id>/<number>`.
    """

    trial: Trial
    number: int
    folder: Path


@dataclass(frozen=True)
class Runs:
    """The attempts of a study's folder."""

    folder: Path

    @property
    def root(self) -> Path:
        """`<study>/runs`."""
        return self.folder / "runs"

    def folder_of(self, trial_id: str, attempt: int) -> Path:
        """The folder of one attempt."""
        return self.root / trial_id / str(attempt)

    @property
    def begun(self) -> bool:
        """Whether any trial was ever tried here."""
        return self.root.is_dir() and any(p.is_dir() for p in self.root.iterdir())

    def claim(self, trial: Trial) -> Attempt:
        """Take the next attempt at a trial: its folder is made here, and by nobody else.

        Raises:
            StudyError: the folder cannot be written.
        """
        home = self.root / trial.id
        number = 1 + max((n for n, _ in self._numbered(trial.id)), default=0)
        while True:
            try:
                home.mkdir(parents=True, exist_ok=True)
                (home / str(number)).mkdir()
                made = Attempt(trial, number, home / str(number))
                _write(made, CLAIM, {"cell": dict(trial.cell), **{key: getattr(trial, key) for key in CLAIMED}})
                return made
            except FileExistsError:
                number += 1
            except OSError as error:
                raise _unwritable(home, error) from error

    def attempts(self, trial_id: str) -> list[Record]:
        """The records of a trial's attempts, in their order; an attempt without a readable one has status `running`."""
        return [read_record(folder) | {"attempt": number} for number, folder in self._numbered(trial_id)]

    def outcome(self, trial_id: str) -> Record | None:
        """What counts for a trial: its first complete attempt, else its last finished one, else None.

        A record of another trial, copied here, counts for none.
        """
        own = [a for a in self.attempts(trial_id) if a.get("trial", trial_id) == trial_id]
        finished = [a for a in own if a["status"] != "running"]
        complete = [a for a in finished if a["status"] == "complete"]
        return complete[0] if complete else finished[-1] if finished else None

    def outcomes(self, plan: Plan) -> dict[str, Record]:
        """Trial id -> outcome, for the plan's trials, tuning ones too, that have one."""
        present = {p.name for p in self.root.iterdir()} if self.root.is_dir() else set()
        run_of = {trial: find_carrier(plan, trial).id for trial in (*plan.trials, *plan.search_trials())}
        found = {run: self.outcome(run) for run in {*run_of.values()} & present}
        outcomes = {trial: found.get(run) for trial, run in run_of.items()}
        return {trial.id: share(each, trial.cell, plan) for trial, each in outcomes.items() if each is not None}

    def _numbered(self, trial_id: str) -> Iterator[tuple[int, Path]]:
        home = self.root / trial_id
        if home.is_dir():
            yield from sorted((int(p.name), p) for p in home.iterdir() if p.name.isdigit())


def folder_name(plan: Plan) -> str:
    """What the folder of a study without one is called: its name, as far as folders go, and its hash's first digits."""
    return re.sub(r"[^\w.+-]+", "-", plan.name) + f"-{plan.hash[:8]}"


CLAIMED = ("id", "seed", "phase", "settings", "proposal", "hpo_trials")


def read_claim(folder: Path) -> Attempt:
    """The attempt that was claimed with a folder."""
    claimed = json.loads((folder / CLAIM).read_text(encoding="utf-8"))
    cell = Cell(claimed.pop("cell"))
    return Attempt(Trial(cell, **claimed), int(folder.name), folder)


def perform(task: Task, attempt: Attempt, plan: Plan) -> Record:
    """Run one attempt in this process, write its record, and return it.

    An exception of the task is a failure with a reason. An interrupt, or the SystemExit that Lightning raises on
    SIGTERM, is a pre-emption: it is recorded, then raised again.
    """
    _write(attempt, STARTED, {"pid": os.getpid(), "host": platform.node(), "time": time.time()})
    carried = list_carried(plan, attempt.trial.cell) if attempt.trial.phase == "confirm" else ()
    trial = replace(attempt.trial, folder=attempt.folder, carries=carried)
    start = time.perf_counter()
    outcome: Record
    try:
        rows = measurements(task(trial), plan, trial.phase, trial.carries)
        outcome = {"status": "complete", "reason": None, "rows": rows}
    except BaseException as error:
        preempted = isinstance(error, KeyboardInterrupt) or type(error).__name__ == "SIGTERMException"
        ended = "diverged" if isinstance(error, Diverged) else "pruned" if isinstance(error, Pruned) else "failed"
        outcome = failure("preempted" if preempted else ended, error)
        if preempted:
            conclude(attempt, plan, _timed(outcome, start))
            raise
    return conclude(attempt, plan, _timed(outcome, start))


def _timed(outcome: Record, start: float) -> Record:
    return {**outcome, "seconds": round(time.perf_counter() - start, 6), "hardware": hardware()}


def conclude(attempt: Attempt, plan: Plan, outcome: Mapping[str, Any]) -> Record:
    """Complete an outcome with what was run and where, and write it as the attempt's record."""
    trial, values = attempt.trial, told(attempt.folder)
    carried = list_carried(plan, trial.cell) if trial.phase == "confirm" else ()
    tuned = {key: getattr(trial, key) for key in ("settings", "proposal", "hpo_trials")} if plan.tuning else {}
    record = {
        "trial": trial.id,
        "cell": {key: level_name(level) for key, level in trial.cell.items()},
        "seed": trial.seed,
        "phase": trial.phase,
        **tuned,
        "plan": plan.hash,
        "attempt": attempt.number,
        **({"carries": [list_levels(plan, cell) for cell in carried]} if carried else {}),
        **outcome,
        "readings": readings(attempt.folder),
        **({"values": values, "rows": [*outcome["rows"], *name_values(values, plan)]} if values else {}),
        "environment": describe(dict(plan.provenance)),
    }
    _write(attempt, "record.json", record)
    return record


def failure(status: str, error: BaseException | str) -> Record:
    """The outcome of a trial without a result: status, a one-line reason and, for an exception, its traceback."""
    if isinstance(error, str):
        return {"status": status, "reason": error, "rows": []}
    try:
        text = f"{type(error).__name__}: {error}".strip()
    except Exception:  # noqa: BLE001 - an exception's own text is its author's code
        text = f"{type(error).__name__}: (its text cannot be printed)"
    reason = "".join(c if is_text(c) else " " for c in text.splitlines()[0][:500])
    trace = "".join(traceback.format_exception(error))
    return {"status": status, "reason": reason, "traceback": trace[-20_000:], "rows": []}


def _write(attempt: Attempt, name: str, values: Record) -> None:
    try:
        write_whole(attempt.folder / name, json.dumps(values, indent=1, allow_nan=False, default=repr) + "\n")
    except OSError as error:
        raise _unwritable(attempt.folder, error) from error


def _unwritable(folder: Path, error: OSError) -> StudyError:
    remedy = "free space or permissions; the same command goes on with what is left"
    return StudyError(f"cannot write here: {error}", where=str(folder), remedy=remedy)


def read_record(folder: Path) -> Record:
    """The record of an attempt's folder; status `running` where there is none that can be read."""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return record if isinstance(record, dict) and "status" in record else {"status": "running"}
    except (OSError, ValueError):  # not finished, or torn: the attempt does not count
        return {"status": "running"}
