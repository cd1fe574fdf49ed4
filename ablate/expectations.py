"""Expectations: what is assumed of scores before a study is run, as stated or as a pilot shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from numbers import Real
from pathlib import Path
from statistics import variance
from typing import TYPE_CHECKING, Any

from ablate.errors import PlanError, RecordsError, require_keys
from ablate.factors import Cell
from ablate.plans import WHOLE, Plan

if TYPE_CHECKING:
    import pandas as pd

    from ablate.noises import Measured


@dataclass(frozen=True)
class Expectation:
    """Standard deviations in units of the metric, and an effect.

    Attributes:
        run_sd: of a run's mean over domains, apart from the errors (blocked: and from what its seed does to all cells).
        error_sd: of a score around its run and domain.
        domain_sd: over domains, of an effect itself.
        effect: how large an effect is to be found; None takes the plan's margin, if it has one.
        power: with what probability.
        source: where the figures come from.
        means: of a pilot: cell -> its mean in each domain, from which a contrast of its cells has its own `domain_sd`.
        noise: variance of each such mean by the errors.
        caveats: what the figures leave out, a sentence each.

    Raises:
        PlanError: a negative number, no deviation of runs at all, or a power outside (0, 1).
    """

    run_sd: float
    error_sd: float = 0.0
    domain_sd: float = 0.0
    effect: float | None = None
    power: float = 0.8
    source: str = "stated"
    means: Mapping[Cell, tuple[float, ...]] = field(default_factory=dict, compare=False, repr=False)
    noise: float = field(default=0.0, compare=False, repr=False)
    caveats: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name in ("run_sd", "error_sd", "domain_sd", "effect", "power"):
            value = getattr(self, name)
            if name == "effect" and value is None:
                continue
            number = isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
            if not number or value < 0 or (name == "power" and not 0 < value < 1):
                allowed = ["a number between 0 and 1" if name == "power" else "a number, zero or more"]
                raise PlanError(f"{name} is {value!r}", where=f"expect.{name}", allowed=allowed)
        if not self.run_sd + self.error_sd > 0:
            remedy = "state the standard deviation over seeds, from a pilot or from your last study"
            raise PlanError("without any deviation everything is certain", where="expect.run_sd", remedy=remedy)

    def of(self, weights: Mapping[Cell, float]) -> "Expectation":
        """The same with the contrast's own deviation over domains, where the pilot has all of its cells."""
        if not self.means or any(cell not in self.means for cell in weights):
            return self
        by_domain = zip(*([w * mean for mean in self.means[cell]] for cell, w in weights.items()), strict=True)
        totals = [sum(parts) for parts in by_domain]
        spread = variance(totals) if len(totals) > 1 else 0.0
        own = max(spread - self.noise * sum(w * w for w in weights.values()), 0.0) ** 0.5
        return replace(self, domain_sd=own, means={})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        names = ("run_sd", "error_sd", "domain_sd", "effect", "power", "source")
        return {**{name: getattr(self, name) for name in names}, "caveats": list(self.caveats)}


def read_expectation(
    stated: Mapping[str, Any], pilot: Path | None, plan: Plan, measured: "Measured | None" = None
) -> Expectation | None:
    """What is expected: the figures of a pilot or else of noise runs, those stated in their place; None without any.

    Args:
        stated: of `run_sd`, `error_sd`, `domain_sd`, `effect`, `power`. A stated `run_sd` puts noise runs aside.
        pilot: records of a pilot.
        plan: the study.
        measured: its noise.

    Raises:
        PlanError: unknown keys or impossible figures.
        RecordsError: the pilot does not hold what is needed.
    """
    require_keys(stated, ["run_sd", "error_sd", "domain_sd", "effect", "power"], "expect")
    given = {key: value for key, value in stated.items() if value is not None}
    if pilot is not None:
        found = measure_pilot(read_pilot(pilot, plan), plan)
        means = {} if "domain_sd" in given else found.means
        return replace(found, **{**given, "source": f"pilot {pilot.name}", "means": means})
    if measured is not None and measured.spread is not None and "run_sd" not in given:
        return expect_noise(measured, plan, given)
    if not given:
        return None
    if "run_sd" not in given:
        raise PlanError("power needs run_sd", where="expect", remedy="state `run_sd`, or give a pilot")
    return Expectation(**given)


def expect_noise(measured: "Measured", plan: Plan, given: Mapping[str, Any]) -> Expectation | None:
    """What noise runs of one cell lead to expect of all cells; None where seeds change nothing, or another metric's."""
    spread = measured.spread
    if spread is None or spread.is_nil or measured.own.metric != plan.metric:
        return None
    caveats = []
    if measured.changed:
        what = "; ".join(measured.changed[:3])
        caveats.append(f"the noise is that of another config: measure it anew with `ablate noise` ({what:.200})")
    if plan.blocked:
        caveats.append("what a seed does to all cells alike is in run_sd, and will cancel: more will be seen than this")
    if "domain_sd" not in given and plan.analysis.target == "new_domains":
        caveats.append("one cell cannot tell how effects vary over domains: with domain_sd (--domain-sd) less is seen")
    run, error = (spread.run, spread.error) if plan.domains else (spread.whole, 0.0)  # undeclared ones count as one
    found = {"run_sd": run**0.5, "error_sd": error**0.5, **given}
    return Expectation(**found, source=f"from noise, {spread.runs} runs of one cell:", caveats=tuple(caveats))


def read_pilot(path: Path, plan: Plan) -> "pd.DataFrame":
    """The complete rows of a pilot's records.

    Raises:
        RecordsError: no such file, or a column is missing, or no row has the plan's metric.
    """
    import pandas as pd

    if not path.is_file():
        raise RecordsError("there is no pilot", where=str(path), remedy="name a records.csv")
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={f.key: str for f in plan.factors})
    needed = ["seed", "domain", "metric", "value"]
    missing = [name for name in needed if name not in frame.columns]
    if missing or not any(f.key in frame.columns for f in plan.factors):
        what = f"the pilot has no column {missing[0] if missing else 'of a factor'}"
        raise RecordsError(what, where=str(path), allowed=[*needed, *(f.key for f in plan.factors)])
    if "status" in frame.columns:
        frame = frame[frame["status"] == "complete"]
    if plan.metric not in set(frame["metric"]):
        allowed = sorted(set(map(str, frame["metric"].dropna())))
        raise RecordsError(f"the pilot measured no {plan.metric!r}", where=str(path), allowed=allowed, word=plan.metric)
    return frame


def measure_pilot(frame: "pd.DataFrame", plan: Plan) -> Expectation:
    """Deviations over runs, errors and domains, from mean squares of cells × seeds × domains of a pilot.

    `domain_sd` is that of a difference between two cells, for contrasts of cells that the pilot lacks. Mean squares
    below what the errors explain give zero.

    Raises:
        RecordsError: fewer than two seeds that every cell and domain has; blocked, fewer than two cells.
    """
    import numpy as np
    import pandas as pd

    keys = [f.key for f in plan.factors if f.key in frame.columns]
    rows = frame[(frame["metric"] == plan.metric) & (frame["domain"] != WHOLE)]
    domain = "domain_group" if "domain_group" in rows.columns else "domain"
    table = rows.pivot_table("value", index=keys, columns=["seed", domain], sort=True)
    seeds, domains = (table.columns.get_level_values(i).unique() for i in (0, 1))
    flat = table.reindex(columns=pd.MultiIndex.from_product([seeds, domains])).to_numpy(float)
    cube = flat.reshape(len(table), len(seeds), len(domains))
    cube = cube[:, ~np.isnan(cube).any((0, 2))]
    if cube.shape[1] < 2 or (plan.blocked and len(cube) < 2):
        remedy = "run two seeds or more of every cell of it, on the same domains"
        raise RecordsError("the pilot has too few complete seeds", where="pilot", remedy=remedy)
    c, s, d = len(table), cube.shape[1], len(domains)
    within_cells = cube - cube.mean(1, keepdims=True)
    if plan.blocked:
        within_cells = within_cells - within_cells.mean(0, keepdims=True)
    free = (s - 1) * (c - 1 if plan.blocked else c)
    run = float((within_cells.mean(2) ** 2).sum() / free)
    error = 0.0
    if d > 1:
        error = float(((within_cells - within_cells.mean(2, keepdims=True)) ** 2).sum() / (free * (d - 1)))
    shifts = cube.mean(1) - cube.mean((1, 2))[:, None]
    between = 0.0
    if c > 1 and d > 1:
        between = float(((shifts - shifts.mean(0)) ** 2).sum() / ((c - 1) * (d - 1))) - error / s
    run_sd, error_sd, domain_sd = (max(v, 0.0) ** 0.5 for v in (run - error / d, error, 2 * between))
    names = [name if isinstance(name, tuple) else (name,) for name in table.index]
    means = {
        Cell(dict(zip(keys, map(str, name), strict=True))): tuple(row.tolist())
        for name, row in zip(names, cube.mean(1), strict=True)
    }
    return Expectation(run_sd, error_sd, domain_sd, means=means, noise=error / s)
