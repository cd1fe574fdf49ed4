"""Papers: what lies in a study's folder beside plan and records, and what a report reads from it.

Account, amendments, selection, looks and contamination, each of them a committed file. A study without them has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from json import loads
from pathlib import Path
from typing import Any

from ablate.accounts import ACCOUNT_FILE, Account, Launch
from ablate.amendments import AMENDMENTS_FILE, Amendment, Scope, find_scopes, read_amendments
from ablate.courses import COURSE_FILE, Course, unneeded
from ablate.errors import StudyError
from ablate.factors import digest
from ablate.plans import Plan
from ablate.tunings import TUNING_FILE, Selection

CONTAMINATION_FILE = "contamination.json"
_FILES = (ACCOUNT_FILE, AMENDMENTS_FILE, TUNING_FILE, COURSE_FILE, CONTAMINATION_FILE)
_MEASURED = ("complete", "diverged")


@dataclass(frozen=True)
class Papers:
    """The papers of a study.

    Attributes:
        account: of every attempt.
        amendments: of the plan.
        scopes: what they made exploratory.
        selection: of the settings that cells are run with; None where nothing is tuned, or not yet.
        course: the looks taken; None where seeds are fixed.
        contamination: domain -> what of its test items is in training data.
        stamp: digest of the files; empty if there are none.
    """

    account: Account = field(default_factory=Account)
    amendments: tuple[Amendment, ...] = ()
    scopes: tuple[Scope, ...] = ()
    selection: Selection | None = None
    course: Course | None = None
    contamination: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stamp: str = ""

    @cached_property
    def spared(self) -> frozenset[str]:
        """Ids of the planned trials that are not needed: what they would tell was decided at a look."""
        return frozenset(trial.id for trial in unneeded(self.course)) if self.course else frozenset()

    def explores(self, effect: Mapping[Any, Any]) -> tuple[int, ...]:
        """Numbers of the amendments that made an effect (a row of `Effects.frame`) exploratory."""
        return tuple(scope.number for scope in self.scopes if scope.holds(effect))

    def measured_before(self, amendment: Amendment) -> int:
        """How many trials that report had begun before an amendment and were measured, as the account has it."""
        ids = {trial.id for trial in amendment.former.trials}
        early = {
            launch.trial
            for launch in self.account.launches
            if launch.trial in ids and launch.status in _MEASURED and _is_before(launch, amendment)
        }
        return len(early)


def _is_before(launch: Launch, amendment: Amendment) -> bool:
    return bool(launch.started) and launch.started[:19] < amendment.time[:19]  # to the second, both UTC


def read_papers(folder: Path, plan: Plan) -> Papers:
    """The papers in a study's folder.

    Raises:
        StudyError: one is damaged, was edited, or is of another plan.
    """
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in _FILES if (folder / name).is_file()}
    amendments = read_amendments(folder)
    return Papers(
        account=Account.read(folder),
        amendments=amendments,
        scopes=find_scopes(plan, amendments),
        selection=Selection.read(folder, plan) if plan.tuning else None,
        course=Course.read(folder, plan) if plan.analysis.stopping != "fixed" else None,
        contamination=_read_contamination(folder, texts.get(CONTAMINATION_FILE, "{}")),
        stamp=digest(texts) if texts else "",
    )


def _read_contamination(folder: Path, text: str) -> dict[str, Any]:
    try:
        found = loads(text)
        if all({"items", "exact", "normalised", "near"} <= set(domain) for domain in found.values()):
            return dict(found)
    except (ValueError, TypeError, AttributeError):
        pass
    path = folder / CONTAMINATION_FILE
    raise StudyError("the audit cannot be read", where=str(path), remedy="delete it: the next run audits again")
