"""Safeguards: what is declared beforehand about diverged runs, and about budgets that compared arms must share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from ablate.errors import PlanError, require_keys, require_one_of

Treatment = Literal["fail", "worst", "exclude", "retry"]
BUDGETS = ("hpo_trials", "train_steps", "epochs", "samples", "train_flops", "train_seconds")
RETRY_SEEDS = 10**9  # between the seeds of a trial and of its replacements


@dataclass(frozen=True)
class Divergence:
    """What counts as divergence, and how a diverged run is an outcome all the same.

    Attributes:
        above: training losses above this are divergence; None: only what is not finite.
        treatment: `fail`: the run has no score, and what is compared with it is refused (R06); `worst`: it has scored
            `value` on every domain; `exclude`: it is left out, and effects are bounded by what it could have
            scored within `bounds`; `retry`: it is run again with a replacement seed, at most `retries` times, and
            fails after that.
        value: the worst score (`worst`), such as that of guessing.
        bounds: lowest and highest possible score (`exclude`).
        retries: how many replacements a trial may have (`retry`).

    Raises:
        PlanError: a treatment without what it needs, or with what it does not.
    """

    above: float | None = None
    treatment: Treatment = "fail"
    value: float | None = None
    bounds: tuple[float, float] | None = None
    retries: int = 0

    def __post_init__(self) -> None:
        require_one_of(self.treatment, get_args(Treatment), "divergence.treatment", "treatment")
        for name in ("above", "value"):
            given = getattr(self, name)
            if given is not None and not _is_number(given):
                raise PlanError(f"{name} is {given!r}", where=f"divergence.{name}", allowed=["a finite number"])
        if self.bounds is not None:
            ends = tuple(self.bounds)
            if len(ends) != 2 or not all(map(_is_number, ends)) or ends[0] >= ends[1]:
                raise PlanError(f"bounds are {ends}", where="divergence.bounds", allowed=["[lowest, highest]"])
            object.__setattr__(self, "bounds", ends)
        if type(self.retries) is not int or self.retries < 0:
            allowed = ["a whole number from 0"]
            raise PlanError(f"retries is {self.retries!r}", where="divergence.retries", allowed=allowed)
        needs = {"worst": "value", "exclude": "bounds", "retry": "retries"}
        given = {"value": self.value is not None, "bounds": self.bounds is not None, "retries": self.retries > 0}
        for treatment, name in needs.items():
            if given[name] != (treatment == self.treatment):
                what = f"treatment {self.treatment!r} {'with' if given[name] else 'without'} {name}"
                remedy = "worst needs `value`, exclude needs `bounds`, retry needs `retries`, and no other has them"
                raise PlanError(what, where="divergence", remedy=remedy)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**plain, "bounds": None if self.bounds is None else list(self.bounds)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A rule from plain values (JSON or a config); unknown keys are named."""
        require_keys(values, [f.name for f in fields(cls)], "divergence")
        return cls(**{key: value for key, value in values.items() if value is not None})


@dataclass(frozen=True)
class Budget:
    """What compared arms must have spent alike, else their comparison is refused (R09).

    Attributes:
        equal: of `BUDGETS`, those that must be the same; a size factor changes FLOPs and seconds by its nature.
        tolerance: the share by which the means of two arms may differ (.05 is five in a hundred).
    """

    equal: tuple[str, ...] = ("hpo_trials",)
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "equal", (self.equal,) if isinstance(self.equal, str) else tuple(self.equal))
        for name in self.equal:
            require_one_of(name, BUDGETS, "budget.equal", "budget")
        if not _is_number(self.tolerance) or self.tolerance < 0:
            allowed = ["a share, such as 0.05"]
            raise PlanError(f"tolerance is {self.tolerance!r}", where="budget.tolerance", allowed=allowed)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"equal": list(self.equal), "tolerance": self.tolerance}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Budgets from plain values (JSON or a config); unknown keys are named."""
        require_keys(values, [f.name for f in fields(cls)], "budget")
        return cls(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
