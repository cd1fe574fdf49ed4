"""Verdicts: the questions of some families answered from a source, corrected for families and looks, and judged."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ablate.analyses import DECIDING, Family
from ablate.errors import PlanError
from ablate.stats import equivalence
from ablate.stats.corrections import correct
from ablate.stats.engines import Judge, Test
from ablate.stats.families import answer
from ablate.stats.inquiries import Inquiry
from ablate.stats.layouts import Layout, build_layouts
from ablate.stats.results import Result
from ablate.stats.sources import Source


def judge_questions(
    source: Source,
    families: Sequence[Family],
    test: Test = "t",
    bounds: tuple[float, float] | None = None,
    rng: int = 0,
) -> tuple[list[Layout], list[Result]]:
    """The layouts of a source, and every result of some families with its verdict.

    Where seeds are added until decided, the deciding families are asked at the earlier looks too, on the first seeds.

    Args:
        source: the data.
        families: in the order of the table.
        test: as in `attribute`, as is what follows.
        bounds: of the metric.
        rng: seed of what is resampled.

    Raises:
        PlanError: sign flips of runs that were measured on one domain each; pooled variances where cells may stop
            apart.
    """
    plan, analysis = source.plan, source.plan.analysis
    if analysis.stopping != "fixed" and analysis.variances == "pooled":
        what = "cells that have stopped would lend the others a variance of other seeds"
        raise PlanError(what, where="analysis.variances", remedy="declare `variances: welch`, or `stopping: fixed`")
    judge = Judge(analysis.variances, test, analysis.alpha, source.folds == "declared")
    layouts = [_in_order(source, layout) for layout in build_layouts(source)]
    if test == "sign_flip" and any(layout.crossing == "nested" for layout in layouts):
        remedy = "use the t test: runs that were measured on one domain each have no contrast of their own"
        raise PlanError("sign flips need runs on every domain", where="test", remedy=remedy)
    earlier = []
    if analysis.stopping == "sequential":
        most = max(int(layout.complete.max(initial=0)) for layout in layouts)
        deciding = [family for family in families if family in DECIDING]
        for seeds in [n for n in plan.looks if n < most]:
            past = _keep_first(source, seeds)
            earlier.append(_ask(past, build_layouts(past), deciding, judge, bounds, rng))
    results = correct(_ask(source, layouts, families, judge, bounds, rng), analysis, rng, earlier)
    return layouts, [equivalence.judge(result, analysis.alpha, plan.direction) for result in results]


def _ask(
    source: Source,
    layouts: Iterable[Layout],
    families: Sequence[Family],
    judge: Judge,
    bounds: tuple[float, float] | None,
    rng: int,
) -> list[Result]:
    """Every result with the p of its own, not yet corrected."""
    return [
        equivalence.compute_p(result, source.plan.direction)
        for layout in layouts
        for inquiry in [Inquiry(source, layout, judge, bounds, rng)]
        for family in families
        for result in answer(family, inquiry)
    ]


def _keep_first(source: Source, seeds: int) -> Source:
    """The source as it was when only so many of the plan's seeds had been run."""
    early = source.runs["block"].isin(source.plan.seeds[:seeds])
    return replace(source, runs=source.runs.assign(status=source.runs["status"].where(early, "missing")))


def _in_order(source: Source, layout: Layout) -> Layout:
    """Under an e-process, the layout with its blocks in the order in which the plan runs them."""
    if source.plan.analysis.stopping != "e_process" or not layout.blocked:
        return layout
    place = {seed: i for i, seed in enumerate(source.plan.seeds)}
    owners = layout.owners.max((0, 2), initial=-1)  # of any cell: a block is a seed
    seeds = [source.runs["block"].iloc[int(owner)] for owner in owners]
    order = np.argsort([place.get(seed, len(place)) for seed in seeds], kind="stable")
    return replace(layout, scores=layout.scores[:, order], owners=layout.owners[:, order])
