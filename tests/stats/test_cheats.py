"""Cheats: what makes a study's numbers prettier, planted in its records, and the line that exposes it."""

import pytest

import ablate as ab
from ablate.plans import plan
from tests.stats.samples import make_records, noisy

MAIN = {"families": ["main"]}
STUDY = plan({"x": ["a", "b"]}, seeds=6, metric="accuracy", margin=0.01, analysis=MAIN)
EFFECT = noisy({("x", "b"): 0.03})


def judge(records, **options):
    effects = ab.attribute(records, **options)
    return effects.frame.set_index("target").loc["these_domains"], effects.notes


def worst_run(records):
    """The trial of arm b that scored least."""
    frame = records.complete
    return frame[frame["x"] == "b"].groupby("trial")["value"].mean().idxmin()


def test_the_honest_study_has_nothing_to_tell():
    row, notes = judge(make_records(STUDY, EFFECT))
    assert (row.refusal, row.verdict) == ("", "better")
    assert not any(word in note for note in notes for word in ("Not as the plan", "without an outcome", "diverged"))


def test_a_changed_margin_is_noted():
    records = make_records(STUDY, noisy({}))
    assert judge(records)[0].verdict != "equivalent"
    row, notes = judge(records, margin=0.1)
    assert row.verdict == "equivalent"
    assert any(note == "Not as the plan declares: margin 0.1." for note in notes)


@pytest.mark.parametrize("blocking", ["seed", "none"])
def test_a_dropped_failure_is_missed(blocking):
    made = plan({"x": ["a", "b"]}, seeds=6, metric="accuracy", blocking=blocking, analysis=MAIN)
    records = make_records(made, EFFECT)
    gone = worst_run(records)
    dropped = ab.Records(records.frame[records.frame["trial"] != gone], made)
    row, notes = judge(dropped)
    assert row.note.startswith("11 of 12 trials complete")
    assert any(note.startswith("11 of 12 trials complete") for note in notes)
    (told,) = [note for note in notes if "without an outcome" in note]
    assert "1 of x=b." in told
    kept = make_records(made, EFFECT, failed=lambda trial: trial.id == gone)  # as it was: the failure forbids a test
    assert judge(kept)[0].refusal == "R06"


def test_trials_that_are_yet_to_run_in_every_cell_alike_are_no_cheat():
    _, notes = judge(make_records(STUDY, EFFECT, missing=lambda trial: trial.seed == 5))
    assert not any("without an outcome" in note for note in notes)


def test_extra_tuning_of_one_arm_is_refused():
    space = {"lr": {"low": 0.1, "high": 1.0}}
    made = plan({"x": ["a", "b"]}, seeds=6, metric="accuracy", tuning={"space": space, "trials": 4}, analysis=MAIN)

    def tuned(tried):
        records = make_records(
            made,
            lambda t: {"val_accuracy": 0.5 + 0.01 * t.proposal} if t.phase == "search" else EFFECT(t),
            tried=lambda t: tried[t.cell["x"]],
        )
        return judge(records)[0]

    assert tuned({"a": 4, "b": 4}).refusal == ""
    row = tuned({"a": 4, "b": 40})
    assert (row.refusal, row.verdict) == ("R09", "refused")
    assert "hpo_trials of x=a: 4; x=b: 40" in row.note


def test_a_duplicated_log_is_refused_and_named():
    records = make_records(STUDY, EFFECT)
    frame = records.frame.copy()
    own = frame[frame["x"] == "b"].groupby("trial", sort=False)["value"].mean()
    best, worst = own.idxmax(), own.idxmin()
    frame.loc[frame["trial"] == worst, "value"] = frame.loc[frame["trial"] == best, "value"].to_numpy()
    row, notes = judge(ab.Records(frame, STUDY))
    assert row.refusal == "R05"
    assert {best, worst} <= set(row.note.replace("(", " ").split())
    assert any(note.startswith("R05") and "no log was copied" in note for note in notes)


def test_diverged_runs_that_are_declared_failed_or_dropped_are_counted():
    records = make_records(STUDY, EFFECT)
    gone = worst_run(records)
    row, notes = judge(make_records(STUDY, EFFECT, diverged=lambda trial: trial.id == gone))
    assert row.refusal == "R06"
    assert any(note.startswith("1 run diverged (1 of x=b)") for note in notes)


def test_a_longer_training_of_one_arm_is_refused():
    made = plan({"x": ["a", "b"]}, seeds=6, metric="accuracy", budget={"equal": "train_steps"}, analysis=MAIN)

    def longer(trial):
        return [*EFFECT(trial), {"metric": "train_steps", "value": 200 if trial.cell["x"] == "b" else 100}]

    row, _ = judge(make_records(made, longer))
    assert row.refusal == "R09"
    assert "train_steps of x=a: 100; x=b: 200" in row.note
