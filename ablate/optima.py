"""D-optimal designs: for any numbers of levels, the cells from which effects come out most precise together.

Exchanges of Fedorov (1972, Theory of Optimal Experiments, ch. 3) from several starts: of all swaps of a chosen cell for
another, the one that raises det(X'X) most is made, until none does. The baseline stays, and no cell is taken twice:
replicates are seeds. By hand, since optimal designs for named levels exist in no Python package that is kept.
"""

import random
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from ablate.errors import PlanError
from ablate.factors import Cell, Factor, is_list

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CANDIDATES = 2048  # beyond so many cells, so many are drawn
STARTS = 10  # of small designs; fewer of large ones, so that planning stays quick


def d_optimal(
    factors: Sequence[Factor], *, cells: int | None = None, interactions: Sequence[Sequence[str]] = ()
) -> list[Cell]:
    """The cells that make main effects, and named interactions, most precise: a large det(X'X) for the budget.

    Args:
        factors: of any numbers of levels.
        cells: how many; without it as many as the model has terms, the fewest that do. A budget of trials is cells
            times seeds.
        interactions: pairs of factors whose two-way interactions are estimated too; all others are taken to be nil.

    Raises:
        PlanError: fewer cells than terms, more than there are, or an interaction of what are no two factors.
    """
    pairs = _read_pairs(factors, interactions)
    terms = 1 + sum(len(f.levels) - 1 for f in factors)
    terms += sum((len(f.levels) - 1) * (len(g.levels) - 1) for f, g in pairs)
    every = prod(len(f.levels) for f in factors)
    number = terms if cells is None else cells
    if type(number) is not int or not terms <= number <= every:
        remedy = f"the model has {terms} terms, the full factorial {every} cells"
        allowed = [f"{terms} to {every}"]
        raise PlanError(f"{number!r} cells", where="design.cells", allowed=allowed, remedy=remedy)
    candidates = _draw_candidates(factors, max(CANDIDATES, number))
    chosen = _exchange(_model_matrix(factors, pairs, candidates), number)
    levels = [(f.baseline, *f.alternatives) for f in factors]
    rows = sorted(candidates[i] for i in chosen)
    return [Cell({f.key: of[i] for f, of, i in zip(factors, levels, row, strict=True)}) for row in rows]


def _read_pairs(factors: Sequence[Factor], interactions: Sequence[Sequence[str]]) -> list[tuple[Factor, Factor]]:
    by_key, where = {f.key: f for f in factors}, "design.interactions"
    found = []
    for pair in interactions:
        if not is_list(pair) or len(set(pair)) != 2 or not all(key in by_key for key in pair):
            unknown = next((key for key in pair if key not in by_key), None) if is_list(pair) else None
            raise PlanError(f"{pair!r} is no pair of factors", where=where, allowed=by_key, word=unknown)
        found.append((by_key[pair[0]], by_key[pair[1]]))
    return found


def _draw_candidates(factors: Sequence[Factor], most: int) -> list[tuple[int, ...]]:
    """Cells as numbers of levels, the baseline (all 0) first: all there are, or a fixed draw of them."""
    sizes = [len(f.levels) for f in factors]
    if prod(sizes) <= most:
        return list(product(*map(range, sizes)))
    rng, drawn = random.Random(0), dict.fromkeys([tuple(0 for _ in sizes)])
    while len(drawn) < most:
        drawn[tuple(rng.randrange(size) for size in sizes)] = None
    return list(drawn)


def _model_matrix(
    factors: Sequence[Factor], pairs: Sequence[tuple[Factor, Factor]], candidates: Sequence[tuple[int, ...]]
) -> "Array":
    """A row per candidate: 1, then orthonormal contrasts of each factor's levels, then products for interactions."""
    import numpy as np

    numbers = np.array(candidates)
    columns = {}
    for i, f in enumerate(factors):
        size = len(f.levels)
        contrasts, _ = np.linalg.qr(np.column_stack([np.ones(size), np.eye(size)[:, 1:]]))
        columns[f.key] = contrasts[numbers[:, i], 1:] * size**0.5
    crossed = [(columns[f.key][:, :, None] * columns[g.key][:, None, :]).reshape(len(numbers), -1) for f, g in pairs]
    return np.hstack([np.ones((len(numbers), 1)), *columns.values(), *crossed])


def _exchange(x: "Array", number: int) -> list[int]:
    """Rows of the best design of some starts; row 0 is always one. The gain is rounded, so that machines agree."""
    import numpy as np

    best: tuple[float, list[int]] = (-np.inf, [])
    for start in range(max(2, min(STARTS, 100_000 // (number * len(x))))):
        chosen = [0, *random.Random(start).sample(range(1, len(x)), number - 1)]
        for _ in range(10 * number):
            inverse = np.linalg.inv(x[chosen].T @ x[chosen] + 1e-6 * np.eye(x.shape[1]))  # a start may be singular
            rows = x @ inverse
            out = np.array(chosen[1:])
            leverage = np.einsum("ij,ij->i", rows, x)
            gain = np.outer(1 - leverage[out], 1 + leverage) + (rows[out] @ x.T) ** 2 - 1
            gain[:, chosen] = 0  # no cell twice
            i, j = divmod(int(np.argmax(np.round(gain, 8))), len(x))
            if gain[i, j] < 1e-7:
                break
            chosen[i + 1] = j
        sign, value = np.linalg.slogdet(x[chosen].T @ x[chosen])
        value = round(float(value), 7) if sign > 0 else -np.inf
        best = max(best, (value, chosen), key=lambda found: found[0])
    if best[0] == -np.inf:
        remedy = "give more cells, or fewer interactions"
        raise PlanError("no choice of cells estimates every term", where="design.cells", remedy=remedy)
    return best[1]
