"""Hydra jobs in the local pool, for sweepers that want a batch of results back."""

from collections.abc import Sequence
from typing import Any, cast

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from ablate.launchers import LocalPool


def launch(
    pool: LocalPool,
    config: DictConfig,
    context: HydraContext,
    function: TaskFunction,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Run jobs in the pool; a job whose process died comes back failed, and the others are not touched."""
    state = Singleton.get_state()

    def run(job: tuple[int, list[str]]) -> bytes:
        setup_globals()
        Singleton.set_state(state)
        number, overrides = job
        composed = context.config_loader.load_sweep_config(config, overrides)
        with open_dict(composed):
            composed.hydra.job.id = f"{config.hydra.job.name}_{number}"
            composed.hydra.job.num = number
        job_return = run_job(
            task_function=function,
            config=composed,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=context,
        )
        # Hydra executes plugin modules anew in this process, so classes of configs can only travel by value.
        return cast(bytes, cloudpickle.dumps(job_return))

    jobs = [(first + i, list(overrides)) for i, overrides in enumerate(job_overrides)]
    returned = {job[0]: _returned(result) for job, result in pool.check(run, jobs)}
    return [returned[number] for number, _ in jobs]


def _returned(result: Any) -> JobReturn:
    if isinstance(result, bytes):
        return cast(JobReturn, cloudpickle.loads(result))
    job = JobReturn()
    job.status = JobStatus.FAILED
    job.return_value = result if isinstance(result, Exception) else RuntimeError(str(result))
    return job
