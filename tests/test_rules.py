"""Excluded cells and levels that exist only under others: what stays, and what is said when a rule makes no sense."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import PlanError
from ablate.factors import Cell, Factor, level_name
from ablate.plans import Plan, plan
from ablate.rules import absent, apply_conditions, read_conditions, split_cells
from tests.strategies import factor_lists

OPTIMISER, MOMENTUM = Factor("optimiser", ("adam", "sgd")), Factor("momentum", (0, 0.9))
NESTEROV = Factor("nesterov", (False, True))
FACTORS = {f.key: f.levels for f in (OPTIMISER, MOMENTUM)}
ONLY = {"momentum": {"only": {"optimiser": "sgd"}}}


def test_a_factor_that_exists_under_one_level_stays_at_its_baseline_elsewhere():
    made = plan(FACTORS, conditional=ONLY, seeds=2)
    assert list(map(str, made.cells)) == [
        "optimiser=adam momentum=0",
        "optimiser=sgd momentum=0",
        "optimiser=sgd momentum=0.9",
    ]
    assert made.conditional == {"momentum": {"only": {"optimiser": "sgd"}, "levels": [0.9]}}
    assert [absent(made.conditional, MOMENTUM, cell) for cell in made.cells] == [True, False, False]
    assert made.families == ("simple", "domain")
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert made.hash != plan(FACTORS, exclude=[{"optimiser": "adam", "momentum": 0.9}], seeds=2).hash
    assert "conditional" not in plan(FACTORS).to_dict()


def test_one_level_alone_may_exist_only_under_another():
    levels = {"size": ["small", "large"], "data": ["raw", "clean", "huge"]}
    made = plan(levels, conditional={"data": {"only": {"size": ["large"]}, "levels": ["huge"]}})
    assert [c["data"] for c in made.cells if c["size"] == "small"] == ["raw", "clean"]
    assert [c["data"] for c in made.cells if c["size"] == "large"] == ["raw", "clean", "huge"]
    factor = made.factors[1]
    assert not any(absent(made.conditional, factor, cell) for cell in made.cells), "the others exist everywhere"


def test_conditions_may_hang_on_conditions():
    conditions = {"nesterov": {"only": {"momentum": 0.9}}, **ONLY}
    made = plan({**FACTORS, "nesterov": NESTEROV.levels}, conditional=conditions)
    assert [tuple(cell.values()) for cell in made.cells] == [
        ("adam", 0, False), ("sgd", 0, False), ("sgd", 0.9, False), ("sgd", 0.9, True),
    ]  # fmt: skip


@given(factor_lists(max_factors=3), st.data())
def test_no_cell_has_a_level_where_it_does_not_exist_and_cells_are_those_that_may_be(factors, data):
    if len(factors) < 2:
        return
    child, parent = factors[0], factors[1]
    only = data.draw(st.sampled_from(parent.levels))
    conditions = read_conditions({child.key: {"only": {parent.key: only}}}, factors)
    made = plan(factors, conditional=conditions)
    for cell in plan(factors).cells:
        possible = level_name(cell[child.key]) == level_name(child.baseline) or cell.agrees({parent.key: only})
        assert (cell in made.cells) == possible
    assert len(set(made.cells)) == len(made.cells)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1], "is no mapping"),
        ({"momentun": {"only": {"optimiser": "sgd"}}}, "(?s)unknown factor 'momentun'.*did you mean 'momentum'"),
        ({"momentum": {"onyl": {}}}, r"(?s)unknown key 'onyl'.*conditional\.momentum.*did you mean 'only'"),
        ({"momentum": {}}, "it says not under what"),
        ({"momentum": {"only": {"optimizer": "sgd"}}}, r"(?s)unknown factor 'optimizer'.*conditional\.momentum\.only"),
        ({"momentum": {"only": {"optimiser": "sdg"}}}, "(?s)'sdg' is not a level.*did you mean 'sgd'"),
        ({"momentum": {"only": {"momentum": 0}}}, "depends on itself"),
        ({"momentum": {"only": {"optimiser": "sgd"}, "levels": [0]}}, "(?s)the baseline '0' depends on others.*remedy"),
        ({"momentum": {"only": {"optimiser": "sgd"}, "levels": [0.8]}}, "0.8 is not a level"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(given, message):
    with pytest.raises(PlanError, match=message):
        read_conditions(given, (OPTIMISER, MOMENTUM))


def test_a_design_that_never_reaches_a_conditional_level_is_refused():
    with pytest.raises(PlanError, match=r"(?s)no cell of the design has momentum=0\.9 where it exists.*full factorial"):
        plan(FACTORS, conditional=ONLY, design="one_at_a_time")
    made = plan(FACTORS, conditional=ONLY, design="one_at_a_time", baseline={"optimiser": "sgd"})
    assert len(made.cells) == 3


def test_without_conditions_or_rules_cells_stay_as_they_are():
    cells = [Cell({"optimiser": "adam", "momentum": 0}), Cell({"optimiser": "sgd", "momentum": 0})]
    assert apply_conditions(cells, (OPTIMISER, MOMENTUM), {}) == cells
    assert split_cells(cells, (OPTIMISER, MOMENTUM), ()) == (tuple(cells), (), ())
