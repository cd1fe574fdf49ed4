"""Projections: the further seeds, or domains, that would decide an effect, if estimate and variances stay."""

from collections.abc import Callable
from functools import partial
from math import inf

from scipy import stats

from ablate.analyses import Target
from ablate.plans import Plan
from ablate.stats.corrections import confidence_level
from ablate.stats.crossed import Components
from ablate.stats.eprocesses import Anytime, EProcess
from ablate.stats.equivalence import Direction
from ablate.stats.nested import NestedComponents
from ablate.stats.results import Result

CEILING = 1000  # seeds or domains beyond which a number would be no advice


def suggest(result: Result, direction: Direction, plan: Plan | None = None) -> str:
    """What would decide an undecided (or not shown) result: the further seeds, or `needs domains` with the number.

    The interval of the result's own level is projected: variances shrink with the number of seeds, degrees of
    freedom grow with it. On new domains the domain variance stays, so that no number of seeds may be enough.
    Where the plan adds seeds until decided, it is the look that would decide, at that look's own level.
    """
    if result.verdict not in ("undecided", "not shown") or result.components is None:
        return ""
    reaches = _decision(result, direction)
    if not reaches(0.0):
        return "at this estimate no number of seeds would decide"
    found, target, level = result.components, result.target, result.level_ci
    floor = half_width(found.scaled(inf, found.domains), target, level)
    if plan is not None and plan.analysis.stopping != "fixed" and reaches(floor):
        return _find_look(result, plan, reaches)

    def decides(seeds: float, domains: float) -> bool:
        return reaches(half_width(found.scaled(seeds, domains), target, level))

    if reaches(floor):
        seeds = _smallest(lambda n: decides(n, found.domains), int(found.seeds))
        if seeds is None:
            return f"more than {CEILING} seeds would be needed to decide"
        more = max(seeds - int(found.seeds), 1)
        return f"about {more} further seed{'s' * (more > 1)} would decide"
    seeds = int(found.seeds)
    while seeds <= CEILING:
        domains = _smallest(partial(decides, seeds), int(found.domains))
        if domains is not None:
            with_seeds = f" with {seeds} seeds" if seeds > found.seeds else ""
            more = domains - int(found.domains)
            return f"needs domains: about {more} further one{'s' * (more > 1)}{with_seeds}"
        seeds *= 2
    return f"needs domains: more than {CEILING}"


def _find_look(result: Result, plan: Plan, reaches: Callable[[float], bool]) -> str:
    """The look of the plan that would decide."""
    last = plan.looks[-1]
    if result.n_seeds >= last:
        return f"undecided with the most seeds that were declared ({last})"
    for look in plan.looks:
        if look > result.n_seeds and reaches(project(result, plan, look, max(result.family_size, 1))):
            return f"the look at {look} seeds would decide"
    return f"not even the last look ({last} seeds) would decide"


def project(result: Result, plan: Plan, seeds: int, tests: int) -> float:
    """Half the width of a result's interval at a look to come, if its variances stay.

    Args:
        result: with components.
        plan: how seeds are added.
        seeds: at that look.
        tests: among how many alpha is divided.
    """
    found = result.components
    assert found is not None  # callers see to it
    if isinstance(result.pivot, Anytime):
        process = EProcess(plan.analysis.alpha / tests, result.pivot.g)
        return process.half_width(float(found.run * found.seeds) ** 0.5, seeds)
    level = confidence_level(plan.analysis, seeds, tests)
    return half_width(found.scaled(seeds, found.domains), result.target, level)


def half_width(components: Components | NestedComponents, target: Target, level: float) -> float:
    """Half the width of the interval of that confidence level."""
    variance, df = components.variance(target)
    return float(stats.t.isf((1 - level) / 2, df) * variance**0.5) if variance else 0.0


def _decision(result: Result, direction: Direction) -> Callable[[float], bool]:
    """Whether a half-width decides: clear of zero, or within the margin; non-inferiority: clear of the margin."""
    estimate, margin = result.estimate, result.margin
    if result.contrast.family == "noninferiority":
        gain = estimate if direction == "maximize" else -estimate
        return lambda half: gain + (margin or 0.0) > half
    return lambda half: abs(estimate) > half or (margin is not None and abs(estimate) + half < margin)


def _smallest(decides: Callable[[int], bool], start: int) -> int | None:
    """The smallest number up to the ceiling, from `start` on, at which `decides` holds; None if there is none."""
    low, high = start, start
    while not decides(high):
        if high >= CEILING:
            return None
        low, high = high, min(CEILING, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
