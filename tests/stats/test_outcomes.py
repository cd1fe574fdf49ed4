"""Outcomes: a diverged run counts as the plan says, is counted, and is never evidence that it is not."""

import numpy as np
import pytest

import ablate as ab
from ablate.plans import plan
from ablate.stats.layouts import build_layouts
from ablate.stats.outcomes import count_cells
from ablate.stats.sources import read_records
from tests.stats.samples import make_records, noisy

WORST = {"treatment": "worst", "value": 0.1}
EXCLUDE = {"treatment": "exclude", "bounds": (0.0, 1.0)}
RETRY = {"treatment": "retry", "retries": 2}


def study(divergence=None, **options):
    return plan({"x": ["a", "b"]}, metric="accuracy", divergence=divergence, **options)


def lost(*places):
    return lambda trial: (trial.cell["x"], trial.seed) in places


def judge(made, *places, score=None, **options):
    records = make_records(made, score or noisy({("x", "b"): 0.05}), diverged=lost(*places))
    effects = ab.attribute(records, families=["main"], **options)
    return effects.frame.set_index("target").loc["these_domains"], effects.notes


@pytest.mark.parametrize("rule", [None, {"treatment": "fail"}, RETRY])
def test_a_diverged_run_has_failed(rule):
    row, notes = judge(study(rule, blocking="none"), ("b", 1), ("b", 3))
    assert (row.refusal, row.n_runs) == ("R06", 8)
    assert "worst case" not in row.note
    (told,) = [note for note in notes if "diverged" in note]
    assert told.startswith("2 runs diverged (2 of x=b) and have no accuracy: they failed")
    assert ("replacements" in told) == (rule == RETRY)


@pytest.mark.parametrize("blocking", ["seed", "none"])
def test_the_worst_score_stands_for_a_run_on_every_domain(blocking):
    made = study(WORST, blocking=blocking, domains=["d0", "d1", "d2", "d3"])
    row, notes = judge(made, ("b", 1))
    plain = study(blocking=blocking, domains=["d0", "d1", "d2", "d3"])

    def given(trial):
        scores = noisy({("x", "b"): 0.05})(trial)
        return [{**own, "value": 0.1} for own in scores] if lost(("b", 1))(trial) else scores

    by_hand = make_records(plain, given)
    assert made.trials == plain.trials
    expected = ab.attribute(by_hand, families=["main"]).frame.set_index("target").loc["these_domains"]
    assert row[["estimate", "low", "high", "p", "n_runs"]].tolist() == pytest.approx(
        expected[["estimate", "low", "high", "p", "n_runs"]].tolist()
    )
    assert "1 run diverged (1 of x=b) and count with accuracy 0.1, as declared." in notes


def test_worst_scores_of_two_runs_are_no_copied_log():
    row, _ = judge(study(WORST), ("b", 1), ("b", 3), score=noisy({}, domains=8))
    assert row.refusal == ""


def test_a_worst_score_is_given_in_its_own_stratum():
    made = plan({"x": ["a", "b"], "task": ["s", "t"]}, across=["task"], metric="accuracy", divergence=WORST)

    def score(trial):
        return [{**row, "domain": f"{trial.cell['task']}{row['domain']}"} for row in noisy({})(trial)]

    records = make_records(made, score, diverged=lambda t: t.seed == 1 and t.cell["x"] == "b")
    for layout in build_layouts(read_records(records, "accuracy")):
        assert (layout.crossing, len(layout.groups)) == ("crossed", 4)
        assert (layout.scores == 0.1).sum() == 4


def test_left_out_runs_bound_the_effect():
    row, notes = judge(study(EXCLUDE, blocking="none"), ("b", 1))
    assert (row.refusal, row.n_runs) == ("R06", 9)
    rest = row.estimate
    base = np.mean([own["value"] for t in study().trials if t.cell["x"] == "a" for own in noisy({})(t)])
    ends = [0.8 * (base + rest) + 0.2 * bound - base for bound in (0, 1)]
    assert f"estimate between {ends[0]:.4g} and {ends[1]:.4g}" in row.note
    assert any("left out, as declared: effects are bounded" in note for note in notes)
    even, _ = judge(study(EXCLUDE, blocking="none"), ("a", 2), ("b", 1))
    assert even.refusal == ""
    assert "worst case" in even.note  # tested, and bounded all the same
    assert "worst case" not in judge(study(EXCLUDE))[0].note


def test_an_arm_that_always_diverges_is_bounded_too():
    row, _ = judge(study(EXCLUDE), *(("b", seed) for seed in range(5)))
    assert row.refusal == "R10"
    assert "worst case of the failed runs" in row.note


def test_a_worst_score_is_of_the_primary_metric_alone():
    def score(trial):
        extra = [{**row, "metric": "f1", "value": row["value"] / 2} for row in noisy({})(trial)]
        cost = [{"metric": "params", "value": 5 + trial.seed + (trial.cell["x"] == "b")}]
        return [*noisy({})(trial), *extra, *cost]

    records = make_records(study(WORST, blocking="none"), score, diverged=lost(("b", 1)))
    effects = ab.attribute(records, families=["main", "cost", "robustness"], costs=["params"], clean="d0")
    frame = effects.frame[effects.frame.target == "these_domains"]
    compared = frame[(frame.factor != "gap") & (frame.factor != "Pareto front")].groupby("family").refusal
    assert {family: set(codes) for family, codes in compared} == {"main": {""}, "cost": {"R06"}, "robustness": {"R06"}}
    other = ab.attribute(records, metric="f1", families=["main"])
    assert set(other.frame.refusal) == {"R06"}
    assert any("have no f1: they failed" in note for note in other.notes)


def test_preempted_runs_are_missing_and_whatever_else_ended_has_failed():
    records = make_records(study(), noisy({}), failed=lost(("a", 0)))
    frame = records.frame.copy()
    for status, expected in [("diverged", 1), ("pruned", 1), ("preempted", 0)]:
        frame.loc[frame["metric"].isna(), "status"] = status
        (layout,) = build_layouts(read_records(ab.Records(frame, records.plan), "accuracy"))
        assert layout.failed.tolist() == [expected, 0]
        assert layout.complete.tolist() == [4, 5]


def test_cells_are_counted_in_the_order_in_which_they_appear():
    _, notes = judge(study(EXCLUDE), ("b", 1), ("a", 2), ("b", 4))
    assert any(note.startswith("3 runs diverged (1 of x=a; 2 of x=b)") for note in notes)
    assert count_cells(read_records(make_records(study(), noisy({})), "accuracy").runs["cell"]) == "5 of x=a; 5 of x=b"


BAD = -0.5  # SDs of a run's quality below which runs of arm b diverge: three in ten


def simulate(replicates, treatments):
    """Two arms of one quality, in one of which the bad runs diverge: mean effect, and how often it is claimed."""
    rng = np.random.default_rng(0)
    rows = {treatment: [] for treatment in treatments}
    for _ in range(replicates):
        quality = rng.normal(size=(2, 8))
        quality[1, 0] = BAD - 0.1  # one at least
        for treatment in treatments:
            rule = {"worst": WORST, "exclude": EXCLUDE}.get(treatment)
            made = plan({"x": ["a", "b"]}, seeds=8, metric="accuracy", blocking="none", divergence=rule)
            own = {t.id: quality["ab".index(t.cell["x"]), t.seed] for t in made.trials}
            gone = {t.id for t in made.trials if t.cell["x"] == "b" and own[t.id] < BAD}
            kind = "missing" if treatment == "dropped" else "diverged"
            records = make_records(
                made, lambda t, own=own: 0.6 + 0.05 * own[t.id], **{kind: lambda t, gone=gone: t.id in gone}
            )
            row = ab.attribute(records, families=["main"], test="t").frame.iloc[0]
            assert ("worst case" in row.note) == (treatment == "exclude")
            rows[treatment].append((row.estimate / 0.05, row.verdict == "better"))
    return {treatment: tuple(np.mean(own, axis=0)) for treatment, own in rows.items()}


def test_dropping_the_bad_runs_of_one_arm_makes_an_effect_that_no_treatment_claims():
    found = simulate(6, ["dropped", "worst", "exclude"])
    assert found["dropped"][0] > 0.2
    assert found["worst"][0] < 0
    assert found["worst"][1] == found["exclude"][1] == 0


@pytest.mark.slow
def test_dropping_the_bad_runs_of_one_arm_by_a_closer_count():
    found = simulate(200, ["dropped", "fail", "worst", "exclude"])
    assert found["dropped"][0] == pytest.approx(0.509, abs=0.15)  # the mean of a normal above BAD
    assert found["dropped"][1] > 0.06  # claims of a gain that is not there, at .025
    assert found["worst"][0] < 0
    assert found["fail"][1] == found["worst"][1] == found["exclude"][1] == 0


def test_a_study_that_stopped_half_way_is_told_to_be_an_interim_look():
    made = plan({"x": ["a", "b"]}, metric="accuracy", seeds=6)
    notes = ab.attribute(make_records(made, noisy({}), missing=lambda trial: trial.seed > 3), families=["main"]).notes
    assert any(note.startswith("An interim look: 4 planned trials have no outcome yet.") for note in notes)
    whole = ab.attribute(make_records(made, noisy({})), families=["main"]).notes
    assert not any("interim" in note for note in whole)
