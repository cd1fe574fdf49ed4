"""What the sweeper does: plan, run, write the tables. Exit status 0 only when the plan is complete."""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from ablate.commands import finish_study, show_plan
from ablate.driving import is_finished
from ablate.errors import AblateError
from ablate.launchers import Launcher
from ablate.plans import PLAN_FILE
from ablate.previews import require_estimable
from ablate.records import Records
from ablate.revisions import amend_study
from ablate.sweeps import Study, add_study_to_path, read_study


def sweep(arguments: Sequence[str], config: DictConfig, context: HydraContext, function: TaskFunction) -> Any:
    """Run a study from Hydra's hands; returns its records.

    Raises:
        SystemExit: 1 if trials are missing at the end, 2 if the study was refused, 130 or 143 if it was interrupted
            or terminated; what and why is printed.
    """
    caught: list[int] = []
    try:
        with _interruptible(caught):
            study = read_study(config, arguments, context.config_loader, function)
            if config.hydra.sweeper.dry_run:
                settings = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
                show_plan(study.plan, study.folder, settings, study.allowed)  # type: ignore[arg-type]
                return None
            if config.hydra.sweeper.amend:
                require_estimable(study.plan)
                asked = config.hydra.sweeper.amend
                amend_study(study.plan, study.folder, str(asked.get("why", "")), data=bool(asked.get("data")))
                return None
            if config.hydra.sweeper.noise:
                return _measure_noise(study, config, context, function)
            if not (study.folder / PLAN_FILE).is_file():  # a locked plan was let through when it was locked
                require_estimable(study.plan)
            records = _run(study, config, context, function)
            finish_study(records, study.folder)
    except (AblateError, OSError) as error:  # a full disk, a folder that went away
        print(f"ablate: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, Exception):
        if not caught:
            raise
        print("ablate: interrupted; the same command goes on with what is left", file=sys.stderr)
        sys.exit(128 + caught[0])
    if not is_finished(records, study.folder):
        sys.exit(1)
    return records


@contextmanager
def _interruptible(caught: list[int]) -> Iterator[None]:
    """Let an interrupt and a termination end alike: workers are stopped, what ended is recorded.

    The signals are kept in `caught`, since libraries make other errors of a KeyboardInterrupt (Optuna's file lock).
    """

    def stop(number: int, frame: object) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _run(study: Study, config: DictConfig, context: HydraContext, function: TaskFunction) -> Records:
    from ablate.driving import run
    from ablate.jobs import HydraTask

    launcher = _make_launcher(study, config, context, function)
    task = HydraTask(study, function, context)
    return run(study.plan, task, folder=study.folder, launcher=launcher, retries=config.hydra.sweeper.retries)


def _measure_noise(study: Study, config: DictConfig, context: HydraContext, function: TaskFunction) -> Any:
    """Rerun the first cell, source by source; exit status 1 if runs are missing at the end."""
    from ablate.jobs import HydraTask
    from ablate.noises import at_noise, finish_noise, prepare_noise, run_noise

    own = prepare_noise(study.plan, study.folder, config.hydra.sweeper.noise)
    noisy = at_noise(study, own)
    launcher, task = _make_launcher(noisy, config, context, function), HydraTask(noisy, function, context)
    measured = run_noise(study.plan, own, task, study.folder, launcher, retries=config.hydra.sweeper.retries)
    settings: Any = OmegaConf.to_container(config.hydra.sweeper.expect, resolve=True)
    finish_noise(measured, study.plan, study.folder, settings)
    if measured.records.complete["trial"].nunique() < len(own.trials):
        sys.exit(1)
    return measured.records


def _make_launcher(study: Study, config: DictConfig, context: HydraContext, function: TaskFunction) -> Launcher:
    """Ours, which streams results and survives a killed worker; any other Hydra launcher runs batches of jobs."""
    from ablate.jobs import HydraJobs, Recorded

    add_study_to_path(config.hydra)

    def hydra_launcher(job: TaskFunction) -> Any:
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=job, config=config)

    if str(OmegaConf.select(config, "hydra.launcher._target_", default="")).startswith("hydra_plugins.ablate_"):
        pool: Launcher = hydra_launcher(function).pool
        return pool
    return HydraJobs(study, hydra_launcher(Recorded(function, study.plan, study.validate)).launch)
