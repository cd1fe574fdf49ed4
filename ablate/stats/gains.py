"""Gains: what a total gain is made of, how much of it a cheaper cell retains, and how often a run beats another."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ablate.analyses import Comparison, Family, Target
from ablate.errors import PlanError, RecordsError
from ablate.factors import Cell, Level
from ablate.stats.aggregates import interquartile_mean
from ablate.stats.contrasts import JOIN, Contrast, combine
from ablate.stats.crossed import Array, Crossed
from ablate.stats.improvement import Improvement, ProbabilityOfImprovement
from ablate.stats.inquiries import RUN_TARGETS, Inquiry
from ablate.stats.layouts import Layout
from ablate.stats.nested import Nested
from ablate.stats.parts import Part, select_part
from ablate.stats.pivots import Student, Transformed
from ablate.stats.ratios import Ratio
from ablate.stats.refusals import (
    FEW_DOMAINS,
    IDENTICAL_RUNS,
    MISSING_DOMAINS,
    NO_TOTAL,
    NOT_ESTIMABLE,
    ONE_RUN,
    SEPARATED,
    TWO_RUNS,
    Refusal,
)
from ablate.stats.resampling import Resampling, Scheme
from ablate.stats.results import Result
from ablate.stats.shares import find_shares

DESCRIBED = "described"  # the verdict on what has an interval and no test


def answer_shapley(inquiry: Inquiry) -> Iterator[Result]:
    """What each factor adds to the gain from every factor at its baseline to every one at its last level."""
    contrasts, refusal = _shapley(inquiry, "shapley")
    for contrast in contrasts:
        yield from inquiry.ask(contrast)
    if refusal is not None:
        yield from (inquiry.result(_total(inquiry, "shapley"), target, refusal) for target in RUN_TARGETS)


def answer_share(inquiry: Inquiry) -> Iterator[Result]:
    """The same as fractions of that gain, by Fieller's method, all intervals holding together."""
    contrasts, refusal = _shapley(inquiry, "share")
    total = _total(inquiry, "share")
    if refusal is not None:
        yield from (inquiry.result(total, target, refusal) for target in RUN_TARGETS)
        return
    for contrast in contrasts if len(contrasts) > 1 else ():  # one factor has all of it
        for target in RUN_TARGETS:
            made = _ratio(inquiry, contrast, total.weights, target)
            if isinstance(made, Result):
                yield replace(made, simultaneous=False)
                continue
            ratio, fields = made
            level = inquiry.level(fields["n_seeds"], len(contrasts))
            if not ratio.bounded(level):
                refused = NO_TOTAL.about("at the level of all shares together")
                yield inquiry.result(contrast, target, refused, **fields, simultaneous=False)
                continue
            yield inquiry.result(
                contrast,
                target,
                **fields,
                estimate=ratio.estimate,
                ends=ratio.interval(level),
                level_ci=level,
                family_size=len(contrasts),
                correction="bonferroni",
                simultaneous=False,
                verdict=DESCRIBED,
            )


def answer_retention(inquiry: Inquiry) -> Iterator[Result]:
    """How much of the gain of one cell over a base another retains, and whether that is at least the declared part."""
    for comparison in inquiry.comparisons:
        if comparison.base is not None:
            yield from _retention(inquiry, comparison, comparison.base)


def answer_improvement(inquiry: Inquiry) -> Iterator[Result]:
    """How often a run of a cell beats one of the baseline cell."""
    sign = 1 if inquiry.plan.direction == "maximize" else -1
    for contrast in inquiry.contrasts("simple"):
        question = replace(contrast, family="improvement")
        part = select_part(inquiry.layout, contrast.weights, False)
        for target in RUN_TARGETS:
            fields = {**behind(inquiry, part), "quantity": "probability", "null": 0.5}
            refusal = contrast.refusal or part.refusal
            few_runs = refusal is not None and refusal.code in (ONE_RUN.code, TWO_RUNS.code)
            found = _compare_arms(inquiry.layout, part, sign) if refusal is None or few_runs else None
            if found is None:
                yield inquiry.result(question, target, replace(refusal or MISSING_DOMAINS, interval=False), **fields)
                continue
            lacking = found.lacks(target)
            few = replace(part.refusal or TWO_RUNS, interval=False)
            reasons: dict[str, Refusal] = {"runs": few, "domains": FEW_DOMAINS}
            if inquiry.at_look(part.n_seeds):
                reasons["separated"] = SEPARATED
            pivot = found.pivot(target)
            yield inquiry.result(
                question,
                target,
                reasons.get(lacking),
                **fields,
                estimate=found.estimate,
                pivot=None if pivot is None else Transformed(pivot, "odds"),
                method="probability of improvement, placements of runs",
            )


def _compare_arms(layout: Layout, part: Part, sign: int) -> Improvement | None:
    """How often the cell above beats the one below, or None where their runs and domains leave that open."""
    arms = [sign * part.scores[part.weights * side > 0][0] for side in (1, -1)]
    arms = [arm[~np.isnan(arm).all(-1)] for arm in arms] if not layout.blocked else arms
    try:
        return ProbabilityOfImprovement(layout.blocked, layout.crossing == "nested")(*arms)
    except RecordsError:
        return None


def answer_iqm(inquiry: Inquiry) -> Iterator[Result]:
    """Differences of interquartile means, which ignore the best and the worst quarter of all runs × domains."""
    layout = inquiry.layout
    nested = layout.crossing == "nested"
    schemes: dict[Target, Scheme] = {
        "these_domains": "stratified" if nested else "runs",
        "new_domains": "domains" if nested else "pigeonhole",
    }
    for contrast in inquiry.contrasts("simple"):
        question = replace(contrast, family="iqm")
        part = select_part(layout, contrast.weights, False)
        for target in RUN_TARGETS:
            refusal = contrast.refusal or part.refusal
            if refusal is None and layout.crossing == "partial":
                refusal = MISSING_DOMAINS
            if refusal is None and target == "new_domains" and len(layout.groups) < 3:
                refusal = FEW_DOMAINS.about(f"there are {len(layout.groups)}")
            if refusal is not None:
                yield inquiry.result(question, target, replace(refusal, interval=False), **behind(inquiry, part))
                continue
            resample = Resampling(schemes[target], blocked=layout.blocked)
            try:
                found = resample(part.scores, inquiry.rng, interquartile_mean, part.weights)
            except RecordsError as error:
                refusal = MISSING_DOMAINS.about(error.what)
                yield inquiry.result(question, target, refusal, **behind(inquiry, part))
                continue
            pivot = Student(float(found.estimate), float(found.se), float(found.df))
            method = f"E6 resampling, {found.method}"
            lacking = None if pivot.se > 0 else IDENTICAL_RUNS
            yield inquiry.result(
                question, target, lacking, **behind(inquiry, part), estimate=pivot.estimate, method=method,
                pivot=pivot if pivot.se > 0 else None,
            )  # fmt: skip


def _shapley(inquiry: Inquiry, family: Family) -> tuple[list[Contrast], Refusal | None]:
    factors, cells = inquiry.factors, inquiry.layout.cells
    off = {f.key: f.baseline for f in factors}
    on = {f.key: f.alternatives[-1] for f in factors}
    try:
        weights = find_shares([dict(cell) for cell in cells], off, on)
    except PlanError as error:
        return [], NOT_ESTIMABLE.about(f"{error.what}: {error.where}")
    return [
        Contrast(
            family,
            f.key,
            str(f.alternatives[-1]),
            str(f.baseline),
            {cell: float(w) for cell, w in zip(cells, row, strict=True) if w},
        )
        for f, row in zip(factors, weights, strict=True)
    ], None


def _total(inquiry: Inquiry, family: Family) -> Contrast:
    factors, cells = inquiry.factors, inquiry.layout.cells
    ends = [Cell({f.key: f.alternatives[-1] for f in factors}), Cell({f.key: f.baseline for f in factors})]
    names = [JOIN.join(str(level) for level in end.values()) for end in ends]
    weights = {cell: 1.0 if cell == ends[0] else -1.0 for cell in cells if cell in ends}
    return Contrast(family, JOIN.join(f.key for f in factors), names[0], names[1], weights)


def _retention(inquiry: Inquiry, comparison: Comparison, base: Mapping[str, Level]) -> Iterator[Result]:
    cells = inquiry.layout.cells
    gains = [combine([(1, side), (-1, base)], inquiry.factors, cells) for side in (comparison.cell, comparison.versus)]
    level, versus = (str(Cell(dict(side))) for side in (comparison.cell, comparison.versus))
    refused = next((refusal for _, refusal in gains if refusal is not None), None)
    question = Contrast("retention", comparison.name, level, versus, gains[0][0], refusal=refused)
    for target in RUN_TARGETS:
        if refused is not None:
            yield inquiry.result(question, target, refused)
            continue
        made = _ratio(inquiry, question, gains[1][0], target, 1 if inquiry.plan.direction == "maximize" else -1)
        if isinstance(made, Result):
            yield made
            continue
        ratio, fields = made
        note = f"of the gain over {Cell(dict(base))}; at least {comparison.retain:g} was to be retained"
        yield inquiry.result(
            question, target, **fields, estimate=ratio.estimate, pivot=ratio, null=comparison.retain, note=note
        )


def _ratio(
    inquiry: Inquiry, numerator: Contrast, denominator: Mapping[Cell, float], target: Target, sign: int = 0
) -> tuple[Ratio, dict[str, Any]] | Result:
    """The ratio of two contrasts and what is behind it, or the refused result.

    Where the denominator has to be a gain, `sign` is that of gains.
    """
    layout, judge = inquiry.layout, inquiry.judge
    every = {**numerator.weights, **denominator}
    part = select_part(layout, every, judge.variances == "pooled")
    nested = layout.crossing == "nested" or judge.folds
    method = f"{judge.method('nested' if nested else 'crossed', layout)}, Fieller"
    fields = {**behind(inquiry, part), "quantity": "share", "method": method}
    refusal = part.refusal if part.refusal is not None or part.complete else MISSING_DOMAINS
    if refusal is None and target == "new_domains" and len(layout.groups) < 3:
        refusal = FEW_DOMAINS.about(f"there are {len(layout.groups)}")
    if refusal is not None:
        return inquiry.result(numerator, target, refusal, **fields)
    weights = [_rows(layout.weigh(c), part, layout.weigh(every)) for c in (numerator.weights, denominator)]
    if np.linalg.matrix_rank(np.stack(weights)) < 2:
        known = NOT_ESTIMABLE.about("both are multiples of one contrast, so that their ratio is known")
        return inquiry.result(numerator, target, known, **fields)
    engine = Nested(layout.blocked, judge.folds) if nested else Crossed(layout.blocked, judge.variances)
    ratio = Ratio(part.scores, weights[0], weights[1], engine, target)  # type: ignore[arg-type]
    gain = float((weights[1] @ np.nanmean(part.scores, axis=1)).mean())
    if gain * sign < 0 or not ratio.bounded(inquiry.level(part.n_seeds)):
        return inquiry.result(numerator, target, NO_TOTAL.about(f"it is {gain:.4g}"), **fields)
    return ratio, fields


def _rows(weights: Array, part: Part, every: Array) -> Array:
    """Weights over the cells of a layout as weights over the cells of its part."""
    if len(part.weights) == len(weights):
        return weights
    found = np.zeros(len(part.weights))
    found[part.weights != 0] = weights[every != 0]
    return found


def behind(inquiry: Inquiry, part: Part) -> dict[str, Any]:
    """What a result rests on."""
    return {
        "trials": part.trials,
        "n_runs": len(part.trials),
        "n_seeds": part.n_seeds,
        "n_domains": len(inquiry.layout.groups),
    }
