"""Domains: whether an effect differs between them, what it will be in a new one, and what a shift costs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ablate.errors import PlanError
from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Array, Components, Crossed
from ablate.stats.examples import Cube, estimate_sampling
from ablate.stats.gains import DESCRIBED, behind
from ablate.stats.heterogeneity import MANY, judge_heterogeneity
from ablate.stats.inquiries import Inquiry
from ablate.stats.items import clusters_of, cube_of
from ablate.stats.layouts import Layout
from ablate.stats.parts import Part, select_part
from ablate.stats.predictions import chance_above, predict
from ablate.stats.refusals import FEW_DOMAINS, MISSING_DOMAINS, NO_TEST_ERROR, Refusal
from ablate.stats.results import Result

ENOUGH = 5  # domain groups from which on their spread can be told


def answer_prediction(inquiry: Inquiry) -> Iterator[Result]:
    """For every leading contrast, the effect to expect in one new domain, and the chance that it is above zero."""
    for contrast in inquiry.leading:
        question = replace(contrast, family="prediction")
        part, components, refusal = judge_closely(inquiry, contrast)
        fields = {**behind(inquiry, part), "simultaneous": False, "level_ci": inquiry.level(part.n_seeds)}
        if components is None:
            yield inquiry.result(question, "new_domains", refusal, estimate=part.estimate, **fields)
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


def answer_heterogeneity(inquiry: Inquiry) -> Iterator[Result]:
    """For every leading contrast, the standard deviation of its true effect between domains, and whether it has any."""
    for contrast in inquiry.leading:
        part, components, refusal = judge_closely(inquiry, contrast)
        items = None if components is None else _item_variance(inquiry, contrast)
        question = replace(contrast, family="heterogeneity")
        fields = {**behind(inquiry, part), "quantity": "sd", "words": ("varies", "varies")}
        if components is None or items is None:
            yield inquiry.result(question, "new_domains", refusal or NO_TEST_ERROR, **fields)
            continue
        engine = Crossed(inquiry.layout.blocked, inquiry.judge.variances)
        found = judge_heterogeneity(part.scores, part.weights, engine, items)
        ratio, df, df_error = found.statistic()
        yield inquiry.result(
            question,
            "new_domains",
            **fields,
            estimate=found.estimate,
            pivot=found,
            f_ratio=ratio,
            method=f"{inquiry.judge.method('crossed', inquiry.layout)}, variance over domains less runs and examples",
            note=f"F({df:.4g}, {'∞' if df_error >= MANY else f'{df_error:.4g}'})",
        )


def _item_variance(inquiry: Inquiry, contrast: Contrast) -> Array | None:
    """The contrast's variance over draws of test examples: per domain, or domains × domains where these share them.

    From scores of single examples where there are any; else from the scores' standard errors, as if cells shared no
    examples, which takes off too much rather than too little; None where nothing is known.
    """
    layout, scores = inquiry.layout, inquiry.source.scores
    weights = layout.weigh(contrast.weights)
    if "example" not in scores:
        return None if layout.errors is None else np.asarray(weights**2 @ np.nan_to_num(layout.errors) ** 2)
    used = weights != 0
    runs = layout.owners[used, :, 0]
    if layout.blocked:
        runs = runs[:, (runs >= 0).all(0)]
    width = int((runs >= 0).sum(1).min())
    runs = np.stack([row[row >= 0][:width] for row in runs])
    places = tuple((tuple(range(width)),) * len(runs))
    cubes, units = [], []
    for group in layout.groups:
        made = cube_of(inquiry.source, group, runs)
        if made is None:
            return None
        keys, values = made
        cubes.append(Cube(tuple(range(len(runs))), places, keys.astype(object), values))
        units.append(clusters_of(inquiry.source, keys))
    return estimate_sampling(cubes, dict(enumerate(weights[used])), units=units, blocked=layout.blocked).net


def answer_robustness(inquiry: Inquiry) -> Iterator[Result]:
    """How much every shifted domain group loses against the clean one within a run, and what changes that loss.

    The gap of a cell (clean less shifted) is described; whether a switch changes it is tested: the contrast of gaps is
    the interaction of factor and shift.

    Raises:
        PlanError: no clean group is declared, or there is none of that name.
    """
    layout, clean = inquiry.layout.measured, inquiry.plan.analysis.clean
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
            for result in inquiry.ask(question, group, ("these_domains",), gaps):
                yield replace(result, words=("worse", "better"))  # a larger gap is a larger loss
        for cell in layout.cells:
            question = Contrast("robustness", "gap", str(cell), f"{clean} less {group}", {cell: 1.0})
            for result in inquiry.ask(question, group, ("these_domains",), gaps):
                level = inquiry.level(result.n_seeds)
                yield replace(result, simultaneous=False, level_ci=level, verdict=DESCRIBED)


def _gaps(layout: Layout, base: int, place: int) -> Layout:
    """The same runs, each scored by what it loses from one domain group to another."""
    runs = layout.owners[:, :, [base]]
    difference = layout.scores[:, :, [base]] - layout.scores[:, :, [place]]
    difference = np.where(runs == layout.owners[:, :, [place]], difference, np.nan)  # within a run, or not at all
    owners = np.where(np.isnan(difference), -1, runs)
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
