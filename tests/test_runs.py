"""Attempts on disk: claims, records, and which attempt counts."""

import json
import os
from pathlib import Path

import pytest

import ablate as ab
from ablate.errors import StudyError
from ablate.factors import Trial
from ablate.runs import Attempt, Runs, conclude, failure, perform


@pytest.fixture
def plan():
    return ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy")


def test_a_trial_records_itself_whole(plan, tmp_path):
    trial = plan.trials[0]
    attempt = Runs(tmp_path).claim(trial)
    perform(lambda t: {"accuracy": 0.5, "params": 10}, attempt, plan)
    record = json.loads((tmp_path / "runs" / trial.id / "1" / "record.json").read_text())
    assert record["status"] == "complete"
    assert [row["value"] for row in record["rows"]] == [0.5, 10.0]
    assert record["cell"] == {"data": trial.cell["data"]}
    assert record["plan"] == plan.hash
    assert record["environment"]["packages"]["python"]
    assert not list(attempt.folder.glob(".*tmp"))


def test_a_task_may_leave_files_in_its_own_folder(plan, tmp_path):
    def task(trial: Trial) -> float:
        (trial.folder / "weights.txt").write_text("1 2 3")
        return 0.5

    perform(task, Runs(tmp_path).claim(plan.trials[0]), plan)
    assert (tmp_path / "runs" / plan.trials[0].id / "1" / "weights.txt").is_file()


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (ValueError("boom"), "failed", "ValueError: boom"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (MemoryError(), "failed", "MemoryError:"),
        (type("Stop", (BaseException,), {})("now"), "failed", "Stop: now"),
        (type("Mute", (Exception,), {"__str__": None})(), "failed", "Mute: (its text cannot be printed)"),
        (ValueError("\x1b[31mred\ud800\n"), "failed", "ValueError:  [31mred "),
    ],
)
def test_what_a_task_raises_is_a_failure_with_its_reason(plan, tmp_path, raised, status, reason):
    def task(trial: Trial) -> float:
        raise raised

    record = perform(task, Runs(tmp_path).claim(plan.trials[0]), plan)
    assert (record["status"], record["reason"]) == (status, reason)
    assert "in task" in record["traceback"]


def test_an_interrupt_is_a_preemption_and_goes_on_up(plan, tmp_path):
    class SIGTERMException(SystemExit):
        """What Lightning raises on SIGTERM."""

    for raised in (KeyboardInterrupt(), SIGTERMException()):

        def task(trial: Trial, raised: BaseException = raised) -> float:
            raise raised

        with pytest.raises(type(raised)):
            perform(task, Runs(tmp_path).claim(plan.trials[0]), plan)
    assert [a["status"] for a in Runs(tmp_path).attempts(plan.trials[0].id)] == ["preempted", "preempted"]


def test_nan_is_a_failure_not_a_value(plan, tmp_path):
    record = perform(lambda t: float("nan"), Runs(tmp_path).claim(plan.trials[0]), plan)
    assert record["status"] == "diverged"
    assert "nan" in record["reason"]


def test_the_first_complete_attempt_counts(plan, tmp_path):
    runs, trial = Runs(tmp_path), plan.trials[0]
    values = iter([None, 0.25, 0.75])
    for _ in range(3):
        value = next(values)
        perform(lambda t, value=value: value if value else 1 / 0, runs.claim(trial), plan)
    assert [a["status"] for a in runs.attempts(trial.id)] == ["failed", "complete", "complete"]
    assert runs.outcome(trial.id)["rows"][0]["value"] == 0.25


@pytest.mark.parametrize("content", [b"", b'{"status": "comp', b"[1, 2]", b"\xff\xfe"])
def test_a_torn_record_does_not_count(plan, tmp_path, content):
    runs, trial = Runs(tmp_path), plan.trials[0]
    attempt = runs.claim(trial)
    (attempt.folder / "record.json").write_bytes(content)
    assert runs.outcome(trial.id) is None
    assert runs.claim(trial).number == 2


def test_the_driver_writes_the_record_of_a_worker_that_died(plan, tmp_path):
    runs, trial = Runs(tmp_path), plan.trials[0]
    conclude(runs.claim(trial), plan, failure("lost", "its worker process died (exit code -9)"))
    outcome = runs.outcome(trial.id)
    assert (outcome["status"], outcome["rows"]) == ("lost", [])


def test_two_claims_are_two_attempts(plan, tmp_path):
    runs, trial = Runs(tmp_path), plan.trials[0]
    assert [runs.claim(trial).number for _ in range(3)] == [1, 2, 3]


def test_a_folder_that_cannot_be_written_is_named(plan, tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(StudyError, match="cannot write here"):
        Runs(tmp_path).claim(plan.trials[0])


def test_a_record_that_cannot_be_written_is_an_error_of_the_study(plan, tmp_path):
    def task(trial: Trial) -> float:
        trial.folder.rename(trial.folder.with_name("gone"))
        return 0.5

    with pytest.raises(StudyError, match=r"(?s)cannot write here.*goes on with what is left"):
        perform(task, Runs(tmp_path).claim(plan.trials[0]), plan)


def test_attempts_of_another_trial_do_not_interfere(plan, tmp_path):
    runs = Runs(tmp_path)
    perform(lambda t: 0.5, runs.claim(plan.trials[0]), plan)
    assert set(runs.outcomes(plan)) == {plan.trials[0].id}
    assert runs.attempts(plan.trials[1].id) == []


def test_an_attempt_knows_its_process(plan, tmp_path):
    attempt = Runs(tmp_path).claim(plan.trials[0])
    assert isinstance(attempt, Attempt)
    perform(lambda t: 0.5, attempt, plan)
    started = json.loads((Path(attempt.folder) / "started.json").read_text())
    assert started["pid"] == os.getpid()
