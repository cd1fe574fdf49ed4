"""How records will be judged: the declarations that a plan locks and that nobody chooses from results."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, Literal, Self, TypeGuard, get_args

from ablate.errors import PlanError, require_keys, require_one_of
from ablate.factors import Level

Target = Literal["these_domains", "new_domains"]
Family = Literal["main", "simple", "interaction", "leave_one_out", "step", "noninferiority", "domain"]

# What a table shows unless the analysis names its families: what the design can answer.
DEFAULT_FAMILIES: dict[str, tuple[Family, ...]] = {
    "full_factorial": ("main", "simple", "interaction", "domain"),
    "one_at_a_time": ("simple", "domain"),
    "leave_one_out": ("leave_one_out", "domain"),
    "cumulative": ("step", "simple", "domain"),
}


@dataclass(frozen=True)
class Comparison:
    """A declared non-inferiority question: is `cell` worse than `versus` by less than `margin`?

    Attributes:
        name: how tables call it.
        cell, versus: levels by factor key; factors left out are averaged with equal weights.
        margin: the largest loss, in units of the metric, that still counts as no worse; positive. None takes the
            plan's margin.

    Raises:
        PlanError: both sides are the same, or the margin is not a positive number.
    """

    name: str
    cell: Mapping[str, Level]
    versus: Mapping[str, Level]
    margin: float | None = None

    def __post_init__(self) -> None:
        where = f"analysis.comparisons.{self.name}"
        for side in (self.cell, self.versus):
            if not isinstance(side, Mapping):
                raise PlanError(
                    f"{side!r:.80} is not a cell", where=where, remedy="give levels by factor: {size: small}"
                )
        if dict(self.cell) == dict(self.versus):
            raise PlanError("a comparison of a cell with itself", where=where, remedy="name two different cells")
        require_margin(self.margin, f"{where}.margin")


@dataclass(frozen=True)
class Analysis:
    """How the records will be judged; declared with the plan and never chosen from results.

    Attributes:
        target: what an effect is about: `these_domains` (new training runs, same domains) or `new_domains`
            (new domains of this kind as well). Both are printed; verdicts follow this one.
        alpha: family-wise error rate of every family.
        families: which families of contrasts to compute; None takes what the design can answer.
        correction: `holm`, or `dunnett` (max-t over the simple effects; needs `variances: pooled`).
        variances: `welch` (each cell its own run variance) or `pooled`.
        comparisons: non-inferiority questions.
    """

    target: Target = "these_domains"
    alpha: float = 0.05
    families: tuple[Family, ...] | None = None
    correction: Literal["holm", "dunnett"] = "holm"
    variances: Literal["welch", "pooled"] = "welch"
    comparisons: tuple[Comparison, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in [
            ("target", get_args(Target)),
            ("correction", ("holm", "dunnett")),
            ("variances", ("welch", "pooled")),
        ]:
            require_one_of(getattr(self, name), allowed, f"analysis.{name}")
        for family in self.families or ():
            require_one_of(family, get_args(Family), "analysis.families")
        if not _is_number(self.alpha) or not 0 < self.alpha < 1:
            raise PlanError(f"alpha is {self.alpha!r}", where="analysis.alpha", allowed=["a number between 0 and 1"])
        if self.correction == "dunnett" and self.variances != "pooled":
            raise PlanError(
                "Dunnett's test needs one run variance for all cells",
                where="analysis.correction",
                remedy="declare `variances: pooled`, or keep `correction: holm`",
            )
        names = [c.name for c in self.comparisons]
        if len(set(names)) < len(names):
            raise PlanError("two comparisons of one name", where="analysis.comparisons", remedy="name each for itself")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """An analysis from plain values (JSON or a config); unknown keys are named."""
        require_keys(values, [f.name for f in fields(cls)], "analysis")
        values = dict(values)
        comparisons = []
        for c in values.pop("comparisons", None) or ():
            require_keys(c, [f.name for f in fields(Comparison)], "analysis.comparisons")
            try:
                comparisons.append(Comparison(**c))
            except TypeError as error:
                raise PlanError(
                    f"a comparison is incomplete: {error}",
                    where="analysis.comparisons",
                    remedy="give name, cell, versus and margin",
                ) from error
        families = values.pop("families", None)
        if families is not None:
            families = (families,) if isinstance(families, str) else tuple(families)
        return cls(**values, families=families, comparisons=tuple(comparisons))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` reads them back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        sides = [{**asdict(c), "cell": dict(c.cell), "versus": dict(c.versus)} for c in self.comparisons]
        return {**plain, "families": None if self.families is None else list(self.families), "comparisons": sides}


def require_margin(margin: object, where: str) -> None:
    """PlanError unless a margin is None or a positive, finite number."""
    if margin is not None and not (_is_number(margin) and margin > 0):
        raise PlanError(f"a margin of {margin!r}", where=where, allowed=["a positive number, in units of the metric"])


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
