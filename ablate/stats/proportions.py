"""Proportions: exact tests and intervals of a share, and of the difference of two shares on the same items.

Right and wrong items follow binomial laws, and up to a few hundred of them the central limit theorem gives intervals
that cover too little, least near 0 and 1. Both classes here are pivots like `ablate.stats.pivots.Student`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from ablate.errors import RecordsError
from ablate.stats.pivots import Side

Array = NDArray[np.float64]
GAMMA = 1e-5  # chance that the share of discordant items lies outside the range that is searched
STEPS = 60  # values of that share which are tried
NEGLIGIBLE = 1e-13


@dataclass(frozen=True)
class Proportion:
    """The share of items that are right, by Clopper and Pearson (1934, Biometrika 26, 404-413)."""

    right: int
    items: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.items or self.items < 1:
            raise RecordsError(
                f"{self.right} of {self.items} is no proportion", where="right, items", allowed=["0 <= right <= items"]
            )

    @property
    def estimate(self) -> float:
        """The share in the sample."""
        return self.right / self.items

    def p_value(self, against: float, side: Side = "two-sided") -> float:
        """Binomial p of the hypothesis that the share is `against`; two-sided is twice the smaller side."""
        return _by_side(
            float(special.bdtrc(self.right - 1, self.items, against)) if self.right else 1.0,
            float(special.bdtr(self.right, self.items, against)),
            side,
        )

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of at least that confidence level."""
        tail, wrong = (1 - level) / 2, self.items - self.right
        low = float(special.betaincinv(self.right, wrong + 1, tail)) if self.right else 0.0
        high = float(special.betaincinv(self.right + 1, wrong, 1 - tail)) if wrong else 1.0
        return low, high


@dataclass(frozen=True)
class PairedProportions:
    """The difference of two shares, first minus second, measured on the same items.

    The test that the shares are equal is McNemar's, exact: given the items that only one of both gets right, either is
    as likely to be the one. Any other difference is judged by Tango's score (1998, Statistics in Medicine 17, 891-908)
    with an exact p: the largest over the shares of discordant items in their 99.999 % interval (Berger and Boos 1994,
    JASA 89, 1012-1016). Intervals hold what is not rejected so, and zero wherever McNemar's test does not reject it:
    they cover at least their level.

    Attributes:
        first, second: items that only the first, only the second gets right.
        items: all items.
        mid_p: count half of the observed outcome in McNemar's test: nearer to its level, which it may exceed a little.
    """

    first: int
    second: int
    items: int
    mid_p: bool = False

    def __post_init__(self) -> None:
        if min(self.first, self.second) < 0 or self.first + self.second > self.items or self.items < 1:
            raise RecordsError(
                f"{self.first} and {self.second} discordant of {self.items} items are no paired proportions",
                where="first, second, items",
                allowed=["counts from 0, together at most the items"],
            )

    @property
    def estimate(self) -> float:
        """The difference in the sample."""
        return (self.first - self.second) / self.items

    def p_value(self, against: float = 0.0, side: Side = "two-sided") -> float:
        """p of the hypothesis that the difference is `against`, or is on its wrong side; exact McNemar at zero."""
        if against == 0:
            return self._mcnemar(side)
        return _by_side(self._above(against), self._swapped._above(-against), side)

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of at least that confidence level."""
        low, high = self._limit(level), -self._swapped._limit(level)
        return (min(low, 0.0), max(high, 0.0)) if self._mcnemar("two-sided") > 1 - level else (low, high)

    @property
    def _swapped(self) -> "PairedProportions":
        return PairedProportions(self.second, self.first, self.items, self.mid_p)

    def _mcnemar(self, side: Side) -> float:
        n = self.first + self.second
        if n == 0:
            return 1.0
        above, below = (float(special.bdtr(n - k, n, 0.5)) for k in (self.first, self.second))
        half = float(special.bdtr(self.first, n, 0.5) - (special.bdtr(self.first - 1, n, 0.5) if self.first else 0)) / 2
        return _by_side(above - half, below - half, side) if self.mid_p else _by_side(above, below, side)

    def _limit(self, level: float) -> float:
        """The lower limit of the difference."""
        tail = (1 - level) / 2
        bottom = -1 + 1e-9
        if self._above(bottom) > tail:
            return -1.0
        return _cross(lambda d: self._above(d) - tail, bottom, min(self.estimate, 1 - 1e-9))

    def _above(self, against: float) -> float:
        """p of the hypothesis that the difference is at most `against`."""
        if not -1 < against < 1:
            return float(against >= 1)
        n, discordant = self.items, self.first + self.second
        low = float(special.betaincinv(discordant, n - discordant + 1, GAMMA / 2)) if discordant else 0.0
        high = float(special.betaincinv(discordant + 1, n - discordant, 1 - GAMMA / 2)) if discordant < n else 1.0
        if high <= abs(against):
            return GAMMA
        shares = np.linspace(max(low, abs(against)), high, STEPS)[:, None]
        most = int(min(n, special.bdtrik(1 - NEGLIGIBLE, n, high) + 1))
        least = int(max(0.0, special.bdtrik(NEGLIGIBLE, n, float(shares[0, 0])) - 1))
        totals = np.arange(least, most + 1)
        needed = self._needed(totals, against)
        weight = np.exp(
            special.gammaln(n + 1)
            - special.gammaln(totals + 1)
            - special.gammaln(n - totals + 1)
            + special.xlogy(totals, shares)
            + special.xlog1py(n - totals, -shares)
        )
        chance = (1 + against / np.where(shares > 0, shares, 1.0)) / 2
        reach = special.bdtr(totals - needed, totals, np.clip(1 - chance, 0, 1))  # P(at least `needed` of them)
        return float(min(1.0, (weight * np.where(needed > totals, 0.0, reach)).sum(1).max() + GAMMA))

    def _needed(self, totals: NDArray[np.int_], against: float) -> NDArray[np.int_]:
        """For each number of discordant items, how many the first must win for a score as large as the observed."""
        observed = float(_tango(np.array(self.first), np.array(self.second), self.items, against))
        enough = observed - 1e-9 * (1 + abs(observed))
        low, high = np.zeros_like(totals), totals + 1  # the score rises with wins, so that halving finds the first
        while (low < high).any():
            middle = (low + high) // 2
            short = (middle <= totals) & (_tango(middle, totals - middle, self.items, against) < enough)
            low, high = np.where(short & (low < high), middle + 1, low), np.where(short, high, middle)
        return np.asarray(low)


def _tango(first: NDArray[np.int_], second: NDArray[np.int_], n: int, against: float) -> Array:
    """The score of a difference: its error over the standard error that it has if `against` is true."""
    b = -first - second + (2 * n - first + second) * against
    c = -second * against * (1 - against)
    q = (np.sqrt(np.maximum(b**2 - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * q + against * (1 - against))
    error = first - second - n * against
    return np.asarray(np.where(variance > 0, error / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0))


def _by_side(above: float, below: float, side: Side) -> float:
    if side == "two-sided":
        return min(1.0, 2 * min(above, below))
    return above if side == "greater" else below


def _cross(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises from below zero crosses it."""
    if rising(high) <= 0:
        return high
    return float(optimize.brentq(rising, low, high, xtol=1e-8))
