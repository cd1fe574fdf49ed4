"""Alias chains from cells alone are those that FrF2 derives from generators."""

import pytest
from hypothesis import given

from ablate.aliases import find_aliases
from ablate.designs import full_factorial, one_at_a_time
from ablate.factors import Factor
from ablate.screenings import fractional_factorial, plackett_burman
from tests.strategies import factor_lists
from tests.test_screenings import FRACTIONS, FRF2, listed, two_levels


@pytest.mark.parametrize("name", FRACTIONS)
def test_alias_chains_are_those_of_frf2(name):
    expected = FRF2[name]
    factors = [Factor(letter, ("off", "on")) for letter in expected["design"][0]]
    found = find_aliases(factors, fractional_factorial(factors, generators=listed(expected["gen"]["generators"])))
    assert ["=".join(chain) for chain in found.chains] == listed(expected["main"]) + listed(expected["fi2"])
    assert found.resolution == min(expected["resolution"], 5)
    assert not found.partial
    assert found.legend == {letter: letter for letter in expected["design"][0]}


@given(factor_lists())
def test_a_full_factorial_aliases_nothing(factors):
    found = find_aliases(factors, full_factorial(factors))
    assert (found.chains, found.partial, found.resolution) == ((), {}, None)


def test_plackett_burman_aliases_a_third_of_every_interaction_with_every_other_main_effect():
    factors = two_levels(11)
    found = find_aliases(factors, plackett_burman(factors))
    assert (found.chains, found.resolution) == ((), None)
    assert found.partial == {letter: (45, pytest.approx(1 / 3)) for letter in "ABCDEFGHJKL"}
    assert found.to_dict()["partial"]["A"] == {"interactions": 45, "largest": 0.333333}


def test_one_at_a_time_shares_main_effects_with_interactions_and_levels_are_named():
    factors = [Factor("data", ("raw", "clean", "more")), Factor("size", ("s", "l")), Factor("loss", ("ce", "ls"))]
    found = find_aliases(factors, one_at_a_time(factors))
    assert found.legend == {"A": "data=clean", "B": "data=more", "C": "size", "D": "loss"}
    assert found.partial.keys() == set("ABCD")
    assert found.resolution is None


def test_factors_that_move_together_are_resolution_two():
    factors = two_levels(3)
    cells = [cell for cell in full_factorial(factors) if cell["f0"] == cell["f1"]]
    found = find_aliases(factors, cells)
    assert found.chains == (("A", "B"), ("AC", "BC"))
    assert found.resolution == 2
