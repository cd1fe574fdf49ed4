"""The sweeper, as Hydra finds it.

Hydra executes this module in every Hydra app of the environment, also in those that never use it, and before it is
in `sys.modules`: so it imports hydra alone and must not postpone annotations.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class AblateSweeperConf:
    """What a study declares in `hydra.sweeper`; see `ablate.plans.plan` for the meaning of each."""

    _target_: str = "hydra_plugins.ablate_sweeper.sweeper.AblateSweeper"
    _recursive_: bool = False  # settings are plain values: `domains` may hold `_target_`s, which the trials build
    params: dict[str, str] = field(default_factory=dict)  # factor -> levels, in Hydra's sweep grammar
    zip: dict[str, Any] = field(default_factory=dict)  # factor -> those of `params` whose levels go together in it
    levels: dict[str, Any] = field(default_factory=dict)  # factor -> level -> a whole list of overrides
    name: str | None = None
    folder: str | None = None
    design: Any = "full_factorial"  # or {name: ..., option: ...}
    seeds: Any = 5
    max_seeds: int | None = None  # the most, where `analysis.stopping` adds seeds until decided
    seed_key: str = "seed"
    metric: str = "value"
    direction: str = "maximize"
    margin: float | None = None
    blocking: str = "seed"
    baseline: dict[str, Any] = field(default_factory=dict)
    across: list[str] = field(default_factory=list)
    evaluation: list[str] = field(default_factory=list)  # factors measured after training, all from one run
    exclude: list[Any] = field(default_factory=list)
    conditional: dict[str, Any] = field(default_factory=dict)  # factor -> {only: {other: level}}
    domains: Any = None
    analysis: dict[str, Any] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)  # of the nuisances: `lr: tag(log, interval(1e-4, 1e-1))`
    divergence: dict[str, Any] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    acknowledge: list[str] = field(default_factory=list)  # families that cannot be estimated as a whole
    allow: list[str] = field(default_factory=list)  # further packages that a `_target_` may name
    preflight: str | None = None
    preflight_search: str | None = None
    validate: str | None = None  # (config) -> validation rows, for trials that tune
    audit: str | None = None
    fingerprint: str | None = None
    retries: int = 2
    dry_run: bool = False
    noise: int = 0  # so many runs of every source of randomness in the baseline cell, in place of the study
    amend: dict[str, Any] = field(default_factory=dict)  # why, data: the locked plan is changed, nothing is run
    expect: dict[str, Any] = field(default_factory=dict)  # run_sd, error_sd, domain_sd, effect, power
    pilot: str | None = None  # records of a pilot, in place of what is expected
    json: str | None = None  # where `ablate plan` writes its JSON


ConfigStore.instance().store(group="hydra/sweeper", name="ablate", node=AblateSweeperConf, provider="ablate")


class AblateSweeper(Sweeper):
    """Plans the multirun as a study, runs what is left of it, and writes its tables."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over; nothing is started before the plan is known."""
        self.given = config, hydra_context, task_function

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study that the config and these overrides declare."""
        from hydra_plugins.ablate_sweeper._study import sweep

        return sweep(arguments, *self.given)
