"""Sizes: effects in units of a standard deviation, and shares of variance, with intervals by noncentral t and F.

A size helps to compare effects on metrics of different scale. It never replaces points: its standard deviation is that
of the runs at hand, and a calmer training recipe makes the same gain look larger.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from ablate.errors import RecordsError


@dataclass(frozen=True)
class Size:
    """A standardised effect.

    Attributes:
        estimate: the effect.
        interval: its interval at `level`.
        level: confidence level.
    """

    estimate: float
    interval: tuple[float, float]
    level: float


def hedges_g(estimate: float, se: float, sd: float, df: float, *, level: float = 0.95, corrected: bool = True) -> Size:
    """A difference in standard deviations of single runs.

    g = J(df)·estimate/sd with the exact J = Γ(df/2)/(√(df/2)·Γ((df - 1)/2)), without which small samples overstate
    (Hedges 1981, J. Educ. Stat. 6, 107-128). The interval inverts the noncentral t of estimate/se, which is exact
    where se is sd times a constant: two groups with a pooled variance, se = sd·√(1/n₁ + 1/n₂), or blocks, se = sd/√n
    with the sd of differences. With Welch's se and df it is an approximation. Limits need no J: some packages shrink
    them too, and then cover less.

    Args:
        estimate: the difference, in units of the metric.
        se: its standard error.
        sd: standard deviation over runs, from the same squares as `se`.
        df: degrees of freedom of `sd`, above 1.
        level: confidence level of the interval.
        corrected: False gives Cohen's d; the interval is the same.

    Raises:
        RecordsError: a standard error or deviation that is not positive, or too few degrees of freedom.
    """
    if not (se > 0 and sd > 0 and df > 1):
        raise RecordsError(
            f"no standardised effect from se {se:.3g}, sd {sd:.3g} and df {df:.3g}",
            where="se, sd, df",
            allowed=["se and sd above 0, df above 1"],
            remedy="run at least three seeds of every cell",
        )
    t, tail = estimate / se, (1 - level) / 2
    low, high = (_shift(t, df, q) * se / sd for q in (1 - tail, tail))
    return Size((small_sample_factor(df) if corrected else 1.0) * estimate / sd, (low, high), level)


def small_sample_factor(df: float) -> float:
    """J, by which a standardised difference with that many degrees of freedom is to be multiplied."""
    return float(np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2))


def eta_squared(f: float, df: float, df_error: float, *, level: float = 0.95) -> Size:
    """Share of variance that a term explains here, beside the error: F·df/(F·df + df_error); biased upwards."""
    return Size(f * df / (f * df + df_error), _explained(f, df, df_error, level), level)


def omega_squared(f: float, df: float, df_error: float, *, level: float = 0.95) -> Size:
    """The same share with little bias, (F - 1)·df/(F·df + df_error + 1); never below zero (Olejnik and Algina 2003).

    Its interval is that of `eta_squared`: both estimate the same share, whose limits are λ/(λ + df_error) at the limits
    λ of F's noncentrality.
    """
    return Size(max(0.0, (f - 1) * df / (f * df + df_error + 1)), _explained(f, df, df_error, level), level)


def _explained(f: float, df: float, df_error: float, level: float) -> tuple[float, float]:
    if not (0 <= f < np.inf and df > 0 and df_error > 0):
        raise RecordsError(
            f"no share of variance from F {f:.3g} on {df:.3g} and {df_error:.3g} degrees of freedom",
            where="f, df, df_error",
            allowed=["F from 0, degrees of freedom above 0"],
        )
    tail = (1 - level) / 2
    low, high = (_noncentrality(f, df, df_error, q) for q in (1 - tail, tail))
    return low / (low + df_error), high / (high + df_error)


def _noncentrality(f: float, df: float, df_error: float, q: float) -> float:
    """The noncentrality at which F falls below f with probability q; zero where even that has less."""
    if special.fdtr(df, df_error, f) <= q:
        return 0.0
    reach = 1 + f * df
    while special.ncfdtr(df, df_error, reach, f) > q:
        reach *= 2
    return float(optimize.brentq(lambda n: special.ncfdtr(df, df_error, n, f) - q, 0.0, reach, xtol=1e-12))


def _shift(t: float, df: float, q: float) -> float:
    """The noncentrality at which Student's t falls below t with probability q."""

    def excess(shift: float) -> float:
        return float(special.nctdtr(df, shift, t)) - q

    step = 1 + abs(t)
    while excess(t - step) < 0 or excess(t + step) > 0:
        step *= 2
    return float(optimize.brentq(excess, t - step, t + step, xtol=1e-12))
