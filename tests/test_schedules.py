"""What `ablate plan` says of tuning and of looks."""

import ablate as ab
from ablate.factors import Trial
from ablate.previews import describe, measure_cost, preview
from ablate.schedules import describe_schedule, outline_schedule
from tests.tunable import make_plan


def test_a_plain_study_has_nothing_to_say():
    outline = outline_schedule(ab.plan({"data": ["raw", "clean"]}))
    assert outline["stopping"] == {"rule": "fixed", "looks": [5], "futility": None}
    assert outline["tuning"] is outline["divergence"] is None
    assert list(describe_schedule(outline)) == []


def test_tuning_is_told_with_ranges_budget_and_seeds():
    space = {"lr": {"low": 1e-4, "high": 0.1, "log": True}, "width": {"low": 2, "high": 8, "integer": True}}
    found = preview(make_plan(20, space=space, seeds=2))
    assert (found["tuning"]["cells"], found["tuning"]["runs"]) == (2, 80)
    assert list(describe(found))[:3] == [
        "tuning:    lr 0.0001 to 0.1 (log), width 2 to 8 (whole)",
        "    tpe on val_accuracy (maximize); pruner none",
        "    20 proposals in each of 2 cells, tuning seeds 2147483648, 2147483649: 80 runs in all",
    ]


def test_inherited_fixed_and_several_objectives_are_told():
    both = [{"metric": "val_accuracy"}, {"metric": "latency", "direction": "minimize"}]
    inherited = outline_schedule(make_plan(6, scope="inherited", objectives=both, tolerance=0.01, sampler="qmc"))
    assert list(describe_schedule(inherited))[1:] == [
        "    qmc on val_accuracy (maximize), latency (minimize), the second within 0.01 of the best first; pruner none",
        "    6 proposals in the baseline, inherited by all, tuning seeds 2147483648: 6 runs in all",
    ]
    fixed = outline_schedule(make_plan(scope="fixed", setting={"lr": 0.01}))
    assert list(describe_schedule(fixed))[1:] == ["    fixed at lr=0.01"]
    assert fixed["tuning"]["runs"] == 0


def test_what_becomes_of_diverged_runs_and_which_budgets_are_equal_is_told():
    plan = ab.plan(
        {"data": ["raw", "clean"]},
        divergence={"above": 20, "treatment": "worst", "value": 0.1},
        budget={"equal": ["train_steps", "epochs"], "tolerance": 0.05},
    )
    assert list(describe_schedule(outline_schedule(plan))) == [
        "diverged:  what is not finite, or a training loss above 20: the run counts with 0.1",
        "budget:    compared arms share train_steps, epochs, within 5.0%",
    ]


def test_looks_and_futility_are_told():
    analysis = {"stopping": "sequential", "futility": 0.1}
    plan = ab.plan({"data": ["raw", "clean"]}, seeds=4, max_seeds=10, margin=0.1, analysis=analysis)
    assert list(describe_schedule(outline_schedule(plan))) == [
        "stopping:  sequential, looks after 4, 8, 10 seeds; futile below a conditional power of 0.1"
    ]


def test_the_cost_counts_tuning_trials(tmp_path):
    plan = make_plan(3)
    records = ab.run(plan, _one_second, folder=tmp_path, progress=False)
    frame = records.frame.assign(seconds=1.0)
    cost = measure_cost(plan, frame)
    assert (cost["trials"], cost["seconds_all"], cost["left"]) == (10, 10.0, 0)
    assert measure_cost(plan, frame[frame["phase"] == "search"])["left"] == 4


def _one_second(trial: Trial) -> dict[str, float]:
    return {"val_accuracy" if trial.phase == "search" else "accuracy": 0.5}
