"""Revisions: `ablate amend`, which puts a changed plan in the place of a locked one, for a stated reason."""

from dataclasses import replace
from pathlib import Path

from ablate.accounts import read_account
from ablate.amendments import Amendment, amend, explain, find_scopes, read_amendments
from ablate.engine import read_outcomes
from ablate.environments import packages
from ablate.errors import StudyError
from ablate.locks import RECORDS_FILE, find_provenance
from ablate.plans import PLAN_FILE, Plan
from ablate.runs import Runs, Task


def amend_study(plan: Plan, folder: Path, why: str, *, data: bool = False, task: Task | None = None) -> Amendment:
    """Amend the plan that is locked in a folder, and print what changed and what has become exploratory.

    Args:
        plan: the study as it is asked for now, with the digests of its sources.
        folder: the study's.
        why: the reason, for whoever reads the report.
        data: let the training data differ from what was fingerprinted; they are fingerprinted anew.
        task: of a study that is run by `ablate.run`: its source is what trials run from now on.

    Raises:
        StudyError: no plan is locked, nothing was run under it, or a driver is running.
        PlanError: no reason, or nothing that differs.
    """
    from ablate.ledger import DriverLock

    locked, runs = Plan.read(folder), Runs(folder)
    if not runs.begun and not (folder / RECORDS_FILE).exists():
        remedy = "run the changed study: a plan binds from its first trial on"
        raise StudyError("nothing was run under the plan yet", where=str(folder / PLAN_FILE), remedy=remedy)
    lock = DriverLock(folder)
    try:
        prints = {} if data else locked.provenance.get("data", {})
        found = {"packages": packages()} if task is None else find_provenance(task, folder)
        proven = {**plan.provenance, **found, **({"data": prints} if prints else {})}
        made = amend(folder, replace(plan, provenance=proven), why, read_outcomes(folder, locked, runs))
        account = read_account(folder)
        account.write(folder)
    finally:
        lock.release()
    now = Plan.read(folder)
    scopes = {scope.number: scope for scope in find_scopes(now, read_amendments(folder))}
    print(f"{now.name}: amendment {made.number}, plan {made.before[:8]} -> {made.after[:8]}")
    print("\n".join(f"    {line:.200}" for line in made.diff))
    print(f"exploratory from here on: {explain(made, scopes.get(made.number))}")
    if gone := account.superseded(now):
        print(f"superseded: {len(gone)} launched trials, not of the plan any more; they stay in the account")
    print("run the study again for what is left, or `ablate report` it; what it was is kept in former/")
    return made
