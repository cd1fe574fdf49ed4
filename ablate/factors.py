"""The nouns of a design: a factor and its levels, a cell of levels, a trial of one cell with one seed."""

import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ablate.errors import PlanError, Pruned, require_one_of
from ablate.signals import note_reading, stopped, tell

Level = str | int | float | bool | None
Role = Literal["factor", "across", "evaluation"]
Phase = Literal["confirm", "search"]

# Columns that records own; a factor of the same name could not stand in the same table.
RESERVED = frozenset(
    "trial seed block phase domain_group domain shift metric value n_examples score_se eval_hash hpo_trials "
    "status reason attempt seconds hardware cell proposal carried_by".split()
)


def digest(value: object) -> str:
    """SHA-256 (hex) of a JSON value in canonical form: sorted keys, no spaces; NaN is refused."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Factor:
    """What a study switches, and the values it takes.

    Attributes:
        key: the override key (`data`, `model.depth`).
        levels: the values in the order in which tables print them; at least two, no duplicates.
        baseline: the level that the others are compared with; the first unless named.
        role: `factor` is compared; `across` repeats the whole design (strata), reported apart; `evaluation` is compared
            too, but each of its levels is measured from the same training run (quantisation, decoding).

    Raises:
        PlanError: no key, fewer than two levels, duplicates, a blank level, or a baseline that is not a level.

    Two levels are the same if they print the same (`level_name`): records and overrides hold what is printed.
    """

    key: str
    levels: tuple[Level, ...]
    baseline: Level = field(default="", kw_only=True)  # no level is blank, so "" means: the first
    role: Role = field(default="factor", kw_only=True)

    def __post_init__(self) -> None:
        where = f"factor {self.key!r}"
        if isinstance(self.levels, str) or not isinstance(self.levels, Iterable):
            raise PlanError(f"levels are {self.levels!r}", where=where, remedy="give a list of at least two")
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.key or self.key in RESERVED:
            raise PlanError(
                f"{self.key!r} cannot be the name of a factor",
                where=where,
                remedy=f"the records use these names themselves: {', '.join(sorted(RESERVED))}",
            )
        for level in self.levels:
            if not isinstance(level, Level):
                raise PlanError(
                    f"level {level!r} is a {type(level).__name__}",
                    where=where,
                    allowed=["text", "a number", "true/false", "null"],
                    remedy="give a list or mapping a name of its own: a config group option",
                )
        names = [level_name(level) for level in self.levels]
        infinite = any(isinstance(level, float) and not math.isfinite(level) for level in self.levels)
        if infinite or any(not name.strip() or not is_text(name) for name in names):
            raise PlanError(
                f"a blank, non-finite or unprintable level among {self.levels}",
                where=where,
                remedy="give the level a name",
            )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise PlanError(f"duplicate levels: {', '.join(twice)}", where=where, remedy="name each level once")
        if len(self.levels) < 2:
            raise PlanError(
                f"{len(self.levels)} level(s): nothing to compare",
                where=where,
                remedy=f"give at least two (`{self.key}=a,b`), or fix it as an ordinary override",
            )
        require_one_of(self.role, get_args(Role), where, "role")
        if self.baseline == "":
            object.__setattr__(self, "baseline", self.levels[0])
        object.__setattr__(self, "baseline", self.level(self.baseline))

    def level(self, word: object) -> Level:
        """The level called `word` (by value or printed name); PlanError lists the levels if there is none."""
        for level in self.levels:
            if level_name(level) == level_name(word):
                return level
        raise PlanError(
            f"{word!r} is not a level",
            where=f"factor {self.key!r}",
            allowed=map(level_name, self.levels),
            word=word,
        )

    @property
    def compared(self) -> bool:
        """Whether its levels are compared with each other."""
        return self.role != "across"

    @property
    def alternatives(self) -> tuple[Level, ...]:
        """The levels other than the baseline, in their order."""
        return tuple(level for level in self.levels if level_name(level) != level_name(self.baseline))


def level_name(level: object) -> str:
    """A level as people read it in tables and type it in overrides: `null`, `true`, `0.1`, `cleaned`."""
    if level is None:
        return "null"
    if isinstance(level, bool):
        return str(level).lower()
    return str(level)


class Cell(Mapping[str, Level]):
    """One combination of levels: an immutable, hashable mapping from factor key to level.

    Cells are equal when their levels print the same, in whatever order: `1` differs from `1.0`, not from `"1"`.
    """

    __slots__ = ("_levels",)

    def __init__(self, levels: Mapping[str, Level]) -> None:
        self._levels = dict(levels)

    def __getitem__(self, key: str) -> Level:
        return self._levels[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._levels)

    def __len__(self) -> int:
        return len(self._levels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and _names(self) == _names(other)

    def __hash__(self) -> int:
        return hash(frozenset(_names(self).items()))

    def __repr__(self) -> str:
        return f"Cell({self})"

    def __str__(self) -> str:
        return " ".join(f"{key}={level_name(level)}" for key, level in self._levels.items())

    def replace(self, **levels: Level) -> "Cell":
        """The same cell with some levels changed."""
        return Cell({**self._levels, **levels})

    def agrees(self, rule: Mapping[str, Any]) -> bool:
        """Whether every key of `rule` has here the level, or one of the levels, that the rule names."""
        return all(
            key in self
            and level_name(self[key]) in ([level_name(w) for w in want] if is_list(want) else [level_name(want)])
            for key, want in rule.items()
        )


def _names(levels: Mapping[str, Any]) -> dict[str, str]:
    return {key: level_name(level) for key, level in levels.items()}


def is_text(name: str) -> bool:
    """Whether a name holds no control characters and no half characters: it can stand in any file and table."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def is_list(value: object) -> bool:
    """Whether a value from a config is a sequence and not text."""
    return isinstance(value, Sequence) and not isinstance(value, str)


@dataclass(frozen=True)
class Trial:
    """One cell run with one seed.

    Attributes:
        cell: its levels.
        seed: the one number from which every stream of randomness of the trial derives.
        id: content hash (16 hex digits) of cell, seed and the config composed for the cell; never the clock.
        folder: while the trial runs, the folder of this attempt, for whatever files the task wants to leave.
        phase: `search` while nuisances are tuned, on validation data; `confirm` for what is judged.
        settings: nuisance -> value: proposed (search) or selected (confirm).
        proposal: of a search trial, which of its cell's proposals it tries, from 0.
        hpo_trials: of a confirm trial, how many proposals its settings were selected from.
        carries: where the plan has evaluation factors, the cells that this one training run is to be measured in, its
            own first; every row of a measurement then names its level of each such factor.
    """

    cell: Cell
    seed: int
    id: str
    folder: Path | None = field(default=None, compare=False)
    phase: Phase = "confirm"
    settings: Mapping[str, Level] = field(default_factory=dict, compare=False)
    proposal: int | None = None
    hpo_trials: int | None = field(default=None, compare=False)
    carries: tuple[Cell, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, cell: Cell, seed: int, config: str = "") -> "Trial":
        """The trial of `cell` and `seed` whose composed config (without seed) has the digest `config`."""
        return cls(cell, seed, digest([_names(cell), seed, config])[:16])

    def note_reading(self, domain: str) -> None:
        """Tell that a test set begins to be read, so that the account counts it; training by config does so itself."""
        if self.folder is not None:
            note_reading(self.folder, domain)

    def report(self, value: float, step: int) -> None:
        """Tell an intermediate value of a search trial, so that the plan's pruner may stop it.

        Args:
            value: of the first objective, at this step.
            step: what was spent so far (steps, epochs); rises from call to call.

        Raises:
            Pruned: the trial is to end here; let it pass.
        """
        if self.folder is not None:
            tell(self.folder, value, step)
            if stopped(self.folder):
                raise Pruned(f"stopped at step {step}")
