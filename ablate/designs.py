"""Designs: pure functions from factors to cells, the baseline cell first.

A design of one's own is any function of that signature, given as an object or a dotted path. Options are its
keyword arguments: `{name: leave_one_out, groups: [augment.*]}`.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from itertools import product
from typing import Any

from ablate.errors import PlanError, require_keys
from ablate.factors import Cell, Factor, is_list, level_name
from ablate.optima import d_optimal
from ablate.screenings import fractional_factorial, plackett_burman

Design = Callable[[Sequence[Factor]], list[Cell]]


def baseline_cell(factors: Sequence[Factor]) -> Cell:
    """Every factor at its baseline."""
    return Cell({f.key: f.baseline for f in factors})


def full_factorial(factors: Sequence[Factor]) -> list[Cell]:
    """Every combination of levels: all main effects and all interactions are estimable."""
    ordered = [(f.baseline, *f.alternatives) for f in factors]
    return [Cell(dict(zip([f.key for f in factors], levels, strict=True))) for levels in product(*ordered)]


def one_at_a_time(factors: Sequence[Factor]) -> list[Cell]:
    """The baseline, then each other level alone: simple effects only; blind to interactions."""
    start = baseline_cell(factors)
    return [start, *(start.replace(**{f.key: level}) for f in factors for level in f.alternatives)]


def leave_one_out(factors: Sequence[Factor], *, groups: Sequence[str | Sequence[str]] = ()) -> list[Cell]:
    """The full system (every factor at its baseline: on), each component removed alone, then all removed.

    The last cell, every factor at its last level, gives the total gain that the single contributions
    stand beside: without it, leave-one-out rows are read as shares, which they are not.

    Args:
        factors: the components; a factor is removed at each of its other levels in turn.
        groups: factors that are removed together, as one component, each at its last level: patterns of keys
            (`augment.*`), or lists of keys or patterns.

    Raises:
        PlanError: a group of no or one factor, or a factor in two groups.
    """
    full = baseline_cell(factors)
    off = {f.key: f.alternatives[-1] for f in factors}
    members = {key: group for group in _read_groups(factors, groups) for key in group}
    removed = [
        full.replace(**({key: off[key] for key in members[f.key]} if f.key in members else {f.key: level}))
        for f in factors
        for level in f.alternatives
    ]
    return _distinct([full, *removed, Cell(off) if len(factors) > 1 else full])


def _read_groups(factors: Sequence[Factor], groups: Sequence[str | Sequence[str]]) -> list[list[str]]:
    keys, where = [f.key for f in factors], "design.groups"
    if not is_list(groups):
        raise PlanError(f"groups are {groups!r:.80}", where=where, allowed=["a list: [augment.*, [warmup, decay]]"])
    found: list[list[str]] = []
    for group in groups:
        patterns = group if is_list(group) else [group]
        for pattern in patterns:
            if not any(fnmatchcase(key, str(pattern)) for key in keys):
                raise PlanError(f"no factor is called {pattern!r}", where=where, allowed=keys, word=pattern)
        members = [key for key in keys if any(fnmatchcase(key, str(pattern)) for pattern in patterns)]
        if len(members) < 2:
            remedy = "leave it out: a factor alone is a component already"
            raise PlanError(f"the group {group!r} has one factor, {members[0]}", where=where, remedy=remedy)
        found.append(members)
    named = [key for members in found for key in members]
    twice = sorted({key for key in named if named.count(key) > 1})
    if twice:
        raise PlanError(f"in two groups: {', '.join(twice)}", where=where, remedy="name each factor in one group")
    return found


def cumulative(factors: Sequence[Factor]) -> list[Cell]:
    """A ladder: the baseline, then one change after the other, each kept; in the order of the factors."""
    rung = baseline_cell(factors)
    rungs = [rung]
    for f in factors:
        for level in f.alternatives:
            rung = rung.replace(**{f.key: level})
            rungs.append(rung)
    return rungs


OWN: tuple[Design, ...] = (full_factorial, one_at_a_time, leave_one_out, cumulative)
SCREENING: tuple[Design, ...] = (fractional_factorial, plackett_burman, d_optimal)  # of some of the cells


def declare_design(declared: object) -> tuple[Design, str, dict[str, Any]]:
    """A design as declared: what builds the cells, its name, and its options as plain values.

    Args:
        declared: a name or dotted path; a mapping `{name: ..., option: ...}`, in which null is an option's default; or
            a function, which may be a `functools.partial` with keyword arguments.

    Raises:
        PlanError: no such design, or an option that it does not have.
    """
    if isinstance(declared, partial) and not declared.args:
        found, name, options = declared.func, design_name(declared.func), dict(declared.keywords)
    elif isinstance(declared, Mapping):
        options = {key: value for key, value in declared.items() if value is not None and key != "name"}
        name = str(declared.get("name"))
        found = design_named(name)
    elif isinstance(declared, str):
        found, name, options = design_named(declared), declared, {}
    elif callable(declared):
        return declared, design_name(declared), {}
    else:
        remedy = "give a name, or `{name: leave_one_out, groups: [augment.*]}`"
        raise PlanError(f"{declared!r:.80} is no design", where="design", remedy=remedy)
    if not options:
        return found, name, {}
    taken = [key for key, p in inspect.signature(found).parameters.items() if p.kind is p.KEYWORD_ONLY]
    require_keys(options, list(inspect.signature(found).parameters) if isinstance(found, type) else taken, "design")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PlanError(f"an option is no plain value: {error}", where=f"design {name}") from error
    return found(**options) if isinstance(found, type) else partial(found, **options), name, plain


def design_named(name: str) -> Design:
    """The design called `name`: one that ships, or a dotted path to anybody's.

    Raises:
        PlanError: no such design; lists those that ship.
    """
    own = {design_name(d): d for d in (*OWN, *SCREENING)}
    if name in own:
        return own[name]
    module, _, attribute = name.rpartition(".")
    try:
        found: Design = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise PlanError(
            f"unknown design {name!r}" + (f" ({error})" if module else ""),
            where="design",
            allowed=[*own, "a dotted path to a function factors -> cells"],
            word=name,
        ) from error
    if not callable(found):
        raise PlanError(f"{name} is a {type(found).__name__}", where="design", allowed=["a function factors -> cells"])
    return found


def design_name(design: Design) -> str:
    """How a plan writes a design down; `design_named` finds a module's function again by that name."""
    if isinstance(design, partial):
        return design_name(design.func)
    if design in (*OWN, *SCREENING):
        return str(getattr(design, "__name__", ""))
    named = design if hasattr(design, "__qualname__") else type(design)
    return f"{named.__module__}.{named.__qualname__}"


def build_cells(factors: Sequence[Factor], design: Design) -> list[Cell]:
    """The cells of a design, repeated within every stratum of the `across` factors; baseline first.

    Raises:
        PlanError: no factor to compare, or the design gives fewer than two cells, or one of other levels.
    """
    strata = [f for f in factors if f.role == "across"]
    compared = [f for f in factors if f.compared]
    if not compared:
        raise PlanError("a study needs at least one factor", remedy="give one with two levels: `data=a,b`")
    inner = _distinct(_checked(cell, compared, design) for cell in design(compared))
    if len(inner) < 2:
        raise PlanError(
            f"the design gives {len(inner)} cell(s): nothing to compare",
            where=f"design {design_name(design)}",
            remedy="a design returns the baseline cell and at least one other",
        )
    outer = full_factorial(strata) if strata else [Cell({})]
    order = [f.key for f in factors]
    return [Cell({k: {**s, **c}[k] for k in order}) for s in outer for c in inner]


def _checked(cell: Mapping[str, object], factors: Sequence[Factor], design: Design) -> Cell:
    """The cell with every level as its factor spells it."""
    try:
        if set(cell) != {f.key for f in factors}:
            raise PlanError(f"its keys are {', '.join(cell)}")
        return Cell({f.key: f.level(cell[f.key]) for f in factors})
    except PlanError as error:
        raise PlanError(
            f"the design gives a cell that these factors do not have: {dict(cell)} ({error.what})",
            where=f"design {design_name(design)}",
            allowed=[f"{f.key}: {', '.join(map(level_name, f.levels))}" for f in factors],
        ) from error


def _distinct(cells: Iterable[Cell]) -> list[Cell]:
    return list(dict.fromkeys(cells))
