"""Factors of more than one key: paired levels, and levels that are whole lists of overrides."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ablate.errors import PlanError
from ablate.factors import Cell
from ablate.overrides import read_overrides
from tests.test_sweeps import read


def declare(*arguments, **settings):
    """What the settings of the sweeper declare, without composing anything."""
    given = {"params": {}, "seed_key": "seed", "levels": {}, "zip": {}, **settings}
    return read_overrides(OverridesParser.create(), given, arguments)[1]


PAIR = {"model": "shallow,deep", "lr": "0.1,0.2"}
PARAMS = "params={model: 'shallow,deep', lr: '0.1,0.2'}"


def test_paired_levels_go_together_as_one_factor():
    study = read(settings=[PARAMS, "zip={recipe: [model, lr]}"])
    assert [(f.key, f.levels) for f in study.plan.factors] == [("recipe", ("shallow/0.1", "deep/0.2"))]
    assert study.overrides[Cell({"recipe": "deep/0.2"})] == ["model=deep", "lr=0.2"]
    assert [(c.model.name, c.lr) for c in study.configs.values()] == [("shallow", 0.1), ("deep", 0.2)]


def test_pairs_stand_in_the_place_of_their_first_and_have_baselines():
    study = read(
        "pause=0,1", "lr=0.1,0.2", settings=[PARAMS, "zip={recipe: [model, lr]}", "baseline={recipe: deep/0.2}"]
    )
    assert [f.key for f in study.plan.factors] == ["recipe", "pause"]
    assert study.plan.cells[0] == {"recipe": "deep/0.2", "pause": 0}
    assert study.overrides[study.plan.cells[0]] == ["model=deep", "lr=0.2", "pause=0"]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"recipe": ["model", "pause"]}, r"(?s)unknown factor.*'pause'.*sweeper\.zip\.recipe.*allowed: model, lr"),
        ({"recipe": ["model"]}, "pairs nothing"),
        ({"recipe": "model"}, "pairs nothing"),
        ({"a": ["model", "lr"], "b": ["model", "lr"]}, "unknown factor"),
        ({"recipe": ["model", "lr", "mapping"]}, "unknown factor"),
    ],
)
def test_pairs_of_what_is_no_factor_are_refused(pairs, message):
    with pytest.raises(PlanError, match=message):
        declare(params=PAIR, zip=pairs)


def test_pairs_of_unequal_length_and_of_a_taken_name_are_refused():
    with pytest.raises(PlanError, match=r"(?s)levels differ: lr has 3, model has 2.*first goes with the first"):
        declare("lr=0.1,0.2,0.3", params=PAIR, zip={"recipe": ["model", "lr"]})
    with pytest.raises(PlanError, match="'pause' is a factor already"):
        declare("pause=0,1", params=PAIR, zip={"pause": ["model", "lr"]})


LISTS = "levels={recipe: {plain: [], strong: ['model=deep', 'lr=0.05']}}"


def test_levels_are_lists_of_overrides_with_a_name():
    study = read("pause=0,1", settings=[LISTS])
    assert [(f.key, f.levels) for f in study.plan.factors] == [("recipe", ("plain", "strong")), ("pause", (0, 1))]
    assert study.overrides[Cell({"recipe": "strong", "pause": 1})] == ["model=deep", "lr=0.05", "pause=1"]
    assert study.overrides[Cell({"recipe": "plain", "pause": 0})] == ["pause=0"]
    assert [(c.model.name, c.lr) for c in study.configs.values()] == [("shallow", 0.1)] * 2 + [("deep", 0.05)] * 2


def test_the_command_line_picks_and_orders_the_named_levels():
    three = {"recipe": {"plain": [], "strong": ["lr=0.05"], "odd": ["lr=0.5"]}}
    assert declare("recipe=odd,plain", levels=three)["recipe"].levels == ("odd", "plain")
    assert declare(levels=three)["recipe"].override("odd") == ("lr=0.5",)
    with pytest.raises(PlanError, match=r"(?s)unknown level 'stong'.*did you mean 'strong'"):
        declare("recipe=plain,stong", levels=three)
    with pytest.raises(PlanError, match="fixes 'recipe', which is a factor"):
        declare("recipe=odd", levels=three)
    with pytest.raises(PlanError, match="'recipe=odd' fixes a factor"):
        declare(levels=three, params={"recipe": "odd"})


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"recipe": ["lr=0.1"]}, "names no lists of overrides"),
        ({"recipe": {"plain": [], "strong": "lr=0.1"}}, "names no lists of overrides"),
        ({"recipe": {"plain": [], "strong": ["lr=1,2"]}}, r"(?s)'lr=1,2' has several values.*levels\.recipe\.strong"),
        ({"recipe": {"plain": [], "strong": ["lr"]}}, "'lr' is no override"),
        ({"recipe": {"plain": [], "strong": ["pause=1"]}}, "'pause=1' sets what 'pause' sets"),
        ({"recipe": {"plain": [], "strong": ["seed=1"]}}, "'seed=1' sets what 'seed' sets"),
        ({"a": {"x": [], "y": ["lr=1"]}, "b": {"x": [], "y": ["lr=2"]}}, "'lr=2' sets what 'a' sets"),
    ],
)
def test_lists_that_make_no_sense_are_refused(levels, message):
    with pytest.raises(PlanError, match=message):
        declare("pause=0,1", levels=levels)


def test_a_list_that_does_not_compose_is_named_with_its_cell():
    with pytest.raises(PlanError, match=r"(?s)config of cell.*recipe=strong.* does not compose"):
        read(settings=["levels={recipe: {plain: [], strong: ['lrr=1']}}"])


def test_a_key_that_exists_under_one_option_alone_is_a_conditional_factor():
    study = read(
        "model=shallow,deep", "model.width=4,8", settings=["conditional={model.width: {only: {model: deep}}}"]
    )  # the shallow model has no width
    assert [list(words) for words in study.overrides.values()] == [
        ["model=shallow"], ["model=deep", "model.width=4"], ["model=deep", "model.width=8"],
    ]  # fmt: skip
    assert [c.model.get("width") for c in study.configs.values()] == [None, 4, 8]
    with pytest.raises(PlanError, match=r"unknown factor 'model\.width'"):
        read("model=shallow,deep", "model.width=4,8")


def test_a_design_with_options_is_declared_as_a_mapping():
    study = read("model=shallow,deep", "lr=0.1,0.2", settings=["design={name: leave_one_out, groups: [[model, lr]]}"])
    assert len(study.plan.cells) == 2
    with pytest.raises(PlanError, match="unknown key 'group'"):
        read("model=shallow,deep", "lr=0.1,0.2", settings=["design={name: leave_one_out, group: []}"])
