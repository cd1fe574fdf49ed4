"""Trials as Hydra jobs: the app's own function, called with the config of the trial's cell.

Through our pool a trial is a task like any other. Through any other Hydra launcher it is a job of a batch, which
writes its own record, so that a launcher that loses its batch loses no result.
"""

import copy
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ablate.carriers import list_carried
from ablate.factors import Trial, level_name
from ablate.launchers import LocalPool
from ablate.plans import Plan
from ablate.runs import STARTED, Attempt, perform, read_claim, read_record
from ablate.sweeps import Study


def set_trial(study: Study, trial: Trial, contamination: Path | None) -> dict[str, Any]:
    """What a trial's config has beyond its cell's: key -> value.

    The seed and the settings of nuisances; and for training of ours, each only where the plan asks for it, `prune` (the
    metric to report while fitting), limits of the `trainer` while tuning, `diverged_above` (a loss) and `contaminated`
    (the file that names test items).
    Where the plan has evaluation factors, `evaluations` lists the cells that the run is measured in: `levels`, and as
    `config` those nodes that differ from the trial's own config.
    """
    plan = study.plan
    values: dict[str, Any] = {study.seed_key: trial.seed, **trial.settings}
    if trial.phase == "search" and plan.tuning and plan.tuning.pruner in ("median", "hyperband"):
        values["+prune"] = plan.tuning.objectives[0].metric
    if trial.phase == "search" and plan.tuning:
        limits = {"max_epochs": plan.tuning.epochs, "max_steps": plan.tuning.steps}
        values |= {f"++trainer.{key}": limit for key, limit in limits.items() if limit is not None}
        if plan.tuning.seconds is not None:
            values["++trainer.max_time"] = {"seconds": plan.tuning.seconds}
    if plan.divergence and plan.divergence.above is not None:
        values["+diverged_above"] = plan.divergence.above
    if contamination and trial.phase == "confirm":
        stratum = plan.stratum(trial.cell)
        values["+contaminated"] = f"{contamination}#{stratum}" if stratum else str(contamination)
    if trial.phase == "confirm" and (cells := list_carried(plan, trial.cell)):
        nodes = [_list_nodes(study.configs[cell]) for cell in cells]
        values["+evaluations"] = [
            {
                "levels": {key: level_name(cell[key]) for key in plan.evaluation},
                "config": {k: own.get(k) for k in {**nodes[0], **own} if own.get(k) != nodes[0].get(k)},
            }
            for cell, own in zip(cells, nodes, strict=True)
        ]
    return values


def _list_nodes(config: DictConfig) -> dict[str, Any]:
    """What stands at the top of a config, as plain values with their interpolations, without `hydra`."""
    nodes: Any = OmegaConf.to_container(config, resolve=False)
    return {str(key): node for key, node in nodes.items() if key != "hydra"}


def override(study: Study, trial: Trial, contamination: Path | None = None) -> list[str]:
    """The overrides that make a trial's config: those of its cell, and what is the trial's own."""
    own = set_trial(study, trial, contamination)
    return [
        *study.overrides[trial.cell],
        *(f"{key}={_spell(value)}" for key, value in own.items()),
    ]


def find_function(path: str) -> TaskFunction:
    """The function that a dotted path names."""
    module, _, name = path.rpartition(".")
    found: TaskFunction = getattr(import_module(module), name)
    return found


class HydraTask:
    """A trial as a Hydra job: the app's function, called with the config of the trial's cell and its seed.

    Tuning trials go to the study's `validate` instead, where it has one.
    """

    def __init__(self, study: Study, function: TaskFunction, context: HydraContext) -> None:
        self.study, self.function, self.context = study, function, context
        self.state: Any = Singleton.get_state()
        self.contamination: Path | None = None

    def __call__(self, trial: Trial) -> object:
        """Run the job as Hydra would: its own output folder, its config saved beside it."""
        self._restore()
        validate = self.study.validate if trial.phase == "search" else None
        job = run_job(
            task_function=find_function(validate) if validate else self.function,
            config=self.config(trial),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.context,
        )
        return job.return_value  # raises what the function raised

    @property
    def preflight(self) -> Callable[[Trial], object] | None:
        """Tries a trial's config on one batch and gives the rows it would give; None where the app has no check."""
        return self._checks(self.study.preflight)

    @property
    def preflight_search(self) -> Callable[[Trial], object] | None:
        """The same for a tuning trial, which opens no test set."""
        return self._checks(self.study.preflight_search)

    @property
    def audit(self) -> Callable[[Trial], object] | None:
        """Finds a trial's training data among the test items of its domains."""
        return self._checks(self.study.audit)

    @property
    def fingerprint(self) -> Callable[[Trial], object] | None:
        """A digest of a trial's training data."""
        return self._checks(self.study.fingerprint)

    def _checks(self, path: str | None) -> Callable[[Trial], object] | None:
        return partial(self._check, path) if path else None

    def _check(self, path: str, trial: Trial) -> object:
        self._restore()
        config = self.config(trial)
        with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            with read_write(config), open_dict(config):
                config.hydra.runtime.output_dir = folder
            HydraConfig.instance().set_config(config)
            with open_dict(config):
                del config["hydra"]
            return find_function(path)(config)

    def config(self, trial: Trial) -> DictConfig:
        """The composed config of a trial, made from its cell's: what is its own, the overrides, the output folder."""
        config = copy.deepcopy(self.study.configs[trial.cell])
        with read_write(config), open_dict(config):
            for key, value in set_trial(self.study, trial, self.contamination).items():
                OmegaConf.update(config, key.lstrip("+"), value, force_add=True)
            config.hydra.sweep.dir = str(self.study.folder / "runs")
            config.hydra.sweep.subdir = "/".join(trial.folder.parts[-2:]) if trial.folder else trial.id
            config.hydra.job.id, config.hydra.job.num = trial.id, self._numbers.get(trial.id, trial.proposal or 0)
            config.hydra.overrides.task = override(self.study, trial, self.contamination)
        return config

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {trial.id: number for number, trial in enumerate(self.study.plan.trials)}

    def _restore(self) -> None:
        """Give this process Hydra's config store and resolvers as they were in the driver; once per process."""
        if self.state is not None:
            setup_globals()
            Singleton.set_state(self.state)
            self.state = None


class Recorded:
    """The app's function for launchers that only know jobs: what it returns is recorded by the job's own process."""

    def __init__(self, function: TaskFunction, plan: Plan, validate: str | None = None) -> None:
        self.function, self.plan, self.validate = function, plan, validate

    def __call__(self, config: DictConfig) -> None:
        attempt = read_claim(Path(HydraConfig.get().runtime.output_dir))
        validate = self.validate if attempt.trial.phase == "search" else None
        function = find_function(validate) if validate else self.function
        perform(lambda _: function(config), attempt, self.plan)


class HydraJobs:
    """Any Hydra launcher as a launcher of attempts: batches of jobs that write their own records.

    A Hydra launcher gives nothing back of a batch that lost a worker. What has no record after a batch is launched
    again, one job per batch, so that a job that kills its worker takes no other with it.

    Args:
        study: what is run.
        launch_jobs: a Hydra launcher's `launch`, its function wrapped in `Recorded`.
    """

    def __init__(self, study: Study, launch_jobs: Callable[[list[list[str]], int], object]) -> None:
        self.study, self.launch_jobs, self._launched = study, launch_jobs, 0
        self._tried: set[str] = set()

    def launch(self, task: object, plan: Plan, claim: Callable[[], Attempt | None]) -> Iterator[tuple[Attempt, Any]]:
        """Launch all that can be claimed, then yield it."""
        contamination = getattr(task, "contamination", None)
        attempts = list(iter(claim, None))
        suspects = [a for a in attempts if a.trial.id in self._tried or _ended_badly(a)]
        fresh = [a for a in attempts if a not in suspects]
        self._tried |= {a.trial.id for a in attempts}
        for batch in [fresh, *([suspect] for suspect in suspects)]:
            trouble = self._launch(batch, contamination) if batch else None
            for attempt in batch:
                yield attempt, trouble

    def _launch(self, batch: list[Attempt], contamination: Path | None) -> str | None:
        jobs = [
            [
                *override(self.study, attempt.trial, contamination),
                f"hydra.sweep.dir={_quote(str(self.study.folder.resolve() / 'runs'))}",
                f"hydra.sweep.subdir={attempt.trial.id}/{attempt.number}",
            ]
            for attempt in batch
        ]
        try:
            self.launch_jobs(jobs, self._launched)
        except Exception as error:  # noqa: BLE001 - a lost batch; what was measured is in the records
            return f"the launcher lost its batch: {type(error).__name__}: {error}".splitlines()[0]
        finally:
            self._launched += len(batch)
        return None

    def check(self, function: Callable[[Any], object], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Check in one local worker process, so that the driver stays light."""
        yield from LocalPool(workers=1).check(function, items)


def _ended_badly(attempt: Attempt) -> bool:
    """Whether the try before this one began and left no record of its own: it may have killed its process."""
    before = attempt.folder.with_name(str(attempt.number - 1))
    if not (before / STARTED).is_file():
        return False
    return read_record(before)["status"] in ("running", "lost")


def _spell(value: object) -> str:
    """A value in Hydra's override grammar."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_spell(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_spell, value)) + "]"
    return _quote(value) if isinstance(value, str) else level_name(value)


def _quote(text: str) -> str:
    """A text as a quoted value of Hydra's override grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
