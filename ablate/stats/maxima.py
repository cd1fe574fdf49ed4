"""Maxima: the distribution of the largest of several t statistics, for simultaneous tests and intervals.

One form for any correlation, by quasi-random points; and two exact ones, for comparisons with one cell (one-sided; the
two-sided form is in `corrections`) and for all pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from scipy.stats import qmc

from ablate.stats.pivots import Side

Array = NDArray[np.float64]
POINTS = 2**15  # quasi-random points: errors near p = .1 are about 1e-5 for four contrasts, 3e-4 for thirty
ROUNDING = 1e-9  # eigenvalues of a correlation matrix below this are rounding


@dataclass(frozen=True, eq=False)
class MaxT:
    """Several t statistics, none of which has an effect.

    In a random direction of the errors everything but their length is known, and the length is integrated in closed
    form; quasi-random points stand for the directions only (and for separate variances), so that small p-values are as
    precise as large ones. No probability is below that of one contrast alone or above Bonferroni's.

    Attributes:
        along: points × contrasts, the statistics of errors of length one; absolute where two-sided.
        rank: the dimension of the errors.
        df: of the one variance that all share, or of each contrast's own.
        scales: points × contrasts, the own standard deviations as estimated over as they are; None where shared.
        side: which statistics count as large.
    """

    along: Array
    rank: int
    df: Array
    scales: Array | None
    side: Side

    def exceeds(self, p: float) -> float:
        """Probability that some contrast has a p-value of its own of `p` or less."""
        contrasts = self.along.shape[1]
        reach = stats.t.isf(p / 2 if self.side == "two-sided" else p, self.df)
        along = np.maximum(self.along, 0.0)
        with np.errstate(divide="ignore"):
            if self.scales is None:
                beyond = special.fdtrc(self.rank, float(self.df), (along.max(1) / reach) ** -2 / self.rank).mean()
            else:  # as a share of the sum over contrasts, which is known: rare small scales weigh on both alike
                each = special.gammaincc(self.rank / 2, (along / (reach * self.scales)) ** -2 / 2)
                beyond = each.max(1).mean() / each.mean() * p
        return float(np.clip(beyond, p, min(1.0, contrasts * p)))

    def level(self, alpha: float) -> float:
        """The confidence level of each interval such that all hold together with probability 1 - alpha."""
        contrasts = self.along.shape[1]
        if contrasts == 1:
            return 1 - alpha
        log_p = optimize.brentq(
            lambda x: self.exceeds(float(np.exp(x))) - alpha,
            *np.log([alpha / contrasts / 1.01, alpha * 1.01]),  # Bonferroni's and alone, with room for rounding
            xtol=1e-7,
        )
        return float(1 - np.exp(log_p))


def max_t(
    correlation: ArrayLike,
    df: ArrayLike,
    rng: np.random.Generator | int,
    side: Side = "two-sided",
    points: int = POINTS,
) -> MaxT:
    """The joint distribution of t statistics with that correlation.

    Contrasts that are judged by variances of their own are taken as if these were independent. They then exceed a bound
    at least as often as with variances that rise and fall together (Tchen 1980, Annals of Probability 8, 814-827), and
    each keeps its own degrees of freedom (Hasler and Hothorn 2008, Biometrical Journal 50, 793-800).

    Args:
        correlation: contrasts × contrasts; may be singular.
        df: a number, if one pooled variance judges all; or one for each contrast, if each has its own.
        rng: where the quasi-random points are shifted to; the same seed makes p-values and intervals agree.
        side: `greater` and `less` look at one tail.
        points: how many, a power of two.

    Raises:
        ValueError: the correlation is not a correlation matrix, or the sizes differ.
    """
    correlation, df = np.atleast_2d(np.asarray(correlation, float)), np.asarray(df, float)
    contrasts = len(correlation)
    values, vectors = np.linalg.eigh(correlation)
    if not np.allclose(np.diag(correlation), 1) or not np.allclose(correlation, correlation.T) or values[0] < -ROUNDING:
        raise ValueError("a correlation matrix is symmetric, has ones on its diagonal and no negative eigenvalue")
    if df.shape not in ((), (contrasts,)):
        raise ValueError(f"{contrasts} contrasts, but {df.size} degrees of freedom")
    used = values > ROUNDING
    loadings, rank = vectors[:, used] * np.sqrt(values[used]), int(used.sum())
    uniform = qmc.Sobol(rank + df.size * df.ndim, rng=np.random.default_rng(rng)).random(points)
    uniform = np.clip(uniform, 1e-12, 1 - 1e-12)
    directions = special.ndtri(uniform[:, :rank])
    along = directions @ loadings.T / np.linalg.norm(directions, axis=1, keepdims=True)
    along = np.abs(along) if side == "two-sided" else along if side == "greater" else -along
    scales = np.sqrt(2 * special.gammaincinv(df / 2, uniform[:, rank:]) / df) if df.ndim else None
    return MaxT(along, rank, df, scales, side)


def max_t_p(
    t: ArrayLike, correlation: ArrayLike, df: ArrayLike, rng: np.random.Generator | int, side: Side = "two-sided"
) -> Array:
    """Adjusted p-value of each t: how often the smallest p of all contrasts is as small as its own, if none differs.

    The arguments are those of `max_t`.
    """
    t, df = np.asarray(t, float), np.asarray(df, float)
    own = 2 * stats.t.sf(np.abs(t), df) if side == "two-sided" else stats.t.sf(t if side == "greater" else -t, df)
    joint = max_t(correlation, df, rng, side)
    return np.array([joint.exceeds(float(p)) for p in np.atleast_1d(own)])


def max_t_level(
    alpha: float, correlation: ArrayLike, df: ArrayLike, rng: np.random.Generator | int, side: Side = "two-sided"
) -> float:
    """The confidence level of each interval such that all hold together; arguments as of `max_t`."""
    return max_t(correlation, df, rng, side).level(alpha)


def correlate(weights: ArrayLike, variances: ArrayLike) -> Array:
    """Correlation of contrasts of independent cells.

    Args:
        weights: contrasts × cells.
        variances: of each cell's mean; as estimated, or 1/runs where one variance is pooled.
    """
    weights = np.asarray(weights, float)
    covariance = weights * np.asarray(variances, float) @ weights.T
    size = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(size, size))


def dunnett_upper_p(t: float, loadings: ArrayLike, df: float) -> float:
    """Probability that the largest t (with its sign) of several comparisons with one cell exceeds t, if none differs.

    The one-sided companion of `corrections.dunnett_p`, whose arguments and source it shares.
    """
    values, counts = np.unique(np.round(np.asarray(loadings, float), 12), return_counts=True)
    nodes, node_weights = np.polynomial.legendre.leggauss(160)
    z, z_weights = 8.5 * nodes, 8.5 * node_weights * stats.norm.pdf(8.5 * nodes)
    low, high = np.log(stats.chi2.ppf(1e-14, df)), np.log(stats.chi2.isf(1e-14, df))
    square = np.exp(low + (high - low) * (nodes + 1) / 2)
    s_weights = node_weights * (high - low) / 2 * stats.chi2.pdf(square, df) * square
    reach = t * np.sqrt(square / df)[:, None]
    log_inside = sum(
        count * special.log_ndtr((reach - loading * z) / np.sqrt(1 - loading**2))
        for loading, count in zip(values, counts, strict=True)
    )
    return float(np.clip(s_weights @ -np.expm1(log_inside) @ z_weights, 0.0, 1.0))


def dunnett_upper_critical(alpha: float, loadings: ArrayLike, df: float) -> float:
    """The t that the largest of several comparisons with one cell exceeds with probability alpha, if none differs."""
    loadings = np.asarray(loadings, float)
    if len(loadings) == 1:
        return float(stats.t.isf(alpha, df))
    alone, bonferroni = (float(stats.t.isf(alpha / m, df)) for m in (1, len(loadings)))
    return float(optimize.brentq(lambda t: dunnett_upper_p(t, loadings, df) - alpha, alone, bonferroni, xtol=1e-10))


def tukey_p(t: float, cells: int, df: float) -> float:
    """Adjusted p of one of all pairwise comparisons of cells judged by one pooled variance.

    Exact with equal runs per cell, conservative otherwise (Tukey-Kramer; Hayter 1984, Annals of Statistics 12, 61-75).
    """
    return float(stats.studentized_range.sf(np.sqrt(2) * abs(t), cells, df))


def tukey_level(alpha: float, cells: int, df: float) -> float:
    """The confidence level of each pairwise interval such that all pairs hold together."""
    alone, bonferroni = (float(stats.t.isf(alpha / 2 / m, df)) for m in (1, cells * (cells - 1) / 2))
    if cells == 2:
        return 1 - alpha
    critical = optimize.brentq(lambda t: tukey_p(t, cells, df) - alpha, alone, bonferroni, xtol=1e-10)
    return float(1 - 2 * stats.t.sf(critical, df))
