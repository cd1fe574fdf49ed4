"""Ranks: the classical tests on a table of results, one number for each algorithm on each data set.

They are here to check published tables, and for readers who ask for them. When not to trust them: the table has one
number per data set, so that the noise between training runs is taken for difference between data sets or is not seen
at all; the size of a gain is thrown away; and the ranks of two algorithms change when a third enters the table. The
tables of `ablate` itself come from `ablate.stats.crossed`, which knows runs, domains and units.

A table of scores is data sets × algorithms; of each row the best score has rank 1, and ties share their average rank.
Demšar 2006, JMLR 7, 1-30; García and Herrera 2008, JMLR 9, 2677-2694.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from ablate.errors import PlanError, RecordsError, require_one_of
from ablate.stats.corrections import holm

Array = NDArray[np.float64]
MOST = 10  # algorithms up to which Bergmann and Hommel's sets are listed: 115 975 partitions


@dataclass(frozen=True, eq=False)
class Friedman:
    """Friedman's test that all algorithms have the same mean rank.

    Attributes:
        ranks: mean rank of each algorithm, 1 the best.
        chi2, p: Friedman's statistic over algorithms - 1 degrees of freedom; conservative in small tables.
        f, f_p: Iman and Davenport's statistic over (algorithms - 1, (algorithms - 1)(data sets - 1)); the one to read.
        datasets, algorithms: size of the table.
    """

    ranks: Array
    chi2: float
    p: float
    f: float
    f_p: float
    datasets: int
    algorithms: int


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Differences of mean ranks, as z, with p-values before and after correction.

    Attributes:
        ranks: mean rank of each algorithm.
        z, p, p_adjusted: all pairs as algorithms × algorithms (diagonal NaN), or one value for each algorithm against
            the control (its own NaN). z is negative where the algorithm of the row has the better ranks.
        correction: how p was corrected.
    """

    ranks: Array
    z: Array
    p: Array
    p_adjusted: Array
    correction: str


def rank_average(scores: ArrayLike, *, maximise: bool = True) -> Array:
    """Mean rank of each algorithm over data sets, ties averaged.

    Raises:
        RecordsError: fewer than two data sets or algorithms, or a score that is missing.
    """
    table = _check(scores)
    return np.asarray(stats.rankdata(-table if maximise else table, axis=1).mean(0))


def judge_friedman(scores: ArrayLike, *, maximise: bool = True, ties: bool = True) -> Friedman:
    """Friedman's test and Iman and Davenport's.

    Args:
        scores: data sets × algorithms.
        maximise: whether the largest score is the best.
        ties: divide by what ties leave of the variance of ranks. Demšar's formulas do not; their statistic is too
            small where there are ties.
    """
    table = _check(scores)
    n, k = table.shape
    ranked = stats.rankdata(-table if maximise else table, axis=1)
    ranks = ranked.mean(0)
    spread = ((ranked - (k + 1) / 2) ** 2).sum() / (n * (k - 1)) if ties else k * (k + 1) / 12
    if spread == 0:
        raise RecordsError("every row of the table is one tie", where="scores", remedy="give scores with more digits")
    chi2 = float(n * ((ranks - (k + 1) / 2) ** 2).sum() / spread)
    room = n * (k - 1) - chi2
    f = (n - 1) * chi2 / room if room > 1e-12 * n * k else np.inf
    p, f_p = special.chdtrc(k - 1, chi2), special.fdtrc(k - 1, (k - 1) * (n - 1), f)
    return Friedman(ranks, chi2, float(p), float(f), float(f_p), n, k)


def nemenyi_difference(datasets: int, algorithms: int, alpha: float = 0.05) -> float:
    """The difference of mean ranks that any two algorithms must exceed to differ, all pairs together."""
    q = stats.studentized_range.isf(alpha, algorithms, np.inf) / np.sqrt(2)
    return float(q * _error(datasets, algorithms))


def dunn_difference(datasets: int, algorithms: int, alpha: float = 0.05) -> float:
    """The difference of mean ranks that an algorithm must exceed to differ from the control (Bonferroni and Dunn)."""
    return float(stats.norm.isf(alpha / 2 / (algorithms - 1)) * _error(datasets, algorithms))


def compare_pairs(
    scores: ArrayLike,
    *,
    correction: Literal["holm", "shaffer", "bergmann-hommel", "nemenyi"] = "holm",
    maximise: bool = True,
) -> Comparisons:
    """All pairs of algorithms by their mean ranks.

    Not all sets of pairs can be equal at once, which `shaffer` (by counts) and `bergmann-hommel` (by the sets
    themselves, at most ten algorithms) use; both reject whatever `holm` rejects. `nemenyi` is the single step of
    `nemenyi_difference`, and the weakest.
    """
    require_one_of(correction, [*PAIRWISE, "nemenyi"], "correction")
    n, k = np.shape(_check(scores))
    ranks = rank_average(scores, maximise=maximise)
    z = (ranks[:, None] - ranks) / _error(n, k)
    first, second = np.triu_indices(k, 1)
    p = 2 * special.ndtr(-np.abs(z[first, second]))
    if correction == "nemenyi":
        adjusted = stats.studentized_range.sf(np.sqrt(2) * np.abs(z[first, second]), k, np.inf)
    else:
        adjusted = PAIRWISE[correction](p, k)
    return Comparisons(ranks, _square(z[first, second], k, -1), _square(p, k), _square(adjusted, k), correction)


def compare_with_control(
    scores: ArrayLike, control: int = 0, *, correction: Literal["holm", "hochberg"] = "holm", maximise: bool = True
) -> Comparisons:
    """Every algorithm against one by their mean ranks; `hochberg` needs positive dependence, which holds here."""
    require_one_of(correction, ["holm", "hochberg"], "correction")
    n, k = np.shape(_check(scores))
    require_one_of(control, range(k), "control", "column")
    ranks = rank_average(scores, maximise=maximise)
    others = np.arange(k) != control
    z, p, adjusted = np.full((3, k), np.nan)
    z[others] = (ranks[others] - ranks[control]) / _error(n, k)
    p[others] = 2 * special.ndtr(-np.abs(z[others]))
    adjusted[others] = holm(p[others]) if correction == "holm" else hochberg(p[others])
    return Comparisons(ranks, z, p, adjusted, correction)


def hochberg(p: ArrayLike) -> Array:
    """Hochberg's adjusted p-values (Hochberg 1988, Biometrika 75, 800-802)."""
    values = np.asarray(p, float)
    order = np.argsort(-values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum.accumulate(np.arange(1, len(values) + 1) * values[order])
    return adjusted


def shaffer(p: ArrayLike, algorithms: int) -> Array:
    """Shaffer's static adjusted p of all pairs, in the order of `numpy.triu_indices` (1986, JASA 81, 826-831)."""
    values = np.asarray(p, float)
    possible, left = np.array(sorted(_possible_counts(algorithms))), len(values) - np.arange(len(values))
    most = possible[np.searchsorted(possible, left, side="right") - 1]
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(most * values[order]))
    return adjusted


def bergmann_hommel(p: ArrayLike, algorithms: int) -> Array:
    """Bergmann and Hommel's adjusted p-values of all pairs, in the order of `numpy.triu_indices`.

    The largest |I|·min(p of I) over the sets I that hold the pair, I being the pairs within the parts of one partition
    of the algorithms: those that can be equal while all others differ (1988, in Multiple Hypotheses Testing, 100-115).
    A pair never gets less than a pair with a smaller p.

    Raises:
        PlanError: more than ten algorithms.
    """
    if algorithms > MOST:
        raise PlanError(
            f"{algorithms} algorithms have too many partitions to list",
            where="correction",
            allowed=["bergmann-hommel up to ten algorithms"],
            remedy="use shaffer",
        )
    values = np.asarray(p, float)
    together = _exhaustive_sets(algorithms)
    smallest = np.where(together, values, np.inf).min(1)
    bounds = together.sum(1) * smallest
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(np.where(together, bounds[:, None], 0.0).max(0)[order])
    return np.minimum(1.0, adjusted)


PAIRWISE: dict[str, Callable[[Array, int], Array]] = {
    "holm": lambda p, _: holm(p),
    "shaffer": shaffer,
    "bergmann-hommel": bergmann_hommel,
}


def _check(scores: ArrayLike) -> Array:
    table = np.asarray(scores, float)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise RecordsError(
            "ranks need a full table of two or more data sets by two or more algorithms",
            where="scores",
            remedy="drop data sets that an algorithm lacks, for all algorithms",
        )
    return table


def _error(datasets: int, algorithms: int) -> float:
    """Standard error of the difference of two mean ranks."""
    return float(np.sqrt(algorithms * (algorithms + 1) / (6 * datasets)))


def _square(pairs: Any, algorithms: int, sign: int = 1) -> Array:
    """Values of pairs as a table, its lower half mirrored with that sign."""
    table = np.full((algorithms, algorithms), np.nan)
    first, second = np.triu_indices(algorithms, 1)
    table[first, second], table[second, first] = pairs, sign * np.asarray(pairs)
    return table


@cache
def _possible_counts(algorithms: int) -> frozenset[int]:
    """How many of all pairs can be equal: a first part of j algorithms, then the rest (Shaffer's recursion)."""
    if algorithms < 2:
        return frozenset({0})
    parts = range(1, algorithms + 1)
    return frozenset(j * (j - 1) // 2 + more for j in parts for more in _possible_counts(algorithms - j))


@cache
def _exhaustive_sets(algorithms: int) -> NDArray[np.bool_]:
    """Partitions × pairs: which pairs lie within a part, without the partition into single algorithms."""
    labels = np.zeros((1, 1), np.int8)
    for _ in range(algorithms - 1):
        parts = labels.max(1) + 2
        starts = np.repeat(np.cumsum(parts) - parts, parts)
        labels = np.c_[np.repeat(labels, parts, axis=0), np.arange(parts.sum()) - starts].astype(np.int8)
    first, second = np.triu_indices(algorithms, 1)
    together = labels[:, first] == labels[:, second]
    return np.asarray(together[together.any(1)])
