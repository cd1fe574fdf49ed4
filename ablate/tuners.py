"""Tuners: the books of tuning, a search in every cell, beside the ledger's books of the trials that report.

Every cell has an Optuna study of its own in the ledger's journal, made anew from the records whenever a driver opens
it. Cells take turns, so that workers are busy while one cell waits for what it is to learn from.
"""

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ablate.errors import StudyError
from ablate.factors import Cell, Level, Trial
from ablate.ledger import open_storage
from ablate.plans import Plan
from ablate.searches import Outcome, Search
from ablate.signals import stop, told
from ablate.tunings import Selection

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

ENDED = ("complete", "failed", "diverged", "pruned")  # statuses that stand: what is lost or pre-empted is run again
POLL = 0.1  # seconds between two looks at what running trials tell


class Tuner:
    """What waits, is claimed and done of tuning. A context, in which running trials are watched for a pruner.

    Args:
        folder: the study's folder; its lock is held by the driver.
        plan: its plan.
        outcomes: trial id -> record, of tuning trials among others: where searches go on from.
    """

    def __init__(self, folder: Path, plan: Plan, outcomes: Mapping[str, Outcome]) -> None:
        self.plan, self._folder = plan, folder
        ended = [t for t in plan.search_trials() if outcomes.get(t.id, {}).get("status") in ENDED]
        self._outcomes = {trial.id: outcomes[trial.id] for trial in ended}
        self._runs = Counter(trial.cell for trial in ended)
        known: dict[Cell, dict[int, Mapping[str, Level]]] = {cell: {} for cell in plan.tuned_cells}
        for trial in ended:
            assert trial.proposal is not None
            known[trial.cell][trial.proposal] = outcomes[trial.id]["settings"]
        self._searches = {cell: Search(plan, cell, self._open, known[cell]) for cell in plan.tuned_cells}
        self._waiting: deque[Trial] = deque()
        self._watched: dict[str, tuple[Trial, Path]] = {}
        self._lock, self._ending = threading.RLock(), threading.Event()
        self._trouble: Exception | None = None
        by_step = plan.tuning is not None and plan.tuning.pruner in ("median", "hyperband")
        self._watcher = threading.Thread(target=self._watch, daemon=True) if by_step and self._searches else None

    def __enter__(self) -> Self:
        if self._watcher:
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._watcher:
            self._watcher.join()

    @property
    def total(self) -> int:
        """The runs that searches owe: a pruner may make more of them, that are shorter."""
        return len(self._searches) * self._owed

    @property
    def left(self) -> int:
        """The runs that are still owed."""
        return sum(max(0, self._owed - self._runs[cell]) for cell in self._searches)

    @property
    def done(self) -> bool:
        """Whether every cell has spent its budget."""
        return not any(search.room or search.open for search in self._searches.values())

    def claim(self) -> Trial | None:
        """The next trial, with its settings; None when nothing can be proposed before something ends."""
        with self._lock:
            if self._trouble:
                raise self._trouble
            while not self._waiting:
                ready = [search for search in self._searches.values() if search.room]
                if not ready:
                    return None
                self._offer(min(ready, key=lambda search: len(search.proposals)).propose())
            return self._waiting.popleft()

    def began(self, trial: Trial, folder: Path) -> None:
        """A claimed trial runs in this attempt's folder."""
        with self._lock:
            self._watched[trial.id] = trial, folder

    def queue(self, trial: Trial) -> None:
        """Put a trial at the end of what waits: its worker was lost."""
        self._waiting.append(trial)

    def tell(self, trial: Trial, record: Outcome) -> None:
        """Take in how a claimed trial ended.

        Raises:
            StudyError: the plan has a pruner, and a whole run told it nothing.
        """
        with self._lock:
            self._watched.pop(trial.id, None)
            if record["status"] not in ENDED:
                return
            if self._watcher and record["status"] == "complete" and not record.get("values"):
                assert self.plan.tuning is not None
                raise StudyError(
                    f"a tuning trial reported no intermediate value, so {self.plan.tuning.pruner!r} can stop nothing",
                    where=f"{trial.cell}, proposal {trial.proposal}",
                    remedy="call `trial.report(value, step)` while it runs, or declare `pruner: none`",
                )
            self._runs[trial.cell] += 1
            self._offer(self._searches[trial.cell].tell(trial, record))

    def select(self) -> Selection:
        """The setting of every cell, once every search has ended.

        Cells that spent the same, to within a full trial, were tuned on the same budget; one that could not spend its
        budget in as many proposals as it may start has its own, smaller number in `hpo_trials`.

        Raises:
            StudyError: trials of a search are missing, or none of a cell's has a value.
        """
        if not self._searches:
            return Selection.declared(self.plan)
        missing = [str(search.cell) for search in self._searches.values() if search.room or search.open]
        if missing:
            raise StudyError(
                f"tuning has not ended in {len(missing)} cells: {'; '.join(missing):.500}",
                where=str(self._folder),
                remedy="the same command goes on with what is left; `ablate status` says what was lost",
            )
        spent = {cell: search.spent for cell, search in self._searches.items()}
        least = min(spent.values())
        found = {
            cell: search.choose(least if spent[cell] <= least + 1 else spent[cell])
            for cell, search in self._searches.items()
        }
        first = next(iter(found.values()))
        settled = {cell: found.get(carrier) or first for cell, carrier in self.plan.carriers.items()}
        return Selection(self.plan, tuple(replace(choice, cell=cell) for cell, choice in settled.items()))

    @property
    def _owed(self) -> int:
        return self.plan.tuning.trials * len(self.plan.tuning.seeds) if self.plan.tuning else 0

    @cached_property
    def _storage(self) -> "JournalStorage":
        return open_storage(self._folder)

    def _open(self) -> "JournalStorage":
        return self._storage

    def _offer(self, trials: Sequence[Trial]) -> None:
        """Let trials wait, but for those whose records tell how they ended."""
        for trial in trials:
            record = self._outcomes.get(trial.id)
            if record is None:
                self._waiting.append(trial)
            else:
                self._offer(self._searches[trial.cell].tell(trial, record))

    def _watch(self) -> None:
        """Pass on what running trials tell, and the pruner's word to them, until the tuner is closed."""
        while not self._ending.wait(POLL):
            with self._lock:
                try:
                    for trial, folder in self._watched.values():
                        assert trial.proposal is not None
                        if self._searches[trial.cell].follow(trial.proposal, told(folder)):
                            stop(folder)
                except Exception as error:  # noqa: BLE001 - raised where the driver asks next
                    self._trouble = error
                    return
