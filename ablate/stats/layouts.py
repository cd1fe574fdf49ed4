"""Layouts: the scores of one stratum as an array of cells × runs × domain groups, and what of it serves a contrast."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import nan
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.errors import RecordsError
from ablate.factors import Cell, digest
from ablate.stats.crossed import Array
from ablate.stats.refusals import (
    FOLDS,
    IDENTICAL_RUNS,
    MISSING_DOMAINS,
    NOT_ESTIMABLE,
    ONE_RUN,
    OTHER_TEST_DATA,
    PSEUDO_REPLICATES,
    SELECTED,
    TWO_RUNS,
    UNEQUAL_FAILURES,
    UNEQUAL_TUNING,
    Refusal,
)
from ablate.stats.sources import Source

COINCIDENCE = 6  # scores on which two runs must agree before they are called the same run

Crossing = Literal["crossed", "nested", "partial"]


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


@dataclass(frozen=True, eq=False)
class Part:
    """What of a layout serves one contrast: `scores` and `weights` as engines take them, or the refusal.

    Attributes:
        estimate: the contrast, and `base` the mean of its negative side; NaN where a cell has no scores.
        refusal: why it cannot be tested, or None.
        complete: whether every run (blocked: in every block) has a score on every domain group.
        unit: sum of squared weights over runs: the estimate's variance over that of one run's score.
        trials, n_seeds: runs behind it, and runs per cell.
        loading: as in `Result`.
        note: what is missing.
    """

    scores: Array
    weights: Array
    estimate: float
    refusal: Refusal | None
    complete: bool
    unit: float
    base: float
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


def select_part(layout: Layout, contrast: Mapping[Cell, float], pooled: bool, *, whole_blocks: bool = True) -> Part:
    """The runs that serve a contrast, and why it cannot be tested with them, if so.

    Args:
        layout: the stratum.
        contrast: cell -> weight.
        pooled: whether cells of weight zero lend their variance.
        whole_blocks: (blocked) whether only blocks with a run in all its cells serve.
    """
    weights = layout.weigh(contrast)
    used = np.asarray(weights != 0)
    sound = np.array([not problems for problems in layout.problems])
    rows = used | ((layout.complete > 0) & sound) if pooled else used
    if layout.blocked and layout.crossing == "nested":  # a block is whole, or not, in each domain for itself
        layout = _within(layout, ~np.isnan(layout.scores[used]).any(0))
    present = ~np.isnan(layout.scores)
    some = np.asarray(present.any(-1))
    full = np.asarray(present.all(-1)) if layout.crossing != "nested" else some
    keep = np.ones(some.shape[1], bool)
    if layout.blocked:
        keep = full[rows].all(0) if whole_blocks else some[rows].any(0)
    owners = layout.owners[used][:, keep]
    owners = (owners if layout.crossing == "nested" else owners.max(-1, initial=-1)).ravel()
    trials = tuple(layout.names[owners[owners >= 0]])
    counts = (present & keep[:, None]).sum(1)[used]
    n_seeds = int(
        (counts.min() if layout.crossing == "nested" else (some & keep).sum(1)[used].min()) if used.any() else 0
    )
    scores = layout.scores[rows][:, keep]
    there = some[rows][:, keep]
    plus, minus = (int((some & keep).sum(1)[side].sum()) for side in (weights > 0, weights < 0))
    basis = layout.scores[:, keep] if keep.any() else layout.scores
    return Part(
        scores=scores,
        weights=weights[rows],
        estimate=_point(basis, weights),
        refusal=_refuse(layout, used, n_seeds),
        complete=bool((full[rows][:, keep] == there).all() and (there.all() or not layout.blocked)),
        unit=_unit(some[used][:, keep], weights[used]),
        base=_point(basis, np.minimum(weights, 0.0)) * -1,
        trials=trials,
        n_seeds=n_seeds,
        loading=(plus / (plus + minus)) ** 0.5 if plus and minus else 0.5**0.5,
        note=_completeness(layout, used, len(trials)),
    )


def _unit(there: NDArray[np.bool_], weights: Array) -> float:
    """Squared weights over runs, of the cells that have runs."""
    n = there.sum(1)
    return float((weights**2 / n).sum()) if n.size and n.all() else nan


def _within(layout: Layout, whole: NDArray[np.bool_]) -> Layout:
    """The same layout without the scores at other places, runs × groups, than these."""
    return replace(layout, scores=np.where(whole, layout.scores, nan), owners=np.where(whole, layout.owners, -1))


def bound_worst_case(
    layout: Layout, contrast: Mapping[Cell, float], bounds: tuple[float, float]
) -> tuple[float, float]:
    """The lowest and highest estimate possible if the failed runs had scored anywhere within the metric's bounds."""
    weights = layout.weigh(contrast)
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
    place = np.array([place_of.get(cell, -1) for cell in source.runs["cell"]], int)
    status = source.runs["status"].to_numpy()
    counts = {
        word: np.bincount(place[(status == word) & (place >= 0)], minlength=len(cells))
        for word in ("complete", "failed")
    }
    complete = np.flatnonzero((status == "complete") & (place >= 0))
    table = _Table.of(source, complete)
    blocked = source.plan.blocking == "seed"
    scores, owners, crossing = _arrange(source, table, complete, place, len(cells), blocked)
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


@dataclass(frozen=True, eq=False)
class _Table:
    """The scores of some runs: runs × items, and as means over the items of each domain group."""

    runs: NDArray[np.int_]  # rows of Source.runs
    names: NDArray[np.object_]
    items: NDArray[np.object_]
    groups: tuple[str, ...]
    group_of: NDArray[np.int_]
    by_item: Array
    by_group: Array
    doubled: NDArray[np.bool_]
    scores: pd.DataFrame  # of these runs; run and item are places in this table

    @classmethod
    def of(cls, source: Source, complete: NDArray[np.int_]) -> "_Table":
        """The table of the runs at these places; groups as the plan names them, then as they appear."""
        place = np.full(len(source.runs), -1)
        place[complete] = np.arange(len(complete))
        row = place[source.scores["run"].to_numpy(int)]
        scores = source.scores[row >= 0].assign(run=row[row >= 0])
        codes, found = pd.factorize(scores["item"])
        scores = scores.assign(item=codes)
        group_names = source.items["group"].to_numpy(object)[found.astype(int)]
        seen = list(dict.fromkeys(group_names))
        groups = [*[g for g in source.plan.domains if g in seen], *[g for g in seen if g not in source.plan.domains]]
        group_of = np.array([groups.index(g) for g in group_names], int)
        shape = (len(complete), len(found))
        flat = scores["run"].to_numpy(int) * max(shape[1], 1) + codes
        n = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
        total = np.bincount(flat, scores["value"], minlength=shape[0] * shape[1]).reshape(shape)
        with np.errstate(invalid="ignore"):
            by_item = np.where(n > 0, total / n, nan)
        if "example" in scores:
            twice = scores.duplicated(["run", "item", "example"])
            doubled = np.asarray(np.bincount(scores["run"][twice].to_numpy(int), minlength=shape[0]) > 0)
        else:
            doubled = np.asarray((n > 1).any(1))
        columns = [group_of == g for g in range(len(groups))]
        by_group = np.stack([_mean_of(by_item[:, c]) for c in columns], 1) if groups else np.zeros((shape[0], 0))
        names = source.runs["run"].to_numpy(object)[complete]
        items = source.items["item"].to_numpy(object)[found.astype(int)]
        return cls(complete, names, items, tuple(groups), group_of, by_item, by_group, doubled, scores)

    def problems(self, mine: NDArray[np.int_], cell: str) -> dict[Refusal, str]:
        """What is wrong with the runs at these places, which are those of one cell."""
        doubled = "; ".join(str(self.names[i]) for i in mine if self.doubled[i])
        found = {
            PSEUDO_REPLICATES: doubled,
            MISSING_DOMAINS: self._gaps(mine),
            IDENTICAL_RUNS: self._identical(mine, cell),
        }
        return {refusal: text for refusal, text in found.items() if text}

    def _gaps(self, mine: NDArray[np.int_]) -> str:
        """Runs with some items of a domain group and not others: their mean is of something else."""
        lacking = np.isnan(self.by_item[mine]) & ~np.isnan(self.by_group[mine])[:, self.group_of]
        return "; ".join(
            f"{self.names[mine[i]]} lacks {', '.join(map(str, self.items[lacking[i]]))}"
            for i in np.flatnonzero(lacking.any(1))
        )

    def _identical(self, mine: NDArray[np.int_], cell: str) -> str:
        """Runs of a cell with the same scores: all of them, or two that agree too often for a coincidence."""
        scores = self.by_item[mine]
        if len(scores) < 2:
            return ""
        if not np.isnan(scores).any() and np.ptp(scores, axis=0).max() <= 1e-12 * np.abs(scores).max():
            return f"all {len(scores)} runs of {cell}"
        enough = np.flatnonzero((~np.isnan(scores)).sum(1) >= COINCIDENCE)
        if len(enough) < 2:
            return ""
        _, first, counts = np.unique(scores[enough], axis=0, return_index=True, return_counts=True, equal_nan=True)
        if counts.max() == 1:
            return ""
        return f"{counts.max()} runs of {cell}, one of them {self.names[mine[enough[first[counts.argmax()]]]]}"

    def hashes(self, place: NDArray[np.int_], n_cells: int) -> tuple[dict[int, set[str]], ...]:
        """Per cell, item -> its `eval_hash`; several, where its runs differ."""
        found: list[dict[int, set[str]]] = [{} for _ in range(n_cells)]
        if "eval_hash" in self.scores:
            rows = self.scores[self.scores["eval_hash"].notna()]
            if "example" in rows:  # every example has its own; all of a run's together are its test data
                kinds = rows.drop_duplicates(["run", "item", "eval_hash"]).sort_values("eval_hash")
                together = kinds.groupby(["run", "item"])["eval_hash"].agg(lambda k: digest([str(v) for v in k])[:12])
                rows = together.reset_index()
            rows = rows.assign(cell=place[rows["run"].to_numpy(int)]).drop_duplicates(["cell", "item", "eval_hash"])
            for cell, item, kind in zip(rows["cell"], rows["item"], rows["eval_hash"], strict=True):
                found[cell].setdefault(item, set()).add(str(kind))
        return tuple(found)

    def errors(self, place: NDArray[np.int_], n_cells: int) -> Array | None:
        """Cells × groups, the standard error of a run's score: root mean square over runs, summed over items."""
        if "se" not in self.scores or self.scores["se"].isna().any():
            return None
        shape = (n_cells, len(self.items))
        flat = place[self.scores["run"].to_numpy(int)] * shape[1] + self.scores["item"].to_numpy(int)
        n = np.bincount(flat, minlength=shape[0] * shape[1])
        with np.errstate(invalid="ignore"):
            square = (np.bincount(flat, self.scores["se"] ** 2, minlength=len(n)) / n).reshape(shape)
        parts = [square[:, self.group_of == g] for g in range(len(self.groups))]
        # items of one group share their examples: their errors are taken as equal, never as independent
        return np.sqrt(np.stack([_mean_of(part) for part in parts], 1))


def _arrange(
    source: Source, table: _Table, complete: NDArray[np.int_], place: NDArray[np.int_], n_cells: int, blocked: bool
) -> tuple[Array, NDArray[np.int_], Crossing]:
    """Scores and owners as `Layout` has them, and how runs and domain groups cross."""
    present = ~np.isnan(table.by_group)
    per_run = present.sum(1)
    n_groups = present.shape[1]
    crossing: Crossing = "partial"
    if (per_run == n_groups).all():
        crossing = "crossed"
    elif n_groups > 1 and (per_run == 1).all():
        crossing = "nested"
    cell = place[complete]
    column: NDArray[Any]
    lane = present.argmax(1) if crossing == "nested" else np.zeros(len(complete), int)
    if blocked:
        named = source.runs["block"].iloc[complete]
        codes, blocks = pd.factorize(named.map(str) if named.dtype == object else named, sort=True)
        column, width = np.asarray(codes, int), len(blocks)
        twice = pd.DataFrame({"cell": cell, "column": column, "lane": lane}).duplicated().to_numpy()
        if twice.any():
            named = source.runs["cell"].iloc[complete[twice.argmax()]]
            remedy = "name another block, or none"
            raise RecordsError(f"two runs of the cell {named} in one block", where="block", remedy=remedy)
    else:
        column = pd.DataFrame({"cell": cell, "lane": lane}).groupby(["cell", "lane"]).cumcount().to_numpy(int)
        width = int(column.max()) + 1 if len(column) else 0
    scores = np.full((n_cells, width, n_groups), nan)
    owners = np.full(scores.shape, -1)
    run, group = np.nonzero(present)
    scores[cell[run], column[run], group] = table.by_group[run, group]
    owners[cell[run], column[run], group] = complete[run]
    return scores, owners, crossing


def _mean(values: Array) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else nan


def _mean_of(table: Array) -> Array:
    """Row means over what is there; NaN where nothing is."""
    there = ~np.isnan(table)
    n = there.sum(1)
    with np.errstate(invalid="ignore"):
        return np.where(n > 0, np.where(there, table, 0.0).sum(1) / n, nan)


def _refuse(layout: Layout, used: NDArray[np.bool_], n_seeds: int) -> Refusal | None:
    cells = [cell for cell, u in zip(layout.cells, used, strict=True) if u]
    problems = [found for found, u in zip(layout.problems, used, strict=True) if u]
    said = {
        refusal: _shorten("; ".join(found[refusal] for found in problems if refusal in found))
        for refusal in (SELECTED, PSEUDO_REPLICATES, MISSING_DOMAINS, FOLDS, IDENTICAL_RUNS)
    }
    empty = [str(cell) for cell, n in zip(cells, layout.complete[used], strict=True) if n == 0]
    if said[SELECTED]:
        return SELECTED.about(said[SELECTED])
    if empty:
        return NOT_ESTIMABLE.about(f"no complete trial yet of {'; '.join(empty)}")
    for refusal in (PSEUDO_REPLICATES, MISSING_DOMAINS, FOLDS):
        if said[refusal]:
            return refusal.about(said[refusal])
    unlike = _compare(layout, used, cells)
    if unlike:
        return unlike
    if not n_seeds:
        return ONE_RUN.about("no block is complete in all compared cells") if layout.blocked else MISSING_DOMAINS
    if n_seeds < 2:
        return ONE_RUN
    if said[IDENTICAL_RUNS]:
        return IDENTICAL_RUNS.about(said[IDENTICAL_RUNS])
    return TWO_RUNS if n_seeds == 2 else None


def _compare(layout: Layout, used: NDArray[np.bool_], cells: list[Cell]) -> Refusal | None:
    """What differs between the cells beside their levels: failures, tuning, test data."""
    failed, tried = layout.failed[used], layout.tried[used]
    if len(failed) and failed.min() < failed.max():
        counts = (f"{n} of {cell}" for cell, n in zip(cells, failed, strict=True) if n)
        return UNEQUAL_FAILURES.about(_shorten("; ".join(counts)))
    if len(tried) and not (np.isnan(tried).all() or np.ptp(tried) == 0):  # known of some and not of others: unequal
        counts = (f"{cell}: {n:g}" for cell, n in zip(cells, tried, strict=True))
        return UNEQUAL_TUNING.about(_shorten("; ".join(counts)))
    hashes = [found for found, u in zip(layout.hashes, used, strict=True) if u]
    for item in set.intersection(*(set(found) for found in hashes)) if hashes else ():
        kinds = set.union(*(found[item] for found in hashes))
        if len(kinds) > 1:
            return OTHER_TEST_DATA.about(_shorten("; ".join(sorted(kinds))))
    return None


def _point(scores: Array, weights: Array) -> float:
    """The contrast of cell means, each the mean over domain groups of the means over runs; NaN where one is missing."""
    used = weights != 0
    there = ~np.isnan(scores[used])
    n = there.sum(1)
    if not used.any() or not n.size or not n.all():
        return nan
    means = np.where(there, scores[used], 0.0).sum(1) / n
    return float((weights[used] @ means).mean())


def _completeness(layout: Layout, used: NDArray[np.bool_], n_used: int) -> str:
    complete, planned = int(layout.complete[used].sum()), int(layout.planned[used].sum())
    text = f"{complete} of {planned} trials complete" if complete < planned and layout.crossing != "nested" else ""
    return (
        f"{text or f'{complete} trials complete'}, {n_used} in blocks complete in all compared cells"
        if n_used < complete
        else text
    )


def _shorten(text: str) -> str:
    parts = text.split("; ")
    return text if len(parts) <= 4 else "; ".join([*parts[:4], f"and {len(parts) - 4} more"])
