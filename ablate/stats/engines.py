"""Engines: which way of judging a contrast its data ask for, and why."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ablate.analyses import Engine, Target
from ablate.stats.crossed import Array, Components, Crossed
from ablate.stats.layouts import Layout
from ablate.stats.nested import Nested, NestedComponents
from ablate.stats.parts import Part
from ablate.stats.pivots import Pivot, SignFlips, Student
from ablate.stats.refusals import (
    COARSE_TEST,
    FEW_DOMAINS,
    FOLDS,
    IDENTICAL_RUNS,
    MISSING_DOMAINS,
    NOT_ESTIMABLE,
    ONE_RUN,
    PSEUDO_REPLICATES,
    RUNS_SHARED,
    TWO_RUNS,
    ZERO_COMPONENT,
    Refusal,
)
from ablate.stats.summaries import pool

Test = Literal["t", "sign_flip"]
Variances = Literal["welch", "pooled"]

# engine -> how tables call it, and why it is chosen
REASONS: dict[str, tuple[str, str]] = {
    "crossed": ("E1 crossed", "every run was measured on every domain group, so that runs and domains cross"),
    "nested": ("E2 nested", "every run was trained and measured on one domain group alone"),
    "mixed": ("E3 mixed", "some runs lack a domain group or a block, which REML with Kenward-Roger allows for"),
    "summaries": ("E4 summaries", "there are no runs, only a score and its standard error for each domain"),
    "examples": (
        "E5 examples",
        "one trained model per cell with per-example scores carries claims about examples only",
    ),
}


@dataclass(frozen=True)
class Finding:
    """What an engine says of one contrast and target.

    Attributes:
        pivot: its tests and intervals, or None.
        components: the variances behind it, where the engine has them.
        refusal: why there is no test, or None.
        method: engine and form.
    """

    pivot: Pivot | None
    components: Components | NestedComponents | None
    refusal: Refusal | None
    method: str


def choose_engine(layout: Layout, part: Part, wanted: Engine, folds: bool = False) -> str:
    """The engine for a contrast: the one that is wanted, else what the design asks for; folds are nested."""
    if wanted != "auto":
        return wanted
    if layout.crossing == "nested" or folds:
        return "nested"
    return "crossed" if part.complete else "mixed"


@dataclass(frozen=True)
class Judge:
    """How contrasts of runs are judged.

    Attributes:
        variances: `welch` or `pooled`.
        test: `t`, or `sign_flip` of blocks for these domains.
        alpha: the level, for permutation tests that cannot reach it.
        folds: whether the runs are cross-validation folds.
    """

    variances: Variances = "welch"
    test: Test = "t"
    alpha: float = 0.05
    folds: bool = False

    def __call__(self, engine: str, layout: Layout, part: Part, target: Target) -> Finding:
        """One contrast under one target. What the part itself refuses is not computed, unless an interval may stand.

        Where every run has a domain of its own, domains replicate the whole contrast: one or two runs of a cell in
        each are then no reason against new domains.
        """
        refusal = part.refusal
        if (engine, target, layout.crossing) == ("nested", "new_domains", "nested") and part.n_seeds and not self.folds:
            refusal = None if refusal is not None and refusal.code in (ONE_RUN.code, TWO_RUNS.code) else refusal
        if refusal is not None and not refusal.interval:
            return Finding(None, None, refusal, self.method(engine, layout))
        if self.folds and engine != "nested":
            asked = FOLDS.about(f"engine `{engine}` was asked for; leave it at `auto`")
            return Finding(None, None, asked, REASONS[engine][0])
        found = {"crossed": self._crossed, "nested": self._nested, "mixed": self._mixed}[engine](layout, part, target)
        if found.refusal is None and refusal is not None:
            return Finding(found.pivot, found.components, refusal, found.method)
        return found

    def method(self, engine: str, layout: Layout, *more: str) -> str:
        """Engine and form, as tables give them."""
        form, pooled = [REASONS[engine][0]], self.variances == "pooled" and engine != "nested"
        if layout.blocked:
            form.append("blocked by fold, corrected for shared training data" if self.folds else "blocked by seed")
            form += ["pooled"] * pooled
        else:
            form.append("pooled" if pooled else "Welch")
        return ", ".join([*form, *more])

    def _crossed(self, layout: Layout, part: Part, target: Target) -> Finding:
        method = self.method("crossed", layout)
        if not part.complete or layout.crossing == "nested":
            return Finding(None, None, MISSING_DOMAINS.about("engine `crossed` was asked for"), method)
        components = Crossed(layout.blocked, self.variances)(part.scores, part.weights)
        refusal = _refuse(components, part, target)
        if refusal is not None:
            return Finding(None, None, refusal, method)
        if self.test == "sign_flip" and target == "these_domains":
            flips = SignFlips(np.einsum("cbd,c->bd", part.scores, part.weights).mean(-1))
            method = self.method("crossed", layout, "sign flips")
            if flips.smallest_p > self.alpha:
                return Finding(
                    None, None, COARSE_TEST.about(f"{flips.smallest_p:.3g} with {part.n_seeds} blocks"), method
                )
            return Finding(flips, components, None, method)
        bounded = target == "new_domains" and bool(components.bounded)
        return Finding(_student(components, target), components, None, self.method("crossed", layout, *_flag(bounded)))

    def _nested(self, layout: Layout, part: Part, target: Target) -> Finding:
        method = self.method("nested", layout)
        if layout.crossing != "nested" and len(layout.groups) > 1:
            about = "engine `nested` was asked for, and would take the scores of one run for independent ones"
            return Finding(None, None, PSEUDO_REPLICATES.about(about), method)
        if part.n_seeds == 1:
            return _over_domains(part, self.method("nested", layout, "t over domains"))
        components = Nested(layout.blocked, self.folds)(part.scores, part.weights)
        refusal = _refuse(components, part, target)
        if refusal is not None:
            return Finding(None, None, refusal, method)
        flag = _flag(target == "new_domains" and bool(components.bounded))
        return Finding(_student(components, target), components, None, self.method("nested", layout, *flag))

    def _mixed(self, layout: Layout, part: Part, target: Target) -> Finding:
        from ablate.stats.unbalanced import Unbalanced

        method = self.method("mixed", layout, "Kenward-Roger")
        n_domains = len(layout.groups)
        if target == "new_domains" and n_domains < 3:
            return Finding(None, None, _few(n_domains), method)
        lacking = _lacking(layout, part)
        if lacking and target == "these_domains":
            return Finding(None, None, NOT_ESTIMABLE.about(lacking), method)
        if layout.crossing == "nested":
            about = "engine `mixed` was asked for, and every run has one score"
            return Finding(None, None, NOT_ESTIMABLE.about(about), method)
        try:
            found = Unbalanced(layout.blocked, self.variances)(part.scores, part.weights, target)
        except ValueError as error:
            return Finding(None, None, NOT_ESTIMABLE.about(str(error)), method)
        if found.se <= 1e-12 * float(np.nanmax(np.abs(part.scores))):
            return Finding(None, None, IDENTICAL_RUNS.about("the contrast is the same for every seed"), method)
        pivot = Student(found.estimate, found.se, found.df)
        return Finding(pivot, None, None, self.method("mixed", layout, "Kenward-Roger", *_flag(found.bounded)))


def _over_domains(part: Part, method: str) -> Finding:
    """Student's t of the contrasts of domains, where a cell has one run in some: nothing is known of runs alone."""
    used = part.weights != 0
    contrasts = part.weights[used] @ np.nanmean(part.scores[used], axis=1)
    n = len(contrasts)
    if n < 3:
        return Finding(None, None, _few(n), method)
    se = float(contrasts.std(ddof=1)) / n**0.5
    if se <= 1e-12 * float(np.nanmax(np.abs(part.scores))):
        return Finding(None, None, IDENTICAL_RUNS.about("the contrast is the same in every domain"), method)
    return Finding(Student(float(contrasts.mean()), se, n - 1.0), None, None, method)


def _lacking(layout: Layout, part: Part) -> str:
    """The domain groups on which a cell of the contrast has no score at all."""
    gaps = np.isnan(part.scores[part.weights != 0]).all(1).any(0)
    named = [group for group, gap in zip(layout.groups, gaps, strict=True) if gap]
    return f"a compared cell has no score on {', '.join(named)}" if named else ""


def judge_summaries(layout: Layout, part: Part, weights: Array, target: Target, summaries: bool = True) -> Finding:
    """Engine E4: per domain a contrast and its standard error, pooled. Standard errors are taken as known.

    Args:
        layout: the stratum, every cell with a score or with runs on every domain group.
        part: what of it serves the contrast.
        weights: a weight per cell of the stratum.
        target: `these_domains`: the plain mean; `new_domains`: REML with Hartung and Knapp's guarded test.
        summaries: whether the scores are summaries, whose own standard errors count; if not, each domain must have
            runs of its own, and those of their means do.
    """
    refusal = part.refusal
    if refusal is not None and not (summaries and refusal.code == ONE_RUN.code):
        return Finding(None, None, refusal, "E4 summaries")
    if not summaries and layout.crossing != "nested" and len(layout.groups) > 1:
        return Finding(None, None, RUNS_SHARED, "E4 summaries")
    used = part.weights != 0
    if np.isnan(part.scores[used]).all(1).any():
        return Finding(None, None, NOT_ESTIMABLE.about("a cell has no score on some domain"), "E4 summaries")
    means = np.nanmean(part.scores[used], axis=1)
    estimates = part.weights[used] @ means
    if summaries:
        assert layout.errors is not None  # `read_frame` sees to it
        errors = layout.errors[weights != 0]
        squares, df = part.weights[used] ** 2 @ errors**2, np.inf
    else:
        alone = [
            Nested(layout.blocked)(part.scores[used][:, :, [d]], part.weights[used]) for d in range(means.shape[1])
        ]
        squares = np.array([found.run for found in alone])
        df = float(squares.sum() ** 2 / sum(found.run**2 / found.df_run for found in alone))
    if target == "these_domains":
        pivot = Student(float(estimates.mean()), float(np.sqrt(squares.sum()) / len(estimates)), df)
        return Finding(pivot, None, None, f"E4 summaries{', standard errors taken as known' * summaries}")
    method = "E4 summaries, REML, Hartung-Knapp with guard"
    if len(estimates) < 3:
        return Finding(None, None, _few(len(estimates)), method)
    pooled = pool(estimates, np.sqrt(squares))
    return Finding(Student(pooled.estimate, pooled.se, pooled.df), None, None, method)


def _student(components: Components | NestedComponents, target: Target) -> Student:
    variance, df = components.variance(target)
    return Student(float(components.estimate), float(variance) ** 0.5, float(df))


def _refuse(components: Components | NestedComponents, part: Part, target: Target) -> Refusal | None:
    if float(components.run) <= (1e-12 * float(np.nanmax(np.abs(part.scores)))) ** 2:
        return IDENTICAL_RUNS.about("the contrast is the same for every seed")
    return _few(int(components.domains)) if target == "new_domains" and components.domains < 3 else None


def _few(domains: int) -> Refusal:
    return FEW_DOMAINS.about(f"there {'is one' if domains == 1 else 'are two' if domains == 2 else f'are {domains}'}")


def _flag(bounded: bool) -> tuple[str, ...]:
    return (f"{ZERO_COMPONENT.sentence} ({ZERO_COMPONENT.code})",) if bounded else ()
