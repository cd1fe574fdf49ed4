"""Pivots: what gives both the p-value and the interval of a contrast: Student's t, or sign flips of blocks."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Side = Literal["two-sided", "greater", "less"]
EXACT = 16  # blocks up to which all sign flips are counted; beyond, a fixed random sample of as many


@dataclass(frozen=True)
class Student:
    """An estimate whose error over its standard error follows Student's t."""

    estimate: float
    se: float
    df: float

    def statistic(self, against: float = 0.0) -> float:
        """t of the hypothesis that the truth is `against`."""
        return (self.estimate - against) / self.se

    def p_value(self, against: float = 0.0, side: Side = "two-sided") -> float:
        """p of the hypothesis that the truth is `against`, or is on its wrong side (`greater`: below)."""
        t = self.statistic(against)
        if side == "two-sided":
            return float(2 * stats.t.sf(abs(t), self.df))
        return float(stats.t.sf(t if side == "greater" else -t, self.df))

    def half_width(self, level: float) -> float:
        """Half the width of the interval of that confidence level."""
        return float(stats.t.isf((1 - level) / 2, self.df)) * self.se

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of that confidence level."""
        half = self.half_width(level)
        return self.estimate - half, self.estimate + half


@dataclass(frozen=True, eq=False)
class SignFlips:
    """Per-block contrasts, independent and symmetric about the truth, judged by flipping their signs.

    A flipped sum is smaller than the observed one exactly when the flipped blocks have a mean above the hypothesis, so
    that the means of all subsets of blocks give p-values and intervals alike (Hartigan 1969, JASA 64, 1303-1317).
    """

    values: NDArray[np.float64]

    @property
    def estimate(self) -> float:
        """The mean over blocks."""
        return float(self.values.mean())

    @property
    def smallest_p(self) -> float:
        """The smallest two-sided p that so many blocks can give; a block at zero decides nothing."""
        return 2.0 ** (1 - int(np.count_nonzero(np.abs(self.values) > _slack(self.values))))

    @cached_property
    def _subsets(self) -> NDArray[np.bool_]:
        n = len(self.values)
        if n <= EXACT:
            return np.asarray((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1 != 0)
        picked = np.random.default_rng(0).random((2**EXACT - 1, n)) < 0.5
        return np.asarray(picked[picked.any(1)])

    def p_value(self, against: float = 0.0, side: Side = "two-sided") -> float:
        """p of the hypothesis that the truth is `against`, or is on its wrong side."""
        sums = self._subsets @ (self.values - against)
        slack = _slack(self.values - against)
        below, above = ((np.count_nonzero(s <= slack) + 1) / (len(sums) + 1) for s in (sums, -sums))
        if side == "two-sided":
            return float(min(1.0, 2 * min(below, above)))
        return float(below if side == "greater" else above)

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of at least that confidence level; infinite where so few blocks cannot give one."""
        means = np.sort(self._subsets @ self.values / self._subsets.sum(1))
        k = int(np.floor((1 - level) / 2 * (len(means) + 1) + 1e-9))
        return (float(means[k - 1]), float(means[-k])) if k else (-np.inf, np.inf)


def _slack(values: NDArray[np.float64]) -> float:
    """What rounding may leave of a sum of these that is zero."""
    return 1e-14 * float(np.abs(values).sum())


@dataclass(frozen=True)
class Transformed:
    """Student's t on another scale than the estimate is told on.

    Attributes:
        inner: the estimate on the scale where it is near normal.
        scale: `odds`, the inner one being the log odds of a probability; or `ratio`, the inner one being its logarithm.
    """

    inner: Student
    scale: Literal["odds", "ratio"]

    @property
    def estimate(self) -> float:
        """The probability, or the ratio."""
        return self._tell(self.inner.estimate)

    def _tell(self, value: float) -> float:
        return float(special.expit(value) if self.scale == "odds" else np.exp(value))

    def p_value(self, against: float | None = None, side: Side = "two-sided") -> float:
        """p of the hypothesis that the truth is `against` (one half, or 1, if not given), or is on its wrong side."""
        if against is None:
            return self.inner.p_value(0.0, side)
        return self.inner.p_value(float(special.logit(against) if self.scale == "odds" else np.log(against)), side)

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of that confidence level."""
        low, high = self.inner.interval(level)
        return self._tell(low), self._tell(high)


class Pivot(Protocol):
    """What a p-value and an interval are made from, so that they agree."""

    @property
    def estimate(self) -> float:
        """The estimate."""

    def p_value(self, against: float = 0.0, side: Side = "two-sided") -> float:
        """p of the hypothesis that the truth is `against`, or is on its wrong side."""

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of that confidence level."""
