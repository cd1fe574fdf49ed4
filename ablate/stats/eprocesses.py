"""E-processes: looking after every block, for as long as one likes, with false claims kept to alpha.

The t e-process is the likelihood ratio of the t statistics, the effect in standard deviations having a normal prior of
mean 0 and variance g, against no effect. Under no effect it exceeds 1/alpha at any time with probability alpha at most
(Ville). It holds for rules of stopping that look at t statistics only, and for the t of independent per-block
contrasts: Welch's t of two arms, put into the same formula, errs in more than 6 % of studies at alpha .05.
Sources: Gonen et al. 2005, Am. Stat. 59, 252-257 (the ratio); Wang and Ramdas 2025, Sequential Analysis 44 (anytime).
With a known standard deviation: `sequences.NormalMixture`.
"""

from dataclasses import dataclass
from math import inf, log
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablate.errors import PlanError, RecordsError
from ablate.stats.pivots import Side
from ablate.stats.sequences import best_rho

Array = NDArray[np.float64]
CEILING = 1000  # blocks beyond which a number would be no advice
ROUNDING, LEAST = 1e-12, 1e-290  # a standard deviation over the mean, and a variance, that are rounding alone


def log_e(t: ArrayLike, n: ArrayLike, g: float = 1.0) -> Any:
    """Logarithm of the e-value of Student's t of n independent values.

    Args:
        t: mean over its standard error; arrays broadcast.
        n: number of values, two or more.
        g: prior variance of the effect over the standard deviation of a value.
    """
    t, n = np.asarray(t, float), np.asarray(n, float)
    wide, square = 1 + n * g, t**2 / (n - 1)
    return -np.log(wide) / 2 + n / 2 * (np.log1p(square) - np.log1p(square / wide))


@dataclass(frozen=True)
class Continuation:
    """Whether to add blocks.

    Attributes:
        verdict: go on, or stop.
        more: about how many further blocks would decide if mean and standard deviation stay; 0 when decided, None
            when more than the ceiling.
    """

    verdict: Literal["go on", "stop"]
    more: int | None


@dataclass(frozen=True)
class EProcess:
    """The t e-process of per-block contrasts.

    Attributes:
        alpha: chance of ever claiming a difference where there is none.
        g: prior variance of the effect in standard deviations of a block's contrast; `at` chooses it for a number of
            blocks. To be declared before results.

    Raises:
        PlanError: alpha outside (0, 1), or g not positive.
    """

    alpha: float = 0.05
    g: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 < self.g < inf):
            allowed = ["0 < alpha < 1", "g > 0"]
            raise PlanError(f"alpha {self.alpha!r} with g {self.g!r}", where="eprocess", allowed=allowed)

    @classmethod
    def at(cls, blocks: float, alpha: float = 0.05) -> "EProcess":
        """The e-process that claims soonest around that number of blocks (by the normal mixture's optimum)."""
        return cls(alpha, 1 / best_rho(blocks, alpha) if blocks > 0 else 0.0)

    def log_e(self, values: ArrayLike) -> Array:
        """Log e-value after 2, 3, ... n blocks.

        Args:
            values: the contrast of each block in the order of the blocks; replicates before the last axis. Nothing
                but per-block contrasts: there is no form for two arms without blocks. Blocks that are identical so far
            are no evidence (t = 0): there is no spread to judge them by.

        Raises:
            RecordsError: fewer than two blocks, or a value that is not finite.
        """
        n, mean, spread = _running(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(spread > 0, mean * np.sqrt(n * (n - 1) / spread), 0.0)
        return np.asarray(log_e(t, n, self.g))

    def p(self, values: ArrayLike) -> Any:
        """The anytime-valid p: the smallest 1/E so far, 1 at most."""
        return np.exp(-np.maximum(self.log_e(values).max(-1), 0.0))

    def interval(self, values: ArrayLike) -> tuple[Any, Any]:
        """Its confidence sequence so far: the means that no look has rejected.

        It holds the truth at all times together with probability 1 - alpha. Infinite while so few blocks cannot
        reject; both ends NaN if every mean has been rejected by some look.
        """
        n, mean, spread = _running(values)
        wide, grown = 1 + n * self.g, ((1 + n * self.g) / self.alpha**2) ** (1 / n)
        with np.errstate(invalid="ignore", divide="ignore"):
            square = np.where((grown < wide) & (spread > 0), (grown - 1) / (1 - grown / wide), inf)
            half = np.where(np.isinf(square), inf, np.sqrt(square * spread / n))
        low, high = (mean - half).max(-1), (mean + half).min(-1)
        empty = low > high
        return np.where(empty, np.nan, low)[()], np.where(empty, np.nan, high)[()]

    def decide(self, values: ArrayLike) -> Continuation:
        """Whether the blocks so far decide, and if not how many further ones may.

        Raises:
            RecordsError: as in `log_e`; values with more than one axis.
        """
        if np.ndim(values) != 1:
            raise _unusable(f"{np.ndim(values)} axes")
        if self.p(values) <= self.alpha:
            return Continuation("stop", 0)
        n, mean, spread = (float(part[-1]) for part in _running(values))
        later = np.arange(int(n) + 1, CEILING + 1)
        t = mean / (spread / (n - 1) / later) ** 0.5 if spread else np.zeros(len(later))
        enough = np.flatnonzero(log_e(t, later, self.g) >= -log(self.alpha))
        return Continuation("go on", int(later[enough[0]] - n) if len(enough) else None)

    def half_width(self, deviation: float, blocks: float) -> float:
        """Half the width of the interval of that look alone.

        Args:
            deviation: standard deviation of a block's contrast, of n - 1 degrees of freedom.
            blocks: how many there are.
        """
        wide, grown = 1 + blocks * self.g, ((1 + blocks * self.g) / self.alpha**2) ** (1 / blocks)
        if grown >= wide:
            return inf
        return float(deviation * ((grown - 1) / (1 - grown / wide) * (blocks - 1) / blocks) ** 0.5)


@dataclass(frozen=True, eq=False)
class Anytime:
    """Per-block contrasts, in the order of the blocks, judged by the t e-process: p and intervals hold at every time.

    A one-sided p is half the smallest 1/E of the looks at which the mean was on the right side: it is at or below
    alpha/2 exactly when the confidence sequence at 1 - alpha has left the hypothesis behind on that side. The two-sided
    p is twice that of the side where the mean is now, so that a claim has its direction.
    """

    values: Array
    g: float = 1.0

    @property
    def estimate(self) -> float:
        """The mean over blocks."""
        return float(self.values.mean())

    def p_value(self, against: float = 0.0, side: Side = "two-sided") -> float:
        """Anytime-valid p of the hypothesis that the truth is `against`, or is on its wrong side."""
        if side == "two-sided":
            return min(1.0, 2 * self.p_value(against, "greater" if self.estimate > against else "less"))
        apart = self.values - against
        mean = _running(apart)[1]
        evidence = EProcess(g=self.g).log_e(apart)[mean > 0 if side == "greater" else mean < 0]
        return float(np.exp(-max(evidence.max(), 0.0)) / 2) if evidence.size else 1.0

    def interval(self, level: float) -> tuple[float, float]:
        """The confidence sequence of that level, so far."""
        low, high = EProcess(1 - level, self.g).interval(self.values)
        return float(low), float(high)


def _running(values: ArrayLike) -> tuple[Array, Array, Array]:
    """Count, mean and sum of squared deviations after 2, 3, ... values."""
    x = np.asarray(values, float)
    if x.ndim == 0 or x.shape[-1] < 2 or not np.isfinite(x).all():
        raise _unusable(f"shape {x.shape}, {int((~np.isfinite(x)).sum())} of them not finite")
    centred = x - x[..., :1]  # scores near .9 with a spread of .001 would lose digits
    n = np.arange(1, x.shape[-1] + 1)
    total, squares = np.cumsum(centred, -1), np.cumsum(centred**2, -1)
    mean, spread = total / n + x[..., :1], squares - total**2 / n
    spread = np.where(spread > n * (ROUNDING * mean) ** 2 + LEAST, spread, 0.0)
    return n[1:].astype(float), mean[..., 1:], spread[..., 1:]


def _unusable(what: str) -> RecordsError:
    remedy = "give the contrast of every block, in order, for at least two blocks; unblocked runs have none"
    return RecordsError(f"an e-process needs one finite value per block, not {what}", where="values", remedy=remedy)
