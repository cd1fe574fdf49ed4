"""The engine: what is left of a plan -> launch -> record, until nothing is left."""

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.drifts import differences, drift
from ablate.environments import commit, file_digest, packages
from ablate.errors import PlanError, StudyError
from ablate.factors import Cell, Trial, digest
from ablate.launchers import InProcess, Launcher, LocalPool
from ablate.plans import PLAN_FILE, Plan
from ablate.records import Records, measurements
from ablate.runs import Attempt, Record, Runs, Task, conclude, failure, folder_name

if TYPE_CHECKING:
    from ablate.ledger import Ledger
    from ablate.progress import Progress

RECORDS_FILE = "records.csv"


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
) -> Records:
    """Run what is left of a plan and give its records. Running again resumes; a complete study runs nothing.

    Args:
        plan: the study.
        task: called with a `Trial` (`trial.cell["data"]`, `trial.seed`); returns a number, `{metric: number}`, or
            rows (mappings with metric, value, domain, shift). One with a `preflight` method is tried first.
        folder: the study's folder; by default `outputs/<name>-<first digits of the plan's hash>`.
        workers: 0 runs in this process, n in a pool of n warm processes.
        timeout: seconds a trial may take (with workers).
        retries: how often a trial whose worker died is launched again. A trial that failed is retried by the
            next `run`, not by this one.
        launcher: where trials run, instead of `workers` and `timeout`.
        progress: show progress.

    Raises:
        StudyError: the folder holds another plan, what the trials use has changed, or another driver runs it.
        PlanError: the preflight found a cell that cannot work, or the task cannot be sent to the workers.
    """
    home = Path(folder if folder is not None else f"outputs/{folder_name(plan)}")
    home = home.absolute()  # a task may change the working directory
    _check_call(task, workers, timeout, retries)
    plan = replace(plan, provenance={**plan.provenance, **_provenance(task, home)})
    launcher = launcher or (LocalPool(workers=workers, timeout=timeout) if workers else InProcess())
    from ablate.ledger import Ledger

    _make(home)
    with Ledger(home, plan) as ledger:
        runs = Runs(home)
        locked = _locked_plan(home, plan, runs)
        outcomes = read_outcomes(home, plan, runs) if locked else {}
        left = [t for t in plan.trials if outcomes.get(t.id, {}).get("status") != "complete"]
        if left:
            _refuse_new_code(locked or plan, plan, home)
            _preflight(plan, task, left, launcher)
        if locked is None:
            plan.write(home)
        ledger.reconcile(outcomes)
        if left:
            with _progress(plan, outcomes, progress) as bar:
                _drive(plan, task, launcher, ledger, runs, retries, bar)
        return _collect(home, plan)


def load(folder: str | Path) -> Records:
    """The records of a study's folder: from its runs where they are there, else from its `records.csv`.

    Raises:
        StudyError: no plan is locked there.
    """
    home = Path(folder)
    plan = Plan.read(home)
    return Records.of(plan, read_outcomes(home, plan, Runs(home)))


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


def _provenance(task: Task, home: Path) -> dict[str, Any]:
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


def _locked_plan(home: Path, plan: Plan, runs: Runs) -> Plan | None:
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


def _refuse_new_code(locked: Plan, plan: Plan, home: Path) -> None:
    """Trials that are left would run with other packages or sources than those that are done."""
    for kind in ("packages", "sources"):
        before, after = locked.provenance.get(kind, {}), plan.provenance.get(kind, {})
        _refuse([f"{kind}: {line}" for line in differences(before, after)], home)


def _refuse(changed: list[str], home: Path) -> None:
    if changed:
        shown = [f"    {line:.300}" for line in changed[:12]]
        more = [f"    ... and {len(changed) - 12} more"] if len(changed) > 12 else []
        raise StudyError(
            "what is asked for has drifted from the locked plan (before -> now):\n" + "\n".join(shown + more),
            where=str(home / PLAN_FILE),
            remedy="put it back, or give the changed study a folder of its own; nothing was run or overwritten",
        )


def _preflight(plan: Plan, task: Task, left: list[Trial], launcher: Launcher) -> None:
    """Try every cell of what is left on one batch; PlanError names all that fail."""
    check = getattr(task, "preflight", None)
    if check is None:
        return
    trials = list({trial.cell: trial for trial in left}.values())
    problems: dict[Cell, str] = {}
    for trial, rows in launcher.check(check, trials):
        try:
            if isinstance(rows, BaseException):
                raise rows
            if isinstance(rows, str):
                raise StudyError(rows)
            measurements(rows, plan)
        except Exception as error:  # noqa: BLE001 - anything a module raises is named with its cell
            problems[trial.cell] = f"{type(error).__name__}: {error}"
    if problems:
        lines = [f"  cell {cell}:\n    " + text.replace("\n", "\n    ") for cell, text in problems.items()]
        raise PlanError(
            f"{len(problems)} of {len(trials)} cells tried on one batch cannot work; nothing was trained\n"
            + "\n".join(lines)
        )


def _drive(
    plan: Plan, task: Task, launcher: Launcher, ledger: "Ledger", runs: Runs, retries: int, bar: "Progress | None"
) -> None:
    """Launch what waits until nothing does; queue a trial again when its worker died, at most `retries` times."""
    lost: dict[str, int] = {}

    def claim() -> Attempt | None:
        trial = ledger.claim()
        return runs.claim(trial) if trial else None

    while True:
        launched = 0
        for attempt, trouble in launcher.launch(task, plan, claim):
            launched += 1
            record = runs.attempts(attempt.trial.id)[attempt.number - 1]
            if record["status"] == "running":  # no record: the worker never got to write one
                reason = trouble if isinstance(trouble, str) else f"its worker was lost: {trouble!r}"
                record = conclude(attempt, plan, failure("lost", reason))
            ledger.tell(attempt.trial, record)
            again = record["status"] in ("lost", "preempted")
            lost[attempt.trial.id] = lost.get(attempt.trial.id, 0) + again
            if again and lost[attempt.trial.id] <= retries:
                ledger.queue(attempt.trial)
            elif bar is not None:
                bar.ended(attempt.trial, record)
        if not launched:
            return


def _collect(home: Path, plan: Plan) -> Records:
    records = Records.of(plan, read_outcomes(home, plan, Runs(home)))
    aside = records.write(home / f".{RECORDS_FILE[:-4]}.tmp.csv")
    aside.replace(home / RECORDS_FILE)
    return records


def _progress(plan: Plan, outcomes: Mapping[str, Record], shown: bool) -> Any:
    if not shown:
        return nullcontext()
    from ablate.progress import Progress

    done = sum(outcome["status"] == "complete" for outcome in outcomes.values())
    return Progress(len(plan.trials), done)
