"""Expenses: what a gain costs at run time, in examples and in tuning trials."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ablate.errors import PlanError
from ablate.factors import Cell
from ablate.stats.budgets import INDEPENDENT, TuningBudget
from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Array, Crossed
from ablate.stats.gains import DESCRIBED, behind
from ablate.stats.inquiries import Inquiry
from ablate.stats.layouts import Layout
from ablate.stats.parts import select_part
from ablate.stats.refusals import DEPENDENT_TRIALS, MISSING_DOMAINS, NO_TRIALS, NOT_ESTIMABLE, TWO_RUNS, Refusal
from ablate.stats.results import Result
from ablate.stats.tradeoffs import Exact, compare_costs, share_front


def answer_cost(inquiry: Inquiry) -> Iterator[Result]:
    """Every declared cost as a ratio for every leading contrast, and how often each cell is on the Pareto front.

    Raises:
        PlanError: no cost is declared, or no run has one of that name.
    """
    costs = inquiry.plan.analysis.costs
    known = sorted(inquiry.source.whole["metric"].unique())
    for cost in costs or ("",):
        if cost not in known:
            what = f"no run has a cost {cost!r}" if cost else "no cost is declared"
            raise PlanError(what, where="analysis.costs", allowed=known, word=cost)
    inquiry = replace(inquiry, layout=inquiry.layout.measured)
    tables = {cost: _table(inquiry, cost) for cost in costs}
    for cost, table in tables.items():
        for contrast in inquiry.leading:
            yield _compare(inquiry, contrast, cost, table)
    yield from _front(inquiry, tables)


def _table(inquiry: Inquiry, cost: str) -> Array:
    """Cells × runs, as the layout has them: what a run costs, NaN where it is not known."""
    rows = inquiry.source.whole[inquiry.source.whole["metric"] == cost]
    values = np.full(len(inquiry.source.runs) + 1, np.nan)  # the last place is of owner -1: nobody
    values[rows["run"].to_numpy(int)] = rows["value"].to_numpy(float)
    return np.asarray(values[_runs(inquiry.layout)])


def _runs(layout: Layout) -> NDArray[np.int_]:
    """Cells × runs, the run at every place; of a nested layout the runs of all domains, one after the other."""
    if layout.crossing == "nested":
        return np.asarray(layout.owners.reshape(len(layout.cells), -1))
    return np.asarray(layout.owners.max(-1))


def _whole_blocks(table: Array, used: NDArray[np.bool_], blocked: bool) -> Array:
    """Blocked, the blocks that have a run in every compared cell."""
    return table[:, ~np.isnan(table[used]).any(0)] if blocked else table


def _compare(inquiry: Inquiry, contrast: Contrast, cost: str, table: Array) -> Result:
    layout, judge = inquiry.layout, inquiry.judge
    part, weights = select_part(layout, contrast.weights, False), layout.weigh(contrast.weights)
    blocked = layout.blocked and layout.crossing != "nested"
    costs = _whole_blocks(table, weights != 0, blocked)
    question = replace(contrast, family="cost", factor=f"{cost}: {contrast.factor}")
    fields = {**behind(inquiry, part), "quantity": "ratio", "null": 1.0, "words": ("costlier", "cheaper")}
    refusal = _unless_equal(part.refusal)
    fewest = int((~np.isnan(costs[weights != 0])).sum(1).min())
    if refusal is None and fewest < 3:
        what = f"a compared cell has {fewest or 'no'} run{'s' * (fewest != 1)} with {cost}"
        refusal = replace(TWO_RUNS, interval=False).about(what) if fewest == 2 else NOT_ESTIMABLE.about(what)
    if refusal is not None:
        return inquiry.result(question, "these_domains", refusal, **fields)
    found = compare_costs(costs[weights != 0], weights[weights != 0], Crossed(blocked))
    if isinstance(found, Exact):
        return inquiry.result(
            question, "these_domains", **fields, estimate=found.estimate, ends=found.interval(1.0), verdict=DESCRIBED,
            simultaneous=False, method="the same in every run", note="the same in every run: known, not tested",
        )  # fmt: skip
    return inquiry.result(
        question, "these_domains", **fields, estimate=found.estimate, pivot=found,
        method=f"{judge.method('crossed', layout)}, log scale",
    )  # fmt: skip


def _unless_equal(refusal: Refusal | None) -> Refusal | None:
    """What forbids to compare scores forbids to compare costs, but that scores are identical does not."""
    return None if refusal is None or refusal.code == "R05" else replace(refusal, interval=False)


def _front(inquiry: Inquiry, tables: dict[str, Array]) -> Iterator[Result]:
    """Which cells no other one beats on quality and every cost."""
    layout, plan = inquiry.layout, inquiry.plan
    part = select_part(layout, dict.fromkeys(layout.cells, 1.0), True)
    quality = layout.scores.mean(-1) if layout.crossing == "crossed" else None  # NaN where a run lacks a domain
    shares: Array | None = None
    refusal = _unless_equal(part.refusal)
    if refusal is None and quality is None:
        refusal = MISSING_DOMAINS
    if refusal is None and quality is not None:
        values = np.stack([quality, *tables.values()], -1)
        values = values[:, ~np.isnan(values).any((0, 2))] if layout.blocked else values
        if ((~np.isnan(values).any(-1)).sum(1) < 2).any():
            refusal = NOT_ESTIMABLE.about("a cell has fewer than two runs with every score and cost")
        else:
            larger = [plan.direction == "maximize", *[False] * len(tables)]
            shares = share_front(values, larger, inquiry.rng, blocked=layout.blocked)
    for place, cell in enumerate(layout.cells):
        question = Contrast("cost", "Pareto front", str(cell), f"{plan.metric}, {', '.join(tables)}", {cell: 1.0})
        share = np.nan if shares is None else float(shares[place])
        yield inquiry.result(
            question, "these_domains", refusal, **behind(inquiry, part), estimate=share, quantity="probability",
            simultaneous=False, verdict=DESCRIBED, method="E6 resampling of runs",
            note="how often no other cell beats it on everything, if runs are drawn anew",
        )  # fmt: skip


def answer_tuning(inquiry: Inquiry) -> Iterator[Result]:
    """The best score to expect of 1, 2, 4, ... tuning trials of every cell, and its distance to the baseline cell's.

    Where a study was tuned, its plan names the sampler and what was optimised. A trial that failed counts as the worst
    (`ablate.stats.searches`). With a pruner, which trials ran to their end depended on the others.

    Raises:
        PlanError: (frames) the sampler is not declared, or its trials are not independent.
    """
    analysis, tuning = inquiry.plan.analysis, inquiry.plan.tuning
    searched = {cell: _searched(inquiry, cell) for cell in inquiry.layout.cells}
    if tuning is not None and tuning.scope == "inherited":  # by all others of the cell that was tuned
        searched = {cell: values for cell, values in searched.items() if len(values)}
    most = min((len(values) for values in searched.values()), default=0)
    refusal = NO_TRIALS.about(f"the fewest are {most}") if most < 3 else None
    if tuning is not None and most and (tuning.sampler not in INDEPENDENT or tuning.pruner != "none"):
        refusal = DEPENDENT_TRIALS.about(f"sampler {tuning.sampler}, pruner {tuning.pruner}")
    if tuning is None:
        method = TuningBudget(str(analysis.sampler), inquiry.plan.direction, level=1 - analysis.alpha)
    elif refusal is None:
        method = TuningBudget(tuning.sampler, tuning.objectives[0].direction, level=1 - analysis.alpha)
    if refusal is not None:
        yield inquiry.result(Contrast("tuning", "best of n", "every cell", "", {}), "these_domains", refusal)
        return
    budgets = [2**i for i in range(most.bit_length())]
    first, *_ = searched
    for cell, values in searched.items():
        curves = [(method(values, budgets, inquiry.rng), "score", "")]
        if cell != first:
            apart = method.compare(values, searched[first], budgets, inquiry.rng)
            curves.append((apart, "difference", str(first)))
        for curve, quantity, beside in curves:
            for i, n in enumerate(budgets):
                question = Contrast("tuning", f"best of {n}", str(cell), beside, {cell: 1.0})
                ends = float(curve.low[i]), float(curve.high[i])
                spread = f"resamples reach from {ends[0]:.4g} to {ends[1]:.4g}: too few trials for an interval"
                yield inquiry.result(
                    question, "these_domains", estimate=float(curve.expected[i]), quantity=quantity,
                    ends=ends if curve.nominal[i] else None, level_ci=1 - analysis.alpha, simultaneous=False,
                    verdict=DESCRIBED, method="E6 resampling of tuning trials", note="" if curve.nominal[i] else spread,
                    n_runs=len(values),
                )  # fmt: skip


def _searched(inquiry: Inquiry, cell: Cell) -> Array:
    """The scores of a cell's tuning trials."""
    rows = inquiry.source.searched
    mine = [found.agrees({**inquiry.layout.levels, **cell}) for found in rows["cell"]]
    return np.asarray(rows["value"].to_numpy(float)[np.array(mine, bool)])
