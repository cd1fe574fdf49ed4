"""Factors refuse what cannot be compared; cells and trials are known by what their levels print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import PlanError
from ablate.factors import RESERVED, Cell, Factor, Trial, digest, level_name
from tests.strategies import factor_lists, level


def test_the_first_level_is_the_baseline_unless_another_is_named():
    assert Factor("data", ("raw", "clean")).baseline == "raw"
    assert Factor("data", ("raw", "clean"), baseline="clean").alternatives == ("raw",)
    assert Factor("pretrained", (True, None)).baseline is True


def test_the_baseline_may_be_given_as_it_prints():
    assert Factor("rate", (0.1, 0.2), baseline="0.2").baseline == 0.2
    assert Factor("x", (None, 1), baseline="null").baseline is None


def test_levels_that_differ_only_in_type_are_different_if_they_print_differently():
    factor = Factor("x", (1, True, 1.0))
    assert factor.alternatives == (True, 1.0)
    assert [type(level) for level in factor.alternatives] == [bool, float]


@pytest.mark.parametrize(
    ("levels", "options", "message"),
    [
        (("a",), {}, r"1 level\(s\): nothing to compare"),
        ((), {}, r"0 level\(s\)"),
        (("a", "b", "a"), {}, "duplicate levels: a"),
        ((1, "1"), {}, "duplicate levels: 1"),
        ((True, "true"), {}, "duplicate levels: true"),
        (("a", "b"), {"baseline": "c"}, "(?s)'c' is not a level.*allowed: a, b"),
        (("clean", "raw"), {"baseline": "claen"}, "did you mean 'clean'"),
        ((["a"], "b"), {}, "(?s)is a list.*config group option"),
        (("a", " "), {}, "blank"),
        (("a\nb", "b"), {}, "unprintable"),
        (("a\x00", "b"), {}, "unprintable"),
        (("\ud800", "b"), {}, "unprintable"),
        ((1.0, float("nan")), {}, "non-finite"),
        ("ab", {}, "levels are 'ab'"),
        (3, {}, "levels are 3"),
        (("a", "b"), {"role": "acros"}, "(?s)unknown role.*did you mean 'across'"),
    ],
)
def test_what_cannot_be_a_factor_is_refused_by_name(levels, options, message):
    with pytest.raises(PlanError, match=message) as caught:
        Factor("data", levels, **options)
    assert "factor 'data'" in str(caught.value)


@pytest.mark.parametrize("key", ["", *sorted(RESERVED)])
def test_a_factor_cannot_take_a_column_of_the_records(key):
    with pytest.raises(PlanError, match="cannot be the name of a factor"):
        Factor(key, ("a", "b"))


def test_level_names_are_what_is_typed():
    assert [level_name(value) for value in (None, True, 3, 0.5, "x y")] == ["null", "true", "3", "0.5", "x y"]


@given(factor_lists())
def test_every_level_is_found_by_its_printed_name(factors):
    for factor in factors:
        assert [factor.level(level_name(value)) for value in factor.levels] == list(factor.levels)
        assert len(factor.alternatives) == len(factor.levels) - 1


@given(st.dictionaries(st.sampled_from("abc"), level, min_size=1), st.randoms())
def test_equal_cells_have_equal_hashes_in_any_order(levels, random):
    items = list(levels.items())
    random.shuffle(items)
    one, other = Cell(levels), Cell(dict(items))
    assert one == other == levels
    assert hash(one) == hash(other)


@given(st.dictionaries(st.sampled_from("abc"), level), st.dictionaries(st.sampled_from("abc"), level))
def test_cells_are_equal_exactly_when_they_print_the_same(one, other):
    same = {k: level_name(v) for k, v in one.items()} == {k: level_name(v) for k, v in other.items()}
    assert (Cell(one) == Cell(other)) is same
    assert Trial.of(Cell(one), 0).id == Trial.of(Cell(other), 0).id or not same


def test_a_cell_agrees_with_a_rule_that_names_its_level_or_a_list_of_them():
    cell = Cell({"data": "raw", "depth": 3, "cut": True})
    assert cell.agrees({"data": "raw"})
    assert cell.agrees({"data": ["clean", "raw"], "depth": "3", "cut": "true"})
    assert not cell.agrees({"data": "raw", "depth": 4})
    assert not cell.agrees({"lr": 3})
    assert str(cell) == "data=raw depth=3 cut=true"


def test_a_changed_cell_leaves_the_old_one_alone():
    cell = Cell({"model.depth": 3})
    assert cell.replace(**{"model.depth": 4}) == {"model.depth": 4}
    assert cell == {"model.depth": 3}
    assert cell != "model.depth=3"


def test_a_trial_is_known_by_cell_seed_and_config_alone():
    cell = Cell({"data": "raw", "size": 1})
    ids = {Trial.of(cell, 0).id, Trial.of(cell, 1).id, Trial.of(cell, 0, "x").id, Trial.of(cell.replace(size=2), 0).id}
    assert len(ids) == 4
    assert Trial.of(Cell({"size": 1, "data": "raw"}), 0).id in ids
    assert all(len(i) == 16 and set(i) <= set("0123456789abcdef") for i in ids)


def test_a_digest_sees_content_and_not_order_and_refuses_what_json_has_not():
    assert digest({"a": 1, "b": [2.5, None]}) == digest({"b": [2.5, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))
