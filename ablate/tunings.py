"""Tuning as declared: which nuisances are searched, in which cells, on what budget, and how a setting is chosen.

A *proposal* is one setting of all nuisances. It is run once per tuning seed, on validation data, and its value is the
mean over them. Every cell gets the same number of proposals, or, where a pruner saves some, the same resource.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from ablate.errors import PlanError, require_keys, require_one_of
from ablate.factors import Level

Sampler = Literal["tpe", "gp", "random", "qmc"]
Pruner = Literal["none", "median", "hyperband", "wilcoxon"]
Scope = Literal["per_cell", "inherited", "fixed"]
TUNING_SEED = 2**31  # where tuning seeds begin, so that no reporting seed that people type is among them
GENEROUS = 4  # times its proposals that a cell may start while a pruner saves resource


@dataclass(frozen=True)
class Nuisance:
    """A hyperparameter that is tuned and never reported as an effect.

    Attributes:
        key: the override key.
        low, high: the ends of its range, both included.
        log: whether it is searched on a logarithmic scale.
        integer: whether it is a whole number.

    Raises:
        PlanError: ends that are not finite or not in order, or not positive on a logarithmic scale.
    """

    key: str
    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        where = f"nuisance {self.key!r}"
        if not (_is_number(self.low) and _is_number(self.high) and self.low < self.high):
            raise PlanError(f"a range from {self.low!r} to {self.high!r}", where=where, allowed=["two numbers, rising"])
        if self.log and self.low <= 0:
            remedy = "begin above zero, or drop `tag(log, ...)`"
            raise PlanError(f"a logarithmic range from {self.low!r}", where=where, remedy=remedy)
        if self.integer and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise PlanError(f"whole numbers from {self.low!r} to {self.high!r}", where=where, allowed=["whole ends"])


@dataclass(frozen=True)
class Objective:
    """What tuning optimises: a metric that search trials give, never one of a test set.

    Attributes:
        metric: its name.
        direction: which way is better.
    """

    metric: str
    direction: Literal["maximize", "minimize"] = "maximize"

    def __post_init__(self) -> None:
        require_one_of(self.direction, ("maximize", "minimize"), "tuning.objectives", "direction")


@dataclass(frozen=True)
class Tuning:
    """How nuisances are tuned.

    Attributes:
        space: the nuisances.
        objectives: what is optimised; the first alone decides unless there is a tolerance.
        trials: proposals per cell; with a pruner, what so many full trials would spend.
        seeds: tuning seeds, on each of which a proposal is run; none of them is a seed of the plan.
        sampler: `tpe`, `gp` (Gaussian process), `random` or `qmc` (Sobol points).
        pruner: `none`, `median`, `hyperband` (one tuning seed, by step) or `wilcoxon` (by tuning seed).
        scope: `per_cell`; `inherited`: tuned in the baseline and used by all; `fixed`: not tuned, `setting` is used.
        tolerance: with several objectives: among the proposals whose first objective is within this of the best,
            the best second objective is selected.
        parallel: proposals of one cell that run at a time; the more, the less `tpe` and `gp` know of each other.
        setting: nuisance -> value, where the scope is `fixed`.

    Raises:
        PlanError: says which of them makes no sense.
    """

    space: tuple[Nuisance, ...]
    objectives: tuple[Objective, ...]
    trials: int = 20
    seeds: tuple[int, ...] = (TUNING_SEED,)
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    scope: Scope = "per_cell"
    tolerance: float = 0.0
    parallel: int = 1
    setting: Mapping[str, Level] | None = None

    def __post_init__(self) -> None:
        for name, words in (("sampler", Sampler), ("pruner", Pruner), ("scope", Scope)):
            require_one_of(getattr(self, name), get_args(words), f"tuning.{name}", name)
        for name in ("trials", "parallel"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise PlanError(f"{name} is {value!r}", where=f"tuning.{name}", allowed=["a whole number from 1"])
        if not _is_number(self.tolerance) or self.tolerance < 0:
            allowed = ["a number, zero or more, in units of the first objective"]
            raise PlanError(f"tolerance is {self.tolerance!r}", where="tuning.tolerance", allowed=allowed)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or not all(_is_seed(s) for s in self.seeds):
            allowed = ["different whole numbers from 0 to 2^32 - 1"]
            raise PlanError(f"tuning seeds are {self.seeds!r:.80}", where="tuning.seeds", allowed=allowed)
        self._check_space()
        self._check_pruner()

    def _check_space(self) -> None:
        keys = [n.key for n in self.space]
        if not keys:
            remedy = "declare nuisances among the factors: `lr: tag(log, interval(1e-4, 1e-1))`"
            raise PlanError("there is nothing to tune", where="tuning", remedy=remedy)
        if len(set(keys)) < len(keys) or not self.objectives:
            raise PlanError("a nuisance is named twice, or there is no objective", where="tuning")
        if (self.setting is None) == (self.scope == "fixed"):
            remedy = "give `setting: {nuisance: value}` with `scope: fixed`, and with no other"
            raise PlanError(f"scope {self.scope!r} with setting {self.setting!r:.80}", where="tuning", remedy=remedy)
        if self.setting is not None and set(self.setting) != set(keys):
            raise PlanError(f"a setting of {sorted(self.setting)}", where="tuning.setting", allowed=keys)

    def _check_pruner(self) -> None:
        if self.pruner == "none":
            return
        where = "tuning.pruner"
        if len(self.objectives) > 1:
            raise PlanError("no pruner weighs several objectives", where=where, remedy="use `pruner: none`")
        several = len(self.seeds) > 1
        if several != (self.pruner == "wilcoxon"):
            remedy = "`wilcoxon` compares over several tuning seeds; `median` and `hyperband` by step, on a single one"
            raise PlanError(f"{self.pruner!r} with {len(self.seeds)} tuning seeds", where=where, remedy=remedy)

    @property
    def most(self) -> int:
        """The largest number of proposals that a cell may try."""
        return 0 if self.scope == "fixed" else self.trials * (1 if self.pruner == "none" else GENEROUS)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` reads them back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain |= {"space": [asdict(n) for n in self.space], "objectives": [asdict(o) for o in self.objectives]}
        plain |= {"seeds": list(self.seeds), "setting": None if self.setting is None else dict(self.setting)}
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Tuning from plain values (JSON or a config); unknown keys are named."""
        require_keys(values, [f.name for f in fields(cls)], "tuning")
        values = {key: value for key, value in values.items() if value is not None}
        made = {**values, "space": tuple(_make(Nuisance, n) for n in values.get("space", ()))}
        objectives = values.get("objectives", ())
        objectives = [objectives] if isinstance(objectives, str | Mapping) else objectives
        made["objectives"] = tuple(_make(Objective, {"metric": o} if isinstance(o, str) else o) for o in objectives)
        if "seeds" in values:
            made["seeds"] = _tuning_seeds(values["seeds"])
        return cls(**made)


def _make(kind: Any, values: Any) -> Any:
    if isinstance(values, kind):
        return values
    require_keys(values, [f.name for f in fields(kind)], "tuning")
    try:
        return kind(**values)
    except TypeError as error:
        raise PlanError(f"{dict(values)} is incomplete: {error}", where="tuning") from error


def _tuning_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """How many tuning seeds, or the seeds themselves."""
    if isinstance(seeds, bool) or not isinstance(seeds, int | Sequence) or isinstance(seeds, str):
        return (-1,)  # refused, and named, by Tuning
    return tuple(range(TUNING_SEED, TUNING_SEED + seeds)) if isinstance(seeds, int) else tuple(seeds)


def _is_seed(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
