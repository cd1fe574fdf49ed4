"""Sources: the clean part of a metric stands beside the domains that have none, and budgets are told."""

import numpy as np
import pytest

import ablate as ab
from ablate.errors import RecordsError
from ablate.plans import plan
from ablate.stats.sources import read_records
from tests.stats.samples import make_records, noisy

STUDY = plan({"x": ["a", "b"]}, metric="accuracy", margin=0.02)
PART = "accuracy (clean part)"


def contaminated(trial):
    """Training data hold half of d1, where arm b gains by them; elsewhere there is no gain."""
    rows = noisy({})(trial)
    part = [{**row, "metric": PART, "n_examples": 300} for row in rows if row["domain"] == "d1"]
    gain = 0.2 * (trial.cell["x"] == "b")
    rows = [{**row, "value": row["value"] + gain * (row["domain"] == "d1")} for row in rows]
    return [*rows, *part, {"metric": PART, "value": 0.5}]


def test_the_clean_part_is_judged_beside_the_domains_that_are_clean():
    records = make_records(STUDY, contaminated)
    all_of_it, clean = (ab.attribute(records, metric=m, families=["main", "domain"]).frame for m in ("accuracy", PART))
    assert all_of_it.n_domains[0] == clean.n_domains[0] == 4
    expected = ab.attribute(make_records(STUDY, noisy({})), families=["main", "domain"]).frame
    assert clean.estimate.tolist() == pytest.approx(expected.estimate.tolist())
    assert all_of_it.estimate[0] == pytest.approx(expected.estimate[0] + 0.05)
    assert clean.verdict[0] != "better" == all_of_it.verdict[0]
    notes = ab.attribute(records, metric=PART).notes
    assert "Judged on the clean part of d1, and on the whole of 3 other domains." in notes
    assert any("Not as the plan declares: metric" in note for note in notes)


def test_a_domain_of_which_training_holds_all_is_left_out():
    def swallowed(trial):
        gone = {"domain": "d2", "metric": "clean examples", "value": 0.0}
        half = {"domain": "d1", "metric": "clean examples", "value": 300.0}
        return [*contaminated(trial), gone, half]

    effects = ab.attribute(make_records(STUDY, swallowed), metric=PART, families=["main"])
    assert effects.frame.n_domains[0] == 3
    assert "Left out, since training data hold every example of them: d2." in effects.notes
    without = make_records(STUDY, lambda trial: [row for row in swallowed(trial) if row["metric"] != PART])
    assert ab.attribute(without, metric=PART, families=["main"]).frame.n_domains[0] == 3


def test_a_run_without_the_clean_part_that_others_have_lacks_the_domain():
    def gap(trial):
        rows = contaminated(trial)
        return rows if trial.seed else [row for row in rows if row["metric"] != PART]

    frame = ab.attribute(make_records(STUDY, gap), metric=PART, families=["main"]).frame
    assert frame.method.str.startswith("E3").all()  # unbalanced, and never a mean of part and whole


def test_a_study_that_was_not_audited_has_no_clean_part():
    with pytest.raises(RecordsError, match="no complete trial has the metric"):
        ab.attribute(make_records(STUDY, noisy({})), metric=PART)


def budgeted(spent, equal=("train_steps",), tolerance=0.0, **options):
    made = plan({"x": ["a", "b"]}, metric="accuracy", budget={"equal": equal, "tolerance": tolerance})

    def score(trial):
        steps = spent(trial)
        return [*noisy({})(trial), *([] if steps is None else [{"metric": "train_steps", "value": steps}])]

    effects = ab.attribute(make_records(made, score, **options), families=["main"])
    return effects.frame.iloc[0], effects.notes


def by_arm(a, b):
    return lambda trial: {"a": a, "b": b}[trial.cell["x"]]


@pytest.mark.parametrize(
    ("spent", "tolerance", "refusal"),
    [
        (by_arm(100, 100), 0.0, ""),
        (by_arm(100, 101), 0.0, "R09"),
        (by_arm(100, 104), 0.05, ""),
        (by_arm(100, 106), 0.05, "R09"),
        (by_arm(100, None), 0.05, "R09"),
        (by_arm(None, None), 0.0, ""),
        (lambda trial: 0.1 + 0.01 * trial.seed, 0.0, ""),  # means of floats, the same but for rounding
    ],
)
def test_compared_cells_must_have_spent_the_same(spent, tolerance, refusal):
    row, notes = budgeted(spent, tolerance=tolerance)
    assert row.refusal == refusal
    assert ("train_steps of x=a: " in row.note) == bool(refusal)
    assert any("measured in no run: train_steps" in note for note in notes) == all(
        spent(t) is None for t in STUDY.trials
    )


def test_budgets_that_were_not_declared_equal_may_differ():
    assert budgeted(by_arm(100, 200), equal=())[0].refusal == ""
    tried = by_arm(10, 20)
    assert budgeted(by_arm(1, 1), equal=(), tried=tried)[0].refusal == ""
    row, _ = budgeted(by_arm(1, 1), equal=("hpo_trials", "train_steps"), tried=tried)
    assert (row.refusal, "hpo_trials of x=a: 10; x=b: 20" in row.note) == ("R09", True)


def test_runs_of_a_study_are_read_in_the_order_of_its_records():
    source = read_records(make_records(STUDY, noisy({})), "accuracy")
    assert source.runs["run"].is_unique
    assert np.bincount(source.scores["run"]).tolist() == [4] * 10
    assert not source.imputed.any()
