"""Trade-offs of quality against cost (estimand 15): ratios of costs, and cells that no other cell beats on everything.

A cost (latency, energy, FLOPs, parameters) is one positive number per run and is compared as a ratio: on log scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.errors import RecordsError
from ablate.stats.crossed import Crossed
from ablate.stats.pivots import Side, Student, Transformed

Array = NDArray[np.float64]
SLACK = 1e-12  # means that differ by less than this share of their size are equal: sums of the same costs round apart


@dataclass(frozen=True)
class Exact:
    """A ratio of costs that do not vary from run to run, such as numbers of parameters: known, and not tested."""

    estimate: float

    def p_value(self, against: float = 1.0, side: Side = "two-sided") -> float:
        """NaN: where nothing varies there is nothing to test."""
        return float("nan")

    def interval(self, level: float) -> tuple[float, float]:
        """The ratio itself, twice."""
        return self.estimate, self.estimate


def compare_costs(costs: Array, weights: Array, engine: Crossed) -> Transformed | Exact:
    """A ratio of costs between cells, over new runs; blocked runs are compared within their blocks.

    Args:
        costs: cells × runs, positive. Runs that do not exist are NaN (not when blocked).
        weights: a weight per cell; the weights that are above zero should sum to one, and those below to minus one, for
            the contrast of log costs to be a ratio of (geometric means of) costs.
        engine: how contrasts are judged.

    Raises:
        RecordsError: a cost that is not positive.
        ValueError: what `Crossed` raises.
    """
    costs, weights = np.asarray(costs, float), np.asarray(weights, float)
    if (wrong := np.argwhere(costs <= 0)).size:
        cell, run = map(int, wrong[0])
        raise RecordsError(
            f"a cost of {costs[cell, run]:g} has no ratio to others",
            where=f"cell {cell}, run {run}",
            remedy="measure costs in a unit in which every run costs something, or compare differences instead",
        )
    logs = np.log(costs)
    judged = logs if engine.variances == "pooled" else logs[weights != 0]
    if (np.nanmax(judged, axis=1) == np.nanmin(judged, axis=1)).all():
        return Exact(float(np.exp(weights[weights != 0] @ np.nanmean(logs[weights != 0], axis=1))))
    found = engine(logs[..., None], weights)
    return Transformed(Student(float(found.estimate), float(found.run) ** 0.5, float(found.df_run)), "ratio")


def find_front(values: Array, larger: Sequence[bool]) -> NDArray[np.bool_]:
    """Cells that no other cell beats: as good on every measure and better on one (the Pareto front).

    Cells that are equal on every measure are all on the front, or none is.

    Args:
        values: cells × measures, after any axes of replicates.
        larger: per measure, whether more is better (quality) or less (cost).

    Returns:
        Per cell, whether it is on the front.

    Raises:
        ValueError: a value is missing.
    """
    turned = np.asarray(values, float) * np.where(larger, 1.0, -1.0)
    if np.isnan(turned).any():
        raise ValueError("a cell without a value of every measure can be neither on the front nor off it")
    beaten = np.zeros(turned.shape[:-1], bool)
    for place in range(turned.shape[-2]):
        other = turned[..., place : place + 1, :]
        gain, slack = other - turned, SLACK * np.maximum(np.abs(other), np.abs(turned))
        beaten |= (gain >= -slack).all(-1) & (gain > slack).any(-1)
    return ~beaten


def share_front(
    values: Array,
    larger: Sequence[bool],
    rng: np.random.Generator | int,
    *,
    blocked: bool = False,
    resamples: int = 4000,
) -> Array:
    """How often each cell is on the front of quality and costs if runs are drawn anew: descriptive, not a test.

    Runs are resampled with all their measures; deviations are stretched by sqrt(S/(S-1)), because those of S runs
    from their own mean are too small by that. With three runs a share is coarse, and near .5 it is a toss.

    Args:
        values: cells × runs × measures, each run's mean score or its cost. Runs that do not exist are NaN.
        larger: per measure, whether more is better.
        rng: draws the runs.
        blocked: the same runs are drawn in all cells.
        resamples: how many times.

    Returns:
        Per cell, the share of resamples that have it on the front.

    Raises:
        ValueError: fewer than two runs of a cell, or a block with a missing run.
    """
    values, rng = np.asarray(values, float), np.random.default_rng(rng)
    present = np.asarray(~np.isnan(values).any(-1))
    runs = present.sum(-1)
    if runs.min() < 2 or (blocked and not present.all()):
        raise ValueError("resampling needs two runs of every cell, and every block a run in every cell")
    drawn = np.empty((resamples, len(values), values.shape[-1]))
    blocks = rng.multinomial(int(runs[0]), np.full(runs[0], 1 / runs[0]), size=resamples) if blocked else None
    for cell, n in enumerate(map(int, runs)):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples) if blocks is None else blocks
        own = values[cell, present[cell]]
        centre = own.mean(0)
        drawn[:, cell] = centre + counts @ (own - centre) / n * np.sqrt(n / (n - 1))
    return np.asarray(find_front(drawn, larger).mean(0))
