"""Previews: what a plan will run, which of its questions it can answer, with what power, and what that costs.

Everything is plain values, which `ablate plan` prints and writes as JSON.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from ablate.aliases import find_aliases
from ablate.analyses import Comparison, Family
from ablate.carriers import list_launches
from ablate.drifts import flatten
from ablate.errors import AblateError, PlanError
from ablate.expectations import Expectation
from ablate.factors import Cell, Factor, level_name
from ablate.plans import Plan
from ablate.schedules import describe_schedule, outline_schedule, owed_search_trials
from ablate.stats.contrasts import Contrast, build_contrasts

if TYPE_CHECKING:
    import pandas as pd

OF_CELLS: tuple[Family, ...] = ("main", "simple", "pairs", "interaction", "leave_one_out", "step", "noninferiority")
MOST = 60  # effects whose aliases are looked for: with their interactions, some two thousand


def preview(
    plan: Plan,
    expectation: Expectation | None = None,
    records: "pd.DataFrame | None" = None,
    allowed: Sequence[str] = (),
) -> dict[str, Any]:
    """All there is to know of a plan before it is run, as plain values.

    Args:
        plan: the study.
        expectation: deviations and an effect, for power; None leaves it out.
        records: complete trials, of the study itself or a pilot, for the cost; None leaves it out.
        allowed: packages that a `_target_` may name.
    """
    questions = list(ask(plan))
    promises = [promise(plan, stratum, contrast, n, expectation) for stratum, contrast, n in _counted(questions)]
    return {
        "name": plan.name,
        "hash": plan.hash,
        "design": plan.design,
        "options": dict(plan.options),
        "cells": [
            {"number": i, "levels": dict(cell), "baseline": cell == plan.baseline} for i, cell in enumerate(plan.cells)
        ],
        "excluded": [dict(cell) for cell in plan.excluded],
        "conditional": {key: dict(condition) for key, condition in plan.conditional.items()},
        "seeds": list(plan.seeds),
        "trials": len(plan.trials),
        **outline_schedule(plan),
        "aliases": _aliases(plan),
        "families": count_families(plan, questions),
        "effects": promises,
        "expectation": None if expectation is None else expectation.to_dict(),
        "cost": None if records is None else measure_cost(plan, records),
        "allowed": list(allowed),
    }


def require_estimable(plan: Plan) -> None:
    """Every contrast of the declared families can be estimated, or the family is acknowledged.

    Raises:
        PlanError: names the families, the contrasts, what each lacks and what it is aliased with.
    """
    refused: dict[str, list[str]] = {}
    for _, contrast in ask(plan):
        if contrast.refusal is not None and contrast.family not in plan.acknowledged:
            refused.setdefault(contrast.family, []).append(f"{_title(contrast)}: {contrast.refusal.detail}")
    if not refused:
        return
    lines = []
    for family, contrasts in refused.items():
        lines += [f"{family}: {len(contrasts)} cannot be estimated", *(f"    {line}" for line in contrasts[:3])]
    remedy = "take a design that holds their cells, declare `analysis.families` without them, or accept the gaps: "
    raise PlanError(
        "\n  ".join(["this design cannot answer what the analysis asks:", *lines]),
        where=f"design {plan.design}",
        remedy=f"{remedy}`hydra.sweeper.acknowledge=[{','.join(refused)}]`",
    )


def ask(plan: Plan) -> Iterator[tuple[Cell, Contrast]]:
    """The contrasts of the plan's families, by strata; families that are made of no contrasts of cells are left out."""
    factors = [f for f in plan.factors if f.compared]
    across = [f.key for f in plan.factors if f.role == "across"]

    def stratum_of(cell: Cell) -> Cell:
        return Cell({key: cell[key] for key in across})

    for stratum, members in groupby(plan.cells, stratum_of):
        cells = [Cell({f.key: cell[f.key] for f in factors}) for cell in members]
        comparisons = [c for c in plan.analysis.comparisons if c.base is None and _is_in(c, stratum)]
        for family in plan.families:
            if family in OF_CELLS:
                inner = [_without(c, across) for c in comparisons]
                found = build_contrasts(family, factors, cells, inner, plan.screens)
                yield from ((stratum, contrast) for contrast in found)


def _is_in(comparison: Comparison, stratum: Cell) -> bool:
    return all(
        key not in side or level_name(side[key]) == level_name(level)
        for side in (comparison.cell, comparison.versus)
        for key, level in stratum.items()
    )


def _without(comparison: Comparison, keys: Sequence[str]) -> Comparison:
    cell, versus = ({k: v for k, v in s.items() if k not in keys} for s in (comparison.cell, comparison.versus))
    return replace(comparison, cell=cell, versus=versus) if keys else comparison


def _counted(questions: Sequence[tuple[Cell, Contrast]]) -> Iterator[tuple[Cell, Contrast, int]]:
    """Every contrast with the number of tests of its family in its stratum."""
    sizes = Counter((stratum, contrast.family) for stratum, contrast in questions)
    for stratum, contrast in questions:
        yield stratum, contrast, sizes[stratum, contrast.family]


def count_families(plan: Plan, questions: Sequence[tuple[Cell, Contrast]]) -> list[dict[str, Any]]:
    """For every declared family its tests in one stratum and how many cannot be made; null where the data decide."""
    strata = list(dict.fromkeys(stratum for stratum, _ in questions)) or [Cell({})]
    compared = [f for f in plan.factors if f.compared]
    counts: list[dict[str, Any]] = []
    for family in [f for f in plan.families if f in get_args(Family)]:
        mine = [(s, c) for s, c in questions if c.family == family]
        tests: int | None = max((sum(s == stratum for s, _ in mine) for stratum in strata), default=0)
        if family == "omnibus":
            tests = sum(len(f.levels) > 2 for f in compared)
        elif family not in OF_CELLS:
            tests = None
        refused = sum(c.refusal is not None for _, c in mine)
        counts.append({"family": family, "tests": tests, "strata": len(strata), "refused": refused})
    return counts


def promise(
    plan: Plan, stratum: Cell, contrast: Contrast, tests: int, expectation: Expectation | None
) -> dict[str, Any]:
    """A contrast: whether it can be estimated, and, where something is expected, its power at the planned seeds."""
    row: dict[str, Any] = {
        "family": contrast.family,
        "stratum": dict(stratum),
        "factor": contrast.factor,
        "level": contrast.level,
        "versus": contrast.versus,
        "estimable": contrast.refusal is None,
        "why": None if contrast.refusal is None else f"{contrast.refusal.code}: {contrast.refusal.detail}",
    }
    if expectation is None or contrast.refusal is not None:
        return row
    try:
        own = expectation.of({Cell({**stratum, **cell}): w for cell, w in contrast.weights.items()})
        return {**row, **_power(plan, contrast, tests, own)}
    except AblateError as error:
        return {**row, "why": f"no power: {error.what}"}


def _power(plan: Plan, contrast: Contrast, tests: int, expected: Expectation) -> dict[str, Any]:
    weights = tuple(sorted((round(w, 9) for w in contrast.weights.values()), key=abs))
    if plan.analysis.variances == "pooled":  # the other cells share in the variance
        weights += (0.0,) * (len(plan.cells) - len(weights))
    if plan.analysis.target == "new_items":
        raise PlanError("these trained models are judged on their examples, not over seeds")
    no_worse = contrast.family == "noninferiority"
    size = expected.effect if expected.effect is not None and not no_worse else contrast.margin or plan.margin
    return dict(_promise(_Setting.of(plan, tests), weights, expected, size, no_worse))


class _Setting(NamedTuple):
    """What of a plan decides power."""

    seeds: int
    domains: int
    engine: tuple[bool, Any]
    level: tuple[Any, float, int]

    @classmethod
    def of(cls, plan: Plan, tests: int) -> "_Setting":
        a = plan.analysis
        engine = (plan.blocked, a.variances)
        return cls(len(plan.seeds), max(len(plan.domains), 1), engine, (a.target, a.alpha, tests))


@lru_cache(maxsize=256)
def _promise(
    setting: _Setting, weights: tuple[float, ...], expected: Expectation, size: float | None, no_worse: bool
) -> tuple[tuple[str, float | None], ...]:
    """Power, and the smallest effect (or margin) that is found; alike for all contrasts of the same weights."""
    from ablate.stats.crossed import Crossed
    from ablate.stats.power import Claim, compute_power, smallest_effect, smallest_margin
    from ablate.stats.prospects import Prospect

    outlook = Prospect(
        setting.seeds,
        setting.domains,
        expected.run_sd,
        expected.error_sd,
        expected.domain_sd,
        weights,
        Crossed(*setting.engine),
    )
    if no_worse:
        claim = Claim("noninferiority", *setting.level, margin=size)
        chance = None if size is None else compute_power(outlook, 0.0, claim)
        return ("power", chance), ("smallest_margin", smallest_margin(outlook, claim, 0.0, expected.power))
    claim = Claim("difference", *setting.level)
    chance = None if size is None else compute_power(outlook, size, claim)
    return ("power", chance), ("smallest_effect", smallest_effect(outlook, claim, expected.power))


def _aliases(plan: Plan) -> dict[str, Any] | None:
    """The alias structure of the first stratum; None where nothing is left out of the full factorial, or too large."""
    compared: list[Factor] = [f for f in plan.factors if f.compared]
    first = {f.key: plan.cells[0][f.key] for f in plan.factors if f.role == "across"}
    cells = [Cell({f.key: cell[f.key] for f in compared}) for cell in plan.cells if cell.agrees(first)]
    if plan.design == "full_factorial" and not plan.excluded and not plan.conditional:
        return None
    if sum(len(f.alternatives) for f in compared) > MOST:
        return None
    return find_aliases(compared, cells).to_dict()


def measure_cost(plan: Plan, records: "pd.DataFrame") -> dict[str, Any]:
    """What all trials, and those that are left, will take, by the seconds (and energy) of those that are complete.

    A cell that was measured is expected to take its own mean, any other the mean of all. Device-hours count the
    devices of `trainer.devices`, one where that is no number.
    """
    trials = records.drop_duplicates("trial") if "trial" in records.columns else records
    seconds = trials["seconds"].dropna() if "seconds" in trials.columns else trials.iloc[:0, 0]
    done = set(trials.loc[seconds.index, "trial"]) if "trial" in trials.columns else set()
    owed = [*list_launches(plan, plan.trials), *owed_search_trials(plan)]
    left = [trial for trial in owed if trial.id not in done]
    keys = [f.key for f in plan.factors if f.key in trials.columns]
    named = trials.loc[seconds.index, keys].map(level_name) if keys else trials.loc[seconds.index, keys]
    known: dict[Any, Any] = {}
    if keys and len(seconds):
        known = seconds.groupby([named[key] for key in keys]).mean().to_dict()
    devices = flatten(plan.config).get("trainer.devices")
    count = devices if isinstance(devices, int) and not isinstance(devices, bool) and devices > 0 else 1
    cost: dict[str, Any] = {"measured": len(seconds), "left": len(left), "trials": len(owed)}
    for name, trials_of in (("all", owed), ("left", left)):
        places = [tuple(level_name(trial.cell[key]) for key in keys) for trial in trials_of]
        each = [known.get(place[0] if len(place) == 1 else place, seconds.mean()) for place in places]
        total = float(sum(each)) if len(seconds) else None
        cost[f"seconds_{name}"] = total
        cost[f"device_hours_{name}"] = None if total is None else total * count / 3600
    cost["energy"] = {}
    if {"metric", "value"} <= set(records.columns):
        meters = records[records["metric"].astype(str).str.match(r"(train_)?energy")]
        for meter, values in meters.groupby("metric")["value"]:
            cost["energy"][str(meter)] = float(values.mean()) * len(plan.trials)
    return cost


def describe(found: Mapping[str, Any]) -> Iterator[str]:
    """A preview in lines, without its cells."""
    yield from describe_schedule(found)
    aliases = found["aliases"]
    if aliases:
        legend = ", ".join(f"{letter} {name}" for letter, name in aliases["legend"].items())
        resolution = {2: "II", 3: "III", 4: "IV", 5: "V or more"}.get(aliases["resolution"])
        yield f"aliases:   {legend}" + (f"; resolution {resolution}" if resolution else "")
        chains = aliases["chains"]
        yield from (f"    {chain}" for chain in chains[:20])
        if len(chains) > 20:
            yield f"    and {len(chains) - 20} more chains"
        for name, part in aliases["partial"].items():
            yield f"    {name} partly with {part['interactions']} interactions, |r| up to {part['largest']:.2f}"
    for count in found["families"]:
        tests = "as many tests as the data have" if count["tests"] is None else f"{count['tests']} tests"
        strata = f" in each of {count['strata']} strata" if count["strata"] > 1 else ""
        gaps = f"; {count['refused']} cannot be estimated" if count["refused"] else ""
        yield f"family:    {count['family']}, {tests}{strata}{gaps}"
    for effect in found["effects"]:
        if effect["why"]:
            yield f"    {_line(effect)}: {effect['why']}"
    yield from _describe_power(found)
    yield from _describe_cost(found["cost"])
    if found["allowed"]:
        yield f"targets:   {', '.join(found['allowed'])}"


def _describe_power(found: Mapping[str, Any]) -> Iterator[str]:
    expected = found["expectation"]
    if expected is None:
        yield "power:     state `expect.run_sd` (--run-sd), or give a pilot (--pilot records.csv)"
        return
    figures = ", ".join(f"{name} {expected[name]:.4g}" for name in ("run_sd", "error_sd", "domain_sd"))
    yield f"power:     at {len(found['seeds'])} seeds, {expected['source']} {figures}; at alpha over tests"
    yield from (f"    {caveat}" for caveat in expected["caveats"])
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for effect in found["effects"]:
        if "power" in effect:
            kind = "effect" if "smallest_effect" in effect else "margin"
            chance = "no effect stated" if effect["power"] is None else f"power {effect['power']:.2f}"
            least = f"smallest {kind} {effect[f'smallest_{kind}']:.4g} at {expected['power']:g}"
            alike.setdefault((effect["family"], f"{chance}; {least}"), []).append(effect)
    for (family, figures), effects in alike.items():
        names = ", ".join(dict.fromkeys(effect["factor"] for effect in effects))
        what = _line(effects[0]) if len(effects) == 1 else f"{family}, {len(effects)} alike ({names})"
        yield f"    {what}: {figures}"


def _describe_cost(cost: Mapping[str, Any] | None) -> Iterator[str]:
    if cost is None or cost["seconds_all"] is None:
        yield "cost:      known once a trial was measured (or with --pilot)"
        return
    for name, number in (("all", cost["trials"]), ("left", cost["left"])):
        seconds, hours = cost[f"seconds_{name}"], cost[f"device_hours_{name}"]
        which = f"all {number} trials" if name == "all" else f"the {number} left"
        yield f"cost:      {seconds:.0f} s, {hours:.3g} device-hours for {which}"
    for name, value in cost["energy"].items():
        yield f"    {name} {value:.4g} for all trials"
    if not cost["energy"]:
        yield "    energy: no counter was read"


def _line(effect: Mapping[str, Any]) -> str:
    stratum = f" at {Cell(effect['stratum'])}" if effect["stratum"] else ""
    return f"{effect['family']} {effect['factor']} {effect['level']} against {effect['versus']}{stratum}"


def _title(contrast: Contrast) -> str:
    return f"{contrast.factor} {contrast.level}"
