"""Learning: what runs gain from more examples or steps, asked of every leading contrast (estimand 10)."""

from collections.abc import Iterator
from dataclasses import replace
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.errors import PlanError
from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Array
from ablate.stats.curves import Direction, data_multiplier, log_area, times_to
from ablate.stats.gains import DESCRIBED, behind
from ablate.stats.inquiries import Inquiry
from ablate.stats.layouts import Layout
from ablate.stats.parts import select_part
from ablate.stats.pivots import Student, Transformed
from ablate.stats.refusals import MISSING_DOMAINS, TWO_RUNS
from ablate.stats.results import Result

BUDGET = ("costlier", "cheaper")  # more, or less, than the other needs


def answer_efficiency(inquiry: Inquiry) -> Iterator[Result]:
    """Areas under learning curves, budgets to the declared score, and the share of the baseline's data a cell needs.

    That share is of the budget that gave the baseline its final score, to reach the same.

    Raises:
        PlanError: no run has scores at several budgets.
    """
    curves = inquiry.source.curves
    budgets = np.sort(curves["budget"].unique()).astype(float)
    if len(budgets) < 2:
        remedy = "name the column of budgets as `budget`, or log the metric as `metric@budget`"
        raise PlanError("no run was scored at two budgets", where="families: efficiency", remedy=remedy)
    table = np.full((len(inquiry.source.runs) + 1, len(budgets)), np.nan)  # the last row is of owner -1: nobody
    table[curves["run"].to_numpy(int), np.searchsorted(budgets, curves["budget"])] = curves["value"]
    runs = inquiry.layout.owners.max(-1)
    values = table[runs]
    gaps = np.isnan(values).any(-1) & (runs >= 0)
    for contrast in inquiry.leading:
        used = inquiry.layout.weigh(contrast.weights) != 0
        if gaps[used].any():
            about = MISSING_DOMAINS.about("runs lack scores at some budgets")
            yield inquiry.result(replace(contrast, family="efficiency"), "these_domains", about)
            continue
        yield from _areas(inquiry, contrast, budgets, values)
        yield from _times(inquiry, contrast, budgets, values)
    for contrast in inquiry.contrasts("simple"):
        if contrast.refusal is None and not gaps[inquiry.layout.weigh(contrast.weights) != 0].any():
            yield _multiplier(inquiry, contrast, budgets, values)


def _per_run(layout: Layout, numbers: Array) -> Layout:
    """The same runs, each with one number: cells × runs."""
    owners = np.where(np.isnan(numbers), -1, layout.owners.max(-1))[..., None]
    return replace(layout, groups=("all",), scores=numbers[..., None], owners=owners, crossing="crossed", errors=None)


def _of_runs(numbers: NDArray[Any], there: NDArray[np.bool_]) -> Array:
    """Cells × runs from one number for each run that is there; NaN elsewhere."""
    found = np.full(there.shape, np.nan)
    found[there] = numbers
    return found


def _areas(inquiry: Inquiry, contrast: Contrast, budgets: Array, values: Array) -> Iterator[Result]:
    there = np.asarray(~np.isnan(values).any(-1))
    areas = _per_run(inquiry.layout, _of_runs(log_area(budgets, values[there]), there))
    question = replace(contrast, family="efficiency", factor=f"area: {contrast.factor}")
    for result in inquiry.ask(question, "all", ("these_domains",), areas):
        yield replace(result, margin=None, n_domains=len(inquiry.layout.groups))


def _times(inquiry: Inquiry, contrast: Contrast, budgets: Array, values: Array) -> Iterator[Result]:
    """The ratio of the budgets that reach the threshold; a run that never did counts with all that it spent."""
    threshold = inquiry.plan.analysis.threshold
    if threshold is None:
        return
    there = np.asarray(~np.isnan(values).any(-1))
    times = times_to(budgets, values[there], threshold, inquiry.plan.direction)
    logs = _per_run(inquiry.layout, _of_runs(times.restricted(float(budgets[-1])), there))
    question = replace(contrast, family="efficiency", factor=f"budget to {threshold:g}: {contrast.factor}")
    missed = _of_runs(~times.reached, there)[inquiry.layout.weigh(contrast.weights) != 0]
    n_missed, n = int(np.nansum(missed)), int((~np.isnan(missed)).sum())
    note = f"{n_missed} of {n} runs never reached it and count with all they spent" if n_missed else ""
    for result in inquiry.ask(question, "all", ("these_domains",), logs):
        ratio = Transformed(result.pivot, "ratio") if isinstance(result.pivot, Student) else None
        yield replace(
            result, margin=None, n_domains=len(inquiry.layout.groups), pivot=ratio, components=None, quantity="ratio",
            null=1.0, words=BUDGET, estimate=exp(result.estimate), note=note,
        )  # fmt: skip


def _multiplier(inquiry: Inquiry, contrast: Contrast, budgets: Array, values: Array) -> Result:
    """Described and not tested: of two equal arms about half the runs never reach the other's final score.

    Where one does not, the estimate is a bound, and there is no interval.
    """
    layout, direction = inquiry.layout, inquiry.plan.direction
    part, weights = select_part(layout, contrast.weights, False), layout.weigh(contrast.weights)
    cell, versus = (values[weights * sign > 0][0] for sign in (1, -1))
    keep = [~np.isnan(side).any(-1) for side in (cell, versus)]
    keep = [keep[0] & keep[1]] * 2 if layout.blocked else keep
    question = replace(contrast, family="efficiency", factor=f"data multiplier: {contrast.factor}")
    fields = {**behind(inquiry, part), "quantity": "ratio", "null": 1.0, "simultaneous": False}
    if part.refusal is not None:
        return inquiry.result(question, "these_domains", replace(part.refusal, interval=False), **fields)
    cell, versus = cell[keep[0]], versus[keep[1]]
    if min(len(cell), len(versus)) < 3:
        return inquiry.result(question, "these_domains", replace(TWO_RUNS, interval=False), **fields)
    found = data_multiplier(budgets, cell, budgets, versus, blocked=layout.blocked, direction=direction)
    n, missed = len(found.log), int((~found.reached).sum())
    se, df = _error(found.log, budgets, cell, versus, layout.blocked, direction)
    pivot = Transformed(Student(float(found.log.mean()), se, df), "ratio") if se > 0 and not missed else None
    note = f"{missed} of {n} runs never reached the other's final score: at least so much" if missed else ""
    return inquiry.result(
        question, "these_domains", **fields, pivot=pivot, level_ci=inquiry.level(part.n_seeds), verdict=DESCRIBED,
        estimate=exp(float(found.log.mean())), method="log budgets of runs, t", note=note,
    )  # fmt: skip


def _error(
    logs: Array, budgets: Array, cell: Array, versus: Array, blocked: bool, direction: Direction
) -> tuple[float, float]:
    """Standard error and degrees of freedom of a mean log multiplier.

    Unblocked, the other arm's mean final score varies too: by the jackknife over its runs, added as Welch would.
    """
    parts = [float(logs.var(ddof=1)) / len(logs)]
    if not blocked:
        rest = [np.delete(versus, run, 0) for run in range(len(versus))]
        means = [
            data_multiplier(budgets, cell, budgets, r, blocked=False, direction=direction).log.mean() for r in rest
        ]
        parts.append((len(rest) - 1) * float(np.var(means)))
    dfs = [len(side) - 1 for side in (cell, versus)]
    variance = sum(parts)
    spread = sum(part**2 / df for part, df in zip(parts, dfs, strict=False))
    return variance**0.5, variance**2 / spread if spread > 0 else 1.0
