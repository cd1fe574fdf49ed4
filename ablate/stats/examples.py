"""Engine E5: scores of single examples: differences by item, items crossed with runs, and what a test set leaves open.

Two arms that answer the same items are compared within items, which removes how hard each item is. One run of each arm
says which of two trained models is better on new items, never which recipe is: that needs runs, as `compare_cells` has.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ablate.errors import RecordsError, require_one_of
from ablate.stats.clusters import cluster_robust
from ablate.stats.crossed import Components, Crossed
from ablate.stats.pivots import Student
from ablate.stats.proportions import PairedProportions

Array = NDArray[np.float64]
MANY = 300  # right-or-wrong items below which nothing but exact tests is used
DISCORDANT = 25  # items that only one arm gets right, below which likewise


@dataclass(frozen=True)
class ItemDifference:
    """First arm minus second on the same items, one run each.

    Attributes:
        pivot: gives estimate, p-values and intervals.
        items, groups: how many there are; groups are the independent ones.
        method: a sentence for the footnote.
    """

    pivot: Student | PairedProportions
    items: int
    groups: int
    method: str


@dataclass(frozen=True, eq=False)
class Cube:
    """Scores of runs on items.

    Attributes:
        cells: names of cells.
        runs: names of the runs of each cell, in the order of the run axis.
        items: names of items.
        scores: cells × runs × items; NaN where a cell has fewer runs.
    """

    cells: tuple[Hashable, ...]
    runs: tuple[tuple[Hashable, ...], ...]
    items: NDArray[np.object_]
    scores: Array

    def weigh(self, weights: Mapping[Hashable, float]) -> Array:
        """A weight for each cell, zero for those that are not named."""
        for cell in weights:
            require_one_of(cell, self.cells, "weights", "cell")
        return np.array([float(weights.get(cell, 0.0)) for cell in self.cells])

    @property
    def aligned(self) -> bool:
        """Whether all cells have runs of the same names, as blocks must."""
        return len(set(self.runs)) == 1


@dataclass(frozen=True)
class ItemEffect:
    """A contrast of cells whose runs were all scored on the same items.

    Attributes:
        these_items: over new runs, on these items.
        new_items: over new runs and new items of this kind.
        components: the variances behind both; its domains are the items.
        items, runs: items, and runs of the smallest cell.
        method: a sentence for the footnote.
    """

    these_items: Student
    new_items: Student
    components: Components
    items: int
    runs: int
    method: str


@dataclass(frozen=True, eq=False)
class SamplingCovariance:
    """How much of a contrast in each domain is due to the items that happen to be in its test set.

    Attributes:
        gross: domains × domains; variance and covariance of the contrast over new test sets, as seen on item
            differences averaged over these runs. It includes the noise of runs on single items, divided by runs.
        net: the same without that noise, which the error between runs and domains (MS_E) holds already. It is unbiased,
            so that small values may fall below zero, and it is what to take off a variance between domains beside MS_E:
            the variance of contrasts over domains overstates τ² by mean(diagonal) - mean(off the diagonal).
        items: domains × domains, the number of independent units that both share.
        method: a sentence for the footnote.
    """

    gross: Array
    net: Array
    items: NDArray[np.int_]
    method: str


def compare_items(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike | None = None, *, mid_p: bool = False
) -> ItemDifference:
    """First minus second, item by item.

    Scores of 0 and 1 are judged by exact counts below 300 items, or below 25 that only one arm gets right. All else is
    a t over differences; with groups (items of one passage, one patient) its error is CR2 over groups with
    Satterthwaite's degrees of freedom.

    Args:
        first: scores of one arm, a value for each item.
        second: those of the other, in the same order of items.
        groups: a label for each item; left out, every item is independent.
        mid_p: for exact counts, McNemar's mid-p.

    Raises:
        RecordsError: scores that do not pair, are missing, or differ nowhere; fewer than 300 items of two values that
            are grouped, or not coded 0 and 1.
    """
    one, two = np.asarray(first, float), np.asarray(second, float)
    if one.ndim != 1 or one.shape != two.shape or len(one) < 2:
        raise RecordsError("both arms need a score on each of two or more items", where="first, second")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise RecordsError("scores are missing", where="first, second", remedy="count an answer that failed as wrong")
    n, difference = len(one), one - two
    if (low := min(one.min(), two.min())) != (high := max(one.max(), two.max())) and all(
        ((arm == low) | (arm == high)).all() for arm in (one, two)
    ):
        few = n < MANY or np.count_nonzero(difference) < DISCORDANT
        if few and ((low, high) != (0.0, 1.0) or groups is not None):
            raise RecordsError(
                f"{n} items of two values are too few for a t test, and an exact one needs 0 and 1 without groups",
                where="first, second, groups",
                allowed=[f"{MANY} items with {DISCORDANT} on which the arms differ", "independent scores of 0 and 1"],
                remedy="take one item of each group, or give shares of each group as scores",
            )
        if few:
            pair = PairedProportions(int((difference > 0).sum()), int((difference < 0).sum()), n, mid_p)
            name = "McNemar's exact test" + (", mid-p" if mid_p else "")
            return ItemDifference(pair, n, n, f"E5, {n} items right or wrong in both arms, {name}")
    if np.ptp(difference) == 0:
        raise RecordsError(
            "both arms differ by the same amount on every item", where="first, second", remedy="look for a copied file"
        )
    if groups is None:
        pivot = Student(float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(n)), n - 1.0)
        return ItemDifference(pivot, n, n, f"E5, t over the differences of {n} items")
    found = cluster_robust(np.ones((n, 1)), difference, groups)
    method = f"E5, differences of {n} items in {found.clusters} groups, CR2 errors, Satterthwaite df"
    return ItemDifference(found.pivot(0), n, found.clusters, method)


def build_cube(frame: pd.DataFrame, *, cell: str, run: str, item: str, score: str) -> Cube:
    """Scores in a long table, a row for each run and item, as cells × runs × items.

    Runs are named within their cell. Blocks (seeds) are runs of the same name in every cell.

    Raises:
        RecordsError: a missing column or value, two scores for one place, or a run that lacks items.
    """
    for column in (cell, run, item, score):
        require_one_of(column, frame.columns, "frame", "column")
    values = frame[score].to_numpy(float)
    coded = [pd.factorize(frame[c], sort=c != item) for c in (cell, run, item)]
    (cells, cell_names), (runs, run_names), (items, item_names) = coded
    if not np.isfinite(values).all() or any((codes < 0).any() for codes, _ in coded) or not len(values):
        raise RecordsError("scores or labels are missing", where=score, remedy="count an answer that failed as wrong")
    exists = np.zeros((len(cell_names), len(run_names)), bool)
    exists[cells, runs] = True
    place = exists.cumsum(1) - 1  # of a run on the run axis of its cell
    shape = len(cell_names), int(exists.sum(1).max()), len(item_names)
    flat = np.ravel_multi_index((cells, place[cells, runs], items), shape)
    counts = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    if counts.max() > 1:
        raise RecordsError(
            "a run has two scores for one item",
            where=f"{run}, {item}",
            remedy="average repeated answers, or give each domain a cube of its own",
        )
    if ((counts.sum(-1) > 0) & (counts.sum(-1) < shape[-1])).any():
        raise RecordsError(
            "some runs were not scored on every item",
            where=f"{run}, {item}",
            remedy="score them, or leave these items out for every run",
        )
    scores = np.full(shape, np.nan)
    scores.ravel()[flat] = values
    names = tuple(tuple(np.asarray(run_names, object)[row]) for row in exists)
    return Cube(tuple(cell_names), names, np.asarray(item_names, object), scores)


def compare_cells(cube: Cube, weights: Mapping[Hashable, float], *, blocked: bool = False) -> ItemEffect:
    """A contrast of cells, by engine E1 with items for domains: `compare_cells(cube, {"full": 1, "base": -1})`.

    Args:
        cube: from `build_cube`. Average items of one group first: items are taken for independent.
        weights: by cell.
        blocked: runs of the same name share a block.

    Raises:
        PlanError: a cell that the cube lacks.
        RecordsError: fewer than two runs in a cell or two items, blocks that are not in every cell, or no variance.
    """
    chosen = cube.weigh(weights)
    runs = min(len(cube.runs[i]) for i in np.flatnonzero(chosen)) if chosen.any() else 0
    if runs < 2 or len(cube.items) < 2 or (blocked and not cube.aligned):
        raise RecordsError(
            "a contrast over runs and items needs two items and two runs in every cell, and blocks need all cells",
            where="cube, weights",
            remedy="run more seeds; with one run of each arm, `compare_items` compares the two trained models",
        )
    components = Crossed(blocked)(cube.scores, chosen)
    pivots = []
    for target in ("these_domains", "new_domains"):
        variance, df = components.variance(target)
        if not variance > 0:
            raise RecordsError(
                "scores are the same in every run", where="cube", remedy="check that seeds reach the run"
            )
        pivots.append(Student(float(components.estimate), float(np.sqrt(variance)), float(df)))
    form = "blocked by run" if blocked else "runs of their own in every cell"
    method = f"E5, {len(cube.items)} items crossed with {runs} or more runs, {form}"
    return ItemEffect(pivots[0], pivots[1], components, len(cube.items), runs, method)


def estimate_sampling(
    cubes: Sequence[Cube],
    weights: Mapping[Hashable, float],
    *,
    units: Sequence[ArrayLike] | None = None,
    blocked: bool = False,
) -> SamplingCovariance:
    """Variance and covariance of a contrast over new test sets, on item differences averaged over runs.

    Domains that score the same items (corruptions of one test set) share their luck with them: their covariance is what
    keeps that luck from passing for, or hiding, a difference between domains.

    Args:
        cubes: one for each domain, of the same cells and runs; items of the same name are the same item.
        weights: by cell.
        units: for each domain a label of each item, if items come in groups; the items themselves if left out.
        blocked: runs of the same name share a block.

    Raises:
        PlanError: a cell that a cube lacks.
        RecordsError: cells or runs that differ between domains, blocks that are not in every cell, fewer than two runs
            in a cell, or fewer than two units in a domain.
    """
    chosen = _require_same_runs(cubes, weights, blocked)
    labels = [np.asarray(u, object) for u in (units or [cube.items for cube in cubes])]
    codes, names = pd.factorize(np.concatenate(labels))
    parts = np.split(codes, np.cumsum([len(u) for u in labels])[:-1])
    present = np.array([np.bincount(part, minlength=len(names)) > 0 for part in parts])
    count = present.sum(1)
    if (count < 2).any():
        raise RecordsError("a domain has fewer than two independent items", where="cubes", remedy="leave it out")
    inflate = np.sqrt(count / (count - 1))

    def gather(rows: Sequence[Array]) -> Array:
        """Deviations of items from their domain's mean, summed by unit: domains × units."""
        summed = [np.bincount(p, r - r.mean(), len(names)) / len(r) for p, r in zip(parts, rows, strict=True)]
        return np.asarray(np.array(summed) * inflate[:, None])

    means = [np.nanmean(cube.scores[chosen != 0], axis=1) for cube in cubes]
    total = gather([chosen[chosen != 0] @ mean for mean in means])
    gross, noise = total @ total.T, np.zeros((len(cubes), len(cubes)))
    for scale, tables in _noise_tables(cubes, chosen, blocked):
        for s in range(len(tables[0])):
            single = gather([table[s] - table.mean(0) for table in tables])
            noise += scale * (single @ single.T)
    shared = present.astype(int) @ present.T.astype(int)
    method = f"test-set variance of {len(cubes)} domains on item differences averaged over runs"
    return SamplingCovariance(gross, gross - noise, shared, method)


def _noise_tables(cubes: Sequence[Cube], chosen: Array, blocked: bool) -> list[tuple[float, list[Array]]]:
    """Runs × items of each domain, and what the squared deviations of one run count in the variance of a mean."""
    if blocked:
        runs = len(cubes[0].runs[0])
        return [(1 / (runs * (runs - 1)), [np.einsum("c,csi->si", chosen, cube.scores) for cube in cubes])]
    tables = []
    for c in np.flatnonzero(chosen):
        runs = len(cubes[0].runs[c])
        tables.append((float(chosen[c] ** 2) / (runs * (runs - 1)), [cube.scores[c, :runs] for cube in cubes]))
    return tables


def _require_same_runs(cubes: Sequence[Cube], weights: Mapping[Hashable, float], blocked: bool) -> Array:
    chosen = cubes[0].weigh(weights)
    if any(cube.cells != cubes[0].cells or cube.runs != cubes[0].runs for cube in cubes):
        raise RecordsError(
            "domains hold different cells or runs", where="cubes", remedy="score the same runs on every domain"
        )
    few = not chosen.any() or min(len(cubes[0].runs[c]) for c in np.flatnonzero(chosen)) < 2
    if few or (blocked and not cubes[0].aligned):
        raise RecordsError(
            "the noise of runs needs two runs in every cell of the contrast, and with blocks all of them everywhere",
            where="cubes, weights",
            remedy="run more seeds",
        )
    return chosen
