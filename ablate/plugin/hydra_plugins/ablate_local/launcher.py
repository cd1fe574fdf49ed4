"""The local pool of warm processes, as Hydra finds it.

Hydra executes this module in every Hydra app of the environment, before it is in `sys.modules`: so it imports hydra
alone and must not postpone annotations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class LocalLauncherConf:
    """Settings of `hydra.launcher`; see `ablate.launchers.LocalPool`."""

    _target_: str = "hydra_plugins.ablate_local.launcher.LocalLauncher"
    workers: int | None = None  # processes; null takes the processors there are
    threads: int | None = None  # numerical threads per process; null shares the processors
    timeout: float | None = None  # seconds a trial may take
    preload: list[str] = field(default_factory=list)  # modules imported once, before the processes are forked


ConfigStore.instance().store(group="hydra/launcher", name="ablate_local", node=LocalLauncherConf, provider="ablate")


class LocalLauncher(Launcher):
    """Runs jobs in warm processes. The `ablate` sweeper streams through its `pool`; other sweepers launch batches."""

    def __init__(self, **settings: Any) -> None:
        self.settings = {**settings, "preload": tuple(settings.get("preload") or ())}

    @property
    def pool(self) -> Any:
        """The pool that the settings describe."""
        from ablate.launchers import LocalPool

        return LocalPool(**self.settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self.given = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs and return how each ended, in order."""
        from hydra_plugins.ablate_local._jobs import launch

        return launch(self.pool, *self.given, job_overrides, initial_job_idx)
