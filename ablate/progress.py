"""Progress of a study: how many trials are done, failed and left, and for how long. Never a result."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ablate.factors import Trial


class Progress:
    """A live bar on a terminal, else a plain line now and then, and one for every failure.

    Args:
        total: trials of the plan.
        done: those that were complete before.
    """

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.failed = total, done, 0
        self.start, self._fresh, self._told = time.monotonic(), 0, time.monotonic()
        self.console = Console(file=sys.stderr)
        self._bar: Bar | None = None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            state = TextColumn("{task.fields[state]}")
            self._bar = Bar(*columns, state, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console)
            self._row = self._bar.add_task("trials", total=total, completed=done, state="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        else:
            self._say(f"{self.total - self.done} of {self.total} trials to run")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:  # a launcher that was interrupted may not have told what ended
            self._say(self._state())

    def ended(self, trial: Trial, record: Mapping[str, Any]) -> None:
        """Count a trial that ended for good in this run."""
        self._fresh += 1
        complete = record["status"] in ("complete", "pruned")  # what a pruner stopped has told enough
        self.done += complete
        self.failed += not complete
        if not complete:
            self._say(f"{record['status']}: {trial.cell} seed={trial.seed} ({trial.id}): {record['reason']}")
        if self._bar:
            state = f"{self.failed} failed" if self.failed else ""
            self._bar.update(self._row, completed=self.done + self.failed, state=state)
        elif time.monotonic() - self._told > 10:
            self._say(self._state())

    def _state(self) -> str:
        left = max(0, self.total - self.done - self.failed)  # a pruner makes more trials of the same budget
        each = (time.monotonic() - self.start) / self._fresh if self._fresh else 0.0
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} trials complete{failed}, {left} left, about {left * each:.0f} s"

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
