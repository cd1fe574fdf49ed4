"""Domains: whether an effect differs between them, what it will be in a new one, and what a shift costs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ablate.errors import PlanError
from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Array, Components, Crossed
from ablate.stats.gains import DESCRIBED, behind
from ablate.stats.inquiries import Inquiry
from ablate.stats.layouts import Layout, Part, select_part
from ablate.stats.predictions import chance_above, predict
from ablate.stats.refusals import FEW_DOMAINS, MISSING_DOMAINS, Refusal
from ablate.stats.results import Result

ENOUGH = 5  # domain groups from which on their spread can be told


def answer_prediction(inquiry: Inquiry) -> Iterator[Result]:
    """For every leading contrast, the effect to expect in one new domain, and the chance that it is above zero."""
    alpha = inquiry.plan.analysis.alpha
    for contrast in inquiry.leading:
        question = replace(contrast, family="prediction")
        part, components, refusal = judge_closely(inquiry, contrast)
        fields = {**behind(inquiry, part), "simultaneous": False, "level_ci": 1 - alpha}
        if components is None:
            yield inquiry.result(question, "new_domains", refusal, **fields)
            continue
        prediction = predict(components)
        yield inquiry.result(
            question,
            "new_domains",
            **fields,
            estimate=part.estimate,
            components=components,
            pivot=prediction,
            method=f"{inquiry.judge.method('crossed', inquiry.layout)}, prediction",
            verdict=DESCRIBED,
            note=f"P(effect > 0 in a new domain) = {chance_above(prediction):.2f}",
        )


def answer_robustness(inquiry: Inquiry) -> Iterator[Result]:
    """How much every shifted domain group loses against the clean one within a run, and what changes that loss.

    The gap of a cell (clean less shifted) is described; whether a switch changes it is tested: the contrast of gaps is
    the interaction of factor and shift.

    Raises:
        PlanError: no clean group is declared, or there is none of that name.
    """
    layout, clean = inquiry.layout, inquiry.plan.analysis.clean
    if clean not in layout.groups:
        what = f"there is no domain group {clean!r}" if clean else "no clean domain group is declared"
        raise PlanError(what, where="analysis.clean", allowed=layout.groups, word=clean)
    base = layout.groups.index(clean)
    for place, group in enumerate(layout.groups):
        if place == base:
            continue
        gaps = _gaps(layout, base, place)
        for contrast in inquiry.leading:
            question = replace(contrast, family="robustness", level=f"{contrast.level} on {clean} less {group}")
            yield from inquiry.ask(question, group, ("these_domains",), gaps)
        for cell in layout.cells:
            question = Contrast("robustness", "gap", str(cell), f"{clean} less {group}", {cell: 1.0})
            for result in inquiry.ask(question, group, ("these_domains",), gaps):
                alone = {"simultaneous": False, "level_ci": 1 - inquiry.plan.analysis.alpha, "verdict": DESCRIBED}
                yield result if result.refusal else replace(result, **alone)  # type: ignore[arg-type]


def _gaps(layout: Layout, base: int, place: int) -> Layout:
    """The same runs, each scored by what it loses from one domain group to another."""
    difference = layout.scores[:, :, [base]] - layout.scores[:, :, [place]]
    owners = np.where(np.isnan(difference), -1, layout.owners[:, :, [base]])
    return replace(
        layout, groups=(layout.groups[place],), scores=difference, owners=owners, crossing="crossed", errors=None
    )


def judge_closely(inquiry: Inquiry, contrast: Contrast) -> tuple[Part, Components | None, Refusal | None]:
    """The variances of a contrast over runs and domains, where every run was measured on five domain groups or more."""
    layout, judge = inquiry.layout, inquiry.judge
    part = select_part(layout, contrast.weights, judge.variances == "pooled")
    refusal = part.refusal
    if refusal is None and (not part.complete or layout.crossing != "crossed"):
        refusal = MISSING_DOMAINS
    if refusal is None and len(layout.groups) < ENOUGH:
        refusal = FEW_DOMAINS.about(f"there are {len(layout.groups)}, and five are needed")
    if refusal is not None:
        return part, None, refusal
    return part, Crossed(layout.blocked, judge.variances)(part.scores, part.weights), None


def contrast_by_domain(part: Part) -> Array:
    """The contrast in every domain group."""
    return np.asarray(part.weights @ np.nanmean(part.scores, axis=1))
