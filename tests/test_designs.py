"""Every design starts at the baseline and holds the cells its name promises."""

import inspect
import math
import re
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hydra_plugins.ablate_sweeper.sweeper import AblateSweeperConf
from hypothesis import given

from ablate.designs import (
    OWN,
    SCREENING,
    baseline_cell,
    build_cells,
    cumulative,
    declare_design,
    design_name,
    design_named,
    full_factorial,
    leave_one_out,
    one_at_a_time,
)
from ablate.errors import PlanError
from ablate.factors import Cell, Factor, level_name
from ablate.sweeps import conf_dir
from tests.strategies import factor_lists

DATA, SIZE = Factor("data", ("raw", "clean")), Factor("size", (1, 2, 3))


def changed(cell, other):
    return [key for key in cell if level_name(cell[key]) != level_name(other[key])]


@given(factor_lists())
@pytest.mark.parametrize("design", OWN)
def test_every_design_starts_at_the_baseline_and_repeats_nothing(design, factors):
    cells = design(factors)
    assert cells[0] == baseline_cell(factors)
    assert len(set(cells)) == len(cells)
    assert all(set(cell) == {f.key for f in factors} for cell in cells)


@given(factor_lists())
@pytest.mark.parametrize("design", [full_factorial, one_at_a_time, leave_one_out, cumulative])
def test_every_level_occurs_in_every_design(design, factors):
    cells = design(factors)
    for factor in factors:
        assert {level_name(cell[factor.key]) for cell in cells} == set(map(level_name, factor.levels))


@given(factor_lists())
def test_a_full_factorial_holds_every_level_equally_often(factors):
    cells = full_factorial(factors)
    assert len(cells) == math.prod(len(f.levels) for f in factors)
    for factor in factors:
        for value in factor.levels:
            count = sum(level_name(cell[factor.key]) == level_name(value) for cell in cells)
            assert count * len(factor.levels) == len(cells)


@given(factor_lists())
def test_one_at_a_time_differs_from_the_baseline_in_exactly_one_factor(factors):
    cells = one_at_a_time(factors)
    assert len(cells) == 1 + sum(len(f.levels) - 1 for f in factors)
    assert all(len(changed(cell, cells[0])) == 1 for cell in cells[1:])


@given(factor_lists())
def test_leave_one_out_adds_the_cell_without_anything(factors):
    cells = leave_one_out(factors)
    assert cells[: len(one_at_a_time(factors))] == one_at_a_time(factors)
    assert changed(cells[-1], cells[0]) == (
        [f.key for f in factors] if len(factors) > 1 else changed(cells[-1], cells[0])
    )
    assert len(cells) == len(one_at_a_time(factors)) + (len(factors) > 1)


@given(factor_lists())
def test_every_rung_of_a_ladder_changes_one_factor_and_keeps_the_others(factors):
    cells = cumulative(factors)
    assert all(len(changed(after, before)) == 1 for before, after in pairwise(cells))
    assert len(changed(cells[-1], cells[0])) == len(factors)


@given(factor_lists())
@pytest.mark.parametrize("design", OWN)
def test_cells_do_not_depend_on_the_order_in_which_levels_are_declared(design, factors):
    if design in (leave_one_out, cumulative):
        return  # the last level, and the order of rungs, mean something there
    turned = [Factor(f.key, f.levels[::-1], baseline=f.baseline) for f in factors[::-1]]
    assert set(design(turned)) == set(design(factors))


def test_across_factors_repeat_the_whole_design_stratum_by_stratum():
    place = Factor("place", ("lab", "field"), role="across")
    cells = build_cells([DATA, place, SIZE], one_at_a_time)
    inner = one_at_a_time([DATA, SIZE])
    assert len(cells) == 2 * len(inner)
    assert [cell["place"] for cell in cells] == ["lab"] * len(inner) + ["field"] * len(inner)
    assert [{k: v for k, v in cell.items() if k != "place"} for cell in cells] == [dict(c) for c in inner * 2]
    assert list(cells[0]) == ["data", "place", "size"]


def corners(factors):
    """A design of somebody's own, as a plain function that returns plain mappings."""
    return [{f.key: f.baseline for f in factors}, {f.key: level_name(f.levels[-1]) for f in factors}]


@dataclass(frozen=True)
class Fraction:
    """A design with options: callable, without a name of its own."""

    keep: int

    def __call__(self, factors):
        return full_factorial(factors)[: self.keep]


def test_a_design_of_ones_own_is_a_function_or_a_dotted_path():
    cells = build_cells([DATA, SIZE], design_named("tests.test_designs.corners"))
    assert cells == build_cells([DATA, SIZE], corners) == [{"data": "raw", "size": 1}, {"data": "clean", "size": 3}]
    assert cells[1]["size"] == 3, "spelt as the factor spells it"
    assert all(isinstance(cell, Cell) for cell in cells)


def test_a_design_is_written_down_by_a_name_that_finds_it_again():
    assert design_name(full_factorial) == "full_factorial"
    assert design_named(design_name(corners)) is corners
    assert design_name(Fraction(3)) == "tests.test_designs.Fraction"
    assert len(build_cells([DATA, SIZE], Fraction(3))) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("full_factorail", "(?s)unknown design.*allowed: full_factorial, .*did you mean 'full_factorial'"),
        ("nowhere.design", "(?s)No module named 'nowhere'.*where:   design"),
        ("math.nothing", "no attribute 'nothing'"),
        ("..x", "unknown design"),
        ("", "unknown design"),
        ("math.pi", "math.pi is a float"),
    ],
)
def test_an_unknown_design_names_the_known_ones(name, message):
    with pytest.raises(PlanError, match=message):
        design_named(name)


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (lambda factors: [{"data": "raw"}] * 2, "its keys are data"),
        (lambda factors: [{"data": "row", "size": 1}] * 2, "(?s)'row' is not a level.*allowed: data: raw, clean"),
        (lambda factors: full_factorial(factors)[:1], r"gives 1 cell\(s\)"),
        (lambda factors: [], r"gives 0 cell\(s\)"),
    ],
)
def test_a_design_that_gives_other_cells_is_refused(design, message):
    with pytest.raises(PlanError, match=message):
        build_cells([DATA, SIZE], design)


def test_a_study_without_a_factor_to_compare_is_refused():
    with pytest.raises(PlanError, match="at least one factor"):
        build_cells([Factor("place", ("lab", "field"), role="across")], full_factorial)


AUGMENT = [Factor(key, ("on", "off")) for key in ("augment.flip", "augment.crop", "warmup")]


def test_leave_one_out_removes_a_group_as_one_component():
    grouped = partial(leave_one_out, groups=["augment.*"])
    cells = build_cells(AUGMENT, grouped)
    assert [changed(cell, cells[0]) for cell in cells[1:]] == [
        ["augment.flip", "augment.crop"], ["warmup"], ["augment.flip", "augment.crop", "warmup"],
    ]  # fmt: skip
    assert build_cells(AUGMENT, partial(leave_one_out, groups=[["augment.flip", "augment.crop"]])) == cells
    deep = [*AUGMENT[:2], Factor("depth", (8, 4, 2))]
    assert [cell["depth"] for cell in leave_one_out(deep, groups=["augment.*"])] == [8, 8, 4, 2, 2]
    assert len(leave_one_out(AUGMENT[:2], groups=["augment.*"])) == 2, "all removed is the group removed"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["augmnt.*"], r"(?s)no factor is called 'augmnt\.\*'.*design\.groups.*did you mean"),
        (["warm*"], "the group 'warm\\*' has one factor, warmup"),
        (["augment.*", ["augment.flip", "warmup"]], "in two groups: augment.flip"),
        ("augment.*", "groups are 'augment"),
    ],
)
def test_groups_that_are_none_are_refused(groups, message):
    with pytest.raises(PlanError, match=message):
        leave_one_out(AUGMENT, groups=groups)


def test_a_design_with_options_is_a_mapping_a_partial_or_an_object():
    declared = {"name": "leave_one_out", "groups": ("augment.*",)}
    build, name, options = declare_design(declared)
    assert (name, options) == ("leave_one_out", {"groups": ["augment.*"]})
    assert declare_design(partial(leave_one_out, groups=["augment.*"]))[1:] == (name, options)
    assert build_cells(AUGMENT, build) == leave_one_out(AUGMENT, groups=["augment.*"])
    assert declare_design({"name": "leave_one_out", "groups": None})[1:] == ("leave_one_out", {})
    made, name, options = declare_design({"name": "tests.test_designs.Fraction", "keep": 3})
    assert (made, name, options) == (Fraction(3), "tests.test_designs.Fraction", {"keep": 3})


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"name": "leave_one_out", "group": []}, "(?s)unknown key 'group'.*allowed: groups.*did you mean 'groups'"),
        ({"name": "full_factorial", "cells": 3}, r"(?s)unknown key 'cells'.*allowed: \(nothing\)"),
        ({"groups": []}, "unknown design 'None'"),
        ({"name": "leave_one_out", "groups": {1, 2}}, "an option is no plain value"),
        (7, "7 is no design"),
    ],
)
def test_options_that_a_design_does_not_have_are_named(declared, message):
    with pytest.raises(PlanError, match=message):
        declare_design(declared)


PAGE = (Path(__file__).parents[1] / "docs" / "designs.md").read_text(encoding="utf-8")


def test_the_page_tells_of_every_design_and_option_and_its_examples_run():
    for design in (*OWN, *SCREENING):
        assert f"`{design_name(design)}`" in PAGE
        for option in list(inspect.signature(design).parameters)[1:]:
            assert f"`{option}`" in PAGE or f'"{option}"' in PAGE, f"the page does not tell of {option}"
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "designs.md", "exec"), names)
    settings = [yaml.safe_load(b) for b in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
    known = {field.name for field in fields(AblateSweeperConf)}
    assert settings
    assert all(set(block["hydra"]["sweeper"]) <= known for block in settings)


@pytest.mark.parametrize("design", [*OWN, *SCREENING], ids=design_name)
def test_every_design_is_an_option_of_the_group_with_its_options(design):
    text = (conf_dir() / "design" / f"{design_name(design)}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# @package hydra.sweeper\n# ")
    build, name, options = declare_design(yaml.safe_load(text)["design"])
    assert (build, name, options) == (design, design_name(design), {})


@given(factor_lists())
@pytest.mark.parametrize("design", [full_factorial, one_at_a_time])
def test_cells_stay_when_a_level_is_added(design, factors):
    more = [Factor(f.key, (*f.levels, "one level more"), baseline=f.baseline) for f in factors]
    assert set(design(factors)) < set(design(more))
