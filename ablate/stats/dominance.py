"""Almost stochastic order: how far one arm's runs are from being stochastically larger than another's.

The violation ratio and its bound are those of del Barrio, Cuesta-Albertos and Matrán (2018, arXiv:1705.01788) as used
by Dror, Shlomov and Reichart (2019, ACL). Empirical quantile functions are steps, so that the integrals over (0, 1)
are sums over the few intervals on which neither steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ablate.errors import PlanError, RecordsError

Array = NDArray[np.float64]
Seed = int | np.random.Generator


@dataclass(frozen=True)
class Dominance:
    """How far the first arm is from being stochastically larger.

    Attributes:
        violation: the violation ratio, 0 (larger at every quantile) to 1 (smaller at every quantile), .5 if identical.
        bound: its one-sided upper bound at `level`, often written eps_min.
        level: as asked for.
    """

    violation: float
    bound: float
    level: float


@dataclass(frozen=True)
class AlmostStochasticOrder:
    """A description, not a test: two identical arms get a bound below .5 in 17 to 25 % of studies (level .95).

    The bound rests on a normal approximation whose variance comes from few runs, and it knows nothing of domains:
    pass one score per run. There is therefore no p-value and no verdict here.

    Attributes:
        level: confidence of the bound, in (.5, 1).
        resamples: bootstrap resamples behind the bound.
        step: None integrates exactly; a number sums over `arange(step, 1, step)` without the first point in the
            numerator, as deepsig 1.2.8 does (there .005).
    """

    level: float = 0.95
    resamples: int = 1000
    step: float | None = None

    def __post_init__(self) -> None:
        if not 0.5 < self.level < 1:
            raise PlanError(f"level {self.level} is no confidence", where="level", allowed=["between .5 and 1"])
        if self.resamples < 2:
            raise PlanError(f"{self.resamples} resamples give no spread", where="resamples", remedy="ask for 1000")
        if self.step is not None and not 0 < self.step < 0.5:
            raise PlanError(f"step {self.step} does not divide (0, 1)", where="step", allowed=["None", "0 < step < .5"])

    def __call__(self, scores: ArrayLike, others: ArrayLike, rng: Seed) -> Dominance:
        """Judge whether `scores` (one per run, larger is better) dominate `others` (any number of runs)."""
        a, b = _checked(scores, "scores"), _checked(others, "others")
        rng = np.random.default_rng(rng)
        return self.bound(a, b, rng.random((self.resamples, len(a))), rng.random((self.resamples, len(b))))

    def bound(self, scores: ArrayLike, others: ArrayLike, draws: Array, other_draws: Array) -> Dominance:
        """The same from given uniform draws (resamples × runs), which the quantile functions turn into resamples."""
        a, b = _checked(scores, "scores"), _checked(others, "others")
        observed = violation_ratio(a, b, self.step)
        resampled = violation_ratio(_quantiles(a, draws), _quantiles(b, other_draws), self.step)
        bound = observed + resampled.std() * stats.norm.ppf(self.level)
        return Dominance(float(observed), float(np.clip(bound, 0, 1)), self.level)


def violation_ratio(scores: ArrayLike, others: ArrayLike, step: float | None = None) -> Array:
    """Share of the squared distance between two quantile functions that lies where `others` are larger.

    Args:
        scores: runs on the last axis, after any others.
        others: likewise; the number of runs may differ.
        step: as in `AlmostStochasticOrder`.
    """
    a, b = np.sort(np.asarray(scores, float), -1), np.sort(np.asarray(others, float), -1)
    in_a, in_b, weights, violating = _intervals(a.shape[-1], b.shape[-1], step)
    gap = b[..., in_b] - a[..., in_a]
    distance = gap**2 @ weights
    above = np.where(gap > 0, gap, 0.0) ** 2 @ violating
    return np.where(distance > 0, above / np.where(distance > 0, distance, 1.0), 0.5)


def _intervals(n: int, m: int, step: float | None) -> tuple[NDArray[np.int_], NDArray[np.int_], Array, Array]:
    """Places in two sorted samples, and the weight of each pair of places in distance and violation."""
    if step is None:
        ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1 / nm: exact
        weights: Array = np.diff(ends, prepend=0) / float(n * m)
        return (ends - 1) // m, (ends - 1) // n, weights, weights
    points: Array = np.arange(step, 1, step)
    places = np.stack([_places(n, points), _places(m, points)])
    pairs, first, counts = np.unique(places, axis=1, return_index=True, return_counts=True)
    whole: Array = counts * np.float64(step)
    return pairs[0], pairs[1], whole, np.asarray(whole - (first == 0) * step, float)


def _places(n: int, points: Array) -> NDArray[np.int_]:
    return np.asarray(np.clip(np.ceil(n * points).astype(int) - 1, 0, n - 1))


def _quantiles(scores: Array, points: Array) -> Array:
    return np.asarray(np.sort(scores)[_places(len(scores), points)])


def _checked(scores: ArrayLike, where: str) -> Array:
    values = np.asarray(scores, float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise RecordsError(
            f"almost stochastic order needs two or more finite scores in a row, not shape {values.shape}",
            where=where,
            remedy="average each run over its domains, and leave failed runs to the refusals",
        )
    return values
