"""Attribution: from scores to judged effects, every declared contrast computed, corrected and judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from ablate.analyses import Analysis, Comparison, Family, Target, require_margin
from ablate.errors import PlanError, require_one_of
from ablate.factors import Factor
from ablate.plans import Plan
from ablate.records import Records
from ablate.stats import equivalence
from ablate.stats.contrasts import Contrast, build_contrasts
from ablate.stats.corrections import correct
from ablate.stats.crossed import Components, Crossed
from ablate.stats.effects import COLUMNS, Effects
from ablate.stats.footnotes import write_notes
from ablate.stats.layouts import Layout, Part, bound_worst_case, build_layouts, select_part
from ablate.stats.pivots import Pivot, SignFlips, Student
from ablate.stats.projections import suggest
from ablate.stats.refusals import COARSE_TEST, FEW_DOMAINS, IDENTICAL_RUNS, NO_MARGIN, UNEQUAL_FAILURES, Refusal
from ablate.stats.results import Result
from ablate.stats.sources import Columns, Source, make_comparison, read_frame, read_records

Test = Literal["t", "sign_flip"]


def attribute(
    data: Records | pd.DataFrame,
    *,
    factors: Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
    run: str | None = None,
    value: str | None = None,
    domain: str | None = None,
    shift: str | None = None,
    block: str | None = None,
    status: str | None = None,
    across: Sequence[str] | None = None,
    baseline: Mapping[str, Any] | None = None,
    metric: str | None = None,
    direction: Literal["maximize", "minimize"] | None = None,
    margin: float | None = None,
    target: Target | None = None,
    alpha: float | None = None,
    families: Sequence[Family] | None = None,
    correction: Literal["holm", "dunnett"] | None = None,
    variances: Literal["welch", "pooled"] | None = None,
    comparisons: Sequence[Comparison | Mapping[str, Any]] | None = None,
    test: Test = "t",
    bounds: tuple[float, float] | None = None,
) -> Effects:
    """Which switch caused how much: every declared contrast with interval, corrected test and verdict.

    The unit of replication is the training run, never its scores on domains. Every contrast is judged for two
    targets: new runs on these domains, and new domains of this kind as well.

    Args:
        data: records, whose plan declares everything; or a frame with a row per score.
        factors: (frame) the factor columns, or column -> levels; the first level is the baseline.
        run: (frame) the column that tells the training runs of one cell apart: a run id or a seed.
        value: (frame) the column of scores; also the name of the metric.
        domain: (frame) the column of domain groups, on all of which each run was measured.
        shift: (frame) the column of severities or variants within a domain group; averaged first.
        block: (frame) the column of what runs of different cells share (a seed, a split), if they do.
        status: (frame) the column that says `complete`; other runs failed, as do those with missing scores.
        across: (frame) factors at which the whole design is repeated.
        baseline: (frame) baseline levels other than the first.
        metric: the metric judged. This and the next eight given with records override the plan; the notes say so.
        direction: whether more of it is better.
        margin: the smallest difference that matters, in units of the metric.
        target: whose verdicts are primary, `these_domains` or `new_domains`; both are computed.
        alpha: family-wise error rate of every family.
        families: which families of contrasts; None takes what the design can answer.
        correction: `holm` or `dunnett`.
        variances: `welch` or `pooled`.
        comparisons: non-inferiority questions.
        test: `t`, or `sign_flip`: an exact permutation test of the per-block contrasts, for these domains only.
        bounds: the lowest and highest possible value of the metric, for the worst case where trials failed.

    Raises:
        PlanError: an option that does not exist or does not fit.
        RecordsError: the data lack a column, a level or the metric.
    """
    require_one_of(test, get_args(Test), "test")
    require_one_of(direction, (None, "maximize", "minimize"), "direction")
    require_margin(margin, "margin")
    declared = _drop_none(metric=metric, direction=direction, margin=margin)
    analysis = _drop_none(target=target, alpha=alpha, families=families, correction=correction, variances=variances)
    if comparisons is not None:
        analysis["comparisons"] = tuple(make_comparison(c) for c in comparisons)
    if families is not None:
        analysis["families"] = tuple(families)
    columns = _drop_none(
        factors=factors, run=run, value=value, domain=domain, shift=shift,
        block=block, status=status, across=across, baseline=baseline,
    )  # fmt: skip
    if isinstance(data, Records):
        if columns:
            raise PlanError(
                f"{', '.join(columns)}: records name their own columns",
                where="attribute",
                remedy="leave these out, or give the frame: `attribute(records.complete, ...)`",
            )
        source = _override(read_records(data, metric or data.plan.metric), declared, analysis)
    else:
        for name in ("factors", "run", "value"):
            if name not in columns:
                raise PlanError(f"`{name}` is not named", where="attribute", allowed=map(str, data))
        declared = {"metric": value, "direction": "maximize", **declared}
        source = read_frame(data, Columns(**columns), analysis=Analysis(**analysis), **declared)
    return judge_source(source, test, bounds)


def judge_source(source: Source, test: Test = "t", bounds: tuple[float, float] | None = None) -> Effects:
    """The effects of a source: all contrasts, corrected within their families, judged, with what would decide them."""
    plan = source.plan
    if test == "sign_flip" and plan.blocking != "seed":
        raise PlanError(
            "sign flips need blocks", where="test", remedy="name the block that cells share, or use the t test"
        )
    if test == "sign_flip" and plan.analysis.correction == "dunnett":
        raise PlanError("Dunnett's correction is for t", where="test", remedy="use `correction: holm`")
    layouts = list(build_layouts(source))
    judge = _Judge(plan, test, bounds)
    results = [result for layout in layouts for result in judge(layout)]
    results = [equivalence.compute_p(result, plan.direction) for result in results]
    results = correct(results, plan.analysis.alpha, plan.analysis.correction)
    results = [equivalence.judge(result, plan.analysis.alpha, plan.direction) for result in results]
    results = [replace(r, note=equivalence.join(r.note, suggest(r, plan.direction))) for r in results]
    rows = [result.row(plan.metric, equivalence.statistic(result, plan.direction)) for result in results]
    return Effects(pd.DataFrame(rows, columns=list(COLUMNS)), write_notes(source, layouts, results, test))


@dataclass(frozen=True)
class _Judge:
    """Engine E1 on every contrast of a layout."""

    plan: Plan
    test: Test
    bounds: tuple[float, float] | None

    def __call__(self, layout: Layout) -> Iterator[Result]:
        factors = [f for f in self.plan.factors if f.role == "factor"]
        comparisons = _comparisons_at(layout, self.plan)
        for family in self.plan.families:
            if family == "domain":
                continue
            for contrast in build_contrasts(family, factors, layout.cells, comparisons):
                yield from self.judge(layout, contrast, "all", get_args(Target))
        if "domain" in self.plan.families and len(layout.groups) > 1:
            for contrast in _leading(self.plan, factors, layout):
                for group in layout.groups:
                    yield from self.judge(layout.only(group), contrast, group, ("these_domains",))

    def judge(self, layout: Layout, contrast: Contrast, domain: str, targets: Sequence[Target]) -> Iterator[Result]:
        margin = contrast.margin if contrast.margin is not None else self.plan.margin
        if contrast.refusal is not None:
            for target in targets:
                yield Result(
                    contrast, layout.stratum, domain, target, nan, None, None, contrast.refusal, margin, "E1 crossed"
                )
            return
        part = select_part(layout, contrast.weights, self.plan.analysis.variances == "pooled")
        engine = Crossed(layout.blocked, self.plan.analysis.variances)
        judged = part.refusal is None or part.refusal.interval
        components = engine(part.scores, part.weights) if judged else None
        for target in targets:
            refusal = self._refuse(contrast, part, components, target, margin)
            pivot = self._pivot(part, components, target) if refusal is None or refusal.interval else None
            if refusal is None and isinstance(pivot, SignFlips) and pivot.smallest_p > self.plan.analysis.alpha:
                refusal, pivot = COARSE_TEST.about(f"{pivot.smallest_p:.3g} with {part.n_seeds} blocks"), None
            yield Result(
                contrast,
                layout.stratum,
                domain,
                target,
                part.estimate,
                components if pivot is not None else None,
                pivot,
                refusal,
                margin,
                self._method(layout, components, pivot, target),
                equivalence.join(part.note, self._worst_case(layout, contrast, refusal)),
                part.trials,
                len(part.trials),
                part.n_seeds,
                len(layout.groups),
                part.loading,
            )

    def _refuse(
        self, contrast: Contrast, part: Part, components: Components | None, target: Target, margin: float | None
    ) -> Refusal | None:
        if contrast.family == "noninferiority" and margin is None:
            return NO_MARGIN
        if components is None:
            return part.refusal
        if float(components.run) <= (1e-12 * float(np.nanmax(np.abs(part.scores)))) ** 2:
            return IDENTICAL_RUNS.about("the contrast is the same for every seed")
        if target == "new_domains" and components.domains < 3:
            return FEW_DOMAINS.about(f"there {'is one' if components.domains == 1 else 'are two'}")
        return part.refusal

    def _pivot(self, part: Part, components: Components | None, target: Target) -> Pivot | None:
        if components is None:
            return None
        if self.test == "sign_flip" and target == "these_domains":
            return SignFlips(np.einsum("cbd,c->bd", part.scores, part.weights).mean(-1))
        variance, df = components.variance(target)
        return Student(float(components.estimate), float(variance) ** 0.5, float(df))

    def _method(self, layout: Layout, components: Components | None, pivot: Pivot | None, target: Target) -> str:
        pooled = self.plan.analysis.variances == "pooled"
        if layout.blocked:
            form = ["blocked by seed", *(["pooled"] if pooled else [])]
        else:
            form = ["pooled" if pooled else "Welch"]
        if isinstance(pivot, SignFlips):
            form.append("sign flips")
        elif target == "new_domains" and pivot is not None and components is not None and components.bounded:
            form.append("a variance component at zero, largest variance taken (R14)")
        return ", ".join(["E1 crossed", *form])

    def _worst_case(self, layout: Layout, contrast: Contrast, refusal: Refusal | None) -> str:
        if self.bounds is None or refusal is None or refusal.code != UNEQUAL_FAILURES.code:
            return ""
        low, high = bound_worst_case(layout, contrast.weights, self.bounds)
        return f"worst case of the failed runs: estimate between {low:.4g} and {high:.4g}"


def _leading(plan: Plan, factors: Sequence[Factor], layout: Layout) -> list[Contrast]:
    """What is told per domain: the main effects, or, where the design has none or is a ladder, its own family."""
    own = [f for f in plan.families if f not in ("interaction", "noninferiority", "domain")]
    ladder = own[:1] if own[:1] in (["leave_one_out"], ["step"]) else []
    families: list[Family] = [*ladder, "main", *own, "simple"]
    for family in families:
        answered = [c for c in build_contrasts(family, factors, layout.cells) if c.refusal is None]
        if answered:
            return answered
    return []


def _comparisons_at(layout: Layout, plan: Plan) -> list[Comparison]:
    """The declared comparisons that are about this stratum, without its levels."""
    found = []
    for c in plan.analysis.comparisons:
        sides = [{k: v for k, v in side.items() if k in layout.levels} for side in (c.cell, c.versus)]
        if sides[0] != sides[1]:
            raise PlanError(
                "the sides are in different strata",
                where=f"analysis.comparisons.{c.name}",
                remedy="strata are reported apart: make it an ordinary factor, or name the same level on both sides",
            )
        if all(layout.levels[k] == v for k, v in sides[0].items()):
            inner = [{k: v for k, v in side.items() if k not in layout.levels} for side in (c.cell, c.versus)]
            found.append(replace(c, cell=inner[0], versus=inner[1]))
    return found


def _override(source: Source, declared: Mapping[str, Any], analysis: Mapping[str, Any]) -> Source:
    plan = source.plan
    changed = [f"{k} {v!r}" for k, v in declared.items() if getattr(plan, k) != v]
    changed += [f"{k} {v!r}" for k, v in analysis.items() if getattr(plan.analysis, k) != v]
    note = (f"Not as the plan declares: {', '.join(changed)}.",) if changed else ()
    new = replace(plan, **declared, analysis=replace(plan.analysis, **analysis))
    return replace(source, plan=new, notes=(*source.notes, *note))


def _drop_none(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
