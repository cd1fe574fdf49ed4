"""D-optimal designs: no choice of cells is better, orthogonal arrays are found where there are any."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.designs import baseline_cell
from ablate.errors import PlanError
from ablate.factors import Factor, level_name
from ablate.optima import d_optimal
from tests.strategies import factor_lists


def sized(*sizes):
    return [Factor(f"f{i}", tuple(range(size))) for i, size in enumerate(sizes)]


def log_det(factors, rows, pairs=()):
    """log det(X'X), levels coded by indicators without the first: of every coding the same up to a constant."""
    single = [np.eye(len(f.levels))[[row[i] for row in rows], 1:] for i, f in enumerate(factors)]
    crossed = [np.einsum("ni,nj->nij", single[i], single[j]).reshape(len(rows), -1) for i, j in pairs]
    x = np.hstack([np.ones((len(rows), 1)), *single, *crossed])
    sign, value = np.linalg.slogdet(x.T @ x)
    return value if sign > 0 else -np.inf


def rows_of(cells):
    return [tuple(cell.values()) for cell in cells]


@pytest.mark.parametrize(
    ("sizes", "cells", "pairs"),
    [((2, 3), 4, ()), ((2, 2, 3), 5, ()), ((2, 2, 3), 7, ()), ((3, 3), 6, ()), ((2, 2, 2), 6, [(0, 1)])],
)
def test_no_choice_of_cells_with_the_baseline_is_better(sizes, cells, pairs):
    factors = sized(*sizes)
    every = list(product(*map(range, sizes)))
    best = max(log_det(factors, [every[0], *others], pairs) for others in combinations(every[1:], cells - 1))
    made = d_optimal(factors, cells=cells, interactions=[(f"f{i}", f"f{j}") for i, j in pairs])
    assert log_det(factors, rows_of(made), pairs) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(("sizes", "cells"), [((3, 3, 3, 3), 9), ((2,) * 7, 8), ((2, 2, 3, 3), 36)])
def test_orthogonal_arrays_are_found(sizes, cells):
    rows = rows_of(d_optimal(sized(*sizes), cells=cells))
    for i, j in combinations(range(len(sizes)), 2):
        counts = np.zeros((sizes[i], sizes[j]))
        np.add.at(counts, ([row[i] for row in rows], [row[j] for row in rows]), 1)
        assert len(set(counts.ravel())) == 1, "every pair of levels equally often"


@given(factor_lists(), st.data())
@settings(max_examples=30)
def test_it_starts_at_the_baseline_repeats_nothing_and_holds_every_level(factors, data):
    every = int(np.prod([len(f.levels) for f in factors]))
    terms = 1 + sum(len(f.levels) - 1 for f in factors)
    number = data.draw(st.integers(terms, every))
    cells = d_optimal(factors, cells=number)
    assert cells[0] == baseline_cell(factors)
    assert len(set(cells)) == number
    for factor in factors:
        assert {level_name(cell[factor.key]) for cell in cells} == set(map(level_name, factor.levels))
    assert cells == d_optimal(factors, cells=number)


def test_without_a_number_it_has_as_many_cells_as_terms_and_a_large_one_is_made_of_a_draw():
    assert len(d_optimal(sized(2, 3, 4))) == 7
    assert len(d_optimal(sized(2, 3, 4), interactions=[["f0", "f1"]])) == 9
    many = sized(*[2] * 12)
    rows = rows_of(d_optimal(many, cells=16))
    assert log_det(many, rows) > log_det(many, rows_of(d_optimal(many))) > -np.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": 6}, "(?s)6 cells.*where:   design.cells.*allowed: 7 to 24.*the model has 7 terms"),
        ({"cells": 25}, "25 cells"),
        ({"cells": 8.0}, "8.0 cells"),
        ({"interactions": [["f0", "f11"]]}, r"(?s)no pair of factors.*design\.interactions.*did you mean"),
        ({"interactions": [["f0", "f0"]]}, "no pair of factors"),
        ({"interactions": ["f0"]}, "no pair of factors"),
    ],
)
def test_budgets_and_interactions_that_make_no_sense_are_refused(options, message):
    with pytest.raises(PlanError, match=message):
        d_optimal(sized(2, 3, 4), **options)
