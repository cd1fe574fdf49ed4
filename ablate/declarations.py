"""Declarations: what people write for factors, seeds, domains and looks, as the values that a plan holds."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from math import prod
from typing import TYPE_CHECKING, Any, get_args

from ablate.analyses import DECIDING, Analysis, Stopping, require_margin
from ablate.errors import PlanError, require_keys, require_one_of
from ablate.factors import RESERVED, Factor, Level, is_list, is_text
from ablate.safeguards import RETRY_SEEDS
from ablate.tunings import Tuning

if TYPE_CHECKING:
    from ablate.plans import Plan

WHOLE = "all"  # the domain of what belongs to the run and to no test set


def spend_budget(design: Any, factors: Sequence[Factor], seeds: int) -> Any:
    """A design's budget of trials as one of cells: of every stratum, at every seed."""
    if not isinstance(design, Mapping) or design.get("trials") is None:
        return design
    trials, strata = design["trials"], prod(len(f.levels) for f in factors if f.role == "across")
    if type(trials) is not int or design.get("cells") is not None:
        remedy = "give cells, or a whole number of trials that they are made of"
        raise PlanError(f"a budget of {trials!r} trials", where="design.trials", remedy=remedy)
    return {**{k: v for k, v in design.items() if k != "trials"}, "cells": trials // (seeds * strata)}


def name_factors(
    factors: Mapping[str, Iterable[Level]] | Sequence[Factor],
    baseline: Mapping[str, Level],
    roles: Mapping[str, Sequence[str]],
) -> tuple[Factor, ...]:
    """Factors from `{key: levels}` or from values, with their baselines and, role -> keys, their roles."""
    if isinstance(factors, Mapping):
        factors = [Factor(key, levels) for key, levels in factors.items()]  # type: ignore[arg-type] # it makes a tuple
    keys = [f.key for f in factors]
    for where, named in {"baseline": baseline, **roles}.items():
        for key in named:
            require_one_of(key, keys, where, "factor")
    own = {key: role for role, named in roles.items() for key in named}
    if len(own) < sum(map(len, roles.values())):
        raise PlanError("a factor is given two roles", where=" and ".join(roles), remedy="name it under one of them")
    if len(set(keys)) < len(keys):
        raise PlanError("a factor is named twice", where="factors", remedy="give all its levels in one place")
    return tuple(
        replace(
            f,
            baseline=f.level(baseline[f.key]) if f.key in baseline else f.baseline,
            role=own.get(f.key, f.role),  # type: ignore[arg-type] # a Factor knows its roles
        )
        for f in factors
    )


def list_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """The seeds: so many from 0 on, or those given."""
    where, remedy = "seeds", "give how many (`seeds: 5`) or a list of whole numbers"
    given = seeds if isinstance(seeds, Iterable) else range(seeds) if type(seeds) is int else (seeds,)
    try:
        values = tuple(-1 if isinstance(seed, bool) else operator.index(seed) for seed in given)
    except TypeError:
        values = (-1,)
    if not values:
        raise PlanError("no seeds: nothing would be run", where=where, remedy=remedy)
    if not all(0 <= seed < 2**32 for seed in values):
        allowed = ["whole numbers from 0 to 2^32 - 1"]
        raise PlanError(f"seeds are {seeds!r:.120}", where=where, allowed=allowed, remedy=remedy)
    if len(set(values)) < len(values):
        raise PlanError("a seed occurs twice: it would be the same run", where=where, remedy=remedy)
    return values


def settle_analysis(
    analysis: Analysis | Mapping[str, Any] | None, seeds: int | Iterable[int], max_seeds: int | None
) -> tuple[Analysis, tuple[int, ...]]:
    """The analysis with its looks, and the seeds up to the most that may be run.

    Where seeds are added until decided, `seeds` is the number at the first look and at each further one, unless looks
    are named.
    """
    values = analysis.to_dict() if isinstance(analysis, Analysis) else dict(analysis or {})
    stopping, looks = values.get("stopping", "fixed"), tuple(values.get("looks") or ())
    require_one_of(stopping, get_args(Stopping), "analysis.stopping", "stopping")
    if stopping == "fixed":
        if max_seeds is not None:
            remedy = "declare `analysis.stopping: sequential` or `e_process`, or give `seeds` alone"
            raise PlanError("max_seeds, but seeds are fixed", where="max_seeds", remedy=remedy)
        return Analysis.from_dict(values), list_seeds(seeds)
    if not isinstance(seeds, int):
        seeds = list_seeds(seeds)
        if max_seeds not in (None, len(seeds)):
            remedy = "list as many as a cell may get, or leave `max_seeds` out"
            raise PlanError(f"{len(seeds)} seeds are listed, max_seeds is {max_seeds!r}", where="seeds", remedy=remedy)
        max_seeds = len(seeds)
    if max_seeds is None and stopping == "sequential" and looks:
        max_seeds = looks[-1]
    if type(max_seeds) is not int or max_seeds < 3:
        remedy = "say how many seeds a cell may get at most: `max_seeds: 20`"
        raise PlanError(f"{stopping} stopping with max_seeds {max_seeds!r}", where="max_seeds", remedy=remedy)
    if stopping == "sequential" and not looks and type(seeds) is int and 2 <= seeds <= max_seeds:
        looks = (*range(seeds, max_seeds, seeds), max_seeds)
    made = Analysis.from_dict({**values, "looks": looks})
    if stopping == "sequential" and made.looks[-1] != max_seeds:
        remedy = "let the last look be the most seeds"
        raise PlanError(f"looks end at {made.looks[-1]}, seeds at {max_seeds}", where="analysis.looks", remedy=remedy)
    return made, list_seeds(max_seeds if isinstance(seeds, int) else seeds)


def settle_tuning(tuning: Tuning | Mapping[str, Any] | None, metric: str, direction: str) -> Tuning | None:
    """Tuning as a value; its objective is the validation metric `val_<metric>` unless named."""
    if tuning is None or isinstance(tuning, Tuning):
        return tuning
    require_keys(tuning, [f.name for f in fields(Tuning)], "tuning")
    values = dict(tuning)
    space = values.get("space") or ()
    if isinstance(space, Mapping):
        values["space"] = [{"key": key, **_read_range(key, ends)} for key, ends in space.items()]
    values["objectives"] = values.get("objectives") or [{"metric": f"val_{metric}", "direction": direction}]
    return Tuning.from_dict(values)


def _read_range(key: str, ends: Any) -> Mapping[str, Any]:
    """A nuisance's range: a mapping, or its two ends."""
    if isinstance(ends, Mapping):
        return ends
    if not is_list(ends) or len(ends) != 2:
        allowed = ["[low, high]", "{low: ..., high: ..., log: true}"]
        raise PlanError(f"the range of {key!r} is {ends!r:.80}", where="tuning.space", allowed=allowed)
    return {"low": ends[0], "high": ends[1]}


def group_domains(domains: Mapping[str, Iterable[str]] | Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Domain group -> its domains; of a plain list, each is a group by itself."""
    if not isinstance(domains, Mapping):
        domains = {name: (name,) for name in ([domains] if isinstance(domains, str) else domains)}
    groups = {str(g): (members,) if isinstance(members, str) else tuple(members) for g, members in domains.items()}
    members = [domain for group in groups.values() for domain in group]
    twice = sorted({domain for domain in members if members.count(domain) > 1})
    if twice:
        raise PlanError(f"domains in two groups: {', '.join(twice)}", where="domains", remedy="name each domain once")
    for group in groups:
        if not groups[group]:
            raise PlanError(f"domain group {group!r} is empty", where="domains", remedy="name its domains")
    if WHOLE in {*groups, *members}:
        remedy = "give it another name: this one stands for all domains, and for the run as a whole"
        raise PlanError(f"{WHOLE!r} cannot be the name of a domain", where="domains", remedy=remedy)
    return groups


def check_plan(made: "Plan") -> None:
    """PlanError unless the parts of a plan agree with each other."""
    require_one_of(made.direction, ("maximize", "minimize"), "direction")
    require_one_of(made.blocking, ("seed", "none"), "blocking")
    require_margin(made.margin, "margin")
    for key, name in (("metric", made.metric), ("name", made.name)):
        if not (isinstance(name, str) and name.strip() and is_text(name)):
            raise PlanError(f"the {key} is {name!r}", where=key, remedy="a name is text on one line")
    _check_tuning(made)
    _check_replacements(made)
    _check_stopping(made)
    for family in made.acknowledged:
        require_one_of(family, made.families, "acknowledge", "family of the analysis")
    by_key = {f.key: f for f in made.factors}
    if (spot := made.analysis.sweet_spot) is not None:
        for key in filter(None, (spot.size, spot.budget)):
            require_one_of(key, by_key, "analysis.sweet_spot", "factor")
    for c in made.analysis.comparisons:
        for key, word in [*c.cell.items(), *c.versus.items()]:
            require_one_of(key, by_key, f"analysis.comparisons.{c.name}", "factor")
            by_key[key].level(word)


def _check_tuning(made: "Plan") -> None:
    if made.tuning is None:
        return
    shared = sorted({*made.seeds} & {*made.tuning.seeds})
    if shared:
        remedy = "tune on other seeds: what is chosen on a seed looks too good there"
        raise PlanError(f"seeds {shared} would tune and report", where="tuning.seeds", remedy=remedy)
    keys = {f.key for f in made.factors}
    for nuisance in made.tuning.space:
        if nuisance.key in keys or nuisance.key in RESERVED:
            remedy = "a factor is compared, a nuisance is tuned; records use their own columns"
            raise PlanError(f"{nuisance.key!r} cannot be a nuisance", where="tuning.space", remedy=remedy)
    for objective in made.tuning.objectives:
        if objective.metric == made.metric:
            remedy = "log a validation metric under its own name and tune on that: `val_accuracy`"
            raise PlanError(f"{made.metric!r} would tune and report", where="tuning.objectives", remedy=remedy)


def _check_replacements(made: "Plan") -> None:
    """A replacement of a diverged run is a run of its own: its seed is no other trial's."""
    retries = made.divergence.retries if made.divergence else 0
    taken = {*made.seeds, *(made.tuning.seeds if made.tuning else ())}
    shared = {(seed + k * RETRY_SEEDS) % 2**32 for seed in made.seeds for k in range(1, retries + 1)} & taken
    if shared:
        remedy = f"seeds and their replacements, {RETRY_SEEDS:,} apart, must all be different"
        raise PlanError(f"seeds {sorted(shared)} would be run twice", where="divergence.retries", remedy=remedy)


def _check_stopping(made: "Plan") -> None:
    if made.analysis.stopping == "e_process" and (made.blocked, made.analysis.target) != (True, "these_domains"):
        remedy = "use `blocking: seed` with `target: these_domains`, or `stopping: sequential`"
        what = "an e-process judges contrasts within blocks, on these domains"
        raise PlanError(what, where="analysis.stopping", remedy=remedy)
    if made.analysis.stopping != "fixed":
        if made.analysis.variances == "pooled":
            what, remedy = "cells that have stopped would lend the others a variance of other seeds", "use `welch`"
            raise PlanError(what, where="analysis.variances", remedy=f"{remedy}, or `stopping: fixed`")
        if not {*made.families} & {*DECIDING}:
            what = f"no contrast to be decided among {', '.join(made.families)}"
            raise PlanError(what, where="analysis.families", allowed=DECIDING)
    if made.analysis.futility is not None and made.margin is None:
        remedy = "declare the smallest difference that matters: `margin`"
        raise PlanError("futility of finding an effect of no stated size", where="analysis.futility", remedy=remedy)
