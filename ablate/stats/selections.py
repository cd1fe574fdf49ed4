"""Selections: which cells may be the best (estimand 13), by Hsu's multiple comparisons with the best."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablate.analyses import Target
from ablate.stats.crossed import Crossed
from ablate.stats.maxima import dunnett_upper_critical

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Selection:
    """Simultaneous intervals of each cell's distance to the best of the others, after any axes of replicates.

    A positive distance is a cell that beats every other. The estimate of a cell that was picked for being best is too
    good (the winner's curse), and these intervals do not mend that: they say which cells may be best, not how good.

    Attributes:
        estimate: per cell, its mean less the best of the others', turned so that larger is better.
        low, high: the constrained interval: it never lies on one side of zero without touching it.
        method: how the comparisons are made to hold together.
    """

    estimate: Array
    low: Array
    high: Array
    method: Literal["dunnett", "bonferroni"]

    @property
    def may_be_best(self) -> NDArray[np.bool_]:
        """Per cell, whether it may be the best.

        At a level of 95 % a best cell is among these in 95 % of studies or more. Of several that are equally best each
        one is, but not all of them at once: a cell left out is no better than the best other one, and may equal it.
        """
        return np.asarray(self.high > 0)

    @property
    def is_best(self) -> NDArray[np.bool_]:
        """Per cell, whether it is the best for certain: no other may be."""
        return np.asarray(self.may_be_best & (self.may_be_best.sum(-1, keepdims=True) == 1))


def compare_with_best(
    scores: Array,
    engine: Crossed,
    target: Target = "these_domains",
    *,
    level: float = 0.95,
    direction: Literal["max", "min"] = "max",
) -> Selection:
    """Compare every cell with the best of the others (Hsu 1984, Annals of Statistics 12, 1136-1144; Hsu 1996, ch. 4).

    The intervals hold together as soon as the comparisons of the truly best cell with every other one do. With pooled
    variances on these domains these have the exact one-sided Dunnett bound. Otherwise every pair is judged by its own
    variance (of the runs; of runs and domains) and the bound is Bonferroni's over cells - 1 one-sided comparisons,
    which holds whatever their correlation.

    Args:
        scores: cells × runs × domains, after any axes of replicates; every one is a candidate.
        engine: how a pair is judged.
        target: over new runs on the same domains, or over new domains too.
        level: of all intervals together.
        direction: whether larger or smaller scores are better.

    Raises:
        ValueError: fewer than two cells, or what `Crossed` raises.
    """
    scores = np.asarray(scores, float)
    cells = scores.shape[-3]
    if cells < 2:
        raise ValueError("a best cell needs at least two candidates")
    exact = engine.variances == "pooled" and target == "these_domains"
    difference = np.zeros((*scores.shape[:-3], cells, cells))
    margin = np.zeros_like(difference)  # row: the cell taken as best; column: the one compared with it
    critical = _pooled_criticals(scores, engine, 1 - level) if exact else None
    for i, j in combinations(range(cells), 2):
        pair = scores if engine.variances == "pooled" else scores[..., [i, j], :, :]
        weights = np.eye(cells)[i] - np.eye(cells)[j] if engine.variances == "pooled" else np.array([1.0, -1.0])
        found = engine(pair, weights if direction == "max" else -weights)
        variance, df = found.variance(target)
        difference[..., i, j], difference[..., j, i] = found.estimate, -found.estimate
        bonferroni = stats.t.isf((1 - level) / (cells - 1), df)
        for a, b in ((i, j), (j, i)):
            margin[..., a, b] = (bonferroni if critical is None else critical[a]) * np.sqrt(variance)
    return Selection(*constrain(difference, margin), "dunnett" if exact else "bonferroni")


def constrain(difference: Array, margin: Array) -> tuple[Array, Array, Array]:
    """Estimate, low and high of each cell's distance to the best other one.

    Args:
        difference: cells × cells, row less column, larger being better; after any axes of replicates.
        margin: what the row's comparisons lack to a one-sided bound that holds together with the row's others.
    """
    own = np.eye(difference.shape[-1], dtype=bool)
    estimate = np.where(own, np.inf, difference).min(-1)
    high = np.maximum(np.where(own, np.inf, difference + margin).min(-1), 0.0)
    rivals = (high > 0)[..., None, :] & ~own
    below = np.where(rivals, difference - np.swapaxes(margin, -1, -2), np.inf).min(-1)
    low = np.where(rivals.any(-1), np.minimum(below, 0.0), 0.0)
    return estimate, low, high


def _pooled_criticals(scores: Array, engine: Crossed, alpha: float) -> list[float]:
    """Per cell, the bound of its comparisons with all others, judged by one variance of the runs."""
    first = scores.reshape(-1, *scores.shape[-3:])[0]  # replicates have the same runs
    runs = (~np.isnan(first).any(-1)).sum(-1)
    cells = len(runs)
    df = float(engine(first, np.eye(cells)[0] - np.eye(cells)[1]).df_run)
    others = [np.sort(np.delete(runs, i)) for i in range(cells)]
    return [
        _critical(alpha, tuple(np.sqrt(rest / (n + rest)).tolist()), df) for n, rest in zip(runs, others, strict=True)
    ]


@lru_cache(maxsize=256)
def _critical(alpha: float, loadings: tuple[float, ...], df: float) -> float:
    return dunnett_upper_critical(alpha, loadings, df)
