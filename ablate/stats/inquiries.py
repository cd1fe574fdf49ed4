"""Inquiries: the scores of one stratum with the plan that judges them, from which every family is answered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.analyses import Comparison, Family, Target
from ablate.errors import PlanError
from ablate.factors import Cell, Factor
from ablate.plans import Plan
from ablate.stats.contrasts import Contrast, build_contrasts
from ablate.stats.corrections import confidence_level
from ablate.stats.crossed import Components
from ablate.stats.engines import REASONS, Finding, Judge, choose_engine, judge_summaries
from ablate.stats.eprocesses import Anytime, EProcess
from ablate.stats.equivalence import join
from ablate.stats.items import judge_models, single_runs
from ablate.stats.layouts import Layout
from ablate.stats.parts import Part, bound_worst_case, select_part
from ablate.stats.refusals import (
    FOLDS,
    IDENTICAL_RUNS,
    NO_MARGIN,
    NO_STOPPING_RULE,
    NOT_ESTIMABLE,
    ONE_RUN,
    TWO_RUNS,
    UNEQUAL_FAILURES,
    Refusal,
)
from ablate.stats.results import Result
from ablate.stats.sources import Source

RUN_TARGETS: tuple[Target, ...] = ("these_domains", "new_domains")
FAST = 0.5  # share of the most seeds around which an e-process is to claim soonest


@dataclass(frozen=True)
class Inquiry:
    """What the families' answers are made from.

    Attributes:
        source: all the data.
        layout: one stratum of it.
        judge: how contrasts of runs are judged.
        bounds: the lowest and highest possible value of the metric, or None.
        rng: seed of what is resampled.
    """

    source: Source
    layout: Layout
    judge: Judge
    bounds: tuple[float, float] | None = None
    rng: int = 0

    @property
    def plan(self) -> Plan:
        """The plan that judges."""
        return self.source.plan

    @cached_property
    def factors(self) -> list[Factor]:
        """The compared factors."""
        return [f for f in self.plan.factors if f.compared]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The declared comparisons that are about this stratum, without its levels."""
        return list(_comparisons_at(self.layout, self.plan))

    def contrasts(self, family: Family) -> list[Contrast]:
        """The contrasts of a family over the cells of this stratum."""
        return build_contrasts(family, self.factors, self.layout.cells, self.comparisons, self.plan.screens)

    @cached_property
    def leading(self) -> list[Contrast]:
        """What is told per domain, and asked further about: the main effects, or, where the design has none or is a
        ladder, its own family."""
        own = [f for f in self.plan.families if f in ("main", "simple", "leave_one_out", "step")]
        ladder = own[:1] if own[:1] in (["leave_one_out"], ["step"]) else []
        families: list[Family] = [*ladder, "main", *own, "simple"]
        for family in families:
            answered = [c for c in self.contrasts(family) if c.refusal is None]
            if answered:
                return answered
        return []

    def serve(self, contrast: Mapping[Cell, float], layout: Layout | None = None) -> Layout:
        """What of a layout serves a contrast: all, or, where cells may stop apart, the seeds that all of its have."""
        layout = layout or self.layout
        if self.plan.analysis.stopping == "fixed":
            return layout
        return share_seeds(layout, contrast, self.source.runs["block"].to_numpy(object))

    def select(self, contrast: Contrast, layout: Layout | None = None) -> tuple[str, Part]:
        """The engine for a contrast, and what of the layout serves it."""
        layout = self.serve(contrast.weights, layout)
        pooled, wanted = self.judge.variances == "pooled", self.plan.analysis.engine
        part = select_part(layout, contrast.weights, pooled, whole_blocks=False)
        engine = choose_engine(layout, part, wanted, self.judge.folds)
        whole = self.judge.test == "sign_flip" or self.plan.analysis.stopping == "e_process"
        if whole and (wanted, engine) == ("auto", "mixed"):
            engine = "crossed"  # of whole blocks: signs and e-values are theirs
        if layout.blocked and engine != "mixed":
            part = select_part(layout, contrast.weights, pooled)
        return engine, part

    def ask(
        self,
        contrast: Contrast,
        domain: str = "all",
        targets: Sequence[Target] = RUN_TARGETS,
        layout: Layout | None = None,
    ) -> Iterator[Result]:
        """A contrast under every target, judged by its engine and not yet corrected.

        Args:
            contrast: the question.
            domain: what the result calls the domains: `all`, or a group, whose layout is then taken.
            targets: about what.
            layout: other scores of the same cells and runs, such as differences between domains.
        """
        layout = layout or (self.layout if domain == "all" else self.layout.only(domain))
        margin = contrast.margin if contrast.margin is not None else self.plan.margin
        if contrast.refusal is not None:
            for target in targets:
                yield self._result(contrast, domain, target, contrast.refusal, margin)
            return
        engine, part = self.select(contrast, layout)
        findings: dict[Target, Finding] = {}
        if engine != "examples":
            findings = {target: self._find(engine, layout, part, contrast, target) for target in targets}
        if self.plan.analysis.stopping == "e_process":
            findings = {target: self._at_any_time(found, part, target) for target, found in findings.items()}
        if engine == "examples" or single_runs(self.source, layout, contrast):
            findings["new_items"] = self._compare_models(layout, part, contrast)
        for target, finding in findings.items():
            found = self._hold(contrast, finding, part, margin)
            yield Result(
                contrast,
                layout.stratum,
                domain,
                target,
                found.pivot.estimate if found.pivot is not None and found.components is None else part.estimate,
                found.components if found.pivot is not None and not self.judge.folds else None,  # more folds add little
                found.pivot,
                found.refusal,
                margin,
                found.method,
                join(part.note, self._worst_case(layout, contrast, found.refusal)),
                part.trials,
                len(part.trials),
                part.n_seeds,
                len(layout.groups),
                part.loading,
                self._spread(layout, part, contrast) if isinstance(found.components, Components) else {},
                part.unit if layout.crossing == "crossed" else nan,
                part.base,
            )

    def _find(self, engine: str, layout: Layout, part: Part, contrast: Contrast, target: Target) -> Finding:
        if self.source.summaries or (engine == "summaries" and not self.judge.folds):
            return judge_summaries(layout, part, layout.weigh(contrast.weights), target, self.source.summaries)
        return self.judge(engine, layout, part, target)

    def _spread(self, layout: Layout, part: Part, contrast: Contrast) -> dict[Cell, float]:
        """Per cell the variance of its mean over runs, for max-t; up to a factor if pooled, none within blocks."""
        pooled = self.judge.variances == "pooled"
        if self.plan.analysis.correction != "max_t" or (layout.blocked and not pooled):
            return {}
        means = part.scores[part.weights != 0].mean(-1)
        n = (~np.isnan(means)).sum(1)
        variances = 1 / n if pooled else np.nanvar(means, axis=1, ddof=1) / n
        cells = [cell for cell in layout.cells if contrast.weights.get(cell)]
        return dict(zip(cells, map(float, variances), strict=True))

    def _compare_models(self, layout: Layout, part: Part, contrast: Contrast) -> Finding:
        """What one run per cell can say; that it is only one, or scored like another, is no reason against it here."""
        if part.refusal is not None and part.refusal.code not in (ONE_RUN.code, TWO_RUNS.code, IDENTICAL_RUNS.code):
            return Finding(None, None, replace(part.refusal, interval=False), REASONS["examples"][0])
        if not single_runs(self.source, layout, contrast):
            about = "engine `examples` was asked for, which needs one run of every cell and its single examples"
            return Finding(None, None, NOT_ESTIMABLE.about(about), REASONS["examples"][0])
        return judge_models(self.source, layout, contrast)

    def _hold(self, contrast: Contrast, found: Finding, part: Part, margin: float | None) -> Finding:
        """The finding, unless the question itself or the time of looking forbids a test."""
        refusal: Refusal | None = None
        if contrast.family == "noninferiority" and margin is None:
            refusal = NO_MARGIN
        elif found.refusal is None and not self.at_look(part.n_seeds):
            refusal = self._between_looks(part.n_seeds)
        return found if refusal is None else Finding(None, None, refusal, found.method)

    def _at_any_time(self, found: Finding, part: Part, target: Target) -> Finding:
        """The finding with the t e-process of whole blocks in the place of Student's t, if that is what it is about."""
        if found.refusal is not None or found.pivot is None:
            return found
        if target != "these_domains" or not found.method.startswith(f"{REASONS['crossed'][0]}, blocked"):
            about = "an e-process judges contrasts within blocks, for these domains"
            return Finding(None, None, NO_STOPPING_RULE.about(about), found.method)
        values = np.einsum("cbd,c->bd", part.scores, part.weights).mean(-1)
        return replace(found, pivot=Anytime(values, declare_process(self.plan).g), method=f"{found.method}, e-process")

    def at_look(self, seeds: int) -> bool:
        """Whether results may be looked at with so many seeds."""
        analysis = self.plan.analysis
        return analysis.stopping == "e_process" or not analysis.looks or seeds in analysis.looks

    def _between_looks(self, seeds: int) -> Refusal:
        return NO_STOPPING_RULE.about(f"{seeds} seeds, looks at {', '.join(map(str, self.plan.analysis.looks))}")

    def level(self, seeds: int, tests: int = 1) -> float:
        """The confidence level of each of some intervals, such that they hold together, and over all looks."""
        return confidence_level(self.plan.analysis, seeds, tests)

    def _result(
        self, contrast: Contrast, domain: str, target: Target, refusal: Refusal | None, margin: float | None
    ) -> Result:
        engine = self.plan.analysis.engine
        method = REASONS["crossed" if engine == "auto" else engine][0]
        return Result(contrast, self.layout.stratum, domain, target, nan, None, None, refusal, margin, method)

    def result(self, contrast: Contrast, target: Target, refusal: Refusal | None = None, **fields: Any) -> Result:
        """The result of a question that is no contrast of means: what is known of it, or why it has no answer.

        Between looks it has none, nor under an e-process, nor of cells that stopped apart, nor from folds, unless
        it is a share, whose engine allows for them.
        """
        made = replace(self._result(contrast, "all", target, refusal, None), **fields)
        stopping = self.plan.analysis.stopping
        uneven = not self.layout.blocked and np.ptp(self.layout.complete) > 0
        if made.refusal is None and made.n_seeds and stopping == "e_process":
            refusal = NO_STOPPING_RULE.about("this family has no e-process")
        elif made.refusal is None and made.n_seeds and stopping == "sequential" and uneven:
            refusal = NO_STOPPING_RULE.about("its cells stopped at different numbers of seeds")
        elif made.refusal is None and made.n_seeds and not self.at_look(made.n_seeds):
            refusal = self._between_looks(made.n_seeds)
        elif made.refusal is None and self.judge.folds and made.quantity != "share":
            refusal = FOLDS.about("this family has no correction for them")
        else:
            return made
        return replace(made, refusal=refusal, components=None, pivot=None, ends=None, p=nan)

    def _worst_case(self, layout: Layout, contrast: Contrast, refusal: Refusal | None) -> str:
        """What failed runs might make of the estimate: where they forbid a test, or the plan left diverged ones out."""
        bounds, lost = self.bounds or self.source.bounds, layout.failed[layout.weigh(contrast.weights) != 0].any()
        refused = refusal is not None and refusal.code == UNEQUAL_FAILURES.code
        if bounds is None or not (refused or (lost and self.source.bounds is not None)):
            return ""
        low, high = bound_worst_case(layout, contrast.weights, bounds)
        return f"worst case of the failed runs: estimate between {low:.4g} and {high:.4g}"


def declare_process(plan: Plan) -> EProcess:
    """The e-process of a plan: it claims soonest around FAST of the most seeds that a cell may get."""
    return EProcess.at(max(FAST * len(plan.seeds), 2), plan.analysis.alpha)


def share_seeds(layout: Layout, contrast: Mapping[Cell, float], seeds: NDArray[np.object_]) -> Layout:
    """The layout with the runs of only those seeds that every cell of a contrast has, so that its n is that of a look.

    Args:
        layout: the stratum.
        contrast: cell -> weight.
        seeds: of every run of the source.
    """
    used = layout.weigh(contrast) != 0
    there = [{*seeds[owners[owners >= 0]]} for owners in layout.owners[used]]
    shared = set.intersection(*there) if there else set()
    common = np.array([seed in shared for seed in seeds], bool)
    keep = (layout.owners >= 0) & np.append(common, False)[layout.owners]
    keep[~used] = True
    columns = keep[used].any((0, 2)) if layout.blocked else slice(None)
    scores, owners = np.where(keep, layout.scores, nan), np.where(keep, layout.owners, -1)
    return replace(layout, scores=scores[:, columns], owners=owners[:, columns])


def _comparisons_at(layout: Layout, plan: Plan) -> Iterator[Comparison]:
    for c in plan.analysis.comparisons:
        given = [c.cell, c.versus, *([] if c.base is None else [c.base])]
        sides = [{k: v for k, v in side.items() if k in layout.levels} for side in given]
        if any(side != sides[0] for side in sides):
            raise PlanError(
                "the sides are in different strata",
                where=f"analysis.comparisons.{c.name}",
                remedy="strata are reported apart: make it an ordinary factor, or name the same level on both sides",
            )
        if all(layout.levels[k] == v for k, v in sides[0].items()):
            inner = [{k: v for k, v in side.items() if k not in layout.levels} for side in given]
            yield replace(c, cell=inner[0], versus=inner[1], base=inner[2] if len(inner) > 2 else None)
