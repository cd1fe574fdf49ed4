"""Engine E3: contrasts of runs with scores missing, unequal numbers of runs or incomplete blocks, by a mixed model.

The model is that of `crossed`: y = cell + domain + contrast × domain + run (+ block) + error. For these domains the
means of cell × domain are fixed. For new domains the cells' means are, and the domains' effects are random in three
directions of the space of cells with a variance each: along the contrast, along the mean of the cells, and (more than
two cells) across both. So the variance over domains that a contrast is judged by is its own. Blocks are fixed, in the
direction of the mean, and random in every domain: nothing of them is in the contrast.

A variance at zero would leave the standard error of a truncated estimate with the degrees of freedom of one that is
not (T1 at three runs without run variance would cover .995 and more). There the mean squares stand in, as in `crossed`.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from ablate.analyses import Target
from ablate.stats.crossed import CAUTION, FEW
from ablate.stats.crossproducts import Effect
from ablate.stats.mixed import fit_reml, judge_between
from ablate.stats.pivots import Student

Array = NDArray[np.float64]
Codes = NDArray[np.int_]
ROUNDING = 1e-9  # what weights that sum to zero may sum to


@dataclass(frozen=True)
class Answer:
    """A contrast and what it is judged by.

    Attributes:
        estimate, se, df: Student's t, by Kenward and Roger or, where a component is at zero, by mean squares.
        at_zero: the components estimated at zero, in words.
        bounded: whether the rule of the largest variance (R14) decided the standard error for new domains: it is that
            for new runs or that for new domains, whichever is larger, with its estimate and degrees of freedom.
    """

    estimate: float
    se: float
    df: float
    at_zero: tuple[str, ...] = ()
    bounded: bool = False

    @property
    def pivot(self) -> Student:
        """What gives p-values and intervals."""
        return Student(self.estimate, self.se, self.df)


@dataclass(frozen=True, eq=False)
class Rows:
    """The scores that there are: cell, run (of the run axis) and domain of each."""

    cell: Codes
    run: Codes
    domain: Codes
    score: Array

    @classmethod
    def of(cls, scores: Array, cells: NDArray[np.bool_]) -> "Rows":
        """From cells × runs × domains, of some cells."""
        cell, run, domain = np.nonzero(~np.isnan(scores) & cells[:, None, None])
        return cls(cell, run, domain, scores[cell, run, domain])

    def within(self, cells: NDArray[np.bool_]) -> "Rows":
        """Those of some cells."""
        keep = cells[self.cell]
        return Rows(self.cell[keep], self.run[keep], self.domain[keep], self.score[keep])

    @property
    def domains(self) -> int:
        """More than any domain's number."""
        return int(self.domain.max()) + 1

    @property
    def training(self) -> Codes:
        """The training run, unique over cells."""
        return _number(self.cell * (self.run.max() + 1) + self.run)

    def directions(self, weights: Array) -> "Directions":
        """Of the space of the cells that there are."""
        present, cell = np.unique(self.cell, return_inverse=True)
        along = weights[present] / np.linalg.norm(weights[present])
        mean = 1 - along * along.sum()
        size = float(np.linalg.norm(mean))
        known = [along, mean / size] if size > ROUNDING else [along]
        rest = np.linalg.svd(np.stack(known))[2][len(known) :]
        return Directions(along[cell], known[1][cell] if len(known) > 1 else None, rest.T[cell] if len(rest) else None)


@dataclass(frozen=True, eq=False)
class Directions:
    """Orthogonal directions of the space of cells, by rows.

    Attributes:
        along: that of the contrast.
        mean: that of the cells' mean, as far as it is not the contrast's; None with nothing left of it.
        across: the rest, rows × (cells - 2); None with no more cells.
    """

    along: Array
    mean: Array | None
    across: Array | None


@dataclass(frozen=True)
class Unbalanced:
    """The engine's form.

    Attributes:
        blocked: runs at the same place of the run axis share a block (seed).
        variances: `welch`, only cells of the contrast; unblocked with a run and an error variance for either side of
            it, blocked with a run variance of the contrast's own. Or `pooled`, one of each for all cells.
    """

    blocked: bool = False
    variances: Literal["welch", "pooled"] = "welch"

    def __call__(self, scores: ArrayLike, weights: ArrayLike, target: Target) -> Answer:
        """Judge one contrast.

        Args:
            scores: cells × runs × domains, NaN where there is none; the run axis is the blocks when blocked.
            weights: a weight per cell.
            target: over new runs on the same domains, or over new runs and new domains.

        Raises:
            ValueError: a cell of the contrast has no score, or none in a domain that is asked about, or fewer than
                two runs; blocks do not compare the cells; fewer than two domains for new domains.
        """
        table, weights = np.asarray(scores, float), np.asarray(weights, float)
        _check(table, weights, target, self.blocked)
        cells = weights != 0 if self.variances == "welch" else np.ones(len(weights), bool)
        if target == "these_domains":
            return self._judge_runs(Rows.of(table, cells), weights)
        return self._judge_both(Rows.of(table, cells), weights, self._judge_shared(table, weights, cells))

    @property
    def _by_side(self) -> bool:
        return self.variances == "welch" and not self.blocked

    def _judge_runs(self, rows: Rows, weights: Array) -> Answer:
        """New runs on the same domains: cell × domain means. Sides with variances of their own share nothing."""
        sides = [weights > 0, weights < 0] if self._by_side else [np.ones(len(weights), bool)]
        found = [self._judge_side(rows.within(side), weights) for side in sides if side.any()]
        estimate, variance, raw, spread = np.sum(found, 0).tolist()
        return Answer(estimate, variance**0.5, raw**2 / spread)

    def _judge_side(self, rows: Rows, weights: Array) -> tuple[float, float, float, float]:
        """Estimate, variance, variance before Kenward and Roger's adjustment, and its square over its df."""
        present, mean = np.unique(rows.cell * rows.domains + rows.domain, return_inverse=True)
        x, others = self._with_blocks(rows, mean, weights)
        average = _extend(weights[present // rows.domains] / len(np.unique(rows.domain)), x)
        runs = self._runs(rows, weights)
        fit = None if runs and _saturate(x, runs[0]) else fit_reml(rows.score, x, [*runs, *others])
        if fit is None or (runs and fit.at_zero[0]):
            estimate, se, df = judge_between(rows.score, x, runs[0], average)
            return estimate, se**2, se**2, se**4 / df
        estimate, se, df = fit.contrast(average)
        raw = float(average @ fit.covariance @ average)
        return estimate, se**2, raw, raw**2 / df

    def _judge_shared(self, table: Array, weights: Array, cells: NDArray[np.bool_]) -> Answer | None:
        """New runs on those domains where all cells of the contrast have scores; None if these do not suffice."""
        shared = (~np.isnan(table[weights != 0])).any(1).all(0)
        table = table[..., shared]
        try:
            _check(table, weights, "these_domains", self.blocked)
        except ValueError:
            return None
        return self._judge_runs(Rows.of(table, cells), weights)

    def _judge_domains(self, rows: Rows, weights: Array) -> Answer:
        """New domains, the same runs: a mean for every run."""
        _, first, run = np.unique(rows.training, return_index=True, return_inverse=True)
        ways, cells = rows.directions(weights), rows.cell[first]
        x = _columns(run)
        if ways.mean is not None:
            x = np.hstack([x, _columns(rows.domain, ways.mean)[:, 1:]])
        average = _extend(weights[cells] / np.bincount(cells)[cells], x)
        return Answer(*judge_between(rows.score, x, Effect(_number(rows.domain), ways.along), average))

    def _judge_both(self, rows: Rows, weights: Array, these: Answer | None) -> Answer:
        """New runs and new domains: cell means; the larger of the two above where a component is at zero."""
        present, cell = np.unique(rows.cell, return_inverse=True)
        negative = weights[rows.cell] < 0
        apart = self._by_side and 0 < negative.sum() < len(negative)
        runs = self._runs(rows, weights)
        if apart and runs:
            runs = [Effect(rows.training, side * 1.0) for side in (~negative, negative)]
        x, blocks = self._with_blocks(rows, cell, weights)
        ways = rows.directions(weights)
        domains = [Effect(_number(rows.domain), way) for way in (ways.along, ways.mean, ways.across) if way is not None]
        fit = fit_reml(rows.score, x, [*runs, *domains, *blocks], negative.astype(int) if apart else None)
        estimate, se, df = fit.contrast(_extend(weights[present], x))
        no_runs = bool(runs) and bool(fit.at_zero[: 2 if apart else 1].all())
        no_domains = bool(fit.at_zero[len(runs)])
        if not (no_runs or no_domains or (these is not None and se < these.se)):
            if these is not None and these.df < FEW + 0.5:
                df = min(df, _caution(these, self._judge_domains(rows, weights)))
            return Answer(estimate, se, df)
        larger = self._judge_domains(rows, weights)
        if these is not None and these.se > larger.se:
            larger = these
        at_zero = ("runs",) * no_runs + ("domains along the contrast",) * no_domains
        return replace(larger, at_zero=at_zero, bounded=True)

    def _runs(self, rows: Rows, weights: Array) -> list[Effect]:
        """Random runs: within blocks with the contrast's direction first; none if a run is a row."""
        if len(rows.score) == len(np.unique(training := rows.training)):
            return []
        if self.blocked and (self.variances == "welch" or abs(weights.sum()) > ROUNDING):
            ways, blocks = rows.directions(weights), _number(rows.run)
            return [Effect(blocks, way) for way in (ways.along, ways.across) if way is not None]
        return [Effect(training)]

    def _with_blocks(self, rows: Rows, fixed: Codes, weights: Array) -> tuple[Array, list[Effect]]:
        """Columns of these fixed means and of blocks, if there are, and the random effects of blocks × domains."""
        x, mean = _columns(fixed), rows.directions(weights).mean
        if not self.blocked or mean is None:
            return x, []
        x = np.hstack([x, _columns(rows.run, mean)[:, 1:]])
        several = len(np.unique(rows.domain)) > 1
        return x, [Effect(_number(rows.run * rows.domains + rows.domain), mean)] * several


def _caution(runs: Answer, domains: Answer) -> float:
    """Degrees of freedom with the run variance at a bound that the truth rarely exceeds, as `crossed` has them."""
    run, domain = runs.se**2 * runs.df / (2 * special.gammaincinv(runs.df / 2, CAUTION)), domains.se**2
    return float((domain + run) ** 2 / (domain**2 / domains.df + run**2 / runs.df))


def _number(codes: Codes) -> Codes:
    return np.unique(codes, return_inverse=True)[1]


def _columns(codes: Codes, basis: Array | None = None) -> Array:
    """An indicator, or what the basis says there, for every level."""
    codes = _number(codes)
    indicators = np.eye(int(codes.max()) + 1)[codes]
    return indicators if basis is None else indicators * basis[:, None]


def _saturate(x: Array, effect: Effect) -> bool:
    """Whether fixed and random effects fit every row, so that no error is left."""
    if len(x) > 2 * (x.shape[1] + effect.levels):
        return False
    return int(np.linalg.matrix_rank(np.hstack([x, effect.design(dense=True)]))) == len(x)


def _extend(weights: Array, x: Array) -> Array:
    """Weights of the first columns, zero for the others."""
    return np.concatenate([weights, np.zeros(x.shape[1] - len(weights))])


def _check(scores: Array, weights: Array, target: Target, blocked: bool) -> None:
    """What the contrast needs; raises ValueError that names it."""
    present = ~np.isnan(scores)
    needed = np.flatnonzero(weights)
    if not len(needed):
        raise ValueError("all weights are zero")
    for cell in needed:
        if not present[cell].any():
            raise ValueError(f"cell {cell} of the contrast has no score")
        if (runs := int(present[cell].any(-1).sum())) < 2:
            raise ValueError(f"cell {cell} of the contrast has {runs} run; a variance between runs needs two")
    if blocked and abs(weights.sum()) <= ROUNDING:
        _check_blocks(np.asarray(present[needed].any(-1)))
    domains = np.flatnonzero(present.any((0, 1)))
    if target == "new_domains":
        if len(domains) < 2:
            raise ValueError("a variance over domains needs two domains")
        return
    gaps = [(int(c), int(d)) for c in needed for d in domains if not present[c, :, d].any()]
    if gaps:
        raise ValueError("no score in (cell, domain) " + ", ".join(map(str, gaps)))


def _check_blocks(runs: NDArray[np.bool_]) -> None:
    """Whether blocks compare the cells, given which runs (cells × blocks) there are."""
    cell, block = np.nonzero(runs)
    rank = int(np.linalg.matrix_rank(np.hstack([_columns(cell), _columns(block)])))
    if rank < len(runs) + len(np.unique(block)) - 1:
        raise ValueError("no block holds runs of both sides of the contrast, directly or through other cells")
    if len(cell) - rank < 1:
        raise ValueError("too few blocks hold two cells of the contrast for a variance between runs")
