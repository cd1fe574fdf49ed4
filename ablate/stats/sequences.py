"""Confidence sequences: bounds on sums, proportions and quantiles that hold at all times together.

An example is looked at, then the next: after each of them the bound may be read, and looking may stop for any reason.
They say something of these trained models on further examples of the same kind, never of training anew: that takes
seeds. The examples must be independent draws taken in the order of the draw: not several of one document, not sorted.

Each mixture is an average of likelihood ratios against "mean 0"; its E exceeds 1/alpha at any time with probability
alpha at most (Ville), and the bound is where E is 1/alpha.
Sources: Howard, Ramdas, McAuliffe and Sekhon 2021, Ann. Statist. 49, 1055-1080; Howard and Ramdas 2022, Bernoulli 28,
1704-1728 (quantiles). Figures agree with the authors' package confseq.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from ablate.errors import PlanError, RecordsError

Array = NDArray[np.float64]
WEAKEST = 1e-3  # pseudo-examples of the beta prior where it is tuned to less than one example


def best_rho(v: float, alpha: float = 0.05) -> float:
    """The rho at which the two-sided normal bound is lowest at about variance v; give 2·alpha for a one-sided one.

    Source: Howard et al. 2021, section 3.5.
    """
    level = 2 * _threshold(alpha)
    return v / (level + log(1 + level))


@dataclass(frozen=True)
class NormalMixture:
    """Bounds on a sum of independent values of mean 0, normal with known variances.

    For block contrasts of standard deviation sd, v = n·sd² and rho = sd²/g give the limit of the t e-process
    (Howard et al. 2021, section 3.2). Not with a variance estimated from the same few values.

    Attributes:
        rho: the variance that the mixture is tuned to; `best_rho` chooses it.
        sided: 2, or 1 for a bound from above only.

    Raises:
        PlanError: rho not positive, or another number of sides; alpha outside (0, 1), here as in every bound below.
    """

    rho: float
    sided: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        _require(0 < self.rho < inf and self.sided in (1, 2), self, "rho > 0", "sided 1 or 2")

    def log_e(self, total: ArrayLike, v: ArrayLike) -> Any:
        """Log e-value of a sum whose variance is v."""
        total, v = np.asarray(total, float), np.asarray(v, float)
        two_sided = np.log(self.rho / (v + self.rho)) / 2 + total**2 / (2 * (v + self.rho))
        if self.sided == 2:
            return two_sided
        return two_sided + log(2) + special.log_ndtr(total / np.sqrt(v + self.rho))

    def bound(self, v: ArrayLike, alpha: float = 0.05) -> Any:
        """What the sum (two-sided: its absolute value) ever exceeds with probability alpha at most."""
        v = np.asarray(v, float)
        reach = np.sqrt((v + self.rho) * (np.log1p(v / self.rho) + 2 * _threshold(alpha)))
        if self.sided == 2:
            return reach
        return _crossing(lambda total: self.log_e(total, v), reach, alpha)  # the two-sided bound lies above


@dataclass(frozen=True)
class GammaMixture:
    """One-sided bounds on a sum of mean 0 whose upper tail is at most exponential (gamma-exponential mixture).

    For scores in [a, b], minus their true mean, the scale is b − a and v the sum of (score − guess)², where each guess
    is in [a, b] and uses earlier scores only: no variance need be known. Give minus the sum for the other side.
    Source: Howard et al. 2021, proposition 9, and theorem 4 for bounded scores.

    Attributes:
        rho: the variance that the mixture is tuned to: `best_rho(v, 2 * alpha)`.
        scale: of the tail, in the unit of the scores.

    Raises:
        PlanError: rho or scale not positive.
    """

    rho: float
    scale: float

    def __post_init__(self) -> None:
        _require(0 < self.rho < inf and 0 < self.scale < inf, self, "rho > 0", "scale > 0")

    def log_e(self, total: ArrayLike, v: ArrayLike) -> Any:
        """Log e-value of a sum of accumulated variance v."""
        square = self.scale**2
        start, shape = self.rho / square, (np.asarray(v, float) + self.rho) / square
        x = shape + np.asarray(total, float) / self.scale
        return _log_scaled_gamma(shape, x) - _log_scaled_gamma(start, start) + x - start

    def bound(self, v: ArrayLike, alpha: float = 0.05) -> Any:
        """What the sum ever exceeds with probability alpha at most."""
        v = np.asarray(v, float)
        high = np.asarray(NormalMixture(self.rho).bound(v, alpha))
        while (short := self.log_e(high, v) < _threshold(alpha)).any():
            high = np.where(short, 2 * high, high)
        return _crossing(lambda total: self.log_e(total, v), high, alpha)


@dataclass(frozen=True)
class BetaMixture:
    """Bounds on a sum of values of mean 0 in [−below, above]; narrowest for two values (beta-binomial mixture).

    The mixture looks to both sides; swap below and above for the bound on minus the sum. Values between the ends are
    covered as well, and then `GammaMixture` is often narrower. Source: Howard et al. 2021, proposition 7.

    Attributes:
        below, above: how far a value may lie from its mean.
        rho: the variance v = n · below · above that the mixture is tuned to; `best_rho` chooses it.

    Raises:
        PlanError: one of the three not positive.
    """

    below: float
    above: float
    rho: float

    def __post_init__(self) -> None:
        right = all(0 < value < inf for value in (self.below, self.above, self.rho))
        _require(right, self, "below > 0", "above > 0", "rho > 0")

    def log_e(self, total: ArrayLike, v: ArrayLike) -> Any:
        """Log e-value of a sum between −v / above and v / below, which are the sums of nothing but one end."""
        total, v = np.asarray(total, float), np.asarray(v, float)
        width = self.below + self.above
        up, down = (v / self.above + total) / width, (v / self.below - total) / width
        strength = max(self.rho / (self.below * self.above) - 1, WEAKEST)
        return _log_beta_binomial(up, down, self.below / width, strength)

    def bound(self, v: ArrayLike, alpha: float = 0.05) -> Any:
        """What the sum exceeds at any time, while minus the sum keeps its own bound, with probability alpha at most.

        The largest possible sum, v / below, where so few values cannot exceed anything.
        """
        v = np.asarray(v, float)
        return _crossing(lambda total: self.log_e(total, v), v / self.below, alpha)


@dataclass(frozen=True)
class StitchedBound:
    """One-sided bound on a sum of mean 0 that grows as the law of the iterated logarithm (polynomial stitching).

    Wider than a mixture where that is tuned, narrower in the very long run. Source: Howard et al. 2021, theorem 1.

    Attributes:
        least: the variance up to which the bound is flat; choose it before results.
        scale: of the tail, as in `GammaMixture`; 0 for normal values of known variance.
        power: above 1; spends more of alpha early where larger.
        ratio: above 1; between the variances at which pieces meet.

    Raises:
        PlanError: least not positive, scale negative or not finite, power or ratio not above 1.
    """

    least: float
    scale: float = 0.0
    power: float = 1.4
    ratio: float = 2.0

    def __post_init__(self) -> None:
        right = 0 < self.least < inf and 0 <= self.scale < inf and 1 < self.power < inf and 1 < self.ratio < inf
        _require(right, self, "least > 0", "scale >= 0", "power > 1", "ratio > 1")

    def __call__(self, v: ArrayLike, alpha: float = 0.05) -> Any:
        """What the sum ever exceeds with probability alpha at most, at accumulated variance v."""
        used = np.maximum(np.asarray(v, float), self.least)
        spent = log(special.zeta(self.power)) - self.power * log(log(self.ratio)) + _threshold(alpha)
        level = self.power * np.log(np.log(self.ratio * used / self.least)) + spent
        steep = (self.ratio**0.25 + self.ratio**-0.25) ** 2 / 2
        tail = (self.ratio**0.5 + 1) / 2 * self.scale * level
        return np.sqrt(steep * used * level + tail**2) + tail


@dataclass(frozen=True)
class ProportionSequence:
    """The share of right answers of one trained model on further examples, for looking after every example.

    Wider than an interval for a number of examples fixed beforehand: that is its price. For two models on the same
    items, give the examples that only one of them gets right: .5 outside the interval says they differ.
    Source: Howard et al. 2021, proposition 7 for each share, and the set of shares not rejected.

    Attributes:
        alpha: chance that the interval ever misses the true share.
        best_at: number of examples around which it is narrowest; to be declared before results.

    Raises:
        PlanError: alpha outside (0, 1), or best_at not positive.
    """

    alpha: float = 0.05
    best_at: float = 100.0

    def __post_init__(self) -> None:
        _require(0 < self.alpha < 1 and 0 < self.best_at < inf, self, "0 < alpha < 1", "best_at > 0")

    def log_e(self, successes: ArrayLike, n: ArrayLike, share: ArrayLike) -> Any:
        """Log e-value after n examples against one share; arrays broadcast.

        Raises:
            RecordsError: as in `interval`.
            PlanError: a share that is not strictly between 0 and 1.
        """
        successes, n = _counts(successes, n)
        share = np.asarray(share, float)
        _require(bool(((share > 0) & (share < 1)).all()), f"share {share}", "0 < share < 1")
        return _log_beta_binomial(successes, n - successes, share, _strength(self))

    def interval(self, successes: ArrayLike, n: ArrayLike) -> tuple[Any, Any]:
        """Low and high end after n examples; arrays broadcast.

        The interval of each look holds the truth at all n together; so does what all looks have in common.

        Raises:
            RecordsError: counts that are not finite, n below 1, or successes outside 0 to n.
        """
        successes, n = _counts(successes, n)
        return self._low(successes, n), 1 - self._low(n - successes, n)

    def _low(self, successes: Array, n: Array) -> Any:
        """E is convex in the share and at most 1 at the observed one, so its set is an interval around that."""
        strength, observed = _strength(self), successes / n
        distance = _crossing(
            lambda far: _log_beta_binomial(successes, n - successes, np.maximum(observed - far, 1e-300), strength),
            observed,
            self.alpha,
        )
        return observed - distance


@dataclass(frozen=True)
class QuantileSequence:
    """A quantile of single scores, such as the median loss of an example, for looking after every example.

    Nothing is assumed of the distribution; ties only make it wider. Source: Howard and Ramdas 2022: the beta-binomial
    interval for a fixed quantile, and the test of two arms, with ties resolved in favour of no difference.

    Attributes:
        level: which quantile, .5 for the median.
        alpha: chance that the interval ever misses, and what the p is tuned for.
        best_at: number of examples of an arm around which it is narrowest; to be declared before results.

    Raises:
        PlanError: level or alpha outside (0, 1), or best_at not positive.
    """

    level: float = 0.5
    alpha: float = 0.05
    best_at: float = 100.0

    def __post_init__(self) -> None:
        right = 0 < self.level < 1 and 0 < self.alpha < 1 and 0 < self.best_at < inf
        _require(right, self, "0 < level < 1", "0 < alpha < 1", "best_at > 0")

    def interval(self, values: ArrayLike) -> tuple[float, float]:
        """Low and high end for the scores so far; infinite where so few say nothing.

        Raises:
            RecordsError: no score, more than one axis, or one that is not finite.
        """
        x = _scores(values)
        kept = np.flatnonzero(self._log_e_of_counts(len(x)) < _threshold(self.alpha))
        ends = np.r_[-inf, x, inf]
        return float(ends[kept[0]]), float(ends[kept[-1] + 1])

    def p(self, first: ArrayLike, second: ArrayLike) -> float:
        """Anytime-valid two-sided p of "both arms have the same quantile"; the smallest p so far is valid as well.

        The arms must be independent: scored on different examples. Not for two models on the same items.

        Raises:
            RecordsError: as in `interval`.
        """
        arms = _scores(first), _scores(second)
        points = np.concatenate(arms)  # between two points no common quantile is better supported than at the points
        total = np.zeros(len(points))
        for x in arms:
            evidence = self._log_e_of_counts(len(x))
            below, up_to = np.searchsorted(x, points, "left"), np.searchsorted(x, points, "right")
            total += evidence[np.clip(np.argmin(evidence), below, up_to)]
        return float(np.exp(-max(total.min(), 0.0)))

    def _log_e_of_counts(self, n: int) -> Array:
        """Log e-value of 0, 1, ... n scores below the quantile; convex."""
        below = np.arange(n + 1.0)
        return np.asarray(_log_beta_binomial(below, n - below, self.level, _strength(self)))


def _log_beta_binomial(up: Array, down: Array, share: Array | float, strength: float) -> Any:
    """Log of the beta-binomial over the binomial probability: the beta has mean `share`, weight `strength` examples."""
    a, b = share * strength, (1 - share) * strength
    return special.betaln(a + up, b + down) - special.betaln(a, b) - special.xlogy(up, share) - down * np.log1p(-share)


def _log_scaled_gamma(shape: Array | float, x: Array | float) -> Any:
    """Log of the lower incomplete gamma function over x^shape, which goes on through x = 0 to negative sums."""
    upper, lower = np.maximum(x, shape), np.minimum(x, shape)
    above = special.gammaln(shape) + np.log(special.gammainc(shape, upper)) - shape * np.log(upper)
    return np.where(x > shape, above, np.log(special.hyp1f1(1.0, shape + 1.0, lower) / shape) - lower)[()]


def _strength(sequence: ProportionSequence | QuantileSequence) -> float:
    return max(best_rho(sequence.best_at, sequence.alpha) - 1, WEAKEST)


def _crossing(log_e: Callable[[Array], Any], high: ArrayLike, alpha: float) -> Any:
    """Where a rising log E reaches 1/alpha between 0 and high; high where it does not."""
    high = np.asarray(high, float)
    low, threshold = np.zeros_like(high), _threshold(alpha)
    for _ in range(60):
        middle = (low + high) / 2
        passed = log_e(middle) >= threshold
        low, high = np.where(passed, low, middle), np.where(passed, middle, high)
    return high[()]


def _threshold(alpha: float) -> float:
    """The log e-value that is evidence enough."""
    _require(0 < alpha < 1, f"alpha {alpha!r}", "0 < alpha < 1")
    return -log(alpha)


def _require(right: bool, value: object, *allowed: str) -> None:
    if not right:
        raise PlanError(f"no bound for {value}", where="sequences", allowed=list(allowed))


def _counts(successes: ArrayLike, n: ArrayLike) -> tuple[Array, Array]:
    successes, n = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    if not (np.isfinite(n).all() and ((n >= 1) & (successes >= 0) & (successes <= n)).all()):
        remedy = "count the examples looked at so far and how many of them succeeded"
        raise RecordsError("successes must lie between 0 and n, and n be 1 or more", where="counts", remedy=remedy)
    return successes, n


def _scores(values: ArrayLike) -> Array:
    x = np.asarray(values, float)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        remedy = "give one finite score per example, at least one"
        raise RecordsError(f"no quantile of scores of shape {x.shape}", where="values", remedy=remedy)
    return np.sort(x)
