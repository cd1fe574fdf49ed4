"""The account: every attempt ever launched in a study, of every phase and of every plan that the study had.

`runs/` holds the attempts of one machine. `attempts.csv`, a line per attempt, is kept in version control, so that what
was launched elsewhere, or was deleted since, stays in the account.
"""

import csv
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from json import loads
from pathlib import Path
from typing import Any, Self

from ablate.amendments import read_amendments
from ablate.carriers import spread
from ablate.errors import StudyError
from ablate.factors import Cell, Trial, digest, is_text
from ablate.files import write_whole
from ablate.plans import PLAN_FILE, Plan
from ablate.runs import CLAIM, STARTED, Runs, read_record
from ablate.safeguards import RETRY_SEEDS
from ablate.signals import readings

ACCOUNT_FILE = "attempts.csv"
WEAK = "~"  # opens the signature of scores that are too few, or too coarse, to tell runs apart
_CLOCK = re.compile("second|latency|throughput|energy|money|memory|_ms$|watt|joule")  # of the machine
_SURE = 24.0  # bits of agreement from which equal scores are no accident among a thousand runs
_FINE = 16.0  # bits of a score that is no share of its examples, such as a loss
_SCORE = 4.0  # bits of a score of so many examples that nobody says how many


@dataclass(frozen=True)
class Launch:
    """One attempt that was launched.

    Attributes:
        trial: the trial's id: the name of its folder.
        plan: first digits of the hash of the plan that it was launched under.
        phase: `search` or `confirm`.
        cell: its levels, as text.
        seed: that it ran with.
        proposal: of a search trial, the number of the proposal.
        attempt: 1 for the first try.
        status: how it ended; `running` if nobody knows.
        reason: why it did not complete.
        seconds: that it took.
        readings: how often it began to read a test set.
        signature: digest of what it measured without what the clock decides; equal for runs that measured the same.
        foreign: why the record does not belong in the folder in which it lies; empty if it does.
        started: when it began, UTC.
        commit: first digits of the code's, with a `+` where changes were not committed; empty if nobody knows.
    """

    trial: str
    plan: str = ""
    phase: str = ""
    cell: str = ""
    seed: int | None = None
    proposal: int | None = None
    attempt: int = 1
    status: str = "running"
    reason: str = ""
    seconds: float | None = None
    readings: int = 0
    signature: str = ""
    foreign: str = ""
    started: str = ""
    commit: str = ""

    @classmethod
    def read(cls, row: Mapping[str, str]) -> Self:
        """A launch from a line of the account."""
        numbers: dict[str, Any] = {k: int(row[k]) if row[k] else None for k in ("seed", "proposal")}
        numbers |= {key: int(row[key]) for key in ("attempt", "readings")}
        numbers["seconds"] = float(row["seconds"]) if row["seconds"] else None
        texts = {f.name: row[f.name] for f in fields(cls) if f.name != "commit"}
        return cls(**{**texts, **numbers, "commit": row.get("commit") or ""})  # of older accounts it is not known


@dataclass(frozen=True)
class Duplicate:
    """Different trials that measured the same.

    Attributes:
        trials: their ids.
        copied: whether they took the same time, to the microsecond: no two runs do.
    """

    trials: tuple[str, ...]
    copied: bool


@dataclass(frozen=True)
class Account:
    """Every attempt ever launched.

    Attributes:
        launches: by trial, start and attempt.
    """

    launches: tuple[Launch, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.launches)

    def write(self, folder: Path) -> Path | None:
        """Write `attempts.csv`, whole, unless nothing was ever launched or nothing has changed."""
        path = folder / ACCOUNT_FILE
        if self.launches and not (path.is_file() and path.read_text(encoding="utf-8") == self.to_csv()):
            write_whole(path, self.to_csv())
        return path if self.launches else None

    def to_csv(self) -> str:
        """The text of `attempts.csv`."""
        out = io.StringIO()
        names = [f.name for f in fields(Launch)]
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for launch in self.launches:
            values = [getattr(launch, name) for name in names]
            writer.writerow(["" if value is None else value for value in values])
        return out.getvalue()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The account as it is kept in `attempts.csv`; empty where there is none.

        Raises:
            StudyError: the file is damaged.
        """
        path = folder / ACCOUNT_FILE
        if not path.is_file():
            return cls()
        try:
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
            return cls(tuple(Launch.read(row) for row in rows))
        except (ValueError, KeyError, TypeError) as error:
            remedy = "restore it from version control"
            raise StudyError(f"the account cannot be read: {error!r}", where=str(path), remedy=remedy) from error

    @cached_property
    def of_trial(self) -> Mapping[str, tuple[Launch, ...]]:
        """The launches of every trial."""
        found: dict[str, list[Launch]] = defaultdict(list)
        for launch in self.launches:
            found[launch.trial].append(launch)
        return {trial: tuple(launches) for trial, launches in found.items()}

    @property
    def readings(self) -> dict[str, int]:
        """How often test sets were read, by phase; any reading while tuning breaks the seal."""
        counts: Counter[str] = Counter()
        for launch in self.launches:
            counts[launch.phase] += launch.readings
        return {phase: counts[phase] for phase in ("search", "confirm")}

    @property
    def foreign(self) -> tuple[Launch, ...]:
        """The records that do not belong in the folder in which they lie."""
        return tuple(launch for launch in self.launches if launch.foreign)

    def duplicates(self) -> tuple[Duplicate, ...]:
        """Different trials with equal scores, in the order of their ids.

        Scores that are too coarse to tell runs apart count only where the time is equal too. A trial that an
        amendment had run anew, in the same cell on the same seed, may well score the same.
        """
        alike: dict[tuple[str, float | None], dict[str, Launch]] = defaultdict(dict)
        for launch in self.launches:
            if launch.status == "complete" and launch.signature:
                weak = launch.signature.startswith(WEAK)
                alike[launch.signature, launch.seconds if weak else None][launch.trial] = launch
        found = []
        for (signature, _), launches in alike.items():
            places = {(each.cell, each.seed, each.phase, each.proposal) for each in launches.values()}
            seconds = {each.seconds for each in launches.values()}
            copied = len(seconds) == 1 and None not in seconds
            long = max(each or 0.0 for each in seconds) >= 1.0  # two short ones may well take the same microseconds
            if len(places) > 1 and (not signature.startswith(WEAK) or (copied and long)):
                found.append(Duplicate(tuple(sorted(launches)), copied))
        return tuple(sorted(found, key=lambda each: each.trials))

    def superseded(self, plan: Plan) -> tuple[str, ...]:
        """The trials that were launched and that are not, or no longer, of the plan."""
        planned = {trial.id for trial in (*plan.trials, *plan.search_trials())}
        return tuple(trial for trial in self.of_trial if trial not in planned)


def read_account(folder: Path) -> Account:
    """The account of a study's folder: the attempts in its `runs/`, and those of `attempts.csv` that are not there."""
    fresh = list(_read_runs(folder))
    there = {(launch.trial, launch.attempt): launch.started for launch in fresh}
    kept = []
    for launch in Account.read(folder).launches:
        started = there.get((launch.trial, launch.attempt))
        if started is None or (launch.started and launch.started != started):
            kept.append(launch)  # of another machine, or deleted
    return Account(tuple(sorted([*fresh, *kept], key=_place)))


def _place(launch: Launch) -> tuple[str, str, int]:
    return launch.trial, launch.started or "none", launch.attempt  # what never began stands last


def sign(rows: Iterable[Mapping[str, Any]]) -> str:
    """Digest of measured rows without what the clock and the machine decide; empty if nothing is left.

    It opens with `WEAK` where equal scores may well be an accident: agreement by chance of a proportion of n examples
    has a probability of the order of 1 / sqrt(n).
    """
    measured, bits = [], 0.0
    for row in rows:
        if not _CLOCK.search(str(row["metric"])):
            value, n = float(row["value"]), row.get("n_examples")
            place = [str(row.get(key) or "") for key in ("domain", "shift", "metric", "eval_hash")]
            measured.append([*place, f"{value:.12g}", "" if n is None else int(n)])
            bits += _count_bits(value, n)
    if not measured:
        return ""
    return ("" if bits >= _SURE else WEAK) + digest(sorted(measured))[:16]


def _count_bits(value: float, n: Any) -> float:
    """How much agreement of this score says: of a proportion of n examples little, of any other score much."""
    if value.is_integer():
        return 0.0
    if not n:
        return _SCORE
    counted = abs(value * int(n) - round(value * int(n))) < 1e-3  # single precision moves it a little
    return math.log2(int(n)) / 2 if counted else _FINE


def _read_runs(folder: Path) -> Iterator[Launch]:
    runs = Runs(folder)
    if not runs.root.is_dir():
        return
    plans = []
    if (folder / PLAN_FILE).is_file():
        plans = [Plan.read(folder), *(amendment.former for amendment in read_amendments(folder))]
    planned = {trial.id: (trial.cell, seeds) for plan in plans for trial, seeds in _expect(plan)}
    for home in sorted(path for path in runs.root.iterdir() if path.is_dir()):
        for number in sorted(int(path.name) for path in home.iterdir() if path.name.isdigit()):
            attempt = home / str(number)
            record = read_record(attempt)
            said = record if "cell" in record else {**record, **_read_json(attempt / CLAIM)}
            said = {**said, "readings": readings(attempt) or record.get("readings")}
            foreign = _find_foreign(record, home.name, number, planned.get(home.name))
            yield _make(home.name, number, said, _read_json(attempt / STARTED), foreign)


def _make(trial: str, number: int, record: Mapping[str, Any], started: Mapping[str, Any], foreign: str) -> Launch:
    begun = ""
    if "time" in started:
        begun = datetime.fromtimestamp(started["time"], UTC).isoformat(timespec="milliseconds")
    return Launch(
        trial=trial,
        plan=str(record.get("plan") or "")[:16],
        phase=str(record.get("phase") or "confirm"),
        cell=str(Cell(record.get("cell") or {})),
        seed=record.get("seed"),
        proposal=record.get("proposal"),
        attempt=number,
        status=str(record["status"]),
        reason="".join(c if is_text(c) else " " for c in record.get("reason") or ""),
        seconds=record.get("seconds"),
        readings=sum((record.get("readings") or {}).values()),
        signature=sign(spread(record)),
        foreign=foreign,
        started=begun,
        commit=_name_commit(record.get("environment") or {}),
    )


def _name_commit(environment: Mapping[str, Any]) -> str:
    commit = str(environment.get("commit") or "")[:12]
    return f"{commit}+" if commit and environment.get("dirty") else commit


def _expect(plan: Plan) -> Iterator[tuple[Trial, set[int]]]:
    """Every trial of a plan, with the seeds that it may run with: a diverged one may be replaced."""
    retries = plan.divergence.retries if plan.divergence else 0
    for trial in plan.trials:
        yield trial, {(trial.seed + k * RETRY_SEEDS) % 2**32 for k in range(retries + 1)}
    for trial in plan.search_trials():
        yield trial, {trial.seed}


def _find_foreign(record: Mapping[str, Any], home: str, number: int, planned: tuple[Cell, set[int]] | None) -> str:
    """Why a record does not belong in its folder; a trial that no plan has is superseded or strange, not foreign."""
    if "trial" not in record:
        return ""
    if (record["trial"], record.get("attempt")) != (home, number):
        return f"the record of trial {record['trial']}, attempt {record.get('attempt')}"
    cell, seed = Cell(record.get("cell", {})), record.get("seed")
    other = planned is not None and (cell != planned[0] or seed not in planned[1])
    return f"says {cell} seed={seed}, which is another trial" if other else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
