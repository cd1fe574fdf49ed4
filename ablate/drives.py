"""Drives: trials that are left, tried, launched and booked until none is."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ablate.errors import PlanError, StudyError
from ablate.factors import Cell, Trial
from ablate.launchers import Launcher
from ablate.measurements import measurements
from ablate.plans import Plan
from ablate.runs import Attempt, Record, Runs, Task, conclude, failure
from ablate.safeguards import RETRY_SEEDS


class Books(Protocol):
    """What is waiting, claimed and done: the ledger's of trials that report, the tuner's of those that tune."""

    def claim(self) -> Trial | None: ...
    def began(self, trial: Trial, folder: Path) -> None: ...
    def tell(self, trial: Trial, outcome: Record) -> None: ...
    def queue(self, trial: Trial) -> None: ...


@dataclass(frozen=True)
class Drive:
    """How trials are run.

    Attributes:
        plan: the study.
        task: what a trial is.
        launcher: where trials run.
        runs: where their attempts are kept.
        retries: how often a trial whose worker died is launched again.
        progress: whether progress is shown.
    """

    plan: Plan
    task: Task
    launcher: Launcher
    runs: Runs
    retries: int
    progress: bool

    def __call__(self, books: Books, total: int, done: int) -> None:
        """Launch what waits until nothing does; queue a trial again when its worker died, at most `retries` times."""
        lost: dict[str, int] = {}

        def claim() -> Attempt | None:
            trial = books.claim()
            if trial is None:
                return None
            attempt = self.runs.claim(self._replace_seed(trial))
            books.began(trial, attempt.folder)
            return attempt

        with self._bar(total, done) as bar:
            while True:
                launched = 0
                for attempt, trouble in self.launcher.launch(self.task, self.plan, claim):
                    launched += 1
                    record = self.runs.attempts(attempt.trial.id)[attempt.number - 1]
                    if record["status"] == "running":  # no record: the worker never got to write one
                        reason = trouble if isinstance(trouble, str) else f"its worker was lost: {trouble!r}"
                        record = conclude(attempt, self.plan, failure("lost", reason))
                    books.tell(attempt.trial, record)
                    again = record["status"] in ("lost", "preempted")
                    lost[attempt.trial.id] = lost.get(attempt.trial.id, 0) + again
                    if (again and lost[attempt.trial.id] <= self.retries) or not self.settled(attempt.trial, record):
                        books.queue(attempt.trial)
                    elif bar is not None:
                        bar.ended(attempt.trial, record)
                if not launched:
                    return

    def settled(self, trial: Trial, record: Record | None) -> bool:
        """Whether a trial ended within this drive for good: also by diverging, unless the plan retries that."""
        if record is None:
            return False
        rule = self.plan.divergence
        retried = record["status"] == "diverged" and rule is not None and rule.treatment == "retry"
        return not retried or trial.phase == "search" or self._diverged(trial) > (rule.retries if rule else 0)

    def counts(self, trial: Trial, record: Record | None) -> bool:
        """Whether a trial's outcome stands, so that running the study again does not run it again."""
        if record is None:
            return False
        if record["status"] == "complete":
            return True
        if trial.phase == "search":
            return record["status"] in ("failed", "diverged", "pruned")
        rule = self.plan.divergence
        if record["status"] != "diverged" or rule is None:
            return False
        spent = not self._diverged(trial) and (record.get("attempt") or 0) > rule.retries  # the runs lie elsewhere
        return spent or self.settled(trial, record)

    def check(self, name: str, trials: Iterable[Trial]) -> Sequence[tuple[Trial, Any]]:
        """What the task's method `name` says of each trial; none where the task has no such method.

        Raises:
            PlanError: names every cell of which it raised.
        """
        function: Callable[[Trial], object] | None = getattr(self.task, name, None)
        if function is None:
            return ()
        found, problems = [], dict[Cell, str]()
        for trial, said in self.launcher.check(function, list(trials)):
            try:
                if isinstance(said, BaseException):
                    raise said
                if isinstance(said, str):
                    raise StudyError(said)
                if name in PREFLIGHTS:
                    measurements(said, self.plan, trial.phase, trial.carries)
            except Exception as error:  # noqa: BLE001 - anything a module raises is named with its cell
                problems[trial.cell] = f"{type(error).__name__}: {error}"
            found.append((trial, said))
        if problems:
            lines = [f"  cell {cell}:\n    " + text.replace("\n", "\n    ") for cell, text in problems.items()]
            tried = "tried on one batch cannot work" if name in PREFLIGHTS else f"have no {name}"
            trained = "; nothing was trained" if name != "audit" else ""
            raise PlanError(f"{len(problems)} of {len(found)} cells {tried}{trained}\n" + "\n".join(lines))
        return found

    def _replace_seed(self, trial: Trial) -> Trial:
        """The trial on a replacement seed, where its runs diverged before and the plan retries that."""
        rule = self.plan.divergence
        if trial.phase == "search" or rule is None or rule.treatment != "retry":
            return trial
        return replace(trial, seed=(trial.seed + self._diverged(trial) * RETRY_SEEDS) % 2**32)

    def _diverged(self, trial: Trial) -> int:
        return sum(attempt["status"] == "diverged" for attempt in self.runs.attempts(trial.id))

    def _bar(self, total: int, done: int) -> Any:
        if not self.progress:
            return nullcontext()
        from ablate.progress import Progress

        return Progress(total, done)


PREFLIGHTS = ("preflight", "preflight_search")
