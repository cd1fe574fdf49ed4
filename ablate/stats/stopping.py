"""Stopping: after a look at the records, which contrasts are settled and which cells still need seeds.

Seeds are added for the families in `verdicts.DECIDING`, about the plan's target, on all domains together. A cell stays
open while a contrast of non-zero weight on it is undecided, and all open cells get the same seeds: where the current
means point says nothing about who gets more, for a stopping time may look at p-values but an allocation that follows
the means would make them wrong. A cell that was closed stays closed.

Stopping without a claim (futility, or a target that seeds cannot settle) neither spends alpha nor gives any back: the
bounds stay those of the whole schedule, and whoever goes on all the same keeps the error rate.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from ablate.analyses import DECIDING
from ablate.factors import Cell
from ablate.plans import Plan
from ablate.records import Records
from ablate.stats.corrections import confidence_level
from ablate.stats.layouts import Layout
from ablate.stats.projections import half_width, project, suggest
from ablate.stats.refusals import ONE_RUN, TWO_RUNS
from ablate.stats.results import ONE_SIDED, Result
from ablate.stats.sources import read_records
from ablate.stats.verdicts import judge_questions

State = Literal["decided", "futile", "needs domains", "undecided", "ended", "refused"]
OPEN = ("undecided", "not shown")  # verdicts that more seeds may change


@dataclass(frozen=True)
class Position:
    """Where one contrast stands.

    Attributes:
        result: what is known of it.
        state: `decided`: it has a verdict. `futile`: no verdict is in reach. `needs domains`: no number of seeds would
            give it one. `undecided`: its cells get more seeds. `ended`: they have had the most. `refused`: more seeds
            would not help.
        why: the verdict, the chance, or the refusal.
        cells: the plan's cells that it weighs.
    """

    result: Result
    state: State
    why: str
    cells: tuple[Cell, ...]

    def __str__(self) -> str:
        asked = self.result.contrast
        name = " ".join(filter(None, [asked.family, asked.factor, asked.level]))
        where = f" [{self.result.stratum}]" if self.result.stratum else ""
        return f"{name} against {asked.versus}{where}: {self.state} at {self.result.n_seeds} seeds: {self.why}"


@dataclass(frozen=True)
class Standing:
    """Where a study stands after a look.

    Attributes:
        look: seeds that the open cells have had.
        positions: of every contrast that seeds are added for.
        cells: the cells of the plan that still need seeds, in its order; none: the study is over.
    """

    look: int
    positions: tuple[Position, ...]
    cells: tuple[Cell, ...]

    def lines(self) -> tuple[str, ...]:
        """How many contrasts are in which state, then each of them."""
        counts = Counter(position.state for position in self.positions)
        summary = ", ".join(f"{n} {state}" for state, n in counts.items()) or "no contrast can be judged"
        more = f"{len(self.cells)} cells get more seeds" if self.cells else "no cell gets more seeds"
        return f"Look at {self.look} seeds: {summary}; {more}.", *map(str, self.positions)


def stand(records: Records) -> Standing:
    """Where a study stands: what its last look decided, and which cells still need seeds.

    Args:
        records: of a plan whose `analysis.stopping` is `sequential` or `e_process`, with all trials that were to be run
            up to the look.
    """
    plan, frame = records.plan, records.frame
    families = [family for family in plan.families if family in DECIDING]
    done = (frame["phase"] != "search") & (frame["status"] == "complete") & (frame["metric"] == plan.metric)
    if not done.any():
        return Standing(0, (), ())
    source = read_records(records, plan.metric)
    layouts, results = judge_questions(source, families)
    had = Counter(source.runs["cell"])  # cells are equal if their names are
    look = max(had.values(), default=0)
    places = {layout.stratum: _place(layout, plan) for layout in layouts}
    mine = [r for r in results if r.target == plan.analysis.target and r.domain == "all"]
    claimed = Counter(r.family for r in mine if r.verdict not in (*OPEN, "refused"))
    positions = []
    for result in mine:
        cells = tuple(places[result.stratum][cell] for cell in result.contrast.weights if result.contrast.weights[cell])
        tests = max(result.family_size - claimed[result.family], 1)  # Holm's next step
        state, why = _judge(result, source.plan, tests, closed=any(had[cell] < look for cell in cells))
        positions.append(Position(result, state, why, cells))
    wanted = {cell for position in positions if position.state == "undecided" for cell in position.cells}
    return Standing(look, tuple(positions), tuple(cell for cell in plan.cells if cell in wanted))


def _place(layout: Layout, plan: Plan) -> Mapping[Cell, Cell]:
    """Cell of the compared factors -> cell of the plan, in one stratum."""
    keys = [f.key for f in plan.factors if f.compared]
    return {Cell({key: cell[key] for key in keys}): cell for cell in plan.cells if cell.agrees(layout.levels)}


def _judge(result: Result, plan: Plan, tests: int, closed: bool) -> tuple[State, str]:
    """The state of one contrast, and why."""
    last = plan.looks[-1]
    if result.refusal is not None:
        few = result.contrast.refusal is None and result.refusal.code in (ONE_RUN.code, TWO_RUNS.code)
        more = few and not closed and result.n_seeds < last
        return ("undecided" if more else "refused"), f"{result.refusal.code}, {result.refusal}"
    if result.verdict not in OPEN:
        return "decided", result.verdict
    if _needs_domains(result, plan, tests):
        return "needs domains", suggest(result, plan.direction, plan)
    if result.n_seeds >= last:
        return "ended", f"{result.verdict} with the most seeds"
    chance = reach(result, plan, tests)
    if plan.analysis.futility is not None and chance < plan.analysis.futility:
        advice = suggest(result, plan.direction, plan)
        if advice.startswith("needs domains"):
            return "needs domains", advice
        return "futile", f"a chance of {chance:.2g} to be decided by {last} seeds"
    if closed:
        return "futile", "its cells were closed at an earlier look"
    return "undecided", f"p {result.p_adjusted:.3g}"


def _needs_domains(result: Result, plan: Plan, tests: int) -> bool:
    """Whether nothing that further seeds may make of the estimate would be clear of the variance over domains."""
    found, last = result.components, plan.looks[-1]
    if result.target != "new_domains" or found is None or result.quantity != "difference":
        return False
    floor = half_width(found.scaled(inf, found.domains), "new_domains", confidence_level(plan.analysis, last, tests))
    noise = half_width(found, "these_domains", confidence_level(plan.analysis, last, tests))
    margin = 0.0 if result.margin is None else result.margin
    if result.contrast.family in ONE_SIDED:
        gain = result.estimate if plan.direction == "maximize" else -result.estimate
        return gain + noise + margin <= floor
    differs = abs(result.estimate) + noise > floor
    return not differs and max(abs(result.estimate) - noise, 0.0) + floor >= margin


def reach(result: Result, plan: Plan, tests: int = 1) -> float:
    """The chance that a contrast is decided by the last look: its conditional power, under what the plan is about.

    That is the larger of the chance to show a difference if the truth is the margin, or the estimate where that is
    larger, and the chance to show equivalence if it is zero (non-inferiority: to show that). 1 where it cannot be told.

    Args:
        result: undecided, with an estimate and its variances.
        plan: with margin, looks and direction.
        tests: how many share alpha.
    """
    found, margin, last = result.components, result.margin, plan.looks[-1]
    if found is None or margin is None or result.quantity != "difference":
        return 1.0
    sign = 1.0 if plan.direction == "maximize" else -1.0
    one_sided = result.contrast.family in ONE_SIDED
    half = project(result, plan, last, tests)
    estimate = sign * result.estimate if one_sided else result.estimate
    return float(conditional_power(estimate, found.run, result.n_seeds, last, half, margin, one_sided=one_sided))


def conditional_power(
    estimate: ArrayLike,
    variance: ArrayLike,
    seeds: ArrayLike,
    last: int,
    half: ArrayLike,
    margin: float,
    *,
    one_sided: bool = False,
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The chance that the last look decides, given the estimate now; arrays broadcast.

    The variance over runs is taken as known; the seeds to come are independent of those that are in.

    Args:
        estimate: now, its positive side being the better one if one-sided.
        variance: of the estimate, over runs.
        seeds: now.
        last: at the last look.
        half: half the width of the interval at the last look.
        margin: the design effect, which counts as the truth unless the estimate is larger; and that of equivalence.
        one_sided: whether to show non-inferiority by the margin, if there is no difference.

    Source: Jennison and Turnbull 2000, chapter 10.
    """
    estimate, n, half = np.asarray(estimate, float), np.asarray(seeds, float), np.asarray(half, float)
    kept, left = n / last, 1 - n / last
    sd = np.sqrt(np.asarray(variance, float) * n * (last - n)) / last
    if one_sided:
        return np.asarray(special.ndtr((kept * estimate + margin - half) / sd))
    truth = np.maximum(np.abs(estimate), margin) * np.where(estimate < 0, -1.0, 1.0)
    centre = kept * estimate + left * truth
    differs = special.ndtr((centre - half) / sd) + special.ndtr((-centre - half) / sd)
    inside = margin - half
    equivalent = special.ndtr((inside - kept * estimate) / sd) - special.ndtr((-inside - kept * estimate) / sd)
    return np.asarray(np.maximum(np.maximum(differs, equivalent), 0.0))
