"""Families: every family of questions and what answers it, so that one can be added or taken away in one place."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np

from ablate.analyses import Family
from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Crossed
from ablate.stats.domains import answer_heterogeneity, answer_prediction, answer_robustness
from ablate.stats.engines import REASONS
from ablate.stats.expenses import answer_cost, answer_tuning
from ablate.stats.gains import answer_improvement, answer_iqm, answer_retention, answer_shapley, answer_share
from ablate.stats.inquiries import RUN_TARGETS, Inquiry
from ablate.stats.learning import answer_efficiency
from ablate.stats.omnibus import Omnibus, judge_jointly, judge_jointly_on_new_domains
from ablate.stats.parts import select_part
from ablate.stats.refusals import FEW_DOMAINS, MISSING_DOMAINS, Refusal
from ablate.stats.results import Result
from ablate.stats.selections import compare_with_best


def answer(family: Family, inquiry: Inquiry) -> Iterator[Result]:
    """The results of a family in one stratum, not yet corrected."""
    yield from ANSWERS[family](inquiry)


def _contrasts(family: Family) -> Callable[[Inquiry], Iterator[Result]]:
    """What answers a family that is made of contrasts of cells."""

    def ask(inquiry: Inquiry) -> Iterator[Result]:
        for contrast in inquiry.contrasts(family):
            yield from inquiry.ask(contrast)

    return ask


def _domain(inquiry: Inquiry) -> Iterator[Result]:
    """The leading contrasts in each domain group alone."""
    groups = inquiry.layout.groups
    for contrast in inquiry.leading if len(groups) > 1 else ():
        for group in groups:
            yield from inquiry.ask(replace(contrast, family="domain"), group, ("these_domains",))


def _omnibus(inquiry: Inquiry) -> Iterator[Result]:
    """For every factor of three or more levels, whether any of its main effects differs from zero."""
    for factor in inquiry.factors:
        contrasts = [c for c in inquiry.contrasts("main") if c.factor == factor.key]
        if len(contrasts) < 2:
            continue
        refused = next((c.refusal for c in contrasts if c.refusal is not None), None)
        levels = f"any of {len(contrasts)} levels"
        weights = {cell: 1.0 for c in contrasts for cell in c.weights}
        question = Contrast("omnibus", factor.key, levels, contrasts[0].versus, weights, refusal=refused)
        for target in RUN_TARGETS:
            if refused is not None:
                yield inquiry.result(question, target, refused)
                continue
            yield _judge_jointly(inquiry, question, contrasts, target == "new_domains")


def _judge_jointly(inquiry: Inquiry, question: Contrast, contrasts: list[Contrast], new_domains: bool) -> Result:
    layout, judge = inquiry.serve(question.weights), inquiry.judge
    part = select_part(layout, question.weights, judge.variances == "pooled", whole_blocks=False)
    matrix = np.stack([layout.weigh(c.weights) for c in contrasts])
    refusal = part.refusal
    found: Omnibus | Refusal | None = None
    if refusal is None:
        if layout.crossing == "nested":
            method, found = judge.method("nested", layout), MISSING_DOMAINS
        elif new_domains:
            method = replace(judge, variances="pooled").method("mixed", layout, "Kenward-Roger F")
            few = FEW_DOMAINS.about(f"there are {len(layout.groups)}")
            found = (
                few
                if len(layout.groups) < 3
                else judge_jointly_on_new_domains(layout.scores, matrix, blocked=layout.blocked)
            )
        elif not part.complete or layout.crossing == "partial":
            method, found = judge.method("crossed", layout), MISSING_DOMAINS
        else:
            method = judge.method("crossed", layout, "Welch-James F" if judge.variances == "welch" else "F")
            keep = ~np.isnan(part.scores).any((0, 2)) if layout.blocked else slice(None)
            rows = layout.weigh(question.weights) != 0 if judge.variances == "welch" else layout.complete > 0
            found = judge_jointly(
                layout.scores[rows][:, keep], matrix[:, rows], blocked=layout.blocked, variances=judge.variances
            )
    if isinstance(found, Refusal):
        refusal, found = found, None
    return inquiry.result(
        question,
        "new_domains" if new_domains else "these_domains",
        refusal,
        estimate=nan if found is None else found.statistic,
        quantity="F",
        method=REASONS["crossed"][0] if part.refusal is not None else method,
        p=nan if found is None else found.p_value,
        f_ratio=nan if found is None else found.statistic,
        words=("differs", "differs"),
        note="" if found is None else f"F({found.df:g}, {found.df_error:.4g})",
        trials=part.trials,
        n_runs=len(part.trials),
        n_seeds=part.n_seeds,
        n_domains=len(layout.groups),
    )


def _best(inquiry: Inquiry) -> Iterator[Result]:
    """How far every cell is from the best of the others, and which may be the best."""
    layout, plan = inquiry.layout, inquiry.plan
    for target in RUN_TARGETS if len(layout.cells) > 1 else ():
        questions = [Contrast("best", "cell", str(cell), "the best other", {cell: 1.0}) for cell in layout.cells]
        everything = dict(zip(layout.cells, [1.0, *[-1.0] * (len(layout.cells) - 1)], strict=True))
        part = select_part(layout, everything, True)
        refusal = part.refusal
        if refusal is None and (not part.complete or layout.crossing == "nested"):
            refusal = MISSING_DOMAINS
        if refusal is None and target == "new_domains" and len(layout.groups) < 3:
            refusal = FEW_DOMAINS.about(f"there are {len(layout.groups)}")
        shared: dict[str, Any] = {
            "trials": part.trials, "n_runs": len(part.trials), "n_seeds": part.n_seeds, "n_domains": len(layout.groups),
            "simultaneous": False, "family_size": len(questions), "correction": "mcb",
            "level_ci": inquiry.level(part.n_seeds),
        }  # fmt: skip
        if refusal is not None:
            yield from (inquiry.result(question, target, refusal, **shared) for question in questions)
            continue
        sign = 1 if plan.direction == "maximize" else -1
        engine = Crossed(layout.blocked, inquiry.judge.variances)
        found = compare_with_best(
            part.scores, engine, target, level=shared["level_ci"], direction="max" if sign > 0 else "min"
        )
        for i, question in enumerate(questions):
            ends = sorted((sign * float(found.low[i]), sign * float(found.high[i])))
            verdict = "best" if found.is_best[i] else "may be best" if found.may_be_best[i] else "no better"
            yield inquiry.result(
                question,
                target,
                estimate=sign * float(found.estimate[i]),
                ends=tuple(ends),
                verdict=verdict,
                method=inquiry.judge.method("crossed", layout, f"Hsu's comparisons with the best, {found.method}"),
                note="chosen for being best, so its estimate is too good" if found.estimate[i] > 0 else "",
                **shared,
            )


ANSWERS: dict[Family, Callable[[Inquiry], Iterator[Result]]] = {
    "omnibus": _omnibus,
    "main": _contrasts("main"),
    "simple": _contrasts("simple"),
    "pairs": _contrasts("pairs"),
    "interaction": _contrasts("interaction"),
    "leave_one_out": _contrasts("leave_one_out"),
    "step": _contrasts("step"),
    "noninferiority": _contrasts("noninferiority"),
    "retention": answer_retention,
    "shapley": answer_shapley,
    "share": answer_share,
    "improvement": answer_improvement,
    "iqm": answer_iqm,
    "robustness": answer_robustness,
    "efficiency": answer_efficiency,
    "heterogeneity": answer_heterogeneity,
    "prediction": answer_prediction,
    "best": _best,
    "tuning": answer_tuning,
    "cost": answer_cost,
    "domain": _domain,
}
