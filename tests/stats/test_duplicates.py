"""Duplicates: copies are found by scores and seconds, chance and honest likeness are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ablate as ab
from ablate.plans import plan
from ablate.stats.duplicates import SURE, Duplicates, find_twins
from ablate.stats.sources import read_records
from tests.stats.samples import make_records, noisy

STUDY = plan({"x": ["a", "b", "c"]}, seeds=5, metric="accuracy")
APART = plan({"x": ["a", "b", "c"]}, seeds=5, metric="accuracy", blocking="none")


def trial_of(study, x, seed):
    return next(t for t in study.trials if t.cell["x"] == x and t.seed == seed)


def copied(study=STUDY, domains=4, copies=(("b", 3, "a", 0),), seconds=None, decimals=17):
    """Records in which some runs have the log of another; `seconds` says how long a trial took."""
    source = {(x, seed): trial_of(study, y, other) for x, seed, y, other in copies}

    def score(trial):
        own = source.get((trial.cell["x"], trial.seed), trial)
        rows = [
            {**row, "value": round(row["value"], decimals)} for row in noisy({("x", "c"): 0.05}, domains=domains)(own)
        ]
        return [*rows, *([{"metric": "train_seconds", "value": seconds(trial, own)}] if seconds else [])]

    return make_records(study, score)


def find(records):
    return Duplicates.of(read_records(records, "accuracy"))


def refusals(records):
    frame = ab.attribute(records, families=["pairs"]).frame
    frame = frame[frame.target == "these_domains"]
    return dict(zip(zip(frame.level, frame.versus, strict=True), frame.refusal, strict=True))


def own_seconds(trial, own):
    return 10 + int(trial.id, 16) % 10**9 / 1e9


def copied_seconds(trial, own):
    return own_seconds(own, own)


@pytest.mark.parametrize("study", [STUDY, APART])
@pytest.mark.parametrize("seconds", [None, copied_seconds])
def test_a_copied_log_forbids_what_is_made_of_either_cell(study, seconds):
    records = copied(study, seconds=seconds)
    found = find(records)
    names = {f"{trial_of(study, x, seed).id} (x={x})" for x, seed in [("b", 3), ("a", 0)]}
    assert set(map(str, found.copies)) == {"x=a", "x=b"}
    assert all(set(text.split(" = ")) == names for text in found.copies.values())
    assert set(refusals(records).values()) == {"R05"}
    assert not find(copied(study, copies=())).copies


def test_runs_that_took_different_times_are_two_whatever_they_scored():
    assert not find(copied(seconds=own_seconds)).copies
    assert find(copied(copies=[("a", 3, "a", 0)], seconds=own_seconds)).copies  # but a cell's seeds must do something


def test_the_same_seconds_show_a_copy_of_coarse_scores():
    assert not find(copied(domains=2, decimals=1)).copies
    assert find(copied(domains=2, decimals=1, seconds=copied_seconds)).copies
    assert not find(copied(domains=2, decimals=1, seconds=lambda trial, own: 60.0)).copies  # a clock without digits


def test_accuracies_of_600_examples_agree_by_chance():
    rng = np.random.default_rng(0)
    met = 0
    for domains in (1, 2, 6):
        run, place = np.divmod(np.arange(15 * domains), domains)
        for _ in range(50):
            found = find_twins(run, place, rng.binomial(600, 0.9, 15 * domains) / 600)
            met += len(found.twins)
            assert not any(twins.expected < SURE for twins in found.twins)
    assert met > 50


@pytest.mark.parametrize("study", [STUDY, APART])
@pytest.mark.parametrize(("domains", "decimals"), [(1, 17), (4, 2)])
def test_a_factor_that_never_reached_the_model(study, domains, decimals):
    records = copied(study, domains, [("b", seed, "a", seed) for seed in range(5)], own_seconds, decimals)
    found = find(records)
    assert not found.copies
    assert [tuple(map(str, pair)) for pair in found.alike] == [("x=a", "x=b")]
    said = refusals(records)
    assert said["b", "a"] == "R05"
    assert said["c", "a"] == said["c", "b"] == ""
    rows = ab.attribute(records, families=["simple", "main"]).frame
    assert rows.note[(rows.level == "b")].str.contains("the factor may never have reached the model").all()


def test_a_whole_arm_that_is_copied_with_its_seconds_forbids_either():
    copies = [("b", seed, "a", seed) for seed in range(5)]
    assert set(map(str, find(copied(copies=copies, seconds=copied_seconds)).copies)) == {"x=a", "x=b"}
    shuffled = [("b", (seed + 1) % 5, "a", seed) for seed in range(5)]  # the same seeds would be honest, others are not
    assert set(map(str, find(copied(copies=shuffled)).copies)) == {"x=a", "x=b"}


def test_twin_cells_do_not_lend_their_variance_twice():
    records = copied(APART, copies=[("b", seed, "a", seed) for seed in range(5)], seconds=own_seconds)
    pooled = ab.attribute(records, families=["simple"], variances="pooled").frame.set_index(["level", "target"])
    assert pooled.df["c", "these_domains"] == 8  # of two cells


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_twins_are_found_whatever_the_order_of_rows(seed, size):
    rng = np.random.default_rng(seed)
    run, place = np.divmod(rng.permutation(8 * size), size)
    scores = rng.normal(size=(8, size))
    scores[5] = scores[2]
    found = find_twins(run, place, scores[run, place])
    assert [twins.runs for twins in found.twins] == [(2, 5)]
    assert found.fine
    scores[5, 0] = np.nextafter(scores[5, 0], 9)
    assert not find_twins(run, place, scores[run, place]).twins


def carried(score):
    """Records of two trained cells, each measured under two levels from the same runs."""
    study = plan({"x": ["a", "b"], "use": ["plain", "fast"]}, seeds=5, metric="accuracy", evaluation=["use"])
    return make_records(study, score)


def score_of_run(trial, gain=0.05):
    rng = np.random.default_rng([trial.seed, trial.cell["x"] == "b"])
    values = 0.7 + gain * (trial.cell["x"] == "b") + 0.01 * rng.normal(size=4)
    rows = [{"domain": f"d{d}", "metric": "accuracy", "value": value} for d, value in enumerate(values)]
    return [*rows, {"metric": "train_seconds", "value": 10 + rng.random()}]


def test_levels_of_one_run_may_score_the_same():
    found = find(carried(score_of_run))
    assert not found.copies
    assert not found.alike


def test_a_copied_run_is_found_beside_levels_that_score_the_same():
    def score(trial):
        return score_of_run(trial_of_other(trial) if (trial.cell["x"], trial.seed) == ("b", 3) else trial)

    def trial_of_other(trial):
        return ab.factors.Trial(trial.cell.replace(x="a"), 0, "0")

    copies = find(carried(score)).copies
    assert {cell["x"] for cell in copies} == {"a", "b"}
