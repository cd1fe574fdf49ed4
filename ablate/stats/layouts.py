"""Layouts: the scores of one stratum as an array of cells × runs × domain groups, and what of it serves a contrast."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.errors import RecordsError
from ablate.factors import Cell
from ablate.stats.crossed import Array
from ablate.stats.refusals import (
    IDENTICAL_RUNS,
    MISSING_DOMAINS,
    NOT_ESTIMABLE,
    ONE_RUN,
    PSEUDO_REPLICATES,
    TWO_RUNS,
    UNEQUAL_FAILURES,
    Refusal,
)
from ablate.stats.sources import Source

COINCIDENCE = 6  # scores on which two runs must agree before they are called the same run


@dataclass(frozen=True, eq=False)
class Layout:
    """One stratum.

    Attributes:
        stratum: levels of the `across` factors, as text.
        levels: the same as a mapping.
        cells: cells of the compared factors, baseline first.
        groups: domain groups.
        scores: cells × runs × groups; NaN where a run is not there. Blocked: the run axis is the blocks.
        runs: cells × runs, names of the runs, '' where there is none.
        planned, complete, failed: runs per cell.
        doubled, ragged, identical: per cell, what is wrong with its runs, or ''.
        blocked: whether the run axis is the blocks.
    """

    stratum: str
    levels: Mapping[str, object]
    cells: tuple[Cell, ...]
    groups: tuple[str, ...]
    scores: Array
    runs: NDArray[np.str_]
    planned: NDArray[np.int_]
    complete: NDArray[np.int_]
    failed: NDArray[np.int_]
    doubled: tuple[str, ...]
    ragged: tuple[str, ...]
    identical: tuple[str, ...]
    blocked: bool

    def only(self, group: str) -> "Layout":
        """The same runs, on one domain group."""
        place = self.groups.index(group)
        return replace(self, groups=(group,), scores=self.scores[:, :, [place]])


@dataclass(frozen=True, eq=False)
class Part:
    """What of a layout serves one contrast: `scores` and `weights` as engines take them, or the refusal."""

    scores: Array
    weights: Array
    estimate: float
    refusal: Refusal | None
    trials: tuple[str, ...]
    n_seeds: int
    loading: float
    note: str


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


def select_part(layout: Layout, contrast: Mapping[Cell, float], pooled: bool) -> Part:
    """The runs that serve a contrast, and why it cannot be tested with them, if so.

    Blocked, only blocks with a run in all its cells serve (with pooled variances: in all cells that have runs).
    """
    weights = np.array([contrast.get(cell, 0.0) for cell in layout.cells])
    used = weights != 0
    sound = np.array([not (twice or gaps) for twice, gaps in zip(layout.doubled, layout.ragged, strict=True)])
    rows = used | ((layout.complete > 0) & sound if pooled else False)
    present = np.asarray(~np.isnan(layout.scores).any(-1))
    keep = present[rows].all(0) if layout.blocked else np.ones(present.shape[1], bool)
    counts = (present & keep).sum(1)[used]
    n_seeds = int(counts.min()) if used.any() else 0
    basis = layout.scores[:, keep] if keep.any() else layout.scores
    refusal = _refuse(layout, used, n_seeds)
    trials = tuple(str(run) for run in layout.runs[used][:, keep].ravel() if run)
    plus, minus = (int((present & keep).sum(1)[side].sum()) for side in (weights > 0, weights < 0))
    return Part(
        scores=layout.scores[rows][:, keep],
        weights=weights[rows],
        estimate=_point(basis, weights),
        refusal=refusal,
        trials=trials,
        n_seeds=n_seeds,
        loading=(plus / (plus + minus)) ** 0.5 if plus and minus else 0.5**0.5,
        note=_completeness(layout, used, len(trials)),
    )


def bound_worst_case(
    layout: Layout, contrast: Mapping[Cell, float], bounds: tuple[float, float]
) -> tuple[float, float]:
    """The lowest and highest estimate possible if the failed runs had scored anywhere within the metric's bounds."""
    weights = np.array([contrast.get(cell, 0.0) for cell in layout.cells])
    used = weights != 0
    means = np.nanmean(layout.scores[used], axis=(1, 2))
    lost = layout.failed[used] / (layout.failed + layout.complete)[used]
    ends = []
    for low, high in (bounds, bounds[::-1]):
        imputed = np.where(weights[used] > 0, low, high)
        ends.append(float(weights[used] @ ((1 - lost) * means + lost * imputed)))
    return ends[0], ends[1]


def _build(source: Source, levels: Mapping[str, object], cells: list[Cell], inner: list[str]) -> Layout:
    place_of = {cell: i for i, cell in enumerate(cells)}
    place = source.runs["cell"].map(lambda cell: place_of.get(cell, -1))
    runs = source.runs.assign(place=place)[place >= 0]
    complete = runs[runs["status"] == "complete"]
    counts = {
        status: np.bincount(runs.loc[runs["status"] == status, "place"].to_numpy(int), minlength=len(cells))
        for status in ("complete", "failed")
    }
    blocks = sorted(runs["block"].unique()) if source.plan.blocking == "seed" else None
    by_item, by_group, doubled = _tabulate(source, complete)
    width = int(counts["complete"].max()) if blocks is None else len(blocks)
    values = np.full((len(cells), width, by_group.shape[1]), nan)
    names = np.full((len(cells), width), "", dtype=object)
    problems: list[tuple[str, str, str]] = []
    for i, cell in enumerate(cells):
        mine = complete[complete["place"] == i]
        columns = list(range(len(mine))) if blocks is None else [blocks.index(b) for b in mine["block"]]
        if len(set(columns)) < len(columns):
            raise RecordsError(
                f"two runs of the cell {cell} in one block", where="block", remedy="name another block, or none"
            )
        values[i, columns] = by_group.loc[mine["run"]]
        names[i, columns] = mine["run"]
        own = by_item.loc[mine["run"]]
        twice = ", ".join(run for run in mine["run"] if run in doubled)
        problems.append((twice, _name_gaps(own), _name_identical(own, str(cell))))
    columns_of_problems = list(zip(*problems, strict=True))
    return Layout(
        stratum=str(Cell({k: str(v) for k, v in levels.items()})),
        levels=levels,
        cells=tuple(Cell({key: cell[key] for key in inner}) for cell in cells),
        groups=tuple(by_group.columns),
        scores=values,
        runs=names,
        planned=np.array([source.planned[cell] for cell in cells]),
        complete=counts["complete"],
        failed=counts["failed"],
        doubled=columns_of_problems[0],
        ragged=columns_of_problems[1],
        identical=columns_of_problems[2],
        blocked=blocks is not None,
    )


def _tabulate(source: Source, complete: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, set[str]]:
    """Runs × items, runs × domain groups (the mean of their items), and the runs that have an item twice."""
    scores = source.scores[source.scores["run"].isin(complete["run"])]
    sizes = scores.groupby(["run", "item"]).size()
    group_of = scores.drop_duplicates("item").set_index("item")["group"]
    found = list(dict.fromkeys(group_of))
    groups = [*[g for g in source.plan.domains if g in found], *[g for g in found if g not in source.plan.domains]]
    table = scores.pivot_table(index="run", columns="item", values="value")
    table = table.reindex(index=complete["run"], columns=group_of.index)
    by_group = pd.DataFrame({g: table[group_of.index[group_of == g]].mean(axis=1) for g in groups}, index=table.index)
    return table, by_group, set(sizes[sizes > 1].index.get_level_values("run"))


def _name_gaps(own: pd.DataFrame) -> str:
    gaps = own.isna()
    return "; ".join(f"{run} lacks {', '.join(own.columns[row])}" for run, row in gaps.iterrows() if row.any())


def _name_identical(own: pd.DataFrame, cell: str) -> str:
    """Runs of a cell with the same scores: all of them, or two that agree too often for a coincidence."""
    scores = own.to_numpy()
    if len(scores) < 2 or np.isnan(scores).any():
        return ""
    if np.ptp(scores, axis=0).max() <= 1e-12 * np.abs(scores).max():
        return f"all {len(scores)} runs of {cell}"
    if scores.shape[1] < COINCIDENCE:
        return ""
    _, first, counts = np.unique(scores, axis=0, return_index=True, return_counts=True)
    return f"{counts.max()} runs of {cell}, one of them {own.index[first[counts.argmax()]]}" if counts.max() > 1 else ""


def _refuse(layout: Layout, used: NDArray[np.bool_], n_seeds: int) -> Refusal | None:
    cells = [cell for cell, u in zip(layout.cells, used, strict=True) if u]
    empty = [str(cell) for cell, n in zip(cells, layout.complete[used], strict=True) if n == 0]
    doubled, ragged, identical = (
        "; ".join(text for text, u in zip(texts, used, strict=True) if u and text)
        for texts in (layout.doubled, layout.ragged, layout.identical)
    )
    failed = layout.failed[used]
    if empty:
        return NOT_ESTIMABLE.about(f"no complete trial yet of {'; '.join(empty)}")
    if doubled:
        return PSEUDO_REPLICATES.about(_shorten(doubled))
    if ragged:
        return MISSING_DOMAINS.about(_shorten(ragged))
    if len(failed) and failed.min() < failed.max():
        counts = (f"{n} of {cell}" for cell, n in zip(cells, failed, strict=True) if n)
        return UNEQUAL_FAILURES.about(_shorten("; ".join(counts)))
    if n_seeds < 2:
        return ONE_RUN if n_seeds else ONE_RUN.about("no block is complete in all compared cells")
    if identical:
        return IDENTICAL_RUNS.about(_shorten(identical))
    return TWO_RUNS if n_seeds == 2 else None


def _point(scores: Array, weights: Array) -> float:
    used = weights != 0
    there = ~np.isnan(scores[used])
    n = there.sum(1)
    if not used.any() or not n.size or not n.all():
        return nan
    means = np.where(there, scores[used], 0.0).sum(1) / n
    return float((weights[used] @ means).mean())


def _completeness(layout: Layout, used: NDArray[np.bool_], n_used: int) -> str:
    complete, planned = int(layout.complete[used].sum()), int(layout.planned[used].sum())
    text = f"{complete} of {planned} trials complete" if complete < planned else ""
    return (
        f"{text or f'{complete} trials complete'}, {n_used} in blocks complete in all compared cells"
        if n_used < complete
        else text
    )


def _shorten(text: str) -> str:
    parts = text.split("; ")
    return text if len(parts) <= 4 else "; ".join([*parts[:4], f"and {len(parts) - 4} more"])
