"""Learning curves: what each run scored after so many examples or steps, as one number per run.

Budgets are read on a logarithmic axis, where equal steps are equal factors. Per-run values are for E1
(`ablate.stats.crossed`): a curve's area, or the log of the budget that reached a score. A run that never reached it is
censored: it counts with all it spent, and a mean over the others alone cannot be had here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablate.errors import RecordsError, require_one_of
from ablate.stats.pivots import Student

Array = NDArray[np.float64]
Direction = Literal["maximize", "minimize"]


def log_area(budgets: ArrayLike, values: ArrayLike) -> Array:
    """Mean of each curve over log budget, in units of the metric.

    Args:
        budgets: increasing and above zero; equal for all runs.
        values: (..., budgets).

    Raises:
        RecordsError: the budgets are not so, or values are missing.
    """
    x, y = _checked(budgets, values)
    return np.asarray(np.trapezoid(y, x, axis=-1) / (x[-1] - x[0]))


@dataclass(frozen=True, eq=False)
class Times:
    """When runs reached a score.

    Attributes:
        log: log of the budget at which each run did, or, if it did not, of all that it spent.
        reached: whether it did. One that had by the first budget counts as reaching it there.
    """

    log: Array
    reached: NDArray[np.bool_]

    def restricted(self, horizon: float | None = None) -> Array:
        """Per-run log budget spent towards the score, up to a horizon: what E1 can take.

        Its mean over runs is the restricted mean of the log budget, in logs, so that a difference of d between arms is
        exp(d)-fold.

        Args:
            horizon: a budget; without, as in `end`.

        Raises:
            RecordsError: a run was censored before the horizon, so that what it would have spent is not known. Use
                `pseudo_values`, which redistributes it, or an earlier horizon.
        """
        end = self.end(horizon)
        if (~self.reached & (self.log < end - 1e-12)).any():
            raise RecordsError(
                f"runs ended below a budget of {np.exp(end):g} without reaching the score",
                where="horizon",
                remedy=f"use a horizon up to {np.exp(self.log[~self.reached].min()):g}, or pseudo_values",
            )
        return np.asarray(np.minimum(self.log, end))

    def end(self, horizon: float | None = None) -> float:
        """Log of the horizon; without one, the smallest that a censored run spent, or the largest that any needed."""
        if horizon is not None:
            return float(np.log(horizon))
        return float(self.log.max() if self.reached.all() else self.log[~self.reached].min())


def times_to(budgets: ArrayLike, values: ArrayLike, score: ArrayLike, direction: Direction = "maximize") -> Times:
    """When each run first reached a score.

    The curve is made monotone by its best so far and is linear in log budget between points.

    Args:
        budgets: as in `log_area`.
        values: (..., budgets).
        score: the score to reach; one, or one per run.
        direction: `minimize` reaches it from above.
    """
    x, y = _checked(budgets, values)
    require_one_of(direction, ("maximize", "minimize"), "direction")
    sign = 1.0 if direction == "maximize" else -1.0
    best = np.maximum.accumulate(sign * y, axis=-1)
    goal = np.broadcast_to(sign * np.asarray(score, float), best.shape[:-1])
    above = best >= goal[..., None]
    reached, after = np.asarray(above.any(-1)), above.argmax(-1)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(best, place[..., None], -1)[..., 0] for place in (before, after))
    share = np.where(after > 0, (goal - low) / np.where(high > low, high - low, 1.0), 0.0)
    return Times(np.where(reached, x[before] + share * (x[after] - x[before]), x[-1]), reached)


def data_multiplier(
    budgets: ArrayLike,
    values: ArrayLike,
    other_budgets: ArrayLike,
    others: ArrayLike,
    *,
    blocked: bool,
    direction: Direction = "maximize",
) -> Times:
    """Log of how many times the other arm's data each run needs to reach the other arm's final score.

    Zero is as much, log 2 twice as much. Runs that never do are censored at the most they were given.

    Args:
        budgets: of the arm that is to catch up.
        values: its runs × budgets.
        other_budgets: of the other arm.
        others: its runs × budgets.
        blocked: whether runs at the same place share a seed: each is then held to its partner's final score, and runs
            are independent. If not, all are held to the mean of the final scores, and an interval over runs is for
            that score as given.
        direction: of the metric.
    """
    x, y = _checked(other_budgets, others)
    runs = np.shape(values)[0]
    if y.ndim != 2 or np.ndim(values) != 2 or (blocked and len(y) != runs):
        raise RecordsError(f"runs × budgets expected (pairs if blocked), not {np.shape(values)} and {y.shape}")
    found = times_to(budgets, values, y[:, -1] if blocked else np.full(runs, y[:, -1].mean()), direction)
    return Times(found.log - x[-1], found.reached)


def restricted_mean(times: Times, horizon: float | None = None) -> float:
    """Mean log budget spent towards a score, up to a horizon, by Kaplan and Meier (1958).

    Runs censored before the horizon are carried on like those that went further.
    """
    end = times.end(horizon)
    if times.log.max() < end - 1e-12 and not times.reached[times.log.argmax()]:
        raise RecordsError("no run went as far as the horizon", where="horizon", remedy="use an earlier one")
    steps, survival = survival_curve(times)
    inside = steps < end
    edges = np.concatenate([[times.log.min()], steps[inside], [end]])
    heights = np.concatenate([[1.0], survival[inside]])
    return float(min(edges[0], end) + (np.diff(edges) * heights).sum()) if edges[0] < end else end


def median_time(times: Times) -> float:
    """Log budget by which half the runs reached the score, by Kaplan and Meier; infinite if fewer ever did."""
    steps, survival = survival_curve(times)
    below = survival <= 0.5 + 1e-12
    return float(steps[below][0]) if below.any() else np.inf


def survival_curve(times: Times) -> tuple[Array, Array]:
    """Log budgets at which runs reached the score, and the share that had not just after each."""
    steps = np.unique(times.log[times.reached])
    at_risk = (times.log >= steps[:, None]).sum(1)
    events = ((times.log == steps[:, None]) & times.reached).sum(1)
    return steps, np.cumprod(1 - events / at_risk)


def pseudo_values(times: Times, horizon: float | None = None) -> Array:
    """Per-run values whose mean is (nearly) the restricted mean, for E1 (Andersen, Hansen and Klein 2004).

    Without a run censored before the horizon they are `Times.restricted`.
    """
    n, end = len(times.log), float(np.exp(times.end(horizon)))
    if n < 3:
        raise RecordsError(f"{n} runs cannot be left out one by one", where="times", remedy="run three seeds or more")
    whole = restricted_mean(times, end)
    rest = [restricted_mean(Times(np.delete(times.log, i), np.delete(times.reached, i)), end) for i in range(n)]
    return np.asarray(n * whole - (n - 1) * np.array(rest))


def compare_times(times: Times, others: Times, horizon: float | None = None) -> Student:
    """The difference of restricted mean log budgets (first less other), judged over runs by Welch's t.

    Args:
        times: one per run of an arm, three runs or more.
        others: of the other arm.
        horizon: a budget; without, as in `Times.end` of both arms together.
    """
    both = Times(np.concatenate([times.log, others.log]), np.concatenate([times.reached, others.reached]))
    end = float(np.exp(both.end())) if horizon is None else horizon
    sides = [pseudo_values(side, end) for side in (times, others)]
    parts = np.array([side.var(ddof=1) / len(side) for side in sides])
    if not parts.sum() > 0:
        raise RecordsError(
            "all runs spent the same up to the horizon, so there is no run-to-run variance to test against",
            where="times, others",
            remedy="choose a score that some runs reach, or read the areas under the curves",
        )
    df = float(parts.sum() ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True)))
    return Student(float(sides[0].mean() - sides[1].mean()), float(np.sqrt(parts.sum())), df)


def _checked(budgets: ArrayLike, values: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(budgets, float), np.asarray(values, float)
    if x.ndim != 1 or len(x) < 2 or not (np.isfinite(x).all() and x[0] > 0 and (np.diff(x) > 0).all()):
        raise RecordsError("two or more budgets are needed, increasing and above zero", where="budgets")
    if not y.ndim or y.shape[-1] != len(x) or not np.isfinite(y).all():
        raise RecordsError(
            f"curves of {len(x)} finite values expected, not {y.shape}",
            where="values",
            remedy="carry the worst score forward where a run failed, or leave the run to the refusals",
        )
    return np.log(x), y
