"""Plans: complete and balanced orders, identities that do not depend on accidents, and errors before compute."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.analyses import SCREENING_DESIGNS
from ablate.designs import OWN, SCREENING, design_name, full_factorial
from ablate.errors import PlanError, StudyError
from ablate.factors import Factor, level_name
from ablate.plans import PLAN_FILE, Plan, plan
from tests.strategies import factor_lists, level_text

FACTORS = {"data": ["raw", "clean"], "size": ["small", "medium", "large"]}


@st.composite
def plans(draw):
    """Plans over awkward levels, of every design, with strata, domains, an analysis and a config."""
    factors = draw(factor_lists())
    names = [f.key for f in factors]
    return plan(
        factors,
        design=draw(st.sampled_from([d.__name__ for d in OWN])),
        seeds=draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True)),
        across=draw(st.sampled_from([[], names[1:2]])),
        metric=draw(level_text),
        direction=draw(st.sampled_from(["maximize", "minimize"])),
        blocking=draw(st.sampled_from(["seed", "none"])),
        margin=draw(st.none() | st.floats(1e-9, 1e9)),
        domains=draw(st.sampled_from([(), ["clean"], {"clean": ["clean"], "noise": ["t/noise1", "t/noise2"]}])),
        analysis={"alpha": draw(st.floats(0.001, 0.2))},
        name=draw(level_text),
    )


@given(plans())
def test_a_plan_comes_back_from_json_with_its_identity_and_its_trials(made):
    back = Plan.from_dict(json.loads(json.dumps(made.to_dict())))
    assert back == made
    assert back.hash == made.hash
    assert back.trials == made.trials
    assert [[type(v) for v in c.values()] for c in back.cells] == [[type(v) for v in c.values()] for c in made.cells]


@given(plans())
def test_trials_are_every_cell_with_every_seed_once(made):
    assert Counter((t.cell, t.seed) for t in made.trials) == Counter((c, s) for c in made.cells for s in made.seeds)
    assert len({t.id for t in made.trials}) == len(made.trials)


@given(plans(), st.data())
def test_a_study_stopped_anywhere_is_balanced_to_within_one_block(made, data):
    stop = data.draw(st.integers(0, len(made.trials)))
    counts = Counter(trial.cell for trial in made.trials[:stop])
    spread = [counts[cell] for cell in made.cells]
    assert max(spread) - min(spread) <= 1
    assert [t.seed for t in made.trials] == [s for s in made.seeds for _ in made.cells]


@given(plans())
def test_the_order_within_a_block_is_shuffled_and_repeatable(made):
    again = Plan.from_dict(made.to_dict())
    assert [t.id for t in again.trials] == [t.id for t in made.trials]


def test_blocks_are_not_all_in_the_order_of_the_design():
    made = plan({"a": list(range(6)), "b": [0, 1]}, seeds=6)
    blocks = [[t.cell for t in made.trials if t.seed == seed] for seed in made.seeds]
    assert all(block != list(made.cells) for block in blocks)
    assert len({tuple(map(str, block)) for block in blocks}) == 6


@given(factor_lists(), st.randoms())
def test_ids_do_not_depend_on_the_order_of_factors_or_levels_or_on_other_levels(factors, random):
    first = plan(factors, seeds=2)
    turned = [Factor(f.key, tuple(random.sample(f.levels, len(f.levels))), baseline=f.baseline) for f in factors]
    random.shuffle(turned)
    second = plan(turned, seeds=[1, 0], metric="another", name="another")
    assert {t.id for t in first.trials} == {t.id for t in second.trials}
    more = [replace(f, levels=(*f.levels, "one level more")) for f in factors]
    assert {t.id for t in first.trials} < {t.id for t in plan(more, seeds=3).trials}


def test_an_id_follows_the_config_of_its_own_cell():
    made = replace(plan(FACTORS, seeds=1), config={"lr": 0.1})
    changed = replace(made, changes=({"lr": 0.2}, *({},) * 5))
    moved = {t.cell for t, u in zip(made.trials, changed.trials, strict=True) if t.id != u.id}
    assert moved == {made.cells[0]}
    assert {t.id for t in plan(FACTORS, seeds=1).trials}.isdisjoint({t.id for t in made.trials})


def test_baselines_come_first_in_the_cells():
    made = plan(FACTORS, baseline={"size": "large"})
    assert made.cells[0] == made.baseline == {"data": "raw", "size": "large"}


def test_a_design_given_as_a_function_is_the_same_study_as_its_name():
    assert plan(FACTORS, design=full_factorial).hash == plan(FACTORS).hash


def test_excluded_cells_are_kept_apart():
    made = plan(FACTORS, exclude=[{"data": "raw", "size": ("medium", "large")}])
    assert list(made.excluded) == [{"data": "raw", "size": "medium"}, {"data": "raw", "size": "large"}]
    assert len(made.cells) == 4
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_seeds_are_a_number_or_a_list():
    assert plan(FACTORS, seeds=3).seeds == (0, 1, 2)
    assert plan(FACTORS, seeds=np.arange(2, 4)).seeds == (2, 3)
    assert plan(FACTORS, seeds=(i for i in [7])).seeds == (7,)


def test_domains_are_groups_or_stand_for_themselves():
    assert plan(FACTORS, domains="test").domains == {"test": ("test",)}
    made = plan(FACTORS, domains={"clean": "test", "noise": ["test/low", "test/high"]})
    assert made.group_of("test/high") == "noise"
    assert plan(FACTORS).group_of("anything") == "anything"
    with pytest.raises(PlanError, match=r"(?s)'test/hihg' is in no domain group.*did you mean 'test/high'"):
        made.group_of("test/hihg")


def test_families_are_what_the_design_can_answer_and_the_declared_questions():
    question = {"name": "small", "cell": {"size": "small"}, "versus": {"size": "large"}, "margin": 0.1}
    assert plan(FACTORS).families == ("omnibus", "main", "simple", "interaction", "domain")
    assert plan({"data": ["a", "b"]}).families == ("main", "domain")
    assert plan({"data": ["a", "b"], "size": ["s", "l"]}).families == ("main", "simple", "interaction", "domain")
    assert plan(FACTORS, design="one_at_a_time").families == ("simple", "domain")
    assert plan(FACTORS, analysis={"comparisons": [question]}).families[-1] == "noninferiority"
    assert plan(FACTORS, analysis={"families": ["main"]}).families == ("main",)
    kept = {**question, "base": {"size": "medium"}, "retain": 0.8}
    assert plan(FACTORS, analysis={"families": ["main"], "comparisons": [kept]}).families == ("main", "retention")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": {}}, "at least one factor"),
        ({"factors": {"data": "raw"}}, "(?s)levels are 'raw'.*factor 'data'"),
        ({"factors": {"data": ["raw", "raw"]}}, "(?s)duplicate levels: raw.*factor 'data'"),
        ({"factors": {"seed": [1, 2]}}, "'seed' cannot be the name of a factor"),
        ({"name": " "}, "the name is ' '"),
        ({"name": "a\nb"}, "the name is"),
        ({"factors": [Factor("a", (1, 2)), Factor("a", (3, 4))]}, "named twice"),
        ({"baseline": {"dat": "raw"}}, "(?s)unknown factor 'dat'.*where:   baseline.*did you mean 'data'"),
        ({"baseline": {"data": "rwa"}}, "(?s)'rwa' is not a level.*factor 'data'.*did you mean 'raw'"),
        ({"across": ["sise"]}, "(?s)unknown factor 'sise'.*where:   across.*did you mean 'size'"),
        ({"across": ["data", "size"]}, "at least one factor"),
        ({"seeds": 0}, "no seeds"),
        ({"seeds": []}, "no seeds"),
        ({"seeds": [0, 0]}, "a seed occurs twice"),
        ({"seeds": [0, -1]}, r"(?s)seeds are \[0, -1\].*whole numbers"),
        ({"seeds": True}, "seeds are True"),
        ({"seeds": 2.5}, "seeds are 2.5"),
        ({"seeds": "five"}, "seeds are 'five'"),
        ({"seeds": [2**32]}, "whole numbers from 0"),
        ({"design": "factorial"}, "(?s)unknown design.*did you mean 'full_factorial'"),
        ({"direction": "max"}, "(?s)unknown value 'max'.*where:   direction"),
        ({"blocking": "seeds"}, "(?s)unknown value 'seeds'.*did you mean 'seed'"),
        ({"metric": ""}, "the metric is ''"),
        ({"margin": -0.1}, "(?s)a margin of -0.1.*where:   margin"),
        ({"margin": "0.1"}, "a margin of '0.1'"),
        ({"exclude": {"data": "raw"}}, "exclude is a list of rules"),
        ({"exclude": [{}]}, "exclude is a list of rules"),
        ({"exclude": [{"sizes": "large"}]}, "(?s)unknown factor 'sizes'.*where:   exclude.*did you mean 'size'"),
        ({"exclude": [{"size": ["large", "smal"]}]}, "(?s)'smal' is not a level.*did you mean 'small'"),
        ({"exclude": [{"data": ["raw", "clean"]}]}, r"(?s)0 cell\(s\) are left.*loosen"),
        ({"exclude": [{"size": "large"}]}, "(?s)no cell is left with size=large.*where:   exclude"),
        ({"domains": {"a": ["x"], "b": ["x", "y"]}}, "domains in two groups: x"),
        ({"domains": ["x", "all"]}, "'all' cannot be the name of a domain"),
        ({"domains": {"a": []}}, "'a' is empty"),
        ({"analysis": {"targt": "new_domains"}}, "(?s)unknown key 'targt'.*did you mean 'target'"),
        (
            {"analysis": {"comparisons": [{"name": "q", "cell": {"siez": "s"}, "versus": {}}]}},
            "(?s)unknown factor 'siez'.*analysis.comparisons.q.*did you mean 'size'",
        ),
        (
            {"analysis": {"comparisons": [{"name": "q", "cell": {"size": "smol"}, "versus": {}}]}},
            "(?s)'smol' is not a level.*did you mean 'small'",
        ),
    ],
)
def test_a_study_that_makes_no_sense_is_refused_with_what_where_and_what_is_allowed(changes, message):
    with pytest.raises(PlanError, match=message):
        plan(**{"factors": FACTORS, **changes})


def test_a_locked_plan_is_read_back(tmp_path):
    made = replace(plan(FACTORS, name="étude"), provenance={"commit": "abc"})
    assert Plan.read(made.write(tmp_path).parent) == made
    assert Plan.read(tmp_path).provenance == {"commit": "abc"}


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"margin": 0.5},
        {"seeds": [0]},
        {"note": "a key nobody reads"},
        {"hash": "0"},
        {"provenance": {"commit": "other"}},
    ],
)
def test_a_plan_edited_after_it_was_locked_is_refused(tmp_path, changes):
    edit(plan(FACTORS).write(tmp_path), **changes)
    with pytest.raises(StudyError, match="edited after it was locked"):
        Plan.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "cells": 3}'],
)
def test_a_damaged_plan_is_refused_with_its_file(tmp_path, text):
    (tmp_path / PLAN_FILE).write_text(text)
    with pytest.raises(StudyError) as caught:
        Plan.read(tmp_path)
    assert PLAN_FILE in str(caught.value)


def test_a_damaged_factor_in_a_plan_is_an_error_of_the_file(tmp_path):
    edit(plan(FACTORS).write(tmp_path), factors=[])
    with pytest.raises(StudyError):
        Plan.read(tmp_path)


def test_a_plan_of_another_format_asks_for_an_update(tmp_path):
    edit(plan(FACTORS).write(tmp_path), format=99)
    with pytest.raises(StudyError, match=r"(?s)format 99.*update"):
        Plan.read(tmp_path)


def test_a_folder_without_a_plan_says_so(tmp_path):
    with pytest.raises(StudyError, match="no plan is locked here"):
        Plan.read(tmp_path)


@given(plans())
def test_the_hash_changes_with_every_part_of_the_declaration(made):
    others = [
        replace(made, metric=made.metric + "x"),
        replace(made, seeds=(*made.seeds, 2**32)),
        replace(made, margin=2e9),
        replace(made, domains={"x": ("y",)}),
        replace(made, cells=made.cells[:-1], changes=()),
        replace(made, config={"a": 1}),
        replace(made, factors=made.factors[::-1]) if len(made.factors) > 1 else replace(made, name=made.name + "x"),
    ]
    assert len({made.hash, *(other.hash for other in others)}) == len(others) + 1


def test_levels_print_in_the_order_of_the_study():
    made = plan({"size": ["large", "small", "medium"]}, baseline={"size": "small"})
    assert [level_name(level) for level in made.factors[0].levels] == ["large", "small", "medium"]


def test_options_of_a_design_are_locked_and_absent_ones_leave_the_hash_alone():
    made = plan(FACTORS, design={"name": "leave_one_out", "groups": [["data", "size"]]})
    assert (made.design, made.options, len(made.cells)) == ("leave_one_out", {"groups": [["data", "size"]]}, 2)
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert made.hash != plan(FACTORS, design="leave_one_out").hash
    assert plan(FACTORS, design={"name": "leave_one_out"}).hash == plan(FACTORS, design="leave_one_out").hash
    assert "options" not in plan(FACTORS).to_dict()


def test_a_budget_of_trials_is_one_of_cells():
    many = {"data": ["a", "b", "c"], "size": [1, 2, 3, 4], "place": ["lab", "field"]}
    made = plan(many, design={"name": "d_optimal", "trials": 85}, seeds=5, across=["place"])
    assert (made.options, len(made.cells), len(made.trials)) == ({"cells": 8}, 16, 80)
    with pytest.raises(PlanError, match=r"(?s)a budget of 85.5 trials.*design\.trials"):
        plan(many, design={"name": "d_optimal", "trials": 85.5})
    with pytest.raises(PlanError, match="unknown key 'cells'"):
        plan(many, design={"name": "full_factorial", "trials": 85})


def test_what_cannot_be_estimated_may_be_acknowledged():
    made = plan(FACTORS, acknowledge=["interaction"])
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))).acknowledged == ("interaction",)
    assert made.hash != plan(FACTORS).hash
    with pytest.raises(PlanError, match=r"(?s)unknown family of the analysis 'step'.*where:   acknowledge"):
        plan(FACTORS, acknowledge=["step"])


def test_screening_designs_are_those_that_hold_a_part_of_the_cells_on_purpose():
    assert tuple(map(design_name, SCREENING)) == SCREENING_DESIGNS
    factors = {key: [0, 1] for key in "abcd"}
    screens = [plan(factors, design=design_name(d)).screens for d in (*OWN, *SCREENING)]
    assert screens == [False] * len(OWN) + [True] * len(SCREENING)
