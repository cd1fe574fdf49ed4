"""Sweet spots: the best size on every training budget, and the budget at which a small model overtakes a large one.

Both are read off differences of mean scores at one budget, which E1 (`ablate.stats.crossed`) judges: for a mean it is
what the t-scaled resampling of runs, or of runs and domains, comes to (`ablate.stats.resampling`), without drawing.

*Which size is best* has no percentile interval that covers: where two sizes are equal, redraws choose between them at
random. What is given is Hsu's set of the sizes that may be the best, and beside it how often each is in redraws.

*Where curves cross* is judged at every budget of the common range: the interval holds those at which the difference is
not told from zero. It holds the true crossing as often as the test errs not, and so it does where the curves cross
nowhere: then it is empty in as many studies (Fieller's argument for a ratio, `ablate.stats.ratios`, along a curve).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf, nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablate.analyses import Target
from ablate.records import Records
from ablate.stats.corrections import confidence_level
from ablate.stats.crossed import Crossed
from ablate.stats.refusals import FEW_DOMAINS, IDENTICAL_RUNS, NOT_ESTIMABLE, Refusal
from ablate.stats.selections import compare_with_best
from ablate.stats.surfaces import Surface, read_surfaces

Array = NDArray[np.float64]
Seed = int | np.random.Generator
Verdict = Literal["overtakes", "is overtaken", "never", "undecided", ""]
STEPS = 48  # budgets tried between two that were trained


@dataclass(frozen=True)
class Best:
    """The best size of one arm on one budget.

    Attributes:
        arm, budget: where.
        means: size -> mean score, over runs and domains; only sizes that have been trained so long and so short.
        best: the size with the best mean; empty if refused.
        candidates: the sizes that may be the best.
        shares: size -> how often it is the best if runs (and domains) are drawn anew; descriptive.
        level: in how many studies a best size is among the candidates, each budget by itself.
        trials: ids behind it.
        refusal: why there is no answer, or None.
    """

    arm: str
    budget: float
    means: Mapping[str, float] = field(default_factory=dict)
    best: str = ""
    candidates: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    level: float = nan
    trials: tuple[str, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Crossing:
    """Where one size overtakes another in one arm.

    Attributes:
        arm, small, large: what is compared.
        verdict: of the small one: `overtakes` or `is overtaken`: behind at one end of the common range for certain and
            ahead at the other; `never`: the difference is told from zero on every budget of the range; else
            `undecided`; empty if refused.
        estimate: the budget at which the means are equal; NaN where they are nowhere in the range, or at several.
        crossings: at how many budgets of the range the means cross.
        low, high: the budgets that may be it; 0 and infinite where that holds up to the end of the range, NaN where
            none may.
        first, last: the sizes with the better mean at the two ends of the range.
        range: the budgets that both were trained on.
        level: of the interval, such that those of the family hold together.
        family_size: how many crossings were judged together.
        trials: ids behind it.
        refusal: why there is no answer, or None.
    """

    arm: str
    small: str
    large: str
    verdict: Verdict = ""
    estimate: float = nan
    crossings: int = 0
    low: float = nan
    high: float = nan
    first: str = ""
    last: str = ""
    range: tuple[float, float] = (nan, nan)
    level: float = nan
    family_size: int = 0
    trials: tuple[str, ...] = ()
    refusal: Refusal | None = None

    @property
    def told(self) -> str:
        """The verdict as a sentence without its numbers."""
        if self.refusal is not None:
            return f"not judged: {self.refusal}"
        if self.verdict == "never":
            return f"never within the range: {self.first} is ahead on every budget"
        if self.verdict == "undecided":
            return "undecided: the runs do not say whether they cross within the range"
        winner, loser = (self.small, self.large)[:: 1 if self.verdict == "overtakes" else -1]
        several = f"; the means cross {self.crossings} times" if self.crossings > 1 else ""
        return f"{winner} overtakes {loser}{several}"


@dataclass(frozen=True, eq=False)
class SweetSpots:
    """The sweet spots of a study.

    Attributes:
        surfaces: what they are made from.
        bests: of every arm and budget.
        crossings: of every arm, of each size against the largest.
        metric, axis: what is scored, and what a budget is counted in; empty of learning curves.
        target: what intervals are about.
    """

    surfaces: tuple[Surface, ...]
    bests: tuple[Best, ...]
    crossings: tuple[Crossing, ...]
    metric: str
    axis: str
    target: Target


def find_sweet_spots(
    records: Records,
    size: str,
    budget: str | None = None,
    cost: str | None = None,
    sizes: Sequence[str] | None = None,
    unit: str = "train_steps",
    rng: Seed = 0,
) -> SweetSpots:
    """The best size on every budget, and where sizes overtake the largest, in every arm of a study.

    Direction, target, alpha and blocking are the plan's; every difference has its own variance (Welch).

    Args:
        records: of the study.
        size: the factor whose levels are sizes.
        budget: the factor whose levels are budgets; None takes learning curves.
        cost: a metric of the whole run to count budgets in, as `read_surfaces` takes it.
        sizes: levels, the smallest first, where parameters or numbers do not tell.
        unit: what learning curves are counted in, as `read_surfaces` takes it.
        rng: draws the runs anew for the shares.

    Raises:
        PlanError, RecordsError: as `read_surfaces`.
    """
    plan, rng = records.plan, np.random.default_rng(rng)
    target: Target = "these_domains" if plan.analysis.target == "new_items" else plan.analysis.target
    sign = 1 if plan.direction == "maximize" else -1
    surfaces = read_surfaces(records, size, budget, cost, sizes, unit)
    pairs = [(s, k) for s in surfaces for k in range(len(s.sizes) - 1)]
    bests, crossings = [], []
    for surface in surfaces:
        seeds = surface.scores[0].shape[1] if surface.scores else 0
        bests += list(find_best(surface, rng, target, confidence_level(plan.analysis, seeds, 1), sign))
    for surface, k in pairs:
        seeds = surface.scores[0].shape[1] if surface.scores else 0
        level = confidence_level(plan.analysis, seeds, len(pairs))
        found = find_crossing(surface, k, len(surface.sizes) - 1, target, level, sign)
        crossings.append(replace(found, family_size=len(pairs)))
    axis = cost or budget or ""
    return SweetSpots(tuple(surfaces), tuple(bests), tuple(crossings), plan.metric, axis, target)


def find_best(
    surface: Surface, rng: Seed, target: Target = "these_domains", level: float = 0.95, sign: int = 1
) -> Iterator[Best]:
    """The best size on every budget that was trained, of the sizes whose range holds it.

    Args:
        surface: one arm.
        rng: draws the runs, and for new domains the domains.
        target: over new runs on these domains, or over new domains too.
        level: of each set of candidates by itself.
        sign: 1 where more is better, -1 where less is.
    """
    rng = np.random.default_rng(rng)
    for budget in np.unique(np.concatenate(surface.budgets)):
        there = [k for k in range(len(surface.sizes)) if surface.covers(k, budget)]
        names, trials = [surface.sizes[k] for k in there], tuple(i for k in there for i in surface.trials[k])
        answer = Best(surface.arm, float(budget), trials=trials, refusal=_refuse(surface, target))
        if answer.refusal is None and len(there) > 1:
            scores = sign * np.stack([surface.at(k, np.log([budget]))[0] for k in there])
            means = scores.mean((1, 2))
            chosen = compare_with_best(scores, Crossed(surface.blocked), target, level=level)
            answer = replace(
                answer,
                means={name: sign * float(m) for name, m in zip(names, means, strict=True)},
                best=names[int(means.argmax())],
                candidates=tuple(n for n, may in zip(names, chosen.may_be_best, strict=True) if may),
                shares=dict(zip(names, share_best(scores, rng, surface.blocked, target).tolist(), strict=True)),
                level=level,
            )
        if answer.refusal is not None or len(there) > 1:
            yield answer


def share_best(
    scores: Array, rng: Seed, blocked: bool, target: Target = "these_domains", resamples: int = 2000
) -> Array:
    """How often each size has the largest mean if runs are drawn anew, and for new domains these too: descriptive.

    Deviations of runs are stretched by sqrt(S/(S-1)), because those of S runs from their own mean are too small by
    that. Sizes that are equal share what they win.

    Args:
        scores: sizes × runs × domains.
        rng: draws.
        blocked: the same runs are drawn for all sizes.
        target: whether domains are drawn as well.
        resamples: how many times.
    """
    rng = np.random.default_rng(rng)
    if target == "these_domains":
        scores = scores.mean(2, keepdims=True)
    sizes, runs, domains = scores.shape
    drawn = rng.multinomial(runs, np.full(runs, 1 / runs), size=(resamples, 1 if blocked else sizes)) / runs
    weights = np.full((resamples, domains), 1 / domains)
    if target == "new_domains":
        weights = rng.multinomial(domains, np.full(domains, 1 / domains), size=resamples) / domains
    centre = scores.mean(1)
    spread = (scores - centre[:, None]) * np.sqrt(runs / (runs - 1))
    deviations = np.einsum("bsr,srd->bsd", np.broadcast_to(drawn, (resamples, sizes, runs)), spread)
    means = np.einsum("bsd,bd->bs", centre + deviations, weights)
    ahead = means >= means.max(1, keepdims=True)
    return np.asarray((ahead / ahead.sum(1, keepdims=True)).mean(0))


def find_crossing(
    surface: Surface,
    small: int,
    large: int,
    target: Target = "these_domains",
    level: float = 0.95,
    sign: int = 1,
) -> Crossing:
    """The budget at which one size overtakes another.

    Args:
        surface: one arm; between budgets, lines on the logarithmic axis are taken for the truth.
        small: place of the size that may overtake.
        large: place of the other.
        target: over new runs on these domains, or over new domains too.
        level: of the interval, and of each verdict: of equal sizes so few are told apart.
        sign: 1 where more is better, -1 where less is.
    """
    names, trials = (surface.sizes[small], surface.sizes[large]), surface.trials[small] + surface.trials[large]
    answer = Crossing(surface.arm, *names, level=level, trials=trials, refusal=_refuse(surface, target))
    if answer.refusal is not None:
        return answer
    logs = _grid(np.log(surface.budgets[small]), np.log(surface.budgets[large]))
    if len(logs) < 2:
        return replace(answer, refusal=NOT_ESTIMABLE.about("no budget lies within those of both sizes"))
    scores = np.stack([surface.at(k, logs) for k in (small, large)], 1)  # points × sizes × runs × domains
    found = Crossed(surface.blocked)(sign * scores, np.array([1.0, -1.0]))
    difference = np.asarray(found.estimate)
    variance, df = (np.broadcast_to(part, difference.shape) for part in found.variance(target))
    if not (variance > (1e-12 * np.abs(scores).max()) ** 2).all():
        return replace(answer, refusal=IDENTICAL_RUNS)
    excess = np.abs(difference) - stats.t.isf((1 - level) / 2, df) * np.sqrt(variance)
    ends = [0, -1]
    clear = np.abs(difference[ends]) > stats.t.isf((1 - level) / 4, df[ends]) * np.sqrt(variance[ends])
    signs = np.where(clear, np.sign(difference[ends]), 0)
    roots, (low, high) = _roots(logs, difference), _hull(logs, excess)
    verdict: Verdict = "undecided"
    if signs[0] * signs[1] < 0:
        verdict = "overtakes" if signs[1] > 0 else "is overtaken"
    elif (excess > 0).all():
        verdict = "never"
    first, last = (names[0] if d > 0 else names[1] for d in difference[ends])
    return replace(
        answer, verdict=verdict, estimate=float(np.exp(roots[0])) if len(roots) == 1 else nan, crossings=len(roots),
        low=low, high=high, first=first, last=last, range=(float(np.exp(logs[0])), float(np.exp(logs[-1]))),
    )  # fmt: skip


def _refuse(surface: Surface, target: Target) -> Refusal | None:
    if surface.refusal is None and target == "new_domains" and surface.scores[0].shape[2] < 3:
        return FEW_DOMAINS.about(f"there are {surface.scores[0].shape[2]}")
    return surface.refusal


def _grid(one: Array, other: Array) -> Array:
    """Log budgets over the range that two sizes share, every one trained among them; empty where there is none."""
    low, high = max(one[0], other[0]), min(one[-1], other[-1])
    knots = np.unique(np.clip(np.concatenate([one, other]), low, high)) if low < high else np.empty(0)
    parts = [np.linspace(a, b, STEPS, endpoint=False) for a, b in pairwise(knots)]
    return np.concatenate([*parts, knots[-1:]])


def _roots(logs: Array, values: Array) -> Array:
    """Where values, straight between points, change their sign."""
    signs = np.sign(values)
    signs = signs[np.maximum.accumulate(np.where(signs != 0, np.arange(len(signs)), 0))]  # zeros side with what was
    at = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    return np.array([_root(logs, values, int(i)) for i in at])


def _root(logs: Array, values: Array, i: int) -> float:
    """Where the line from a point to the next one is zero."""
    return float(logs[i] + (logs[i + 1] - logs[i]) * values[i] / (values[i] - values[i + 1]))


def _hull(logs: Array, excess: Array) -> tuple[float, float]:
    """The smallest and largest budget without an excess; 0 and infinite at the ends of the range, NaN if none is."""
    inside = np.flatnonzero(excess <= 0)
    if not len(inside):
        return nan, nan
    first, last = int(inside[0]), int(inside[-1])
    low = 0.0 if first == 0 else float(np.exp(_root(logs, excess, first - 1)))
    return low, inf if last == len(logs) - 1 else float(np.exp(_root(logs, excess, last)))
