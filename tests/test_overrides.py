"""Factors of more than one key: paired levels, and levels that are whole lists of overrides; and ranges to tune in."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import PlanError
from ablate.factors import Cell
from ablate.overrides import read_overrides
from ablate.tunings import TUNING_SEED, Nuisance
from tests.test_sweeps import read


def declare(*arguments, **settings):
    """What the settings of the sweeper declare, without composing anything."""
    given = {"params": {}, "seed_key": "seed", "levels": {}, "zip": {}, **settings}
    return read_overrides(OverridesParser.create(), given, arguments).swept


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


# --- nuisances -------------------------------------------------------------------------------------------------------


def ranges(*arguments, **settings):
    """The nuisances that the settings of the sweeper declare, without composing anything."""
    given = {"params": {}, "seed_key": "seed", "levels": {}, "zip": {}, **settings}
    return list(read_overrides(OverridesParser.create(), given, arguments).nuisances.values())


@pytest.mark.parametrize(
    ("words", "nuisance"),
    [
        ("interval(1e-4,0.1)", Nuisance("lr", 1e-4, 0.1)),
        ("interval(0,1)", Nuisance("lr", 0.0, 1.0)),
        ("tag(log,interval(1e-4,0.1))", Nuisance("lr", 1e-4, 0.1, log=True)),
        ("int(interval(1,8))", Nuisance("lr", 1, 8, integer=True)),
        ("tag(log,int(interval(1,8)))", Nuisance("lr", 1, 8, log=True, integer=True)),
        ("int(tag(log,interval(1,8)))", Nuisance("lr", 1, 8, log=True, integer=True)),
    ],
)
def test_an_interval_is_a_nuisance_wherever_it_stands(words, nuisance):
    for found in (ranges(f"lr={words}"), ranges(params={"lr": words})):
        assert found == [nuisance]
        assert (type(found[0].low), type(found[0].high)) == (type(nuisance.low), type(nuisance.high))


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e6), st.booleans())
def test_a_range_reads_as_it_is_written(low, factor, log):
    high = low * factor
    words = f"interval({low!r},{high!r})"
    assert ranges(f"lr=tag(log,{words})" if log else f"lr={words}") == [Nuisance("lr", low, high, log=log)]


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.booleans())
def test_a_range_of_whole_numbers_reads_as_it_is_written(low, width, log):
    words = f"int(interval({low},{low + width}))"
    expected = Nuisance("n", low, low + width, log=log, integer=True)
    assert ranges(f"n=tag(log,{words})" if log else f"n={words}") == [expected]


def test_the_command_line_makes_factors_of_nuisances_and_nuisances_of_factors():
    both = {"lr": "interval(0,1)", "model": "shallow,deep"}
    assert ranges("lr=interval(0,2)", params=both) == [Nuisance("lr", 0.0, 2.0)]
    assert ranges("lr=0.1,0.2", params=both) == []
    assert list(declare("lr=0.1,0.2", params=both)) == ["model", "lr"]
    assert list(declare("model=interval(0,1)", params=both)) == []
    with pytest.raises(PlanError, match=r"(?s)'lr=0.3' fixes 'lr', which is a nuisance.*~hydra.sweeper.params.lr"):
        ranges("lr=0.3", params=both)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("lr=interval(1,0)", r"(?s)a range from 1.0 to 0.0.*nuisance 'lr'.*two numbers, rising"),
        ("lr=tag(log,interval(0,1))", r"(?s)logarithmic range from 0.0.*above zero"),
        ("lr=tag(lgo,interval(1,2))", r"(?s)unknown tag 'lgo'.*allowed: log"),
        ("+lr=interval(0,1)", r"(?s)tunes a key that the config does not have.*give the config a value"),
        ("seed=interval(0,1)", "a range of values, no list of levels"),
        ("recipe=interval(0,1)", "a range of values, no list of levels"),
        ("pause=interval(0,1)", "'pause=1' sets what 'pause' sets"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(words, message):
    with pytest.raises(PlanError, match=message):
        ranges(words, levels={"recipe": {"plain": [], "strong": ["pause=1"]}})


VALIDATED = "validate=tests.tunable.hill"


def test_a_nuisance_is_tuned_as_the_sweeper_says_or_as_is_usual():
    study = read("model=shallow,deep", "lr=tag(log,interval(1e-3,1))", settings=[VALIDATED])
    tuning = study.plan.tuning
    assert (tuning.trials, tuning.sampler, tuning.seeds) == (20, "tpe", (TUNING_SEED,))
    assert tuning.objectives[0].metric == "val_value"
    assert study.validate == "tests.tunable.hill"
    assert [f.key for f in study.plan.factors] == ["model"]
    assert [config.lr for config in study.configs.values()] == [0.1, 0.1]
    declared = "tuning={trials: 3, sampler: qmc, seeds: 2, objectives: [val_f1]}"
    tuning = read("model=shallow,deep", "lr=interval(0,1)", settings=[VALIDATED, declared]).plan.tuning
    assert (tuning.trials, tuning.sampler, len(tuning.seeds), tuning.objectives[0].metric) == (3, "qmc", 2, "val_f1")
    fixed = "tuning={scope: fixed, setting: {lr: 0.5}}"
    assert read("model=shallow,deep", "lr=interval(0,1)", settings=[fixed]).plan.tuning.setting == {"lr": 0.5}


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["lrr=interval(0,1)"], [], r"(?s)unknown nuisance 'lrr'.*did you mean 'lr'"),
        (["model.width=interval(4,8)"], [], r"unknown nuisance 'model.width'"),
        (["model.width=interval(4,8)", "model=deep,shallow"], [], r"unknown nuisance 'model.width'"),
        (
            ["model.width=interval(4,8)"],
            ["conditional={model.width: {only: {model: deep}}}"],
            r"(?s)'model.width' is tuned, but exists under some levels alone.*conditional factor",
        ),
        ([], ["tuning={trials: 5}"], "there is nothing to tune"),
        ([], ["tuning={trails: 5}"], r"(?s)unknown key 'trails'.*did you mean 'trials'"),
        ([], ["tuning={space: {lr: [0, 1]}}"], "a space of its own"),
        (["lr=interval(0,1)"], ["tuning={seeds: [0]}"], r"seeds \[0\] would tune and report"),
    ],
)
def test_what_cannot_be_tuned_is_refused(arguments, settings, message):
    with pytest.raises(PlanError, match=message):
        read("model=shallow,deep", *arguments, settings=[VALIDATED, *settings])


def test_what_is_declared_of_divergence_budgets_and_seeds_reaches_the_plan():
    settings = ["divergence={treatment: worst, value: 0}", "budget={equal: [train_steps]}", "max_seeds=9", "seeds=3"]
    plan = read("lr=0.1,0.2", settings=[*settings, "analysis={stopping: sequential}"]).plan
    assert (plan.divergence.treatment, plan.budget.equal, plan.looks) == ("worst", ("train_steps",), (3, 6, 9))


def test_a_nuisance_that_a_cell_does_not_have_is_refused_with_the_cell(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "app.yaml").write_text("defaults: [{model: deep}, _self_]\nseed: 0\n")
    (tmp_path / "model" / "deep.yaml").write_text("width: 4\n")
    (tmp_path / "model" / "shallow.yaml").write_text("depth: 1\n")
    with pytest.raises(PlanError, match=r"(?s)'model.width' is tuned, but exists under some.*cell model=shallow"):
        read("model=deep,shallow", "model.width=interval(4,8)", settings=[VALIDATED], conf=tmp_path)
