"""Validation: what search trials are judged by, with every test set sealed."""

from importlib import import_module
from typing import Any

import pytest

from ablate.errors import TrialError
from ablate.training import preflight, preflight_search, run_trial, validate_trial

from .configs import trial_config

SPENT = "train_seconds train_steps epochs samples train_flops"
COSTS = set(f"params size_mb {SPENT} inference_flops latency_p50_ms latency_p95_ms".split())


def searched(data: Any = "Validated", model: str = "Judged", function: Any = validate_trial, **settings: Any) -> Any:
    rows = function(trial_config(data, model, **settings))
    assert {(r["domain"], r["shift"]) for r in rows} == {("all", "none")}
    return {r["metric"]: r["value"] for r in rows}


@pytest.mark.parametrize("function", [validate_trial, preflight_search], ids=["trial", "preflight"])
def test_a_search_gives_validation_and_costs_and_breaks_no_seal(function: Any) -> None:
    """The datamodule raises when it is set up for testing, or asked for test data."""
    found = searched(function=function, domains={"clean": {"home": None}})
    assert found.keys() - {"peak_memory_mb"} == {"val_hits", *COSTS}
    with pytest.raises(AssertionError, match="the seal is broken"):
        run_trial(trial_config("Validated", "Judged"))


def test_the_value_is_that_of_the_trained_model_on_the_data_held_out() -> None:
    found = searched(trainer={"max_epochs": 20}, lr=0.5)
    assert found["val_hits"] > searched(lr=0.0)["val_hits"] + 0.2
    assert found["val_hits"] * 32 == pytest.approx(round(found["val_hits"] * 32)), "a share of the 32 held out"
    assert found["train_steps"] == 80


def test_several_validation_loaders_are_told_apart_by_name() -> None:
    found = searched("TwiceValidated")
    assert found.keys() >= {"val_hits/dataloader_idx_0", "val_hits/dataloader_idx_1"}
    assert "val_hits" not in found


def test_one_name_for_several_loaders_is_refused() -> None:
    with pytest.raises(TrialError, match="add_dataloader_idx"):
        searched("TwiceValidated", tells=False, function=preflight_search)


@pytest.mark.parametrize(
    ("data", "model", "words"),
    [
        ("NothingHeldOut", "Judged", "NothingHeldOut.val_dataloader"),
        ("Points", "Judged", "needs `val_dataloader`, which Points does not have"),
        ("Validated", "Corners", "needs `validation_step`, which Corners does not have"),
        ("Validated", "Untested", "needs `test_step`, which Untested does not have"),
        ("Validated", "SilentlyValidated", "validation_step of SilentlyValidated"),
    ],
)
@pytest.mark.parametrize("function", [validate_trial, preflight_search], ids=["trial", "preflight"])
def test_what_cannot_be_searched_is_refused(data: str, model: str, words: str, function: Any) -> None:
    with pytest.raises(TrialError, match=words):
        searched(data, model, function)


@pytest.mark.parametrize("function", [preflight, run_trial], ids=["preflight", "trial"])
@pytest.mark.parametrize("tests", ["same", "equal"])
def test_a_validation_set_that_is_a_test_set_is_refused(tests: str, function: Any) -> None:
    data = {"_target_": "Validated", "sealed": False, "tests": tests}
    with pytest.raises(TrialError, match="the validation set is the test set of the domain 'home'"):
        function(trial_config(data, "Judged"))


@pytest.mark.parametrize(("tests", "limit"), [("same", 0), ("own", 1.0)], ids=["nothing validated", "apart"])
def test_a_test_set_that_nothing_is_chosen_by_is_measured(tests: str, limit: float) -> None:
    data = {"_target_": "Validated", "sealed": False, "tests": tests}
    assert preflight(trial_config(data, "Judged", trainer={"limit_val_batches": limit}))


def test_validation_sees_the_split_that_was_trained_with() -> None:
    searched("SplitsForItself")
    split = import_module("stranger").SplitsForItself
    assert len(split.trained) == 60
    assert split.validated == set(range(100)) - split.trained
