"""How records will be judged: the declarations that a plan locks and that nobody chooses from results."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, Literal, Self, TypeGuard, get_args

from ablate.errors import PlanError, require_keys, require_one_of
from ablate.factors import Level, level_name

Target = Literal["these_domains", "new_domains", "new_items"]
Engine = Literal["auto", "crossed", "nested", "mixed", "summaries", "examples"]
Correction = Literal["holm", "dunnett", "max_t", "benjamini_hochberg"]
Gatekeeping = Literal["none", "serial", "parallel"]
Stopping = Literal["fixed", "sequential", "e_process"]
Family = Literal[
    "omnibus", "main", "simple", "pairs", "interaction", "leave_one_out", "step", "noninferiority", "retention",
    "shapley", "share", "improvement", "iqm", "robustness", "efficiency", "heterogeneity", "prediction", "best",
    "tuning", "cost", "domain",
]  # fmt: skip

# What a table shows unless the analysis names its families: what the design can answer.
DEFAULT_FAMILIES: dict[str, tuple[Family, ...]] = {
    "full_factorial": ("omnibus", "main", "simple", "interaction", "domain"),
    "one_at_a_time": ("simple", "domain"),
    "leave_one_out": ("leave_one_out", "domain"),
    "cumulative": ("step", "simple", "domain"),
    "fractional_factorial": ("main", "domain"),
    "plackett_burman": ("main", "domain"),
    "d_optimal": ("omnibus", "main", "domain"),
}

SCREENING_DESIGNS = ("fractional_factorial", "plackett_burman", "d_optimal")  # of a part of the cells, on purpose

# The families that seeds are added for: contrasts of cell means, each with a verdict of its own. The others describe
# these again (by domain, jointly, as shares or chances), or are about domains, costs or tuning: they take the seeds
# that there are.
DECIDING: tuple[Family, ...] = (
    "main", "simple", "pairs", "interaction", "leave_one_out", "step", "noninferiority", "retention", "shapley",
)  # fmt: skip

# Settings that the first plans did not have.
LATER = (
    "engine", "gatekeeping", "looks", "spending", "clean", "costs", "threshold", "sampler", "stopping", "futility",
    "sweet_spot",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A declared non-inferiority question: is `cell` worse than `versus` by less than `margin`?

    Attributes:
        name: how tables call it.
        cell, versus: levels by factor key; factors left out are averaged with equal weights.
        margin: the largest loss, in units of the metric, that still counts as no worse; positive. None takes the
            plan's margin.
        base: what both are measured from, where the question is how much of a gain is retained (family `retention`):
            `cell` minus `base` as a fraction of `versus` minus `base`.
        retain: the fraction that must be retained, above 0 and at most 1.

    Raises:
        PlanError: both sides are the same, or the margin is not a positive number.
    """

    name: str
    cell: Mapping[str, Level]
    versus: Mapping[str, Level]
    margin: float | None = None
    base: Mapping[str, Level] | None = None
    retain: float = 0.9

    def __post_init__(self) -> None:
        where = f"analysis.comparisons.{self.name}"
        for side in (self.cell, self.versus, self.base or {}):
            if not isinstance(side, Mapping):
                raise PlanError(
                    f"{side!r:.80} is not a cell", where=where, remedy="give levels by factor: {size: small}"
                )
        if dict(self.cell) == dict(self.versus):
            raise PlanError("a comparison of a cell with itself", where=where, remedy="name two different cells")
        require_margin(self.margin, f"{where}.margin")
        if not _is_number(self.retain) or not 0 < self.retain <= 1:
            raise PlanError(f"retain is {self.retain!r}", where=where, allowed=["a fraction above 0, at most 1"])


@dataclass(frozen=True)
class SweetSpot:
    """A declared question: which size is best on which training budget, and where is one overtaken?

    Attributes:
        size: the factor whose levels are sizes.
        budget: the factor whose levels are budgets; None takes learning curves (a metric `accuracy@1000`).
        cost: a metric of the whole run that budgets are counted in, such as `train_flops`; None takes them as they are.
        sizes: the levels, the smallest first; empty orders them by the metric `params`, or as numbers.
        unit: with `cost`, the metric of the whole run that learning curves are counted in: `train_steps` or `samples`.
    """

    size: str
    budget: str | None = None
    cost: str | None = None
    sizes: tuple[str, ...] = ()
    unit: str = "train_steps"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(map(level_name, self.sizes)))


@dataclass(frozen=True)
class Analysis:
    """How the records will be judged; declared with the plan and never chosen from results.

    Attributes:
        target: what an effect is about: `these_domains` (new training runs, same domains) or `new_domains`
            (new domains of this kind as well). Both are printed; verdicts follow this one. `new_items` (these trained
            models, other examples of these domains) is all that one run per cell with per-example scores can carry.
        alpha: family-wise error rate of every family; with gatekeeping, of all of them together.
        families: which families of contrasts to compute, in the order of their importance; None takes what the design
            can answer.
        correction: `holm`; `dunnett` (max-t over the simple effects on these domains; needs `variances: pooled`);
            `max_t` (the same from the contrasts' own correlations, each with its own degrees of freedom); or
            `benjamini_hochberg` (the false discovery rate: a screen, never a confirmation).
        variances: `welch` (each cell its own run variance) or `pooled`.
        comparisons: non-inferiority and retention questions.
        engine: `auto` takes what the data's design asks for; any other is refused where the design contradicts it.
        gatekeeping: `none` corrects every family for itself. `serial`: a family is tested once every test of the one
            before has rejected. `parallel`: once any has, with what error rate is left (truncated Holm).
        looks: numbers of seeds at which results may be looked at, the last being the largest; empty: once, at the end.
        spending: how looks spend the error rate: `obrien_fleming` (late) or `pocock` (evenly).
        clean: the domain group that shifted ones are compared with (family `robustness`).
        costs: metrics of the whole run that are costs (family `cost`), such as `latency_p50`.
        threshold: the score to be reached (family `efficiency`); None compares areas under the curve alone.
        sampler: what proposed the tuning trials (family `tuning`); only those of `random` are independent.
        stopping: when seeds stop being added: `fixed`: all are run. `sequential`: after each of the `looks`, cells
            whose contrasts are decided get no more. `e_process`: so after every seed, from the first of `looks` (3).
        futility: conditional power below which an undecided contrast gets no more seeds; None: it always does. It
            does not touch the error rate.
        sweet_spot: the best size on every training budget, shown in tables and a figure of their own; None: not asked.
    """

    target: Target = "these_domains"
    alpha: float = 0.05
    families: tuple[Family, ...] | None = None
    correction: Correction = "holm"
    variances: Literal["welch", "pooled"] = "welch"
    comparisons: tuple[Comparison, ...] = ()
    engine: Engine = "auto"
    gatekeeping: Gatekeeping = "none"
    looks: tuple[int, ...] = ()
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"
    clean: str | None = None
    costs: tuple[str, ...] = ()
    threshold: float | None = None
    sampler: str | None = None
    stopping: Stopping = "fixed"
    futility: float | None = None
    sweet_spot: SweetSpot | None = None

    def __post_init__(self) -> None:
        for name, allowed in [
            ("target", get_args(Target)),
            ("correction", get_args(Correction)),
            ("variances", ("welch", "pooled")),
            ("engine", get_args(Engine)),
            ("gatekeeping", get_args(Gatekeeping)),
            ("spending", ("obrien_fleming", "pocock")),
            ("stopping", get_args(Stopping)),
        ]:
            require_one_of(getattr(self, name), allowed, f"analysis.{name}")
        for family in self.families or ():
            require_one_of(family, get_args(Family), "analysis.families")
            if list(self.families or ()).count(family) > 1:
                raise PlanError(f"{family!r} is named twice", where="analysis.families", remedy="name it once")
        if not _is_number(self.alpha) or not 0 < self.alpha < 1:
            raise PlanError(f"alpha is {self.alpha!r}", where="analysis.alpha", allowed=["a number between 0 and 1"])
        if self.correction == "dunnett" and self.variances != "pooled":
            raise PlanError(
                "Dunnett's test needs one run variance for all cells",
                where="analysis.correction",
                remedy="declare `variances: pooled`, or keep `correction: holm`",
            )
        _require_looks(self.looks)
        if self.stopping == "sequential" and not self.looks:
            remedy = "name them, the last being the most seeds: `looks: [5, 10, 20]`"
            raise PlanError("sequential stopping without looks", where="analysis.looks", remedy=remedy)
        probable = _is_number(self.futility) and 0 < self.futility < 1
        if self.futility is not None and (self.stopping == "fixed" or not probable):
            needs = "a number between 0 and 1, with `stopping: sequential` or `e_process`"
            raise PlanError(f"futility is {self.futility!r}", where="analysis.futility", allowed=[needs])
        if self.gatekeeping != "none" and self.correction != "holm":
            remedy = "keep `correction: holm`, or `gatekeeping: none`"
            raise PlanError("gatekeeping hands on what Holm leaves", where="analysis.gatekeeping", remedy=remedy)
        if self.threshold is not None and not _is_number(self.threshold):
            raise PlanError(f"threshold is {self.threshold!r}", where="analysis.threshold", allowed=["a finite number"])
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
        spot = values.get("sweet_spot")
        if spot is not None:
            require_keys(spot, [f.name for f in fields(SweetSpot)], "analysis.sweet_spot")
            if not spot.get("size"):
                remedy = "name the factor whose levels are sizes: `sweet_spot: {size: size}`"
                raise PlanError("sizes of what?", where="analysis.sweet_spot", remedy=remedy)
            values["sweet_spot"] = SweetSpot(**{**spot, "sizes": tuple(spot.get("sizes") or ())})
        for name in ("families", "looks", "costs"):
            given = values.get(name)
            if given is not None:
                values[name] = (given,) if isinstance(given, str | int) else tuple(given)
        return cls(**values, comparisons=tuple(comparisons))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` reads them back.

        What came after the first plans is left out where it is at its default, so that a plan keeps its hash.
        """
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in LATER:
            if plain[name] == getattr(Analysis, name):
                del plain[name]
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
        if self.sweet_spot is not None:
            plain["sweet_spot"] = {**asdict(self.sweet_spot), "sizes": list(self.sweet_spot.sizes)}
        return {**plain, "comparisons": [_comparison_dict(c) for c in self.comparisons]}


def _comparison_dict(comparison: Comparison) -> dict[str, Any]:
    values = {**asdict(comparison), "cell": dict(comparison.cell), "versus": dict(comparison.versus)}
    if comparison.base is None:
        del values["base"], values["retain"]
    else:
        values["base"] = dict(comparison.base)
    return values


def _require_looks(looks: Iterable[object]) -> None:
    numbers = list(looks)
    if not all(type(n) is int and n >= 2 for n in numbers) or numbers != sorted(set(numbers)):  # type: ignore[type-var]
        allowed = ["rising whole numbers of seeds from 2, e.g. [5, 10, 20]"]
        raise PlanError(f"looks are {numbers}", where="analysis.looks", allowed=allowed)


def require_margin(margin: object, where: str) -> None:
    """PlanError unless a margin is None or a positive, finite number."""
    if margin is not None and not (_is_number(margin) and margin > 0):
        raise PlanError(f"a margin of {margin!r}", where=where, allowed=["a positive number, in units of the metric"])


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
