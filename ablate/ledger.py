"""The ledger: every trial of a plan in one Optuna study, with its levels and seed as parameters and its state.

Records are the truth, and the ledger follows them: it is reconciled with them when opened and can be deleted and
rebuilt at any time. One driver writes it (`runs/ledger.journal`, under an exclusive lock); the processes that run
trials never open it. Optuna hands out what is waiting and shows the state of things (optuna-dashboard opens the file).
"""

import fcntl
import json
import os
import platform
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

with warnings.catch_warnings():  # tqdm, which Optuna imports, asks every notebook for widgets it can do without
    warnings.filterwarnings("ignore", "IProgress not found")
    import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablate.carriers import list_launches, share
from ablate.errors import StudyError
from ablate.factors import Cell, Factor, Level, Trial, level_name
from ablate.plans import Plan
from ablate.records import WHOLE

JOURNAL = "ledger.journal"
LOCK = "driver.lock"


class DriverLock:
    """The exclusive right to drive a study: held while the process lives, released by the system if it dies."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runs" / LOCK
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+", encoding="utf-8")
        except OSError as error:
            raise StudyError(
                f"the study's folder cannot be written: {error}", where=str(folder), remedy="choose another folder"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read() or "unknown"
            self._file.close()
            raise StudyError(
                f"another driver is running this study: {holder}",
                where=str(self.path),
                remedy="wait for it or stop it; the lock goes with its process",
            ) from error
        self._file.truncate(0)
        self._file.write(json.dumps({"pid": os.getpid(), "host": platform.node(), "since": time.time()}))
        self._file.flush()

    def release(self) -> None:
        """Let another driver in."""
        self._file.close()


class Ledger:
    """The books of one plan. Open it as a context manager: it holds the driver's lock until it is closed.

    Args:
        folder: the study's folder.
        plan: its plan.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        self._lock = DriverLock(folder)
        self._by_id = {trial.id: trial for trial in plan.trials}
        self._claimed: dict[str, optuna.Trial] = {}  # by trial id
        self._waiting = 0  # the queue's length: asking an empty queue would make Optuna sample a trial of its own
        self._space = _space(plan)
        self._folder = folder

    @cached_property
    def study(self) -> optuna.Study:
        """The Optuna study; opened when first used, so that a plan that is refused leaves no trace in the books."""
        return optuna.create_study(
            study_name=study_name(self.plan),
            storage=open_storage(self._folder),
            direction=self.plan.direction,
            sampler=optuna.samplers.RandomSampler(seed=0),  # never consulted: every parameter is fixed by the plan
            load_if_exists=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def reconcile(self, outcomes: Mapping[str, Mapping[str, Any]], wanted: Sequence[Trial] | None = None) -> None:
        """Make the books agree with the records (trial id -> outcome), then queue what is wanted.

        Claims of a driver that died are closed as lost, or with the record that the trial still wrote. Idempotent.

        Args:
            outcomes: trial id -> outcome.
            wanted: the trials to be run, with what settings; None: all without a complete outcome.
        """
        if wanted is None:
            done = {i for i, outcome in outcomes.items() if outcome["status"] == "complete"}
            wanted = list_launches(self.plan, (trial for trial in self.plan.trials if trial.id not in done))
        self._by_id = {trial.id: trial for trial in wanted}
        complete = {i for i, outcome in outcomes.items() if outcome["status"] == "complete"}
        booked: set[str] = set()
        waiting: set[str] = set()
        for entry in self.study.get_trials(deepcopy=False):
            trial_id = entry.user_attrs.get("trial", "")
            if entry.state == TrialState.RUNNING:
                lost = {"status": "lost", "reason": "the driver stopped before the trial ended", "rows": []}
                self._close(optuna.Trial(self.study, entry._trial_id), outcomes.get(trial_id, lost))
                booked |= {trial_id} & complete
            elif entry.state == TrialState.COMPLETE:
                booked.add(trial_id)
            elif entry.state == TrialState.WAITING:
                waiting.add(trial_id)
        self._waiting = len(waiting)
        for cell in self.plan.excluded if not self.study.user_attrs.get("excluded_booked") else ():
            self._book(cell, None, TrialState.PRUNED, status="excluded", reason="a rule of the plan")
        self.study.set_user_attr("excluded_booked", True)
        for trial in self.plan.trials:
            if trial.id in complete and trial.id not in booked:
                value = self._value(outcomes[trial.id])
                self._book(trial.cell, trial, TrialState.COMPLETE, value, status="complete")
        for trial in wanted:
            if trial.id not in waiting:
                self.queue(trial)

    def queue(self, trial: Trial) -> None:
        """Put a trial at the end of what is waiting."""
        self.study.enqueue_trial(self._params(trial.cell, trial), user_attrs={"trial": trial.id})
        self._waiting += 1

    def claim(self) -> Trial | None:
        """The next waiting trial, now running; None when nothing waits."""
        while self._waiting:
            entry = self.study.ask(fixed_distributions=self._space)
            self._waiting -= 1
            trial = self._by_id.get(entry.user_attrs.get("trial", ""))
            if trial is not None:
                self._claimed[trial.id] = entry
                return trial
            self.study.tell(entry, state=TrialState.PRUNED)  # put there by somebody else, or no longer wanted
        return None

    def began(self, trial: Trial, folder: Path) -> None:
        """Nothing is booked: a claimed trial is running."""

    def tell(self, trial: Trial, outcome: Mapping[str, Any]) -> None:
        """Book how a claimed trial ended."""
        self._close(self._claimed.pop(trial.id), share(outcome, trial.cell, self.plan))

    def _close(self, entry: optuna.Trial, outcome: Mapping[str, Any]) -> None:
        entry.set_user_attr("status", outcome["status"])
        if outcome.get("reason"):
            entry.set_user_attr("reason", outcome["reason"])
        state = TrialState.COMPLETE if outcome["status"] == "complete" else TrialState.FAIL
        value = self._value(outcome) if state == TrialState.COMPLETE else None
        self.study.tell(entry, value, state=state, skip_if_finished=True)

    def _book(
        self, cell: Cell, trial: Trial | None, state: TrialState, value: float | None = None, **attrs: str
    ) -> None:
        params = self._params(cell, trial)
        entry: FrozenTrial = create_trial(
            state=state,
            value=value,
            params=params,
            distributions={k: v for k, v in self._space.items() if k in params},
            user_attrs={**attrs, **({"trial": trial.id} if trial else {})},
        )
        self.study.add_trial(entry)

    def _params(self, cell: Cell, trial: Trial | None) -> dict[str, Any]:
        levels = {f.key: _choice(f, cell[f.key]) for f in self.plan.factors}
        return {**levels, **({"seed": trial.seed} if trial else {})}

    def _value(self, outcome: Mapping[str, Any]) -> float:
        """The primary metric, averaged within and then over domain groups: for the dashboard, not for statistics."""
        groups: dict[str, list[float]] = {}
        for row in outcome["rows"]:
            if row["metric"] == self.plan.metric:
                groups.setdefault(row["domain_group"], []).append(row["value"])
        tested = {g: v for g, v in groups.items() if g != WHOLE} or groups
        means = [sum(values) / len(values) for values in tested.values()]
        return sum(means) / len(means)


def _space(plan: Plan) -> dict[str, BaseDistribution]:
    space: dict[str, BaseDistribution] = {
        f.key: CategoricalDistribution([_choice(f, level) for level in f.levels]) for f in plan.factors
    }
    return {**space, "seed": IntDistribution(0, 2**32 - 1)}


def _choice(factor: Factor, level: Level) -> Level:
    """A level as Optuna's books hold it: by name where values that differ here (1, 1.0, true) are one value there."""
    return level if len(set(factor.levels)) == len(factor.levels) else level_name(level)


def open_storage(folder: Path) -> JournalStorage:
    """The journal of a study's folder, mended or, where it cannot be read, set aside; for the holder of the lock."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / "runs" / JOURNAL
    repair_journal(path)
    # The driver's lock is ours, so a lock of Optuna's own that is still there was left by a dead process.
    with suppress(FileNotFoundError):
        path.with_name(path.name + ".lock").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            return JournalStorage(JournalFileBackend(str(path)))
        except Exception:  # noqa: BLE001 - an unreadable journal is set aside; the records rebuild it
            path.replace(path.with_name(f"{path.name}.unreadable-{time.time_ns()}"))
            return JournalStorage(JournalFileBackend(str(path)))


def study_name(plan: Plan) -> str:
    """What a plan's study is called in the journal."""
    return f"{plan.name}-{plan.hash[:8]}"


def repair_journal(path: Path) -> int:
    """Cut what follows the last whole line of a journal, keeping the bytes aside; returns how many were cut.

    A crash or a full disk leaves half a line, after which Optuna can neither read nor append.
    """
    if not path.is_file():
        return 0
    content = path.read_bytes()
    good = 0
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or not _is_entry(line):
            break
        good += len(line)
    if good < len(content):
        path.with_name(f"{path.name}.torn-{time.time_ns()}").write_bytes(content[good:])
        with path.open("r+b") as file:
            file.truncate(good)
            os.fsync(file.fileno())
    return len(content) - good


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
