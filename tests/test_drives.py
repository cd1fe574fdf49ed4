"""Diverged runs are outcomes: what the plan declares is done with them, and nothing is run until it fits."""

import shutil

import pytest

import ablate as ab
from ablate.errors import PlanError
from ablate.runs import Runs
from ablate.safeguards import RETRY_SEEDS, Budget, Divergence
from tests import toys


def declare(seeds=2, **rule):
    return ab.plan({"data": ["raw", "clean"]}, seeds=seeds, metric="accuracy", name="toy", divergence=rule or None)


def diverging(trial):
    """Seed 1 of the clean cell diverges, and so does its first replacement."""
    if trial.cell["data"] == "clean" and trial.seed in (1, 1 + RETRY_SEEDS):
        return {"accuracy": float("nan")}
    return toys.surface(trial)


def run(plan, folder, task=diverging):
    return ab.run(plan, task, folder=folder, progress=False)


def attempts(plan, folder):
    (trial,) = (t for t in plan.trials if t.cell["data"] == "clean" and t.seed == 1)
    return Runs(folder).attempts(trial.id)


@pytest.mark.parametrize("rule", [{"treatment": "worst", "value": 0.1}, {"treatment": "exclude", "bounds": [0, 1]}])
def test_a_diverged_run_is_an_outcome_that_is_not_run_again(tmp_path, rule):
    plan = declare(**rule)
    for _ in range(2):
        records = run(plan, tmp_path)
    assert [a["status"] for a in attempts(plan, tmp_path)] == ["diverged"]
    assert records.failures["status"].tolist() == ["diverged"]


def test_without_a_rule_the_next_run_tries_again(tmp_path):
    plan = declare()
    run(plan, tmp_path)
    run(plan, tmp_path)
    assert [a["status"] for a in attempts(plan, tmp_path)] == ["diverged", "diverged"]
    assert {a["seed"] for a in attempts(plan, tmp_path)} == {1}


def test_a_replacement_has_a_seed_of_its_own_and_the_first_sound_one_counts(tmp_path):
    plan = declare(treatment="retry", retries=2)
    records = run(plan, tmp_path)
    tried = attempts(plan, tmp_path)
    assert [a["status"] for a in tried] == ["diverged", "diverged", "complete"]
    assert [a["seed"] for a in tried] == [1, 1 + RETRY_SEEDS, 1 + 2 * RETRY_SEEDS]
    assert records.failures.empty
    assert set(records.frame["seed"]) == {0, 1}  # the trial stays the plan's


def test_replacements_have_a_cap(tmp_path):
    plan = declare(treatment="retry", retries=1)
    for _ in range(2):
        records = run(plan, tmp_path)
    assert [a["status"] for a in attempts(plan, tmp_path)] == ["diverged", "diverged"]
    assert records.failures["status"].tolist() == ["diverged"]
    shutil.rmtree(tmp_path / "runs")  # as in a fresh clone
    run(plan, tmp_path)
    assert attempts(plan, tmp_path) == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"treatment": "drop"}, "unknown treatment 'drop'"),
        ({"treatment": "worst"}, "without value"),
        ({"treatment": "exclude", "bounds": [1, 0]}, "bounds are"),
        ({"treatment": "fail", "retries": 1}, "with retries"),
        ({"above": float("inf")}, "above is inf"),
        ({"over": 3}, "unknown key 'over'"),
        ({"treatment": "retry", "retries": 2, "seeds": [0, 2 * 10**9]}, "would be run twice"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule, message):
    with pytest.raises(PlanError, match=message):
        declare(**rule)


def test_a_rule_is_a_mapping():
    with pytest.raises(PlanError, match="'worst' is not a mapping"):
        ab.plan({"data": ["raw", "clean"]}, divergence="worst")


def test_safeguards_come_back_from_plain_values():
    for made in (Divergence(3.0, "worst", 0.1), Divergence(None, "exclude", bounds=(0.0, 1.0)), Divergence()):
        assert Divergence.from_dict(made.to_dict()) == made
    assert Budget.from_dict(Budget(("train_steps",), 0.05).to_dict()) == Budget(("train_steps",), 0.05)
    with pytest.raises(PlanError, match="unknown budget 'flops'"):
        Budget(("flops",))
    with pytest.raises(PlanError, match="tolerance is -1"):
        Budget(tolerance=-1)
