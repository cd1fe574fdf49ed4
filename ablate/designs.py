"""Designs: pure functions from factors to cells, the baseline cell first.

A design of one's own is any function of that signature, given as an object or a dotted path.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from itertools import product

from ablate.errors import PlanError
from ablate.factors import Cell, Factor, level_name

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


def leave_one_out(factors: Sequence[Factor]) -> list[Cell]:
    """The full system (every factor at its baseline: on), each component removed alone, then all removed.

    The last cell, every factor at its last level, gives the total gain that the single contributions
    stand beside: without it, leave-one-out rows are read as shares, which they are not.
    """
    full = baseline_cell(factors)
    bare = Cell({f.key: f.alternatives[-1] for f in factors})
    return _distinct([*one_at_a_time(factors), bare if len(factors) > 1 else full])


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


def design_named(name: str) -> Design:
    """The design called `name`: a function of this module, or a dotted path to anybody's.

    Raises:
        PlanError: no such design; lists those of this module.
    """
    own = {d.__name__: d for d in OWN}
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
    if design in OWN:
        return design.__name__
    named = design if hasattr(design, "__qualname__") else type(design)
    return f"{named.__module__}.{named.__qualname__}"


def build_cells(factors: Sequence[Factor], design: Design) -> list[Cell]:
    """The cells of a design, repeated within every stratum of the `across` factors; baseline first.

    Raises:
        PlanError: no factor to compare, or the design gives fewer than two cells, or one of other levels.
    """
    strata = [f for f in factors if f.role == "across"]
    compared = [f for f in factors if f.role == "factor"]
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
