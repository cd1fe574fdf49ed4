"""Designs: pure functions from factors to cells, the baseline cell first.

A design of one's own is any function of that signature, given as an object or a dotted path.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import product

from ablate.errors import PlanError
from ablate.factors import Cell, Factor, Level

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
    """A ladder: the baseline, then one change after the other, each kept. The order of factors is the order of rungs."""
    rung = baseline_cell(factors)
    rungs = [rung]
    for f in factors:
        for level in f.alternatives:
            rung = rung.replace(**{f.key: level})
            rungs.append(rung)
    return rungs


def design_named(name: str) -> Design:
    """The design called `name`: a function of this module, or a dotted path to anybody's.

    Raises:
        PlanError: no such design; lists those of this module.
    """
    own = {d.__name__: d for d in (full_factorial, one_at_a_time, leave_one_out, cumulative)}
    if name in own:
        return own[name]
    module, _, attribute = name.rpartition(".")
    try:
        found: Design = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PlanError(
            f"unknown design {name!r}" + (f" ({error})" if module else ""),
            where="design",
            allowed=[*own, "a dotted path to a function factors -> cells"],
            word=name,
        ) from error
    return found


def build_cells(factors: Sequence[Factor], design: Design) -> list[Cell]:
    """The cells of a design, repeated within every stratum of the `across` factors; baseline first.

    Raises:
        PlanError: no factor to compare, or the design gives a cell that the factors do not allow.
    """
    strata = [f for f in factors if f.role == "across"]
    compared = [f for f in factors if f.role == "factor"]
    if not compared:
        raise PlanError("a study needs at least one factor", remedy="give one with two levels: `data=a,b`")
    inner = _distinct(design(compared))
    levels: dict[str, tuple[Level, ...]] = {f.key: f.levels for f in compared}
    for cell in inner:
        if set(cell) != set(levels) or any(cell[k] not in levels[k] for k in cell):
            raise PlanError(
                f"the design gives the cell {cell}, which is none of these factors",
                where=f"design {getattr(design, '__name__', design)}",
                allowed=[f"{k}: {', '.join(map(str, v))}" for k, v in levels.items()],
            )
    outer = full_factorial(strata) if strata else [Cell({})]
    order = [f.key for f in factors]
    return [Cell({k: {**s, **c}[k] for k in order}) for s in outer for c in inner]


def _distinct(cells: Iterable[Cell]) -> list[Cell]:
    return list(dict.fromkeys(cells))
