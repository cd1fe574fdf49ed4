"""Tuning as declared: which nuisances are searched, in which cells, on what budget; and the settings it chose, frozen.

A *proposal* is one setting of all nuisances. It is run once per tuning seed, on validation data, and its value is the
mean over them. Every cell gets the same number of proposals, or, where a pruner saves some, the same resource.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from ablate.errors import PlanError, StudyError, require_keys, require_one_of
from ablate.factors import Cell, Level, Trial, digest
from ablate.files import write_whole

if TYPE_CHECKING:
    from ablate.plans import Plan

Sampler = Literal["tpe", "gp", "random", "qmc"]
Pruner = Literal["none", "median", "hyperband", "wilcoxon"]
Scope = Literal["per_cell", "inherited", "fixed"]
TUNING_SEED = 2**31  # where tuning seeds begin, so that no reporting seed that people type is among them
LIMITS = ("epochs", "steps", "seconds")  # left out of a plan where there are none
GENEROUS = 4  # times its proposals that a cell may start while a pruner saves resource
WILCOXON_SEEDS = 5  # with fewer, no p-value of Wilcoxon's test falls below the pruner's 0.1 before the last seed
TUNING_FILE = "tuning.json"


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
        parallel: proposals of one cell that run at a time; the more, the less `tpe`, `gp` and pruners know of each
            other. `random` and `qmc` without a pruner need to know nothing and are not held up.
        setting: nuisance -> value, where the scope is `fixed`.
        epochs, steps, seconds: how long one tuning run may train, where that is less than a run that reports; of
            Lightning's training, which is told by the config. A plain task keeps to a limit of its own.

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
    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, words in (("sampler", Sampler), ("pruner", Pruner), ("scope", Scope)):
            require_one_of(getattr(self, name), get_args(words), f"tuning.{name}", name)
        for name in ("trials", "parallel", *(limit for limit in LIMITS[:2] if getattr(self, limit) is not None)):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise PlanError(f"{name} is {value!r}", where=f"tuning.{name}", allowed=["a whole number from 1"])
        if self.seconds is not None and not (_is_number(self.seconds) and self.seconds > 0):
            allowed = ["a number above zero"]
            raise PlanError(f"seconds is {self.seconds!r}", where="tuning.seconds", allowed=allowed)
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
        fits = len(self.seeds) >= WILCOXON_SEEDS if self.pruner == "wilcoxon" else len(self.seeds) == 1
        if not fits:
            remedy = f"`wilcoxon` needs {WILCOXON_SEEDS} tuning seeds or more; `median` and `hyperband` a single one"
            raise PlanError(f"{self.pruner!r} with {len(self.seeds)} tuning seeds", where=where, remedy=remedy)

    @property
    def most(self) -> int:
        """The largest number of proposals that a cell may try."""
        return 0 if self.scope == "fixed" else self.trials * (1 if self.pruner == "none" else GENEROUS)

    def choose(self, values: Mapping[int, Sequence[float]]) -> int:
        """The proposal that is selected, given the objectives' values of each that has any; of equals the earliest."""
        signs = [1 if objective.direction == "maximize" else -1 for objective in self.objectives]
        gains = {number: [s * v for s, v in zip(signs, each, strict=True)] for number, each in values.items()}
        best = max(gain[0] for gain in gains.values())
        near = {number: gain for number, gain in gains.items() if gain[0] >= best - self.tolerance}
        return max(near, key=lambda number: (*near[number][1:], near[number][0], -number))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` reads them back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: value for name, value in plain.items() if name not in LIMITS or value is not None}
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


@dataclass(frozen=True)
class Choice:
    """The setting that a cell is run with, and what it was selected from.

    Attributes:
        cell: the cell.
        settings: nuisance -> value.
        hpo_trials: proposals it was selected from, in full trials: the budget; 0 where nothing was tuned.
        tuned_in: the cell whose search gave it: the cell itself, the baseline where it is inherited; None: declared.
        proposal: its number in that search.
        values: of the objectives, means over tuning seeds.
        proposals, runs: how many that search tried, and its runs, of which `failed` failed or diverged.
        pruned: proposals that the pruner gave up.
        resource: what that search spent, in full trials.
        front: with several objectives, the proposals that no other is better than in all.
    """

    cell: Cell
    settings: Mapping[str, Level]
    hpo_trials: int = 0
    tuned_in: Cell | None = None
    proposal: int | None = None
    values: tuple[float, ...] = ()
    proposals: int = 0
    runs: int = 0
    failed: int = 0
    pruned: int = 0
    resource: float = 0.0
    front: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        tuned_in = None if self.tuned_in is None else dict(self.tuned_in)
        plain |= {"cell": dict(self.cell), "settings": dict(self.settings), "tuned_in": tuned_in}
        return {**plain, "values": list(self.values), "front": list(self.front)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A choice from plain values."""
        tuned_in = None if values["tuned_in"] is None else Cell(values["tuned_in"])
        lists = {name: tuple(values[name]) for name in ("values", "front")}
        return cls(**{**values, "cell": Cell(values["cell"]), "tuned_in": tuned_in, **lists})


@dataclass(frozen=True)
class Selection:
    """The frozen outcome of tuning: the setting of every cell.

    Attributes:
        plan: the study's plan.
        choices: one per cell; none where the plan tunes nothing.
    """

    plan: "Plan" = field(repr=False)
    choices: tuple[Choice, ...] = ()

    @classmethod
    def declared(cls, plan: "Plan") -> Self:
        """The selection of a plan that searches nothing: no choices, or the setting that is declared for all cells."""
        tuning = plan.tuning
        return cls(plan, tuple(Choice(cell, dict(tuning.setting or {})) for cell in plan.cells) if tuning else ())

    @property
    def unequal(self) -> tuple[Cell, ...]:
        """The cells whose search had to end with less of the budget than others spent."""
        most = max((choice.hpo_trials for choice in self.choices), default=0)
        return tuple(choice.cell for choice in self.choices if choice.hpo_trials < most)

    def of(self, cell: Cell) -> Choice:
        """The choice of a cell."""
        return self._by_cell[cell]

    @cached_property
    def _by_cell(self) -> dict[Cell, Choice]:
        return {choice.cell: choice for choice in self.choices}

    def settle(self, trial: Trial) -> Trial:
        """The trial with the setting of its cell."""
        if not self.choices:
            return trial
        choice = self.of(trial.cell)
        return replace(trial, settings=choice.settings, hpo_trials=choice.hpo_trials)

    def write(self, folder: Path) -> Path:
        """Freeze it: write `tuning.json` into the study's folder, whole or not at all."""
        choices = [{**choice.to_dict(), "trial": self._search(choice)} for choice in self.choices]
        values = {"plan": self.plan.hash, "choices": choices}
        text = json.dumps({**values, "hash": digest(values)}, indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(folder / TUNING_FILE, text + "\n")
        return folder / TUNING_FILE

    @classmethod
    def read(cls, folder: Path, plan: "Plan") -> Self | None:
        """What was selected in a study's folder; None where a search is still to be made or to be ended.

        Raises:
            StudyError: the file was edited, or tells of another search: of other cells, configs or tuning.
        """
        path = folder / TUNING_FILE
        if not plan.tuned_cells:
            return cls.declared(plan)
        if not path.is_file():
            return None
        remedy = "delete it: what is missing is tuned, and settings are selected again from the records"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            sound = values.pop("hash") == digest(values)
            trials = [choice.pop("trial") for choice in values["choices"]]
            made = cls(plan, tuple(map(Choice.from_dict, values["choices"])))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudyError(f"the selection cannot be read: {error!r:.200}", where=str(path), remedy=remedy) from error
        if not sound:
            raise StudyError("the selection was edited after it was frozen", where=str(path), remedy=remedy)
        tuned = {choice.cell for choice in made.choices}
        if tuned != set(plan.cells) or trials != [made._search(choice) for choice in made.choices]:
            what = "the selection is of another search: cells, configs or tuning have changed since"
            raise StudyError(what, where=str(path), remedy=remedy)
        return made

    def _search(self, choice: Choice) -> str | None:
        """What identifies the search that gave a choice: its first trial; None for a cell that the plan lost."""
        cell, tuning = choice.tuned_in, self.plan.tuning
        if tuning is None or cell not in self.plan.cells:
            return None
        return self.plan.search_trial(cell, 0, tuning.seeds[0]).id


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
