"""Tuning as declared: what makes no sense is refused, and what is selected follows from the values alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ablate as ab
from ablate.errors import PlanError
from ablate.factors import Cell
from ablate.plans import Plan
from ablate.tunings import TUNING_SEED, Choice, Nuisance, Objective, Selection, Tuning
from tests.tunable import make_plan

SPACE = (Nuisance("lr", 1e-4, 0.1, log=True),)
ACCURACY, LATENCY = Objective("val_accuracy"), Objective("latency", "minimize")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"parallel": 1.5}, "parallel is 1.5"),
        ({"sampler": "tpee"}, "(?s)unknown sampler 'tpee'.*did you mean 'tpe'"),
        ({"scope": "cell"}, "unknown scope"),
        ({"seeds": (1, 1)}, "tuning seeds are"),
        ({"seeds": ()}, "tuning seeds are"),
        ({"tolerance": -1}, "tolerance is -1"),
        ({"space": ()}, "there is nothing to tune"),
        ({"space": SPACE * 2}, "named twice"),
        ({"scope": "fixed"}, "scope 'fixed' with setting None"),
        ({"setting": {"lr": 0.1}}, "scope 'per_cell' with setting"),
        ({"scope": "fixed", "setting": {"rate": 0.1}}, r"(?s)a setting of \['rate'\].*allowed: lr"),
        ({"pruner": "median", "seeds": (1, 2)}, "'median' with 2 tuning seeds"),
        ({"pruner": "wilcoxon", "seeds": (1, 2, 3, 4)}, "(?s)'wilcoxon' with 4 tuning seeds.*5 tuning seeds or more"),
        ({"pruner": "hyperband", "objectives": (ACCURACY, LATENCY)}, "no pruner weighs several"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(PlanError, match=message):
        Tuning(**{"space": SPACE, "objectives": (ACCURACY,), **options})


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ((1.0, 1.0), "two numbers, rising"),
        ((0.0, float("inf")), "two numbers, rising"),
        ((0.0, 1.0, True), "logarithmic range from 0.0"),
        ((0.5, 2.0, False, True), "whole numbers from 0.5 to 2.0"),
    ],
)
def test_ranges_that_are_none_are_refused(ends, message):
    with pytest.raises(PlanError, match=message):
        Nuisance("lr", *ends)


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (5, "5 is not a mapping"),
        ({"space": {"lr": 0.1}}, "the range of 'lr' is 0.1"),
        ({"space": {"lr": [0.1, 0.2, 0.3]}}, "the range of 'lr' is"),
        ({"space": {"lr": [0.1, 1]}, "budget": 3}, "unknown key 'budget'"),
    ],
)
def test_a_declaration_that_cannot_be_read_is_refused(tuning, message):
    with pytest.raises(PlanError, match=message):
        ab.plan({"data": ["raw", "clean"]}, tuning=tuning)


def test_a_plan_keeps_its_tuning():
    plan = make_plan(7, objectives=[{"metric": "val_accuracy"}, {"metric": "latency", "direction": "minimize"}])
    assert Plan.from_dict(plan.to_dict()).tuning == plan.tuning
    assert "tuning" not in ab.plan({"data": ["raw", "clean"]}).to_dict()
    assert make_plan(7, seeds=3).tuning.seeds == (TUNING_SEED, TUNING_SEED + 1, TUNING_SEED + 2)


def test_ids_of_tuning_trials_tell_cell_proposal_seed_and_tuning():
    plans = [make_plan(5, seeds=2), make_plan(5, seeds=2, sampler="qmc")]
    ids = [trial.id for plan in plans for trial in (*plan.search_trials(), *plan.trials)]
    assert len(set(ids)) == len(ids) == 2 * (2 * 5 * 2 + 4)


def test_one_objective_selects_its_best_and_the_earliest_of_equals():
    values = {0: (0.5,), 1: (0.9,), 2: (0.9,), 3: (0.1,)}
    assert Tuning(SPACE, (ACCURACY,)).choose(values) == 1
    assert Tuning(SPACE, (LATENCY,)).choose(values) == 3


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 9)), min_size=1, max_size=12), st.floats(0, 1))
def test_the_best_second_objective_is_selected_within_the_tolerance_of_the_best_first(pairs, tolerance):
    chosen = Tuning(SPACE, (ACCURACY, LATENCY), tolerance=tolerance).choose(dict(enumerate(pairs)))
    best = max(first for first, _ in pairs)
    assert pairs[chosen][0] >= best - tolerance
    assert all(second >= pairs[chosen][1] for first, second in pairs if first >= best - tolerance)


def test_a_selection_settles_trials_and_leaves_them_where_nothing_is_tuned():
    plan = make_plan(3)
    raw, clean = (Choice(cell, {"lr": rate}, hpo_trials=3) for cell, rate in zip(plan.cells, (0.1, 0.2), strict=True))
    selection = Selection(plan, (raw, clean))
    assert {t.cell["data"]: (t.settings, t.hpo_trials) for t in map(selection.settle, plan.trials)} == {
        "raw": ({"lr": 0.1}, 3),
        "clean": ({"lr": 0.2}, 3),
    }
    plain = ab.plan({"data": ["raw", "clean"]})
    assert Selection.declared(plain).settle(plain.trials[0]) is plain.trials[0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3), st.sampled_from([None, Cell({"a": 1, "b": None})]))
def test_a_choice_reads_as_it_was_written(values, tuned_in):
    settings = {"lr": values[0], "width": 3, "nesterov": True}
    choice = Choice(Cell({"a": 2, "b": "x"}), settings, 5, tuned_in, 4, tuple(values), 6, 7, 1, 2, 5.5, (0, 4))
    assert Choice.from_dict(json.loads(json.dumps(choice.to_dict()))) == choice


def test_limits_of_a_run_are_positive_and_leave_other_plans_as_they_were():
    tuning = Tuning(SPACE, (ACCURACY,), epochs=3, seconds=2.5)
    assert Tuning.from_dict(tuning.to_dict()) == tuning
    assert not {"epochs", "steps", "seconds"} & Tuning(SPACE, (ACCURACY,)).to_dict().keys()
    for limit in ({"epochs": 0}, {"steps": 1.5}, {"seconds": -1}, {"seconds": float("inf")}):
        with pytest.raises(PlanError, match=next(iter(limit))):
            Tuning(SPACE, (ACCURACY,), **limit)
