"""Ratios of two contrasts by Fieller's method: shares of a total gain, the fraction of a gain that is retained."""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from ablate.analyses import Target
from ablate.stats.crossed import Crossed
from ablate.stats.pivots import Side, Student

Array = NDArray[np.float64]
ANGLES = 60  # where the contrasts numerator - ratio × denominator are tried before their bounds are refined


@dataclass(frozen=True, eq=False)
class Ratio:
    """A ratio of two contrasts of the same scores.

    The truth is a ratio r exactly when the contrast numerator - r·denominator is zero, and that contrast is judged by
    the engine like any other: with its own variance and its own degrees of freedom at every r, so that p-values and
    intervals agree (Fieller 1954, JRSS B 16, 175-185).

    Attributes:
        scores: cells × runs × domains.
        numerator, denominator: a weight per cell.
        engine: how contrasts are judged.
        target: over new runs on the same domains, or over new domains too.
    """

    scores: Array
    numerator: Array
    denominator: Array
    engine: Crossed
    target: Target = "these_domains"

    def __post_init__(self) -> None:
        if np.linalg.matrix_rank(np.stack([self.numerator, self.denominator])) < 2:
            raise ValueError("numerator and denominator are multiples of each other: their ratio is known")

    @property
    def estimate(self) -> float:
        """The ratio of the estimates."""
        return self._judge(self.numerator).estimate / self._judge(self.denominator).estimate

    def contrast(self, ratio: float) -> Student:
        """What is zero if the truth is `ratio`: numerator - ratio × denominator."""
        return self._judge(self.numerator - ratio * self.denominator)

    def p_value(self, against: float = 0.0, side: Side = "two-sided") -> float:
        """p of the hypothesis that the ratio is `against`, or is on its wrong side.

        One-sided, the denominator is taken to have the sign of its estimate.
        """
        if side != "two-sided" and self._judge(self.denominator).estimate < 0:
            side = "less" if side == "greater" else "greater"
        return self.contrast(against).p_value(side=side)

    def bounded(self, level: float) -> bool:
        """Whether the denominator differs from zero at that level; if not, no finite interval has it."""
        return self._judge(self.denominator).p_value() < 1 - level

    def interval(self, level: float) -> tuple[float, float]:
        """The ratios that are not rejected; infinite where the denominator is not told from zero."""
        if not self.bounded(level):
            return -inf, inf
        centre = float(np.arctan(self.estimate))
        angles = np.linspace(-np.pi / 2, np.pi / 2, ANGLES + 1)
        low = self._bound(np.append(angles[angles < centre], centre), level)
        high = self._bound(np.append(angles[angles > centre][::-1], centre), level)
        return low, high

    def _judge(self, weights: Array) -> Student:
        found = self.engine(self.scores, weights)
        variance, df = found.variance(self.target)
        return Student(float(found.estimate), float(variance) ** 0.5, float(df))

    def _excess(self, angle: float, level: float) -> float:
        """How far the contrast at that angle (the ratio's arc tangent) is from not being rejected."""
        at = self._judge(np.cos(angle) * self.numerator - np.sin(angle) * self.denominator)
        return abs(at.estimate) - at.half_width(level)

    def _bound(self, angles: Array, level: float) -> float:
        """The outermost ratio that is not rejected on the way from infinity to the estimate."""
        outer = float(angles[0])
        for angle in map(float, angles[1:]):
            if self._excess(angle, level) <= 0:
                root = optimize.brentq(self._excess, outer, angle, args=(level,), xtol=1e-14)
                return float(np.tan(root))
            outer = angle
        return float(np.tan(outer))
