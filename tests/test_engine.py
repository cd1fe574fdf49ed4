"""A whole study with a plain function: run, resume, fail, drift; nothing lost, nothing twice."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import ablate as ab
from ablate.accounts import read_account
from ablate.errors import PlanError, StudyError
from ablate.launchers import LocalPool
from ablate.runs import Runs
from tests import toys

LEVELS = {"data": ["raw", "clean"], "size": ["small", "large"]}


def declare(**changes):
    return ab.plan(LEVELS, **{"seeds": 3, "metric": "accuracy", "name": "toy", **changes})


def run(plan, task, folder, **options):
    return ab.run(plan, task, folder=folder, progress=False, **options)


def measured(records):
    """What must not depend on how a study was run: everything but clocks and attempts."""
    return records.frame.drop(columns=["seconds", "attempt", "hardware"])


def test_a_study_runs_every_trial_once_and_writes_plan_and_records(tmp_path):
    plan = declare()
    records = run(plan, toys.surface, tmp_path)
    assert records.complete["trial"].nunique() == len(plan.trials) == 12
    assert len(records.frame) == 12 * len(toys.DOMAINS)
    assert ab.Plan.read(tmp_path) == plan
    pd.testing.assert_frame_equal(ab.load(tmp_path).frame, records.frame)
    assert all(len(Runs(tmp_path).attempts(t.id)) == 1 for t in plan.trials)


def test_every_attempt_is_accounted_for_also_when_the_study_is_interrupted(tmp_path):
    def interrupted(trial):
        if trial.seed:
            raise KeyboardInterrupt
        return toys.surface(trial)

    plan = declare()
    with pytest.raises(KeyboardInterrupt):
        run(plan, interrupted, tmp_path)
    account = pd.read_csv(tmp_path / "attempts.csv")
    assert account["status"].value_counts().to_dict() == {"complete": 4, "preempted": 1}


def test_a_plain_task_may_tell_of_the_test_sets_that_it_reads(tmp_path):
    class Telling:
        def __call__(self, trial):
            for domain in toys.DOMAINS:
                trial.note_reading(domain)
            return toys.surface(trial)

    run(declare(), Telling(), tmp_path)
    assert read_account(tmp_path).readings["confirm"] == 12 * len(toys.DOMAINS)


def test_a_record_that_was_copied_from_another_trial_counts_for_nothing(tmp_path):
    plan = declare()
    run(plan, toys.surface, tmp_path)
    runs, (first, second, *_) = Runs(tmp_path), plan.trials
    source, target = (runs.folder_of(t.id, 1) / "record.json" for t in (first, second))
    target.write_text(source.read_text())
    (tmp_path / "records.csv").unlink()
    assert second.id not in set(ab.load(tmp_path).complete["trial"])


def test_running_again_runs_nothing(tmp_path):
    plan = declare()
    first = run(plan, toys.surface, tmp_path)

    def must_not_run(trial):
        raise AssertionError

    locked = json.loads((tmp_path / "plan.json").read_text())
    again = run(plan, must_not_run, tmp_path)
    pd.testing.assert_frame_equal(again.frame, first.frame)
    assert json.loads((tmp_path / "plan.json").read_text()) == locked


def test_the_default_folder_is_named_by_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = declare()
    ab.run(plan, toys.surface, progress=False)
    assert (tmp_path / "outputs" / f"toy-{plan.hash[:8]}" / "records.csv").is_file()


def test_a_float_is_the_primary_metric(tmp_path):
    records = run(declare(), lambda trial: 0.5 + trial.seed, tmp_path)
    assert set(records.frame["metric"]) == {"accuracy"}
    assert set(records.frame["domain"]) == {"all"}


@pytest.mark.slow
def test_pool_and_process_measure_the_same(tmp_path):
    here = run(declare(), toys.surface, tmp_path / "here")
    pool = run(declare(), toys.surface, tmp_path / "pool", workers=2)
    pd.testing.assert_frame_equal(measured(here), measured(pool))


def test_a_failure_is_kept_the_others_go_on_and_a_rerun_retries_it(tmp_path, monkeypatch):
    plan = declare()
    records = run(plan, toys.failing, tmp_path)
    failed = records.failures
    assert set(failed["status"]) == {"failed"}
    assert set(failed["reason"]) == {"ValueError: a planted failure"}
    assert failed["trial"].nunique() == 2
    assert records.complete["trial"].nunique() == 10
    attempt = Runs(tmp_path).attempts(failed["trial"].iloc[0])[0]
    assert "toys.py" in attempt["traceback"]
    monkeypatch.setenv("MENDED", "1")
    mended = run(plan, toys.failing, tmp_path)
    assert mended.complete["trial"].nunique() == 12
    assert [len(Runs(tmp_path).attempts(t.id)) for t in plan.trials].count(2) == 2


def test_a_killed_worker_loses_only_its_trial_which_is_tried_again(tmp_path):
    plan = declare()
    records = run(plan, toys.killed_once, tmp_path, workers=2)
    assert records.complete["trial"].nunique() == 12
    pd.testing.assert_frame_equal(measured(records), measured(run(plan, toys.surface, tmp_path / "other")))


def test_a_poisonous_trial_is_lost_after_its_retries(tmp_path):
    records = run(declare(), toys.poison, tmp_path, workers=2, retries=1)
    lost = records.failures
    assert set(lost["status"]) == {"lost"}
    assert lost["reason"].str.contains("exit code -9").all()
    assert records.complete["trial"].nunique() == 10
    assert [len(Runs(tmp_path).attempts(i)) for i in set(lost["trial"])] == [2, 2]


@pytest.mark.slow
def test_a_hanging_trial_runs_out_of_time(tmp_path):
    records = run(declare(), toys.hanging, tmp_path, workers=2, timeout=1.0, retries=0)
    assert records.failures["reason"].str.startswith("stopped after 1 s").all()
    assert records.complete["trial"].nunique() == 10


def test_what_a_trial_prints_is_kept_with_it(tmp_path, capfd):
    plan = declare(seeds=2)
    run(plan, toys.chatty, tmp_path, workers=1)
    log = (tmp_path / "runs" / plan.trials[0].id / "1" / "output.log").read_text()
    assert "from python" in log
    assert "from below" in log
    assert "from" not in capfd.readouterr().out


def test_a_trial_that_wanders_or_shuts_its_output_harms_neither_itself_nor_the_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = declare()
    records = run(plan, toys.rude, "study", workers=1)
    assert records.complete["trial"].nunique() == 12
    logs = [p.read_text() for p in tmp_path.glob("study/runs/*/1/output.log")]
    assert logs == [f"in {Path.cwd()}\n"] * 12


def test_every_worker_gets_its_share_of_threads(tmp_path):
    records = ab.run(
        declare(seeds=1), toys.threads, folder=tmp_path, progress=False, launcher=LocalPool(workers=1, threads=3)
    )
    assert set(records.frame["value"]) == {3.0}


def test_a_study_resumes_from_its_table_when_its_runs_are_gone(tmp_path):
    plan = declare()
    first = run(plan, toys.surface, tmp_path)
    subprocess.run(["rm", "-r", str(tmp_path / "runs")], check=True)
    half = first.frame[first.frame["seed"] != 2]
    half.to_csv(tmp_path / "records.csv", index=False)
    again = run(plan, toys.surface, tmp_path)
    pd.testing.assert_frame_equal(measured(again), measured(first))
    assert len(Runs(tmp_path).outcomes(plan)) == 4, "only the seed that was missing ran"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seeds": 4}, "seeds"),
        ({"margin": 0.01}, "margin: None -> 0.01"),
        ({"direction": "minimize"}, "direction: maximize -> minimize"),
    ],
)
def test_a_changed_plan_is_refused_with_what_drifted(tmp_path, change, line):
    run(declare(), toys.surface, tmp_path)
    table = (tmp_path / "records.csv").read_bytes()
    with pytest.raises(StudyError, match=line):
        run(declare(**change), toys.surface, tmp_path)
    assert (tmp_path / "records.csv").read_bytes() == table


def test_a_changed_config_gives_new_trials_and_is_refused(tmp_path):
    plan = replace(declare(), config={"lr": 0.1})
    run(plan, toys.surface, tmp_path)
    changed = replace(declare(), config={"lr": 0.2})
    assert not {t.id for t in plan.trials} & {t.id for t in changed.trials}
    with pytest.raises(StudyError, match=r"config\.lr: 0\.1 -> 0\.2"):
        run(changed, toys.surface, tmp_path)


def test_changed_source_is_refused_while_trials_are_left(tmp_path):
    module = tmp_path / "parts.py"
    module.write_text("def task(trial):\n    if trial.seed == 1: raise ValueError\n    return 0.5\n")

    def load_task():
        space: dict = {}
        exec(compile(module.read_text(), str(module), "exec"), space)
        return space["task"]

    run(declare(), load_task(), tmp_path / "study")
    module.write_text("def task(trial):\n    return 0.9\n")
    with pytest.raises(StudyError, match="sources: task: "):
        run(declare(), load_task(), tmp_path / "study")


def test_two_studies_in_one_folder_are_refused(tmp_path):
    run(declare(), toys.surface, tmp_path)
    with pytest.raises(StudyError, match="holds another study, 'toy'"):
        run(declare(name="other"), toys.surface, tmp_path)


def test_an_edited_plan_is_found_out(tmp_path):
    run(declare(), toys.surface, tmp_path)
    path = tmp_path / "plan.json"
    path.write_text(path.read_text().replace('"margin": null', '"margin": 0.5'))
    with pytest.raises(StudyError, match="edited after it was locked"):
        ab.load(tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"workers": -1}, "workers is -1"),
        ({"workers": 1.5}, r"workers is 1\.5"),
        ({"workers": 1, "timeout": 0}, "timeout is 0"),
        ({"timeout": 3}, "a time limit needs worker processes"),
        ({"retries": -1}, "retries is -1"),
        ({"task": 5}, "the task is a int"),
        ({"task": toys.Locked(), "workers": 1}, "(?s)cannot be sent to worker processes: TypeError.*lock"),
        ({"task": toys.Foreign(), "workers": 1}, "(?s)the workers cannot load the task: ImportError: not here"),
    ],
)
def test_a_call_that_cannot_work_is_named_before_anything_runs(tmp_path, call, message):
    with pytest.raises(PlanError, match=message):
        run(declare(), **{"task": toys.surface, "folder": tmp_path, **call})
    assert not list(tmp_path.glob("runs/*/*/started.json"))


def test_a_name_that_is_no_path_still_gives_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ab.run(declare(name="../a b/c"), toys.surface, progress=False)
    assert [p.name[:-8] for p in (tmp_path / "outputs").iterdir()] == ["..-a-b-c-"]


def test_an_unwritable_folder_is_named_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be made"):
        run(declare(), toys.surface, tmp_path / "file" / "study")


def test_a_preflight_names_every_broken_level_before_anything_runs(tmp_path):
    task = toys.Checked()
    with pytest.raises(PlanError, match=r"(?s)data=clean.*no such column") as caught:
        run(declare(), task, tmp_path)
    assert "nothing was trained" in str(caught.value)
    assert not list(tmp_path.rglob("ran"))


class Incompatible:
    """Two levels that work with every other, and not with each other."""

    def __call__(self, trial):
        return toys.surface(trial)

    def preflight(self, trial):
        if (trial.cell["data"], trial.cell["size"]) == ("clean", "large"):
            raise ValueError("shapes do not match")
        return [{"domain": "all", "metric": "accuracy", "value": 0.5}]


def test_a_preflight_tries_every_cell_since_levels_may_fail_together(tmp_path):
    made = ab.plan({"data": ["raw", "clean"], "size": ["small", "large"]}, seeds=3, metric="accuracy")
    with pytest.raises(PlanError, match=r"(?s)1 of 4 cells tried on one batch.*data=clean size=large.*shapes"):
        run(made, Incompatible(), tmp_path)


def test_a_plan_under_which_nothing_was_run_may_be_changed(tmp_path):
    with pytest.raises(PlanError):
        run(declare(), toys.Checked(), tmp_path)
    declare(margin=0.5).write(tmp_path)
    assert run(declare(), toys.surface, tmp_path).plan.margin is None


@pytest.mark.parametrize("workers", [0, 2])
def test_a_preflight_finds_a_metric_that_is_never_logged(tmp_path, workers):
    task = toys.Checked(rows=[{"domain": "a", "metric": "acc", "value": 0.1}])
    with pytest.raises(PlanError, match="'accuracy' was never logged"):
        run(declare(), task, tmp_path, workers=workers)


def test_a_preflight_finds_a_domain_the_plan_does_not_declare(tmp_path):
    task = toys.Checked(rows=[{"domain": "a", "metric": "accuracy", "value": 0.1}])
    with pytest.raises(PlanError, match="domain 'a' is in no domain group"):
        run(declare(domains=["b", "c"]), task, tmp_path)


SCRIPT = """
    import sys, ablate as ab
    from tests import toys
    if __name__ == "__main__":
        plan = ab.plan({"data": ["raw", "clean"], "size": ["small", "large"]}, seeds=5, metric="accuracy", name="toy")
        ab.run(plan, toys.slow_surface, folder=sys.argv[1], workers=2)
"""


def start(tmp_path, folder):
    script = tmp_path / "study.py"
    script.write_text(textwrap.dedent(SCRIPT))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen([sys.executable, str(script), str(folder)], env=env, start_new_session=True)


@pytest.mark.slow
def test_killed_in_the_middle_and_run_again_gives_the_unbroken_table(tmp_path):
    whole = tmp_path / "whole"
    assert start(tmp_path, whole).wait(60) == 0
    broken = tmp_path / "broken"
    first = start(tmp_path, broken)
    while len(list(broken.glob("runs/*/1/record.json"))) < 6:
        time.sleep(0.01)
        assert first.poll() is None
    os.kill(first.pid, signal.SIGKILL)  # the driver alone: its workers must not go on for ever
    first.wait()
    finished = len(list(broken.glob("runs/*/1/record.json")))
    assert finished < 20
    assert start(tmp_path, broken).wait(60) == 0
    unbroken, resumed = ab.load(whole), ab.load(broken)
    pd.testing.assert_frame_equal(measured(unbroken), measured(resumed))
    tries = [len(Runs(broken).attempts(t.id)) for t in resumed.plan.trials]
    assert tries.count(2) <= 4, "only what was in flight is tried twice"
    assert repr(ab.table(ab.attribute(unbroken))) == repr(ab.table(ab.attribute(resumed)))


class Audited:
    """A task that says which trials it was asked to audit, and that one of them trains on a test item."""

    contamination: Path | None = None

    def __call__(self, trial):
        if trial.seed == 2 and not self.contamination.with_name("go").exists():
            raise ValueError("not yet")
        return toys.surface(trial)

    def audit(self, trial):
        near = [7] if trial.seed == 0 and trial.cell["data"] == "clean" else []
        return {"a": {"items": 100, "exact": [], "normalised": [], "near": near, "skipped": None}}


def test_an_audit_that_is_made_again_is_of_every_trial_not_of_those_that_are_left(tmp_path):
    run(declare(), Audited(), tmp_path)
    path = tmp_path / "contamination.json"
    first = json.loads(path.read_text())
    assert (first["a"]["near"], first["a"]["trials"]) == ([7], 12)
    path.unlink()
    (tmp_path / "go").touch()
    run(declare(), Audited(), tmp_path)
    assert json.loads(path.read_text()) == first


@pytest.mark.slow
def test_a_second_driver_is_refused_and_told_who_holds_the_study(tmp_path):
    folder = tmp_path / "study"
    first = start(tmp_path, folder)
    while not list(folder.glob("runs/*/1/started.json")):
        time.sleep(0.01)
    plan = ab.plan(LEVELS, seeds=5, metric="accuracy", name="toy")
    with pytest.raises(StudyError, match=re.escape(f'"pid": {first.pid}')):
        ab.run(plan, toys.slow_surface, folder=folder, workers=1, progress=False)
    assert first.wait(60) == 0


def test_workers_end_when_their_driver_is_killed(tmp_path):
    first = start(tmp_path, tmp_path / "study")
    while not (started := list((tmp_path / "study").glob("runs/*/1/started.json"))):
        time.sleep(0.01)
    time.sleep(0.1)
    worker = json.loads(started[0].read_text())["pid"]
    os.kill(first.pid, signal.SIGKILL)  # and nobody reaps it for a while
    try:
        for _ in range(100):
            try:
                if Path(f"/proc/{worker}/stat").read_text().rpartition(") ")[2][0] == "Z":
                    return
            except FileNotFoundError:
                return
            time.sleep(0.05)
        pytest.fail("a worker outlived its driver by five seconds")
    finally:
        first.wait()
