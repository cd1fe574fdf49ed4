"""Layouts: the scores of one stratum as an array of cells × runs × domain groups, with what is wrong with its runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import nan

import numpy as np
from numpy.typing import NDArray

from ablate.factors import Cell
from ablate.stats.crossed import Array
from ablate.stats.duplicates import Duplicates
from ablate.stats.refusals import FOLDS, IDENTICAL_RUNS, SELECTED, Refusal
from ablate.stats.sources import TRIED, Source
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
        spent: budget (tuning trials, steps, ...) -> per cell, the mean over its complete runs; NaN where unknown.
        tolerance: the share by which budgets of compared cells may differ.
        hashes: per cell, item -> the test data its runs were measured on, where known.
        blocked: whether the run axis is the blocks.
        crossing: `crossed`: every run has a score on every group; `nested`: every run on one; else `partial`.
        imputed: per run of the source, whether its scores are those that the plan gives to diverged runs.
        alike: pairs of cells (their places) that are the same run by run, and which runs.
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
    spent: Mapping[str, Array]
    tolerance: float
    hashes: tuple[Mapping[int, set[str]], ...]
    blocked: bool
    crossing: Crossing
    imputed: NDArray[np.bool_]
    alike: Mapping[tuple[int, int], str]
    errors: Array | None = None

    @property
    def measured(self) -> "Layout":
        """The same without the scores that diverged runs were given: beside those nothing of such a run is known."""
        given = (self.owners >= 0) & np.append(self.imputed, False)[self.owners]
        if not given.any():
            return self
        lost = np.array([len(np.unique(own[there])) for own, there in zip(self.owners, given, strict=True)])
        return replace(
            self,
            scores=np.where(given, nan, self.scores),
            owners=np.where(given, -1, self.owners),
            complete=self.complete - lost,
            failed=self.failed + lost,
        )

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
    inner = [f.key for f in plan.factors if f.compared]
    duplicates = Duplicates.of(source)
    for combination in product(*(f.levels for f in strata)):
        levels = dict(zip([f.key for f in strata], combination, strict=True))
        cells = [cell for cell in plan.cells if cell.agrees(levels)]
        if cells:
            yield _build(source, levels, cells, inner, duplicates)


def _build(
    source: Source, levels: Mapping[str, object], cells: list[Cell], inner: list[str], duplicates: Duplicates
) -> Layout:
    place_of = {cell: i for i, cell in enumerate(cells)}
    place = np.array([place_of.get(cell, -1) for cell in source.runs["cell"]], int)
    status = source.runs["status"].to_numpy()
    counts = {
        word: np.bincount(place[(status == word) & (place >= 0)], minlength=len(cells))
        for word in ("complete", "failed")
    }
    complete = np.flatnonzero((status == "complete") & (place >= 0))
    table = Tabulation.of(source, complete)
    blocked = source.plan.blocked
    scores, owners, crossing = arrange(source, table, complete, place, len(cells), blocked)
    problems: list[dict[Refusal, str]] = []
    searched = set(source.searched["cell"])
    for i, cell in enumerate(cells):
        mine = np.flatnonzero(place[complete] == i)
        found = table.problems(mine, str(cell))
        if cell in duplicates.copies:
            found.setdefault(IDENTICAL_RUNS, duplicates.copies[cell])
        if not len(mine) and cell in searched:
            found[SELECTED] = str(cell)
        if source.folds == "undeclared":
            found[FOLDS] = "the runs are called folds"
        elif source.folds == "declared" and crossing == "partial":
            found[FOLDS] = "a fold belongs to one domain"
        problems.append(found)
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
        spent={name: _spend(source, name, place[complete], complete, len(cells)) for name in source.plan.budget.equal},
        tolerance=source.plan.budget.tolerance,
        hashes=table.hashes(place[complete], len(cells)),
        blocked=blocked,
        crossing=crossing,
        imputed=source.imputed,
        alike={
            (place_of[one], place_of[other]): text
            for (one, other), text in duplicates.alike.items()
            if one in place_of and other in place_of
        },
        errors=table.errors(place[complete], len(cells)),
    )


def _spend(source: Source, budget: str, place: NDArray[np.int_], runs: NDArray[np.int_], n_cells: int) -> Array:
    """Per cell, the mean of a budget over its complete runs (at these places) of which it is known; else NaN."""
    spent = np.full(len(source.runs), nan)
    if budget == TRIED:
        spent = source.runs[TRIED].to_numpy(float)
    else:
        rows = source.whole[source.whole["metric"] == budget]
        spent[rows["run"].to_numpy(int)] = rows["value"].to_numpy(float)
    known = ~np.isnan(spent[runs])
    n = np.bincount(place[known], minlength=n_cells)
    total = np.bincount(place[known], spent[runs][known], minlength=n_cells)
    return np.where(n > 0, total / np.maximum(n, 1), nan)
