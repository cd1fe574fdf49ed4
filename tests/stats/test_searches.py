"""Searches: tuning curves come from a tuned study's records as they are, and nothing else does."""

from itertools import combinations

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

import ablate as ab
from ablate.errors import RecordsError
from ablate.plans import plan
from ablate.stats.sources import read_records
from tests.stats.samples import make_records, noisy

SPACE = {"lr": {"low": 0.1, "high": 1.0}}
VALUES = {"a": [0.1, 0.5, 0.2, 0.9], "b": [0.4, 0.3, 0.8, 0.6]}


def study(objective="maximize", **tuning):
    given = {"space": SPACE, "trials": 4, "sampler": "random", "seeds": 2, **tuning}
    objectives = [{"metric": "val_loss", "direction": objective}]
    return plan({"x": ["a", "b"]}, metric="accuracy", tuning={**given, "objectives": objectives})


def score(trial):
    """Validation as planted: its mean over the two tuning seeds."""
    if trial.phase == "confirm":
        return noisy({("x", "b"): 0.05})(trial)
    apart = 0.01 if trial.seed % 2 else -0.01
    return {"val_loss": VALUES[trial.cell["x"]][trial.proposal] + apart, "latency": 9.0}


def records(made, failed=lambda trial: False, **options):
    return make_records(made, options.pop("score", score), diverged=failed, tried=lambda t: 4, **options)


def curve(found):
    rows = ab.attribute(found, families=["tuning"]).frame
    return rows[rows.quantity == "score"].set_index(["factor", "level"]).estimate


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_curve_is_of_proposals_by_the_objective_and_its_own_direction(direction):
    best = max if direction == "maximize" else min
    found = curve(records(study(direction)))
    for x, values in VALUES.items():
        for n in (1, 2, 4):
            expected = np.mean([best(some) for some in combinations(values, n)])
            assert found[f"best of {n}", f"x={x}"] == pytest.approx(expected)


@pytest.mark.parametrize(("direction", "worst"), [("maximize", 0.1), ("minimize", 0.9)])
def test_a_proposal_that_failed_on_a_seed_counts_as_the_worst_of_all_cells(direction, worst):
    def failed(trial):
        return (trial.phase, trial.cell["x"], trial.proposal) == ("search", "b", 2) and trial.seed % 2 == 1

    made = records(study(direction), failed)
    assert curve(made)["best of 1", "x=b"] == pytest.approx(np.mean([0.4, 0.3, 0.6, worst]))
    assert any("1 tuning proposals have no score" in note for note in read_records(made, "accuracy").notes)


def test_a_proposal_that_is_not_done_is_not_counted():
    made = records(study(), missing=lambda t: (t.phase, t.proposal) == ("search", 3) and t.seed % 2 == 1)
    assert len(read_records(made, "accuracy").searched) == 6


@pytest.mark.parametrize("tuning", [{"sampler": "tpe"}, {"sampler": "qmc"}, {"pruner": "median", "seeds": 1}])
def test_trials_that_depend_on_each_other_have_no_curve(tuning):
    made = study(**tuning)
    rows = ab.attribute(records(made, missing=lambda t: (t.proposal or 0) > 3), families=["tuning", "main"]).frame
    assert set(rows.refusal[rows.family == "tuning"]) == {"R24"}
    assert set(rows.refusal[rows.family == "main"]) == {""}


def test_where_settings_are_inherited_the_curve_is_that_of_the_cell_that_was_tuned():
    rows = ab.attribute(records(study(scope="inherited")), families=["tuning"]).frame
    assert set(rows.level) == {"x=a"}


def test_search_scores_change_nothing_that_is_inferred():
    def absurd(trial):
        return {"val_loss": 1e9 * (trial.proposal or 7)} if trial.phase == "search" else score(trial)

    families = ["omnibus", "main", "best", "improvement", "iqm", "heterogeneity", "prediction", "domain"]
    sane, mad = (ab.attribute(records(study(), score=own), families=families).frame for own in (score, absurd))
    assert_frame_equal(sane, mad)
    assert len(sane) > 10


def test_a_study_that_was_only_searched_is_refused_and_a_misspelt_metric_is_named():
    searched = records(study(), missing=lambda trial: trial.phase == "confirm")
    assert set(ab.attribute(searched, families=["main"]).frame.refusal) == {"R07"}
    with pytest.raises(RecordsError, match="no complete trial has the metric 'acuracy'"):
        ab.attribute(records(study()), metric="acuracy")


def test_cells_that_stopped_apart_keep_their_curves():
    tuning = {"space": SPACE, "trials": 4, "sampler": "random", "seeds": 2, "objectives": ["val_loss"]}
    looks = {"stopping": "sequential", "looks": [3, 5]}
    made = plan({"x": ["a", "b"]}, metric="accuracy", blocking="none", tuning=tuning, analysis=looks)
    found = records(made, missing=lambda t: t.phase == "confirm" and t.cell["x"] == "b" and t.seed > 2)
    assert set(ab.attribute(found, families=["tuning"]).frame.refusal) == {""}
