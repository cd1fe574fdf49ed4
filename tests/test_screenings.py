"""Fractions and Plackett-Burman designs are those of FrF2, orthogonal, and start at the baseline."""

import json
from itertools import combinations, product
from math import prod
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.aliases import LETTERS
from ablate.errors import PlanError
from ablate.factors import Factor
from ablate.screenings import choose_generators, find_resolution, fractional_factorial, plackett_burman

FRF2 = json.loads((Path(__file__).parent / "cases" / "frf2_alias_expected.json").read_text())
FRACTIONS = sorted(FRF2.keys() - {"pb12"})


def listed(value):
    """R's JSON: one string for a list of one, a mapping for none."""
    return [value] if isinstance(value, str) else list(value)


def signs(cells):
    return {tuple(cell.values()) for cell in cells}


def two_levels(number, levels=(1, -1)):
    return [Factor(f"f{i}", levels) for i in range(number)]


def words(factors):
    return [f"{LETTERS[i]}={''.join(LETTERS[j] for j in parents)}" for i, parents in factors.items()]


@pytest.mark.parametrize("name", FRACTIONS)
def test_a_fraction_has_the_cells_of_frf2(name):
    expected = FRF2[name]
    factors = [Factor(letter, (1, -1)) for letter in expected["design"][0]]
    cells = fractional_factorial(factors, generators=listed(expected["gen"]["generators"]))
    assert len(cells) == expected["nruns"]
    assert signs(cells) == {tuple(row.values()) for row in expected["design"]}


@pytest.mark.parametrize("name", FRACTIONS)
def test_generators_are_chosen_as_frf2_chooses_them(name):
    expected = FRF2[name]
    chosen = choose_generators(expected["nfactors"], expected["resolution"], expected["nruns"])
    assert words(chosen) == listed(expected["gen"]["generators"])
    if name not in ("r32f7", "r32f8"):  # sixteen cells reach the resolution of these
        assert choose_generators(expected["nfactors"], expected["resolution"]) == chosen


def test_plackett_burman_in_twelve_cells_is_that_of_frf2():
    expected = FRF2["pb12"]["design"]
    factors = [Factor(letter, (-1, 1)) for letter in expected[0]]
    assert signs(plackett_burman(factors)) == {tuple(row.values()) for row in expected}


@given(st.integers(3, 9), st.integers(3, 5))
@settings(max_examples=25)
def test_a_chosen_fraction_has_the_resolution_that_it_promises(number, resolution):
    try:
        cells = fractional_factorial(two_levels(number), resolution=resolution)
    except PlanError:
        assert number < resolution, "the only word of a half is of all factors"
        return
    columns = list(zip(*(cell.values() for cell in cells), strict=True))
    for size in range(1, resolution):
        for chosen in combinations(columns, size):
            assert sum(map(prod, zip(*chosen, strict=True))) == 0, "a word of the defining relation is shorter"


@given(st.integers(3, 25))
@settings(max_examples=25)
def test_plackett_burman_designs_are_orthogonal_and_start_at_the_baseline(number):
    cells = plackett_burman(two_levels(number))
    assert number < len(cells) == len(signs(cells))
    assert set(cells[0].values()) == {1}
    columns = list(zip(*(cell.values() for cell in cells), strict=True))
    assert all(sum(column) == 0 for column in columns)
    assert all(sum(map(prod, zip(*pair, strict=True))) == 0 for pair in combinations(columns, 2))


@pytest.mark.parametrize("cells", [4, 8, 12, 16, 20, 24, 32, 40, 44, 48])
def test_plackett_burman_designs_of_every_size(cells):
    factors = two_levels(min(cells - 1, 25))
    made = plackett_burman(factors, cells=cells)
    assert len(made) == len(signs(made)) == cells
    columns = list(zip(*(cell.values() for cell in made), strict=True))
    assert all(sum(map(prod, zip(*pair, strict=True))) == 0 for pair in combinations(columns, 2))


def test_generators_may_name_factors():
    factors = [Factor(key, ("no", "yes")) for key in ("data", "loss", "model.depth", "size")]
    cells = fractional_factorial(factors, generators="size = data*loss*model.depth")
    assert cells == fractional_factorial(factors, generators=["D=ABC"])
    assert cells == fractional_factorial(factors), "the only half of resolution four"
    assert cells[0] == dict.fromkeys(("data", "loss", "model.depth", "size"), "no")


def test_least_aberration_is_the_least_of_all():
    """Against every set of generators, by the plainest count of the words of each length."""

    def pattern(columns, basic):
        counts = [0] * 8
        for used in product((0, 1), repeat=len(columns)):
            word = 0
            for i, use in enumerate(used):
                word ^= use * (columns[i] | 1 << basic + i)
            counts[word.bit_count()] += 1
        return counts[3:]

    every = [word for word in range(16) if word.bit_count() > 1]
    best = min(pattern(chosen, 4) for chosen in combinations(every, 3))
    chosen = [sum(1 << j for j in parents) for parents in choose_generators(7, 3, 16).values()]
    assert pattern(chosen, 4) == best
    assert find_resolution(chosen, 4) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generators": ["D=-ABC"]}, "(?s)its sign leaves the baseline out.*swap which level"),
        ({"generators": ["D=ABX"]}, r"(?s)'X' is no factor.*design\.generators.*A=f0, B=f1"),
        ({"generators": ["ABC"]}, "'ABC' is no factor"),
        ({"generators": ["D"]}, "'D' is no factor"),
        ({"generators": ["D=D"]}, "a factor follows once, from two or more others"),
        ({"generators": ["D=AA"]}, "two or more others"),
        ({"generators": ["D=AB", "D=AC"]}, "a factor follows once"),
        ({"generators": ["D=AB", "C=AD"]}, "generator 'C=AD': it follows from one that follows"),
        ({"generators": ["C=AB", "D=AB"]}, "two factors follow alike"),
        ({"generators": ["D=ABC"], "cells": 8}, "generators settle resolution and cells"),
        ({"resolution": 5}, r"(?s)no fraction of 4 factors in at most 1024 cells has resolution 5.*full factorial"),
        ({"resolution": 2}, "a resolution of 2"),
        ({"resolution": "IV"}, "a resolution of 'IV'"),
        ({"cells": 6}, "(?s)unknown number of cells of a fraction 6.*allowed: 4, 8"),
        ({"cells": 4}, "no fraction of 4 factors in 4 cells has resolution 3"),
    ],
)
def test_fractions_that_make_no_sense_are_refused(options, message):
    with pytest.raises(PlanError, match=message):
        fractional_factorial(two_levels(4), **options)


@pytest.mark.parametrize("design", [fractional_factorial, plackett_burman])
@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([*two_levels(3), Factor("size", (1, 2, 3))], "(?s)size has 3 levels.*d_optimal"),
        (two_levels(2), r"(?s)2 factor\(s\).*3 to 25 factors"),
        (two_levels(26), r"26 factor\(s\)"),
    ],
)
def test_factors_that_cannot_be_screened_are_refused(design, factors, message):
    with pytest.raises(PlanError, match=message):
        design(factors)


def test_a_number_of_cells_that_has_no_design_is_refused():
    with pytest.raises(PlanError, match=r"(?s)unknown number of cells 28.*allowed: 12, 16, 20"):
        plackett_burman(two_levels(9), cells=28)
