"""Shares of a total gain among the factors that made it (estimand 5): Shapley values as contrasts of cells.

A factor's Shapley value is what switching it on adds, averaged over all orders in which the factors can be switched on.
It is linear in the cells' means, so that it is judged like any contrast; the values add up to the gain from all off to
all on, and a value over that gain is a ratio of two contrasts (see `ratios`).
"""

from collections.abc import Mapping, Sequence
from itertools import product
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.errors import PlanError

Array = NDArray[np.float64]


def shapley_weights(factors: int) -> tuple[Array, list[tuple[int, ...]]]:
    """Shapley values of two-level factors as weights of the cells of their full factorial.

    A cell with s of the other factors on counts s!(k - s - 1)!/k!, and with a minus sign where the factor itself is off
    (Shapley 1953, Contributions to the Theory of Games II, 307-317).

    Args:
        factors: how many, k.

    Returns:
        Weights, factors × 2^k, which sum over factors to (all on) - (all off); and the cells in their order, a 0 (off)
        or 1 (on) per factor, the last factor changing fastest.
    """
    cells = list(product((0, 1), repeat=factors))
    on = np.array(cells).T
    orders = [factorial(s) * factorial(factors - s - 1) / factorial(factors) for s in range(factors)]
    return np.where(on == 1, 1.0, -1.0) * np.array(orders)[on.sum(0) - on], cells


def find_shares(cells: Sequence[Mapping[str, Any]], off: Mapping[str, Any], on: Mapping[str, Any]) -> Array:
    """Shapley values of switching each factor from one level to another, as weights of the cells at hand.

    Args:
        cells: a level per factor; may hold further cells, which get weight zero.
        off: the level that counts as off, per factor; a factor without an `on` level is held there.
        on: the level that counts as on, of the factors that share the gain.

    Returns:
        Weights, factors (in the order of `on`) × cells.

    Raises:
        PlanError: a cell of the factorial of these levels is not there, a factor has no `off` level, or the same one.
    """
    for factor, level in on.items():
        if factor not in off or off[factor] == level:
            raise PlanError(
                f"the share of {factor!r} needs two levels",
                where=f"on[{factor!r}] = {level!r}",
                remedy=f"name a level of {factor!r} for off and another one for on",
            )
    weights, order = shapley_weights(len(on))
    places = {tuple(cell[factor] for factor in off): place for place, cell in enumerate(cells)}
    found = np.zeros((len(on), len(cells)))
    for column, switched in zip(weights.T, order, strict=True):
        levels = {**off, **{factor: on[factor] for factor, is_on in zip(on, switched, strict=True) if is_on}}
        if (place := places.get(tuple(levels.values()))) is None:
            raise PlanError(
                f"shares of {len(on)} factors need all {2 ** len(on)} cells of their levels; one is missing",
                where=", ".join(f"{factor}={level}" for factor, level in levels.items()),
                remedy="run the full factorial of these levels, or share the gain among fewer factors",
            )
        found[:, place] = column
    return found
