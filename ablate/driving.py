"""Running a study from the front: the engine, and the statistics that say when seeds need no longer be added."""

from pathlib import Path

from ablate.courses import Course
from ablate.engine import Standing
from ablate.engine import run as run_engine
from ablate.launchers import Launcher
from ablate.plans import Plan
from ablate.records import Records
from ablate.runs import Task


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

    Where the plan tunes nuisances, every cell is tuned first, on the same budget; where it adds seeds until decided,
    results are looked at as its schedule says, and cells whose contrasts are decided get no more.

    Args:
        plan: the study.
        task: called with a `Trial` (`trial.cell["data"]`, `trial.seed`, and where nuisances are tuned `trial.phase` and
            `trial.settings`); returns a number, `{metric: number}`, or rows (mappings with metric, value, domain,
            shift). One with a `preflight` method is tried first.
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
    return run_engine(
        plan,
        task,
        folder=folder,
        workers=workers,
        timeout=timeout,
        retries=retries,
        launcher=launcher,
        progress=progress,
        stand=look,
    )


def is_finished(records: Records, folder: Path) -> bool:
    """Whether every trial that was to be run is complete, or diverged in a way that the plan had foreseen."""
    rule, frame = records.plan.divergence, records.frame
    foreseen = ("complete", "diverged") if rule and rule.treatment in ("worst", "exclude") else ("complete",)
    ended = set(frame["trial"][frame["status"].isin(foreseen)])
    course = Course.read(folder, records.plan)
    settled = course.over or records.plan.analysis.stopping == "fixed"
    return settled and all(trial.id in ended for trial in course.trials)


def look(records: Records) -> Standing:
    """How a study stands by its records so far."""
    from ablate.stats.stopping import stand

    return stand(records)
