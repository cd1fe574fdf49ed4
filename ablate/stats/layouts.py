"""Layouts: the scores of one stratum as an array of cells × runs × domain groups, with what is wrong with its runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import nan

import numpy as np
from numpy.typing import NDArray

from ablate.factors import Cell
from ablate.stats.crossed import Array
from ablate.stats.refusals import FOLDS, SELECTED, Refusal
from ablate.stats.sources import Source
from ablate.stats.tabulations import Crossing, Tabulation, arrange


@dataclass(frozen=True, eq=False)
class Layout:
    """One stratum.

    Attributes:
        stratum: levels of the `across` factors, as text.
        levels: the same as a mapping.
        cells: cells of the compared factors, baseline first.
        groups: domain groups.
        scores: cells × runs × groups; NaN where there is no score. Blocked: the run axis is the blocks. Nested: the
            runs of a domain stand at its places from the first on, so that a place of the run axis is no run.
        owners: the same shape, the run (a row of `Source.runs`) of each score, -1 where there is none.
        names: the names of all runs of the source.
        planned, complete, failed: runs per cell.
        problems: per cell, what is wrong with its runs: refusal -> what it is about.
        tried: per cell, the tuning trials spent on it; NaN where unknown.
        hashes: per cell, item -> the test data its runs were measured on, where known.
        blocked: whether the run axis is the blocks.
        crossing: `crossed`: every run has a score on every group; `nested`: every run on one; else `partial`.
        errors: cells × groups, the test-set standard error of one run's score, or None where unknown.
    """

    stratum: str
    levels: Mapping[str, object]
    cells: tuple[Cell, ...]
    groups: tuple[str, ...]
    scores: Array
    owners: NDArray[np.int_]
    names: NDArray[np.object_]
    planned: NDArray[np.int_]
    complete: NDArray[np.int_]
    failed: NDArray[np.int_]
    problems: tuple[Mapping[Refusal, str], ...]
    tried: Array
    hashes: tuple[Mapping[int, set[str]], ...]
    blocked: bool
    crossing: Crossing
    errors: Array | None = None

    def only(self, group: str) -> "Layout":
        """The same runs, on one domain group."""
        place = [self.groups.index(group)]
        errors = None if self.errors is None else self.errors[:, place]
        return replace(
            self,
            groups=(group,),
            scores=self.scores[:, :, place],
            owners=self.owners[:, :, place],
            crossing="crossed",
            errors=errors,
        )

    def weigh(self, contrast: Mapping[Cell, float]) -> Array:
        """The weights of a contrast in the order of the cells."""
        return np.array([contrast.get(cell, 0.0) for cell in self.cells])


def build_layouts(source: Source) -> Iterator[Layout]:
    """A layout per stratum, in the order of the plan."""
    plan = source.plan
    strata = [f for f in plan.factors if f.role == "across"]
    inner = [f.key for f in plan.factors if f.role == "factor"]
    for combination in product(*(f.levels for f in strata)):
        levels = dict(zip([f.key for f in strata], combination, strict=True))
        cells = [cell for cell in plan.cells if cell.agrees(levels)]
        if cells:
            yield _build(source, levels, cells, inner)


def _build(source: Source, levels: Mapping[str, object], cells: list[Cell], inner: list[str]) -> Layout:
    place_of = {cell: i for i, cell in enumerate(cells)}
    place = np.array([place_of.get(cell, -1) for cell in source.runs["cell"]], int)
    status = source.runs["status"].to_numpy()
    counts = {
        word: np.bincount(place[(status == word) & (place >= 0)], minlength=len(cells))
        for word in ("complete", "failed")
    }
    complete = np.flatnonzero((status == "complete") & (place >= 0))
    table = Tabulation.of(source, complete)
    blocked = source.plan.blocking == "seed"
    scores, owners, crossing = arrange(source, table, complete, place, len(cells), blocked)
    problems: list[dict[Refusal, str]] = []
    searched = set(source.searched["cell"])
    for i, cell in enumerate(cells):
        mine = np.flatnonzero(place[complete] == i)
        found = table.problems(mine, str(cell))
        if not len(mine) and cell in searched:
            found[SELECTED] = str(cell)
        if source.folds == "undeclared":
            found[FOLDS] = "the runs are called folds"
        elif source.folds == "declared" and crossing == "partial":
            found[FOLDS] = "a fold belongs to one domain"
        problems.append(found)
    tried = source.runs["hpo_trials"].to_numpy(float)
    return Layout(
        stratum=str(Cell({k: str(v) for k, v in levels.items()})),
        levels=levels,
        cells=tuple(Cell({key: cell[key] for key in inner}) for cell in cells),
        groups=table.groups,
        scores=scores,
        owners=owners,
        names=source.runs["run"].to_numpy(object),
        planned=np.array([source.planned[cell] for cell in cells]),
        complete=counts["complete"],
        failed=counts["failed"],
        problems=tuple(problems),
        tried=np.array([_mean(tried[(place == i) & (status == "complete")]) for i in range(len(cells))]),
        hashes=table.hashes(place[complete], len(cells)),
        blocked=blocked,
        crossing=crossing,
        errors=table.errors(place[complete], len(cells)),
    )


def _mean(values: Array) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else nan
