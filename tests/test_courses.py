"""Seeds look by look: what is granted, what is not needed, and that the looks can be taken again."""

import json
from dataclasses import dataclass

import pandas as pd
import pytest

import ablate as ab
from ablate import engine
from ablate.courses import Course, Look, unneeded
from ablate.errors import PlanError, StudyError
from tests import toys

PLAN = ab.plan(
    {"data": ["raw", "clean", "cleaner"]},
    seeds=2,
    max_seeds=6,
    metric="accuracy",
    analysis={"stopping": "sequential"},
    name="toy",
)
RAW, CLEAN, CLEANER = PLAN.cells


@dataclass(frozen=True)
class Found:
    cells: tuple
    said: tuple = ()

    def lines(self):
        return self.said


def stand(records):
    """Clean is decided at the first look; cleaner, and the baseline it needs, at the second."""
    seeds = records.complete.groupby("data")["seed"].nunique().to_dict()
    assert len(set(seeds.values())) <= 2
    return Found((RAW, CLEANER) if max(seeds.values()) < 4 else (), (str(seeds),))


def run(folder, task=toys.surface, **options):
    return engine.run(PLAN, task, folder=folder, progress=False, stand=stand, **options)


class Interrupted:
    """A task that a keyboard interrupt ends after a number of trials."""

    def __init__(self, number):
        self.left = number

    def __call__(self, trial):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return toys.surface(trial)


class Printed(Interrupted):
    """The same with a fingerprint of its training data."""

    def fingerprint(self, trial):
        return {"train": "abc"}


def test_looks_are_spaced_by_the_seeds_of_the_first_unless_named():
    assert PLAN.looks == (2, 4, 6)
    assert len(PLAN.trials) == 18
    named = ab.plan({"a": [1, 2]}, analysis={"stopping": "sequential", "looks": [3, 10]})
    assert named.looks == (3, 10)
    assert named.seeds == tuple(range(10))
    every = ab.plan({"a": [1, 2]}, max_seeds=6, analysis={"stopping": "e_process"})
    assert every.looks == (3, 4, 5, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_seeds": 9}, "seeds are fixed"),
        ({"analysis": {"stopping": "sequentia"}}, "did you mean 'sequential'"),
        ({"analysis": {"stopping": "sequential"}}, "max_seeds None"),
        ({"analysis": {"stopping": "sequential", "looks": [3, 5]}, "max_seeds": 9}, "looks end at 5, seeds at 9"),
        ({"analysis": {"stopping": "e_process"}, "seeds": [7, 3, 11], "max_seeds": 9}, "3 seeds are listed"),
        ({"analysis": {"stopping": "e_process"}, "max_seeds": 9, "blocking": "none"}, "within blocks"),
        ({"analysis": {"stopping": "e_process", "target": "new_domains"}, "max_seeds": 9}, "on these domains"),
        ({"analysis": {"stopping": "sequential", "futility": 0.1}, "max_seeds": 9}, "no stated size"),
        ({"analysis": {"futility": 0.1}, "margin": 1.0}, "futility is 0.1"),
        ({"analysis": {"stopping": "sequential", "variances": "pooled"}, "max_seeds": 9}, "variance of other seeds"),
        ({"analysis": {"stopping": "sequential", "families": ["iqm"]}, "max_seeds": 9}, "no contrast to be decided"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(PlanError, match=message):
        ab.plan({"a": [1, 2]}, **changes)


def test_decided_cells_get_no_more_seeds(tmp_path):
    records = run(tmp_path)
    assert records.complete.groupby("data")["seed"].nunique().to_dict() == {"raw": 4, "clean": 2, "cleaner": 4}
    course = Course.read(tmp_path, PLAN)
    assert [look.seeds for look in course.taken] == [2, 4]
    assert course.over
    assert len(course.trials) == 10
    assert len(list(unneeded(course))) == 8


def test_a_finished_course_is_not_taken_up_again(tmp_path):
    first = run(tmp_path)

    def must_not_run(trial):
        raise AssertionError

    pd.testing.assert_frame_equal(run(tmp_path, must_not_run).frame, first.frame)


def test_interrupted_at_any_trial_and_run_again_the_course_is_the_same(tmp_path):
    whole = run(tmp_path / "whole")
    for number in range(1, 10, 2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / str(number), Interrupted(number))
        again = run(tmp_path / str(number), Interrupted(99))
        for name in ("trial", "seed", "value"):
            assert again.frame[name].tolist() == whole.frame[name].tolist()
        assert (tmp_path / str(number) / "looks.json").read_text() == (tmp_path / "whole" / "looks.json").read_text()


def test_a_driver_that_died_after_the_last_trial_of_a_look_goes_on_from_there(tmp_path):
    def cut(records):
        raise KeyboardInterrupt

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        engine.run(PLAN, Printed(99), folder=tmp_path / "cut", progress=False, stand=cut)
    again = run(tmp_path / "cut", Printed(99))
    assert again.frame["value"].tolist() == whole.frame["value"].tolist()
    assert set(ab.Plan.read(tmp_path / "cut").provenance["data"].values()) == {"abc"}


def test_edited_looks_are_found_out(tmp_path):
    run(tmp_path)
    path = tmp_path / "looks.json"
    values = json.loads(path.read_text())
    values["looks"][0]["open"].append({"data": "clean"})
    path.write_text(json.dumps(values))
    with pytest.raises(StudyError, match="looks were edited"):
        Course.read(tmp_path, PLAN)


def test_without_anybody_to_say_how_it_stands_the_study_is_refused(tmp_path):
    with pytest.raises(PlanError, match="nobody says"):
        engine.run(PLAN, toys.surface, folder=tmp_path, progress=False)


def test_fixed_seeds_have_one_look_and_no_file(tmp_path):
    plan = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy")
    ab.run(plan, toys.surface, folder=tmp_path, progress=False)
    assert not (tmp_path / "looks.json").exists()
    assert Course.read(tmp_path, plan).trials == plan.trials


def test_granted_seeds_follow_the_looks():
    course = Course(PLAN, (Look(2, (RAW, CLEANER)), Look(4, (RAW, CLEANER))))
    assert dict(course.granted) == {RAW: 6, CLEAN: 2, CLEANER: 6}
    assert not course.over


@dataclass
class Audited:
    """A task that trains on test items of its own stratum."""

    def __call__(self, trial):
        return toys.surface(trial)

    def audit(self, trial):
        hit = [0 if trial.cell["size"] == "small" else 1]
        return {"a": {"items": 2, "exact": hit, "normalised": hit, "near": hit, "skipped": None}}


def test_strata_with_test_sets_of_their_own_are_audited_apart(tmp_path):
    plan = ab.plan({"data": ["raw", "clean"], "size": ["small", "large"]}, across=["size"], seeds=2, metric="accuracy")
    ab.run(plan, Audited(), folder=tmp_path, progress=False)
    found = json.loads((tmp_path / "contamination.json").read_text())
    assert {name: overlap["exact"] for name, overlap in found.items()} == {"a [size=small]": [0], "a [size=large]": [1]}
    assert {overlap["trials"] for overlap in found.values()} == {4}
