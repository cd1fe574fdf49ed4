"""Summaries of runs × domains that are not linear in scores, and the plain mean beside them.

Each takes (..., runs, domains), NaN where there is no run, and returns (...) or (..., points). All treat domains alike,
but the interquartile mean pools all runs, as its authors define it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean(scores: Array) -> Array:
    """Mean over domains of the mean over runs."""
    return np.asarray(np.nanmean(scores, -2).mean(-1))


def median(scores: Array) -> Array:
    """Median over domains of the mean over runs, as rliable has it."""
    return np.asarray(np.median(np.nanmean(scores, -2), -1))


def interquartile_mean(scores: Array) -> Array:
    """Mean of the middle half of all runs on all domains: scipy's trim_mean with .25 (Agarwal et al. 2021)."""
    pooled = scores.reshape(*scores.shape[:-2], -1)
    size = pooled.shape[-1]
    absent = np.isnan(pooled)
    if absent.any():
        present = size - absent.sum(-1, keepdims=True)
        cut, place = present // 4, np.arange(size)
        inner = (place >= cut) & (place < present - cut)
        return np.asarray(np.where(inner, np.sort(pooled, -1), 0.0).sum(-1) / (present - 2 * cut)[..., 0])
    cut = size // 4
    middle = np.sort(pooled, -1)[..., cut : size - cut]  # numpy sorts twice as fast as it partitions in two places
    return np.asarray(middle.mean(-1))


@dataclass(frozen=True)
class OptimalityGap:
    """How far scores fall short of `goal` on average, those beyond it counted as reaching it."""

    goal: float = 1.0

    def __call__(self, scores: Array) -> Array:
        """The gap of (..., runs, domains)."""
        return np.asarray(self.goal - mean(np.minimum(scores, self.goal)))


@dataclass(frozen=True)
class PerformanceProfile:
    """Share of runs on domains that score above each threshold (Dolan and Moré 2002; Agarwal et al. 2021)."""

    thresholds: tuple[float, ...]

    def __call__(self, scores: Array) -> Array:
        """The profile, (..., thresholds)."""
        above = [mean(np.where(np.isnan(scores), np.nan, scores > threshold)) for threshold in self.thresholds]
        return np.stack(above, -1)


@dataclass(frozen=True)
class ProfileArea:
    """Area under the performance profile between two scores, as a share: 1 where all runs score `high` or more."""

    low: float
    high: float

    def __call__(self, scores: Array) -> Array:
        """The area of (..., runs, domains)."""
        return np.asarray((mean(np.clip(scores, self.low, self.high)) - self.low) / (self.high - self.low))
