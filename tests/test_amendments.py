"""Amendments: a chain that holds or is said not to, and what a change after results makes exploratory."""

import json
import shutil
from dataclasses import replace

import pytest

import ablate as ab
from ablate.amendments import AMENDMENTS_FILE, FORMER, Amendment, Scope, amend, find_scopes, read_amendments
from ablate.engine import load, read_outcomes, run
from ablate.errors import PlanError, StudyError
from ablate.plans import Plan
from ablate.records import Records
from ablate.runs import Runs
from ablate.tunings import TUNING_FILE
from tests import toys
from tests.report.studies import make_tuned_plan, write_tuned_study

FACTORS = {"data": ["raw", "clean"], "size": ["small", "large"]}
DECLARED = {"seeds": 3, "metric": "accuracy", "name": "toy", "margin": 0.01}
PLAN = ab.plan(FACTORS, **DECLARED)


def declare(factors=FACTORS, **changes):
    return ab.plan(factors, **{**DECLARED, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("amended") / "study"
    run(PLAN, toys.surface, folder=folder, progress=False)
    return folder


@pytest.fixture
def study(made, tmp_path):
    return shutil.copytree(made, tmp_path / "study")


def amended(study, plan, why="a referee asked"):
    plan = replace(plan, provenance=plan.provenance or Plan.read(study).provenance)
    return amend(study, plan, why, read_outcomes(study, Plan.read(study), Runs(study)))


def test_an_amendment_says_what_changed_when_and_why_and_keeps_what_was(study):
    table = (study / "records.csv").read_bytes()
    found = amended(study, declare(margin=0.05))
    assert (found.number, found.why, found.complete) == (1, "a referee asked", 12)
    assert found.diff == ("margin: 0.01 -> 0.05",)
    assert (found.before, found.after) == (PLAN.hash, Plan.read(study).hash)
    assert read_amendments(study) == (found,)
    assert Plan.read(study).margin == 0.05
    assert Plan.read(study / FORMER / "1") == PLAN
    assert (study / FORMER / "1" / "records.csv").read_bytes() == table == (study / "records.csv").read_bytes()


def test_a_study_goes_on_under_the_amended_plan(study):
    wider = declare({**FACTORS, "data": ["raw", "clean", "cleaner"]})
    amended(study, wider)
    assert len(load(study).complete["trial"].unique()) == 12
    records = run(wider, toys.surface, folder=study, progress=False)
    assert len(records.complete["trial"].unique()) == 18
    narrower = declare({"data": ["raw", "cleaner"], "size": ["small", "large"]})
    assert amended(study, narrower).number == 2
    assert set(load(study).frame["data"]) == {"raw", "cleaner"}
    assert len(Records.read(study / FORMER / "2" / "records.csv").complete["trial"].unique()) == 18
    assert [each.complete for each in read_amendments(study)] == [12, 18]


def test_packages_and_sources_are_amended_too(study):
    locked = Plan.read(study)
    proven = {**locked.provenance, "sources": {"surface": "0" * 64}}
    found = amended(study, replace(locked, provenance=proven))
    assert found.before == found.after
    assert found.diff[0].startswith("sources: surface: ")
    assert find_scopes(Plan.read(study), read_amendments(study)) == (Scope(1, everything=True),)


def test_selected_settings_are_kept_unless_their_search_is_gone(tmp_path):
    folder = write_tuned_study(tmp_path / "tuned")
    frozen = (folder / TUNING_FILE).read_bytes()
    amended(folder, make_tuned_plan(margin=0.05))
    assert (folder / TUNING_FILE).read_bytes() == frozen
    space = {"lr": {"low": 0.1, "high": 0.5}}
    amended(folder, make_tuned_plan(tuning={"space": space, "trials": 4, "sampler": "random"}))
    assert not (folder / TUNING_FILE).exists()
    assert (folder / FORMER / "2" / TUNING_FILE).read_bytes() == frozen
    assert not len(load(folder))
    assert len(load(folder / FORMER / "2").complete["trial"].unique()) == 14


@pytest.mark.parametrize(
    ("change", "why", "said"),
    [
        ({"margin": 0.05}, "  ", "no reason"),
        ({}, "because", "would not change"),
        ({"name": "other"}, "because", "of 'other'"),
    ],
)
def test_what_is_no_amendment_is_refused_and_changes_nothing(study, change, why, said):
    before = {p: p.read_bytes() for p in study.rglob("*") if p.is_file()}
    with pytest.raises((PlanError, StudyError), match=said):
        amended(study, declare(**change), why)
    assert before == {p: p.read_bytes() for p in study.rglob("*") if p.is_file()}


@pytest.mark.parametrize("forge", ["why", "complete", "cut", "gone", "plan"])
def test_a_forged_chain_is_found(study, forge):
    amended(study, declare(margin=0.05))
    amended(study, declare(margin=0.08))
    path = study / AMENDMENTS_FILE
    links = json.loads(path.read_text())
    if forge == "gone":
        path.unlink()
    elif forge == "plan":  # locked anew by hand, with a hash of its own
        declare(margin=0.2).write(study)
    else:
        links = links[1:] if forge == "cut" else [{**links[0], forge: 0 if forge == "complete" else "no"}, links[1]]
        path.write_text(json.dumps(links))
    with pytest.raises(StudyError, match="the amendments do not hold"):
        read_amendments(study)


def test_nothing_measured_leaves_all_confirmatory(tmp_path):
    PLAN.write(tmp_path)
    changed = declare(metric="loss")
    assert amend(tmp_path, changed, "a typo", {}).complete == 0
    assert find_scopes(changed, read_amendments(tmp_path)) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "loss"},
        {"direction": "minimize"},
        {"seeds": 4},
        {"analysis": {"alpha": 0.1}},
        {"domains": ["a", "b", "c", "d"]},
        {"exclude": [{"data": "clean", "size": "large"}]},
        {"divergence": {"treatment": "worst", "value": 0.1}},
        {"budget": {"equal": ["train_steps"]}},
        {"baseline": {"data": "clean"}},
        {"across": ["size"]},
        {"design": "one_at_a_time"},
        {"tuning": {"space": {"lr": [0.1, 1.0]}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_declared_about_all_effects_touches_all(change):
    assert scope_of(declare(**change)).everything


def scope_of(plan, complete=5):
    found = find_scopes(plan, (amendment(plan, complete),))
    return found[0] if found else None


def amendment(plan, complete=5):
    return Amendment(1, "", "why", PLAN.hash, plan.hash, (), complete, PLAN)


def effect(verdict="better", cells=PLAN.cells, plan=PLAN):
    return {"verdict": verdict, "family": "main", "trials": tuple(t.id for t in plan.trials if t.cell in cells)}


def test_a_margin_touches_the_verdicts_that_rest_on_it():
    scope = scope_of(declare(margin=0.05))
    assert not scope.everything
    touched = ["equivalent", "undecided", "non-inferior", "not shown"]
    assert [v for v in ["better", "worse", *touched] if scope.holds(effect(v))] == touched


def test_an_added_level_touches_the_effects_in_which_it_takes_part():
    wider = declare({**FACTORS, "data": ["raw", "clean", "cleaner"]})
    scope = scope_of(wider)
    assert not scope.everything
    assert not scope.holds(effect())
    assert scope.holds(effect(cells=wider.cells, plan=wider))
    assert scope.families == {"omnibus"}  # of three levels
    pooled = declare({**FACTORS, "data": ["raw", "clean", "cleaner"]}, analysis={"variances": "pooled"})
    assert scope_of(pooled).everything


def test_a_cell_whose_config_changed_touches_its_effects():
    changed = replace(PLAN, changes=({}, {}, {"width": 3}, {}))
    scope = scope_of(changed)
    assert scope.holds(effect(cells=changed.cells[2:3], plan=changed))
    assert not scope.holds(effect(cells=changed.cells[:2], plan=changed))
