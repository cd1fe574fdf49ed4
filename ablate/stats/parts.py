"""Parts: what of a layout serves a contrast, or why the contrast cannot be tested with it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from ablate.factors import Cell
from ablate.stats.crossed import ROUNDING, Array
from ablate.stats.layouts import Layout
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
    UNEQUAL_BUDGETS,
    UNEQUAL_FAILURES,
    Refusal,
)


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
    rows = used | ((layout.complete > 0) & sound & _differ(layout, used)) if pooled else used
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


def _differ(layout: Layout, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which cells have runs of their own, and not those of another, used one."""
    own = np.ones(len(used), bool)
    for one, other in layout.alike:
        own[one if used[other] and not used[one] else other] = False
    return own


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
    there = ~np.isnan(layout.scores[used])
    means = np.where(there, layout.scores[used], 0.0).sum((1, 2)) / np.maximum(there.sum((1, 2)), 1)
    lost = layout.failed[used] / np.maximum((layout.failed + layout.complete)[used], 1)
    ends = []
    for low, high in (bounds, bounds[::-1]):
        imputed = np.where(weights[used] > 0, low, high)
        ends.append(float(weights[used] @ ((1 - lost) * means + lost * imputed)))
    return ends[0], ends[1]


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
    twins = [text for (one, other), text in layout.alike.items() if used[one] and used[other]]
    if said[IDENTICAL_RUNS] or twins:
        return IDENTICAL_RUNS.about(said[IDENTICAL_RUNS] or _shorten("; ".join(twins)))
    return TWO_RUNS if n_seeds == 2 else None


def _compare(layout: Layout, used: NDArray[np.bool_], cells: list[Cell]) -> Refusal | None:
    """What differs between the cells beside their levels: failures, budgets, test data."""
    failed = layout.failed[used]
    if len(failed) and failed.min() < failed.max():
        counts = (f"{n} of {cell}" for cell, n in zip(cells, failed, strict=True) if n)
        return UNEQUAL_FAILURES.about(_shorten("; ".join(counts)))
    for budget, spent in layout.spent.items():
        if not _is_equal(spent[used], layout.tolerance):
            counts = (f"{cell}: {n:.6g}" for cell, n in zip(cells, spent[used], strict=True))
            return UNEQUAL_BUDGETS.about(_shorten(f"{budget} of {'; '.join(counts)}"))
    hashes = [found for found, u in zip(layout.hashes, used, strict=True) if u]
    for item in set.intersection(*(set(found) for found in hashes)) if hashes else ():
        kinds = set.union(*(found[item] for found in hashes))
        if len(kinds) > 1:
            return OTHER_TEST_DATA.about(_shorten("; ".join(sorted(kinds))))
    return None


def _is_equal(spent: Array, tolerance: float) -> bool:
    """Whether budgets are the same but for a share of the larger; known of some and not of others, they are not."""
    if np.isnan(spent).all():
        return True
    return bool(np.ptp(spent) <= (tolerance + ROUNDING) * np.abs(spent).max())  # false where one is NaN


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
