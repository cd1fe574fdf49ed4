"""Curves: the weights of a shorter training, tested once the longer one is over."""

from pathlib import Path
from typing import Any

import pytest

from ablate import signals
from ablate.errors import TrialError
from ablate.training import preflight, run_trial, validate_trial

from .configs import measured, scores, trial_config


def curved(
    unit: str = "steps", budgets: Any = (4, 8), model: str = "Corners", data: str = "Points", **trainer: Any
) -> Any:
    config = trial_config(data, model, trainer={"max_epochs": -1, "max_steps": 12, **trainer})
    config.curve = {unit: list(budgets)}
    return config


def test_a_point_of_the_curve_is_what_a_training_of_that_length_gives() -> None:
    rows = run_trial(curved())
    for steps in (4, 8):
        shorter = run_trial(trial_config(trainer={"max_epochs": -1, "max_steps": steps}))
        assert scores(rows, f"hits@{steps}") == scores(shorter)
    whole = run_trial(trial_config(trainer={"max_epochs": -1, "max_steps": 12}))
    assert scores(rows) == scores(whole), "the end is as without a curve"


def test_samples_are_counted_as_they_are_seen() -> None:
    by_steps, by_samples = run_trial(curved()), run_trial(curved("samples", (64, 100)))
    assert scores(by_samples, "hits@64") == scores(by_steps, "hits@4")
    seventh = run_trial(curved(budgets=(7,)))
    assert scores(by_samples, "hits@100") == scores(seventh, "hits@7"), "112 samples are the first that are 100"


def test_steps_are_those_of_the_optimiser() -> None:
    accumulated = run_trial(curved(budgets=(2, 4), accumulate_grad_batches=2, max_steps=6))
    shorter = run_trial(trial_config(trainer={"max_epochs": -1, "max_steps": 2, "accumulate_grad_batches": 2}))
    assert scores(accumulated, "hits@2") == scores(shorter)


def test_what_is_not_reached_is_not_there() -> None:
    assert not [r for r in run_trial(curved(budgets=(4, 999))) if r["metric"].endswith("@999")]


def test_every_point_is_a_reading_and_none_is_before_the_end_of_training(attempt: Path) -> None:
    run_trial(curved())
    assert signals.readings(attempt) == {"home": 3, "home/far": 3}


def test_a_search_keeps_no_curve_and_opens_no_test_set() -> None:
    rows = validate_trial(curved(model="Judged", data="Validated"))
    assert not measured(rows)
    assert not [r for r in rows if "@" in r["metric"]]


@pytest.mark.parametrize(
    "curve", [{"epochs": [1]}, {"steps": [0]}, {"steps": []}, {"steps": 5}, {"steps": [1], "samples": [1]}, [1, 2], 7]
)
def test_a_curve_of_another_form_is_refused_before_anything_trains(curve: Any) -> None:
    config = trial_config()
    config.curve = curve
    with pytest.raises(TrialError, match="curve is"):
        preflight(config)
