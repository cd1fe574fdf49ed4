"""Engine E6: resampling, for summaries that are not linear in cell means.

What is resampled decides what the interval is about. `runs`: whole runs, for runs scored on every domain, on these
domains. `pigeonhole`: runs and domains, for new domains (Owen 2007, arXiv:0711.1970). `stratified`: runs within each
domain, where every domain has runs of its own (rliable's scheme). `domains`: domains with their own runs, for new ones.

A resample of S runs is too narrow by sqrt((S - 1)/S), and percentiles of it by more: over whole runs they cover .7 to
.8 at S = 3. The default interval therefore takes only variances from the resamples, unbiased for a mean and put
together as in E1 (for the mean it is E1), and Student's t with the degrees of freedom of these variances.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ablate.analyses import Target
from ablate.errors import PlanError, RecordsError, require_one_of
from ablate.stats.aggregates import OptimalityGap, ProfileArea, interquartile_mean, mean
from ablate.stats.crossed import Components

Array = NDArray[np.float64]
Seed = int | np.random.Generator
Statistic = Callable[[Array], Any]  # (..., runs, domains) -> (...) or (..., points)
Scheme = Literal["runs", "pigeonhole", "stratified", "domains"]
Interval = Literal["t", "percentile"]
TARGETS: dict[Scheme, Target] = {
    "runs": "these_domains",
    "stratified": "these_domains",
    "pigeonhole": "new_domains",
    "domains": "new_domains",
}
CHUNK = 2**16  # values resampled at once: stays in cache
COVERED = (mean, interquartile_mean)  # whose t intervals cover in the simulations of tests/stats
COVERED_TYPES = (OptimalityGap, ProfileArea)


@dataclass(frozen=True, eq=False)
class Resampled:
    """Estimates with intervals; arrays of contrasts × points, without the axes that were not asked for.

    Attributes:
        estimate: the statistic, or its contrast between cells.
        low: end of the interval; NaN where nothing varied between resamples.
        high: likewise.
        se: standard error; of percentile intervals, the spread of the resamples.
        df: its degrees of freedom; NaN of percentile intervals.
        level: as asked for.
        target: what the interval is about.
        method: how it was made, in words.
        nominal: whether simulations show that it covers at its level; if not, do not print the level beside it. Not
            medians (.92, nested, 20 domains), not profiles (one arm: points .91 to .99, bands .79 to .98).
        draws: the resampled contrasts, resamples × the shape of `estimate`.
    """

    estimate: Any
    low: Any
    high: Any
    se: Any
    df: Any
    level: float
    target: Target
    method: str
    nominal: bool
    draws: Array

    @property
    def label(self) -> str:
        """What to print beside the interval."""
        return f"{100 * self.level:g} % interval" if self.nominal else "range of resamples, no level claimed"


@dataclass(frozen=True)
class Resampling:
    """How to resample, and how to make an interval of it.

    Attributes:
        scheme: what is resampled: `runs`, `pigeonhole`, `stratified` or `domains`; see the module.
        interval: `t`; or `percentile`, which does not cover (.80 at 3 runs, .87 at 5, .92 at 10, whole runs)
            and is never nominal.
        level: confidence level.
        resamples: how many.
        blocked: runs at the same place of all cells share a block (seed) and are resampled together.
        simultaneous: widen `t` to a band that holds all points of a profile at once, by the largest deviation among
            the points in the same resamples; otherwise every point stands alone.
    """

    scheme: Scheme
    interval: Interval = "t"
    level: float = 0.95
    resamples: int = 2000
    blocked: bool = False
    simultaneous: bool = False

    def __post_init__(self) -> None:
        require_one_of(self.scheme, TARGETS, "scheme")
        require_one_of(self.interval, ("t", "percentile"), "interval")
        if not 0 < self.level < 1 or self.resamples < 100:
            raise PlanError(
                f"a level of {self.level} from {self.resamples} resamples cannot be had",
                where="level, resamples",
                allowed=["0 < level < 1", "100 resamples or more"],
            )
        if self.simultaneous and self.interval != "t":
            raise PlanError("a simultaneous band needs the t interval", where="simultaneous", allowed=["interval='t'"])

    def __call__(
        self, scores: ArrayLike, rng: Seed, statistic: Statistic = interquartile_mean, weights: ArrayLike | None = None
    ) -> Resampled:
        """Resample cells.

        Args:
            scores: cells × runs × domains, NaN where there is no run.
            rng: generator or seed; the same gives the same, and no other state is touched.
            statistic: of this module, or any function of (..., runs, domains) that returns (...) or (..., points).
                With `stratified` and unequal runs it meets NaN.
            weights: a weight per cell, or contrasts × cells; without, each cell by itself.

        Raises:
            RecordsError: a run lacks some of its domains, a cell has fewer than two runs, there are fewer than two
                domains to resample, or blocks lack runs.
        """
        cells, rng = self._cells(np.asarray(scores, float)), np.random.default_rng(rng)
        matrix = np.eye(len(cells)) if weights is None else np.atleast_2d(np.asarray(weights, float))
        observed = np.stack([np.asarray(statistic(cell), float) for cell in cells])
        points, observed = observed.shape[1:], observed.reshape(len(cells), -1)
        estimate = matrix @ observed
        variance, df, draws = _Draws(self, cells, statistic, rng).judge(matrix)
        se = np.sqrt(variance)
        if self.interval == "percentile":
            low, high = np.quantile(draws, [(1 - self.level) / 2, (1 + self.level) / 2], axis=0)
        else:
            varies = se > 1e-12 * np.abs(observed).max()  # less is rounding
            half = self._quantile(df, draws, rng) * np.where(varies, se, np.nan)
            low, high = estimate - half, estimate + half
        shape = (() if weights is not None and np.ndim(weights) == 1 else matrix.shape[:1]) + points
        method = f"{self.scheme} resampled {self.resamples:,} times, {self.interval}"
        if points:
            method += ", simultaneous over points" if self.simultaneous else ", each point alone"
        estimate, low, high, se, df = (part.reshape(shape)[()] for part in (estimate, low, high, se, df))
        draws = draws.reshape(len(draws), *shape)
        nominal, target = self._covers(cells, statistic), TARGETS[self.scheme]
        return Resampled(estimate, low, high, se, df, self.level, target, method, nominal, draws)

    def _covers(self, cells: list[Array], statistic: Statistic) -> bool:
        """Whether simulations back the level: see tests/stats/test_resampling.py."""
        if self.interval != "t" or min(map(_fewest, cells)) < 3:
            return False
        if TARGETS[self.scheme] == "new_domains" and cells[0].shape[1] < 3:
            return False
        return any(statistic is one for one in COVERED) or isinstance(statistic, COVERED_TYPES)

    def _quantile(self, df: Array, draws: Array, rng: np.random.Generator) -> Array:
        """Standard errors on each side of the estimate, contrasts × points."""
        alone = np.asarray(stats.t.isf((1 - self.level) / 2, df))
        if not self.simultaneous:
            return alone
        spread = draws.std(0)
        deviations = np.abs(draws - draws.mean(0)) / np.where(spread > 0, spread, np.inf)
        few = df.min(-1)  # the standard errors share an error of their own, as in multivariate t
        shrink = np.sqrt(rng.chisquare(few, (len(draws), len(few))) / few)
        largest = np.quantile(deviations.max(-1) / shrink, self.level, axis=0)
        return np.asarray(np.maximum(alone, largest[:, None]))

    def _cells(self, scores: Array) -> list[Array]:
        if scores.ndim != 3:
            raise RecordsError(f"cells × runs × domains expected, not {scores.shape}", where="scores")
        absent, nested = np.isnan(scores), self.scheme in ("stratified", "domains")
        if (not nested and (absent.any(2) != absent.all(2)).any()) or (self.blocked and absent.any()):
            raise RecordsError(
                "a run lacks scores on some domains, or a block some of its runs",
                where="scores",
                remedy="evaluate it on what is missing, drop that domain or block; `stratified` if runs are per domain",
            )
        order = np.argsort(absent, axis=1, kind="stable")  # runs that exist, first
        packed = np.take_along_axis(scores, order, axis=1)
        cells = [cell[: int((~np.isnan(cell)).sum(0).max())] for cell in packed]
        few_domains = TARGETS[self.scheme] == "new_domains" and scores.shape[2] < 2
        if few_domains or min(map(_fewest, cells)) < (1 if self.scheme == "domains" else 2):
            raise RecordsError(
                "resampling needs two runs of every cell (in every domain), and two domains where these are resampled",
                where="scores",
                remedy="run more seeds; three runs and three domains give an interval that covers",
            )
        return cells


class _Draws:
    """Resamples of cells by one scheme, and the variances they show."""

    def __init__(self, how: Resampling, cells: list[Array], statistic: Statistic, rng: np.random.Generator) -> None:
        self.how, self.cells, self.statistic, self.rng = how, cells, statistic, rng
        self.runs, self.domains = np.array([len(cell) for cell in cells]), cells[0].shape[1]

    def judge(self, weights: Array) -> tuple[Array, Array, Array]:
        """Variance and degrees of freedom, contrasts × points, and the resampled contrasts before these."""
        if self.how.scheme == "stratified":
            return self._stratified(weights)
        rows = self._rows() if self.how.scheme != "domains" else None
        columns = None
        if self.how.scheme != "runs":
            columns = self.rng.integers(0, self.domains, (self.how.resamples, 1, self.domains))
        both = self._each(rows, columns)
        draws = _contrast(both, weights)
        if self.how.interval == "percentile":
            return _spread(draws)
        if columns is None:
            return *self._between_runs(both, weights, 1), draws
        d = self.domains
        if rows is None:
            return draws.var(0) * d / (d - 1), np.full(draws.shape[1:], d - 1.0), draws
        by_run, by_domain = self._each(rows, None), self._each(None, columns)
        run, df_run = self._between_runs(by_run, weights, 1)
        joint, df_joint = self._between_runs(both - by_run - by_domain, weights, d)
        domain = _contrast(by_domain, weights).var(0) * d / (d - 1)
        found = Components(0.0, run, domain, joint, df_run, d - 1.0, df_joint, float(self.runs.min()), d)
        return *found.variance("new_domains"), draws

    def _rows(self) -> list[NDArray[Any]]:
        """Resampled runs of every cell, resamples × runs × 1; the same for all cells if blocked."""
        size = self.how.resamples
        if self.how.blocked:
            return [self.rng.integers(0, self.runs[0], (size, self.runs[0], 1))] * len(self.cells)
        return [self.rng.integers(0, n, (size, n, 1)) for n in self.runs]

    def _each(self, rows: list[NDArray[Any]] | None, columns: NDArray[Any] | None) -> Array:
        """The statistic of every cell in resamples of these runs and domains: resamples × cells × points."""
        all_rows = rows or [np.arange(n)[None, :, None] for n in self.runs]
        all_columns = np.arange(self.domains)[None, None] if columns is None else columns
        return np.stack(
            [_resample(c, self.statistic, r, all_columns) for c, r in zip(self.cells, all_rows, strict=True)], 1
        )

    def _between_runs(self, draws: Array, weights: Array, domains: int) -> tuple[Array, Array]:
        """Variance over resampled runs, or with `domains` over runs × domains, unbiased for a mean."""
        df = (self.runs - 1) * max(domains - 1, 1)
        scale = self.runs * domains / df
        if self.how.blocked:
            variance = _contrast(draws, weights).var(0) * scale[0]
            return variance, np.full(variance.shape, float(df[0]))
        return _satterthwaite(weights[:, :, None] ** 2 * (draws.var(0) * scale[:, None]), df[:, None])

    def _stratified(self, weights: Array) -> tuple[Array, Array, Array]:
        draws = _contrast(self._each(self._strata(self.how.resamples, slice(None)), None), weights)
        if self.how.interval == "percentile":
            return _spread(draws)
        counts = np.stack([(~np.isnan(cell)).sum(0) for cell in self.cells], 1)  # domains × cells
        size = max(100, self.how.resamples // self.domains)
        alone = [self._each(self._strata(size, slice(d, d + 1)), None) for d in range(self.domains)]
        if self.how.blocked:
            parts = np.stack([_contrast(one, weights).var(0) for one in alone], 1)  # contrasts × domains × points
            df = counts[:, :1] - 1.0
        else:
            of_cells = np.stack([one.var(0) for one in alone]).reshape(counts.size, -1)
            parts = np.tile(weights, (1, self.domains))[:, :, None] ** 2 * of_cells
            df = counts.reshape(-1, 1) - 1.0
        unbiased, df_total = _satterthwaite(parts * (df + 1) / df, df)
        plain = parts.sum(1)
        widen = np.where(plain > 0, unbiased / np.where(plain > 0, plain, 1.0), 1.0)
        return draws.var(0) * widen, df_total, draws

    def _strata(self, size: int, domains: slice) -> list[NDArray[Any]]:
        """Runs resampled within each of these domains and kept in the others: resamples × runs × domains."""
        rows: list[NDArray[Any]] = []
        for cell in self.cells:
            if self.how.blocked and rows:
                rows.append(rows[0])
                continue
            counts, runs = (~np.isnan(cell)).sum(0), len(cell)
            small = np.uint8 if runs <= 255 else np.intp
            still = np.arange(runs, dtype=small)[:, None]
            high = runs if (counts == runs).all() else counts[domains]
            width = len(counts[domains])
            drawn: NDArray[Any] = self.rng.integers(0, high, (size, runs, width), dtype=small)
            if not isinstance(high, int):
                drawn = np.where(still < high, drawn, still)  # places without a run stay without
            if width < self.domains:
                placed = np.broadcast_to(still, (size, runs, self.domains)).copy()
                placed[:, :, domains] = drawn
                drawn = placed
            rows.append(drawn)
        return rows


def _resample(cell: Array, statistic: Statistic, rows: NDArray[Any], columns: NDArray[Any]) -> Array:
    """The statistic in resamples of one cell, resamples × points; rows and columns broadcast to runs × domains."""
    flat, width = np.ascontiguousarray(cell).ravel(), np.intp(cell.shape[1])
    size, step = max(len(rows), len(columns)), max(1, CHUNK // cell.size)
    found = []
    for start in range(0, size, step):
        part = slice(start, start + step)
        r, c = (index[part] if len(index) > 1 else index for index in (rows, columns))
        found.append(np.asarray(statistic(np.take(flat, r * width + c, mode="clip")), float))
    return np.concatenate(found).reshape(size, -1)


def _contrast(draws: Array, weights: Array) -> Array:
    return np.asarray(np.einsum("bcp,kc->bkp", draws, weights))


def _satterthwaite(parts: Array, df: Array) -> tuple[Array, Array]:
    """Sum over the middle axis of variances, and its degrees of freedom; the most there are if all are zero."""
    total, weight = parts.sum(1), (parts**2 / df).sum(1)
    return total, np.where(weight > 0, total**2 / np.where(weight > 0, weight, 1.0), df.sum())


def _spread(draws: Array) -> tuple[Array, Array, Array]:
    return draws.var(0), np.full(draws.shape[1:], np.nan), draws


def _fewest(cell: Array) -> int:
    return int((~np.isnan(cell)).sum(0).min())
