"""The lock on a study: the plan in its folder, and whether what is asked for, and would be run, is still that plan."""

import inspect
from pathlib import Path
from typing import Any

from ablate.drifts import differences, drift
from ablate.environments import commit, file_digest, packages
from ablate.errors import StudyError
from ablate.factors import digest
from ablate.plans import PLAN_FILE, Plan
from ablate.runs import Runs, Task

RECORDS_FILE = "records.csv"
PROVEN = ("packages", "sources", "data")  # what trials that are left must share with those that are done


def find_provenance(task: Task, home: Path) -> dict[str, Any]:
    """Commit, packages, and the digest of the code that defines a plain task: its file, or a notebook's cell."""
    found: dict[str, Any] = {"packages": packages(), **commit(home if home.is_dir() else Path.cwd())}
    code = getattr(task, "__code__", None)
    if code is None:
        return found
    file = Path(code.co_filename)
    try:
        source = file_digest(file) if file.is_file() else digest(inspect.getsource(code))
    except OSError:  # typed at a prompt: there is no source to digest
        return found
    return {**found, "sources": {getattr(task, "__name__", "task"): source}}


def read_lock(home: Path, plan: Plan, runs: Runs) -> Plan | None:
    """The plan locked in the folder, if trials were run under it; refuses one that is not this plan."""
    if not (home / PLAN_FILE).is_file():
        if (home / RECORDS_FILE).exists():
            raise StudyError("there are records but no plan", where=str(home), remedy=f"restore {PLAN_FILE}")
        return None
    if not runs.begun and not (home / RECORDS_FILE).exists():
        return None  # nothing was measured under it
    locked = Plan.read(home)
    if locked.name != plan.name:
        raise StudyError(
            f"the folder holds another study, {locked.name!r}; this one is {plan.name!r}",
            where=str(home / PLAN_FILE),
            remedy="give each study a folder of its own",
        )
    _refuse(drift(locked, plan), home)
    return locked


def refuse_drift(locked: Plan, plan: Plan, home: Path) -> None:
    """Trials that are left would run with other packages, sources or data than those that are done."""
    for kind in PROVEN:
        before, after = locked.provenance.get(kind, {}), plan.provenance.get(kind, {})
        if kind == "data":  # of the cells that were, and are, looked at
            before, after = ({key: each[key] for key in before.keys() & after.keys()} for each in (before, after))
        _refuse([f"{kind}: {line}" for line in differences(before, after)], home)


def _refuse(changed: list[str], home: Path) -> None:
    if changed:
        shown = [f"    {line:.300}" for line in changed[:12]]
        more = [f"    ... and {len(changed) - 12} more"] if len(changed) > 12 else []
        raise StudyError(
            "what is asked for has drifted from the locked plan (before -> now):\n" + "\n".join(shown + more),
            where=str(home / PLAN_FILE),
            remedy="put it back, give the changed study a folder of its own, or amend the plan: "
            '`ablate amend STUDY --why "..."`; with an app of your own, the same command and '
            '`++hydra.sweeper.amend.why="..."`; from Python, `ablate.revisions.amend_study`. Nothing was run',
        )
