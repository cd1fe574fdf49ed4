"""What status says: trials that report, trials that tune and looks apart, with why some did not complete."""

import ablate as ab
from ablate.engine import run
from ablate.errors import Diverged
from ablate.runs import Runs, conclude, failure
from ablate.states import find_driver, print_status
from tests import toys


def test_trials_by_state_and_reason(tmp_path, capsys):
    plan = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy", name="toy")
    run(plan, toys.failing, folder=tmp_path, progress=False)
    print_status(tmp_path)
    printed = capsys.readouterr().out
    assert printed.startswith("toy: 3 complete, 1 failed, 0 left of 4 trials\ndriver: none\n")
    assert "  failed: data=clean seed=1: ValueError: a planted failure\n" in printed
    assert find_driver(tmp_path) == "none"


def test_what_a_failure_left_open_is_left(tmp_path, capsys):
    looks = {"seeds": 2, "max_seeds": 4, "analysis": {"stopping": "sequential"}}
    plan = ab.plan({"data": ["raw", "clean"]}, metric="accuracy", name="toy", **looks)
    ab.run(plan, toys.failing, folder=tmp_path, progress=False)
    print_status(tmp_path)
    assert capsys.readouterr().out.startswith("toy: 3 complete, 1 failed, 4 left of 8 trials\nlooks: 1 of at most 2")


def test_diverged_and_tuning_trials_are_counted_apart(tmp_path, capsys):
    tuning = {"space": {"lr": {"low": 0.1, "high": 1.0}}, "trials": 2, "sampler": "random"}
    plan = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy", name="toy", tuning=tuning)
    plan.write(tmp_path)
    runs = Runs(tmp_path)
    for trial, error in zip(plan.search_trials(), [None, Diverged("nan"), "pruned"], strict=False):
        done = {"status": "complete", "reason": None, "rows": [ROW]}
        ended = failure("pruned", error) if error == "pruned" else failure("diverged", error) if error else done
        conclude(runs.claim(trial), plan, ended)
    conclude(runs.claim(plan.trials[0]), plan, failure("diverged", Diverged("loss is nan")))
    print_status(tmp_path)
    printed = capsys.readouterr().out
    assert "tuning: 1 complete, 1 diverged, 1 pruned, 3 tried; settings are not selected yet\n" in printed
    assert "toy: 1 diverged, 3 left of 4 trials\n" in printed
    assert " proposal=1 seed=2147483648: Diverged: nan" in printed


ROW = {"domain_group": "all", "domain": "all", "shift": "none", "metric": "val_accuracy", "value": 0.5}
