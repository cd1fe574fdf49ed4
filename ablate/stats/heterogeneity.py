"""Heterogeneity: how much a contrast differs from domain to domain (estimand 6), beyond runs and beyond test items.

All runs are scored on the same test items, so that the luck of the items looks like a difference between domains. Its
variance is needed from scores of single items and taken off; with run noise alone "works here but not there" is found
in 95 to 100 % of studies in which nothing differs.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, optimize, stats

from ablate.stats.crossed import Crossed
from ablate.stats.pivots import Side

Array = NDArray[np.float64]
MANY = 1e9  # degrees of freedom of a variance that is known


@dataclass(frozen=True, eq=False)
class Heterogeneity:
    """A contrast in each domain and the errors of these effects; a pivot for tau, the true effects' SD over domains.

    Attributes:
        effects: of each domain.
        error: variance of one domain's effect over runs × domains; what runs share cancels between domains.
        df_error: its degrees of freedom.
        items: domains × domains, covariance of the effects over draws of test items, taken as known; zeros if none.
    """

    effects: Array
    error: float
    df_error: float
    items: Array

    @property
    def estimate(self) -> float:
        """tau in points: the SD over domains as seen, less runs and items; 0 where less is seen than they explain."""
        spread, items = self._parts
        return float(np.sqrt(max(0.0, spread - self.error - items.mean())))

    def statistic(self, against: float = 0.0) -> tuple[float, float, float]:
        """F of the hypothesis that tau is `against`, and its degrees of freedom.

        The variance over domains as seen over the one expected: Q/(D - 1) with equal weights and the full variance of
        the effects (tau, runs, items). Weights of the inverse variances gain little and let the noise of estimated item
        variances in: with covariances from 100 items they reject 10 % of studies without heterogeneity. Degrees of
        freedom: Box's for domains whose items vary unequally (1954, Annals of Mathematical Statistics 25, 290-302), and
        Satterthwaite's of the error, of which only the part over runs is estimated. At zero and without items it is
        F = MS_D/MS_E, exactly.
        """
        spread, items = self._parts
        expected = against**2 + self.error + items
        total = float(expected.mean())
        df = len(items) * total**2 / float((expected**2).mean())
        df_error = min(MANY, total**2 / self.error**2 * self.df_error) if self.error > 0 else MANY
        return spread / total, df, df_error

    def p_value(self, against: float = 0.0, side: Side = "greater") -> float:
        """p of the hypothesis that tau is no more than `against`; `less`: no less; `two-sided`: equal."""
        statistic, df, df_error = self.statistic(against)
        above, below = (float(tail(statistic, df, df_error)) for tail in (stats.f.sf, stats.f.cdf))
        return {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}[side]

    def interval(self, level: float) -> tuple[float, float]:
        """Every tau that is not rejected (Viechtbauer 2007, Statistics in Medicine 26, 37-52, with F for chi²).

        Zero to zero where even no heterogeneity would have been expected to show more.
        """
        tail = (1 - level) / 2
        return self._bound(tail, "greater"), self._bound(tail, "less")

    def _bound(self, tail: float, side: Side) -> float:
        """Where the p-value of that side crosses `tail`: upwards from zero, or downwards to it."""

        def excess(tau: float) -> float:
            return (self.p_value(tau, side) - tail) * (1 if side == "greater" else -1)

        if excess(0.0) >= 0:
            return 0.0
        top = 2 * float(np.sqrt(self._parts[0]))
        while excess(top) < 0:
            top *= 2
        return float(optimize.brentq(excess, 0.0, top, xtol=1e-12 * top, rtol=1e-12))

    @cached_property
    def _parts(self) -> tuple[float, Array]:
        """The variance over domains as seen, and those of items in the D - 1 directions between domains."""
        centring = linalg.helmert(len(self.effects))
        items = np.linalg.eigvalsh(centring @ self.items @ centring.T)
        return float(self.effects.var(ddof=1)), np.maximum(items, 0.0)


def judge_heterogeneity(scores: Array, weights: Array, engine: Crossed, items: ArrayLike = 0.0) -> Heterogeneity:
    """How much a contrast differs between the domains.

    The estimate of tau² is domains × (variance over domains - variance over runs × domains), which is
    sum of squared weights × (MS_D - MS_E)/runs, less the mean variance of the items (and plus their mean covariance).
    Fewer than five domains say little (R12).

    Args:
        scores: cells × runs × domains, of several domains. Runs that do not exist are NaN on every domain.
        weights: a weight per cell.
        engine: how contrasts are judged.
        items: the contrast's variance over draws of test items: one number for all domains, one per domain, or a
            domains × domains covariance where domains share their items (see `examples.estimate_sampling`). Zero only
            if the items are all there is; a study that does not know it cannot ask this question (R13).

    Raises:
        ValueError: one domain, or what `Crossed` raises.
    """
    scores, weights = np.asarray(scores, float), np.asarray(weights, float)
    used = weights != 0
    domains = scores.shape[-1]
    if domains < 2:
        raise ValueError("heterogeneity needs several domains")
    found = engine(scores, weights)
    items = np.asarray(items, float)
    covariance = items if items.ndim == 2 else np.diag(np.broadcast_to(items, domains))
    effects = weights[used] @ np.nanmean(scores[used], axis=1)
    return Heterogeneity(effects, domains * float(found.joint), float(found.df_joint), covariance)
