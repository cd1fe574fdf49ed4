"""Contrasts: every question about a design as weights over its cells, or the refusal of a question it cannot answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, islice, pairwise, product
from math import prod, sqrt

import numpy as np

from ablate.analyses import Comparison, Family
from ablate.designs import baseline_cell, cumulative
from ablate.factors import Cell, Factor, Level, level_name
from ablate.stats.refusals import NOT_ESTIMABLE, Refusal

JOIN = " × "


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of cell means.

    Attributes:
        family: the family it is corrected in.
        factor, level, versus: how tables call it: what is switched, to what, from what.
        weights: cell -> weight, over cells of the plan; they sum to zero.
        margin: of a declared comparison; None elsewhere.
        refusal: R10 where the plan lacks a cell that the contrast needs (the weights are then incomplete).
    """

    family: Family
    factor: str
    level: str
    versus: str
    weights: Mapping[Cell, float]
    margin: float | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True)
class _Side:
    """Equal weights over all cells that agree with some levels: those the plan has, and which are missing."""

    weights: Mapping[Cell, float]
    n_missing: int
    examples: tuple[str, ...]


def build_contrasts(
    family: Family,
    factors: Sequence[Factor],
    cells: Sequence[Cell],
    comparisons: Sequence[Comparison] = (),
    screens: bool = False,
) -> list[Contrast]:
    """The contrasts of one family over the cells of one stratum, in the order of factors and levels.

    Args:
        family: `main` (equal-weight marginal against the baseline level), `simple` (every cell against the baseline
            cell), `interaction` (differences of differences, averaged over the other factors), `leave_one_out`
            (full minus full without one, and the total gain), `step` (rung minus rung before), `pairs` (every cell
            against every one before it) or `noninferiority`.
        factors: the compared factors (all but the strata).
        cells: the plan's cells, of those factors only.
        comparisons: for `noninferiority`.
        screens: the design holds a part of the cells on purpose: main effects, where cells are missing, are those of
            least squares if interactions are nil; two-way interactions, if those of three and more factors are.
    """
    builders: dict[str, Callable[[Sequence[Factor], Sequence[Cell]], Iterator[Contrast]]] = {
        "main": _main,
        "simple": _simple,
        "interaction": _interactions,
        "leave_one_out": _leave_one_out,
        "step": _steps,
        "pairs": _pairs,
    }
    if family == "noninferiority":
        return [_comparison(c, factors, cells) for c in comparisons if c.base is None]
    found = list(builders[family](factors, cells))
    return list(_screen(family, found, factors, cells)) if screens and family in ("main", "interaction") else found


def _screen(
    family: Family, contrasts: Sequence[Contrast], factors: Sequence[Factor], cells: Sequence[Cell]
) -> Iterator[Contrast]:
    """Contrasts that lack cells as weights of least squares, where the model of main effects (for interactions: and of
    all two-way interactions) is estimable on the cells there are; those that are not stay refused."""
    if all(contrast.refusal is None for contrast in contrasts):
        yield from contrasts
        return
    columns = {
        (f.key, level_name(level)): np.array([float(cell[f.key] == level) for cell in cells])
        for f in factors
        for level in f.alternatives
    }
    if family == "interaction":
        pairs = [(one, two) for one, two in combinations(columns, 2) if one[0] != two[0]]
        columns |= {(f"{f}{JOIN}{g}", f"{a}{JOIN}{b}"): columns[f, a] * columns[g, b] for (f, a), (g, b) in pairs}
    x = np.column_stack([np.ones(len(cells)), *columns.values()])
    inverse = np.linalg.pinv(x)
    told = np.abs(inverse @ x - np.eye(x.shape[1])).max(1) < 1e-9
    row = {name: i for i, name in enumerate(columns, 1)}
    for contrast in contrasts:
        i = row[contrast.factor, contrast.level]
        if contrast.refusal is None or not told[i]:
            yield contrast
        else:
            weights = {cell: float(w) for cell, w in zip(cells, inverse[i], strict=True) if abs(w) > 1e-12}
            yield replace(contrast, weights=weights, refusal=None)


def _main(factors: Sequence[Factor], cells: Sequence[Cell]) -> Iterator[Contrast]:
    for f in factors:
        for level in f.alternatives:
            sides = [(1, {f.key: level}), (-1, {f.key: f.baseline})]
            yield _contrast("main", (f.key,), (level,), (f.baseline,), sides, factors, cells)


def _interactions(factors: Sequence[Factor], cells: Sequence[Cell]) -> Iterator[Contrast]:
    for f, g in combinations(factors, 2):
        for a, b in product(f.alternatives, g.alternatives):
            sides = [
                (1, {f.key: a, g.key: b}),
                (-1, {f.key: a, g.key: g.baseline}),
                (-1, {f.key: f.baseline, g.key: b}),
                (1, {f.key: f.baseline, g.key: g.baseline}),
            ]
            yield _contrast("interaction", (f.key, g.key), (a, b), (f.baseline, g.baseline), sides, factors, cells)


def _simple(factors: Sequence[Factor], cells: Sequence[Cell]) -> Iterator[Contrast]:
    start = baseline_cell(factors)
    for cell in cells:
        if cell != start:
            yield _between("simple", cell, start, factors, cells)


def _pairs(factors: Sequence[Factor], cells: Sequence[Cell]) -> Iterator[Contrast]:
    alone = len(factors) == 1
    for versus, cell in combinations(cells, 2):
        found = _between("pairs", cell, versus, factors, cells)
        # of several factors, the ones that both cells share tell one pair from another
        yield found if alone else replace(found, factor="cell", level=str(cell), versus=str(versus))


def _leave_one_out(factors: Sequence[Factor], cells: Sequence[Cell]) -> Iterator[Contrast]:
    full = baseline_cell(factors)
    bare, given = bare_cell(factors), set(cells)
    removed = [full.replace(**{f.key: off}) for f in factors for off in f.alternatives]
    for cell in dict.fromkeys(_together(cell, full, bare, cells) if cell not in given else cell for cell in removed):
        if cell != bare or len(factors) == 1:
            yield _between("leave_one_out", full, cell, factors, cells)
    if len(factors) > 1:
        yield _between("leave_one_out", full, bare_cell(factors), factors, cells)


def _together(removed: Cell, full: Cell, bare: Cell, cells: Sequence[Cell]) -> Cell:
    """The smallest removal of a component with others, where the plan never removes it alone; else that removal."""
    (key,) = (key for key in full if removed[key] != full[key])
    groups = [cell for cell in cells if cell[key] == removed[key] and all(cell[k] in (full[k], bare[k]) for k in cell)]
    return min(groups, key=lambda cell: sum(cell[k] != full[k] for k in cell), default=removed)


def bare_cell(factors: Sequence[Factor]) -> Cell:
    """Every factor at its last alternative: the system with everything off, where the baseline is everything on."""
    return Cell({f.key: f.alternatives[-1] for f in factors})


def _steps(factors: Sequence[Factor], cells: Sequence[Cell]) -> Iterator[Contrast]:
    rungs = cumulative(factors)
    for before, after in pairwise(rungs):
        yield _between("step", after, before, factors, cells)


def _comparison(c: Comparison, factors: Sequence[Factor], cells: Sequence[Cell]) -> Contrast:
    weights, refusal = combine([(1, c.cell), (-1, c.versus)], factors, cells)
    level, versus = (str(Cell(dict(side))) for side in (c.cell, c.versus))
    return Contrast("noninferiority", c.name, level, versus, weights, c.margin, refusal)


def _between(family: Family, cell: Cell, versus: Cell, factors: Sequence[Factor], cells: Sequence[Cell]) -> Contrast:
    switched = [f.key for f in factors if cell[f.key] != versus[f.key]]
    levels, against = [cell[key] for key in switched], [versus[key] for key in switched]
    return _contrast(family, switched, levels, against, [(1, cell), (-1, versus)], factors, cells)


def _contrast(
    family: Family,
    keys: Sequence[str],
    levels: Sequence[Level],
    versus: Sequence[Level],
    sides: Sequence[tuple[float, Mapping[str, Level]]],
    factors: Sequence[Factor],
    cells: Sequence[Cell],
) -> Contrast:
    weights, refusal = combine(sides, factors, cells)
    name = JOIN.join(keys)
    if refusal is not None and family in ("main", "interaction"):
        chain = [a for a in _aliases(weights, factors, cells) if a != _title(keys, levels)]
        if chain:
            refusal = refusal.about(f"{refusal.detail}; aliased with {', '.join(chain)}")
    return Contrast(
        family, name, JOIN.join(map(level_name, levels)), JOIN.join(map(level_name, versus)), weights, refusal=refusal
    )


def combine(
    sides: Sequence[tuple[float, Mapping[str, Level]]], factors: Sequence[Factor], cells: Sequence[Cell]
) -> tuple[dict[Cell, float], Refusal | None]:
    """Weights of a sum of sides, each the equal-weight mean of all cells that agree with some levels; or R10."""
    weights: dict[Cell, float] = {}
    missing = 0
    examples: list[str] = []
    for sign, fixed in sides:
        side = _side(fixed, factors, cells)
        missing += side.n_missing
        examples += side.examples
        for cell, weight in side.weights.items():
            weights[cell] = weights.get(cell, 0.0) + sign * weight
    weights = {cell: weight for cell, weight in weights.items() if abs(weight) > 1e-12}
    if missing:
        more = f" and {missing - 3} more" if missing > 3 else ""
        detail = f"the plan lacks {'; '.join(examples[:3])}{more}"
        return weights, NOT_ESTIMABLE.about(detail)
    return weights, None if weights else NOT_ESTIMABLE.about("both sides are the same cells")


def _side(fixed: Mapping[str, Level], factors: Sequence[Factor], cells: Sequence[Cell]) -> _Side:
    free = [f for f in factors if f.key not in fixed]
    needed = prod(len(f.levels) for f in free)
    members = [cell for cell in cells if cell.agrees(fixed)]
    present = set(members)
    wanted = (
        Cell({f.key: {**fixed, **dict(zip([g.key for g in free], levels, strict=True))}[f.key] for f in factors})
        for levels in product(*(f.levels for f in free))
    )
    n_missing = needed - len(members)
    absent = islice((str(cell) for cell in wanted if cell not in present), min(3, n_missing))
    return _Side(dict.fromkeys(members, 1 / needed), n_missing, tuple(absent))


def _aliases(weights: Mapping[Cell, float], factors: Sequence[Factor], cells: Sequence[Cell]) -> Iterator[str]:
    """Main effects and two-way interactions that have, on the cells there are, the same weights up to a factor."""
    mine = [weights.get(cell, 0.0) for cell in cells]
    for title, theirs in _low_order(tuple(factors), tuple(cells)):
        norm = sqrt(_dot(mine, mine) * _dot(theirs, theirs))
        if norm and abs(_dot(mine, theirs)) > (1 - 1e-9) * norm:
            yield title


@lru_cache(maxsize=4)
def _low_order(factors: tuple[Factor, ...], cells: tuple[Cell, ...]) -> list[tuple[str, list[int]]]:
    """Every main effect and two-way interaction: its title, and its weights (1, -1, 0) on the cells there are."""
    sign = {
        (f.key, level): [1 if cell[f.key] == level else -1 if cell[f.key] == f.baseline else 0 for cell in cells]
        for f in factors
        for level in f.alternatives
    }
    single = [(_title((key,), (level,)), weights) for (key, level), weights in sign.items()]
    pairs = [
        (_title((f, g), (a, b)), [v * w for v, w in zip(one, two, strict=True)])
        for ((f, a), one), ((g, b), two) in combinations(sign.items(), 2)
        if f != g
    ]
    return single + pairs


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _title(keys: Sequence[str], levels: Sequence[Level]) -> str:
    return JOIN.join(f"{key}={level_name(level)}" for key, level in zip(keys, levels, strict=True))
