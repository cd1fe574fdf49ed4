"""Selection inside a trial: stopping, the best checkpoint and the report to a pruner, by validation alone."""

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from ablate import signals
from ablate.errors import AblateError, Diverged, Pruned, TrialError
from ablate.training import preflight, preflight_search, run_trial, validate_trial

from .configs import measured, scores, trial_config

CALLBACKS = "lightning.pytorch.callbacks"
OPEN = {"_target_": "Validated", "sealed": False}


def judged(*callbacks: dict[str, Any], data: Any = OPEN, checkpoints: bool = False, **settings: Any) -> Any:
    """A trial that validates, with callbacks."""
    trainer = {"callbacks": list(callbacks), "enable_checkpointing": checkpoints}
    return trial_config(data, "Judged", trainer=trainer, **settings)


def stopping(monitor: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"{CALLBACKS}.EarlyStopping", "monitor": monitor, "mode": "max", **settings}


def keeping(monitor: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"{CALLBACKS}.ModelCheckpoint", "monitor": monitor, "mode": "max", **settings}


def cost(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {r["metric"]: r["value"] for r in rows if r["domain"] == "all"}


@pytest.mark.parametrize("callback", [stopping("hits"), stopping("hits", strict=False), keeping("hits")], ids=repr)
@pytest.mark.parametrize("trial", ["preflight", "run_trial", "validate_trial"])
def test_what_only_the_test_logs_chooses_nothing(callback: Any, trial: str, attempt: Path) -> None:
    function = getattr(import_module("ablate.training"), trial)
    with pytest.raises(TrialError, match="monitors 'hits', which neither training nor validation logs") as refused:
        function(judged(callback, checkpoints="Checkpoint" in callback["_target_"]))
    assert "allowed: val_hits" in str(refused.value)


def test_early_stopping_reports_the_steps_it_took() -> None:
    full, stopped = (cost(run_trial(judged(stopping("val_hits", patience=p), lr=0.0))) for p in (99, 2))
    assert (full["train_steps"], full["epochs"], full["samples"]) == (20, 5, 320)
    assert (stopped["train_steps"], stopped["epochs"], stopped["samples"]) == (12, 3, 192)


def test_the_best_checkpoint_is_tested_and_its_step_told(attempt: Path) -> None:
    """Validation falls after the second epoch, so that the best weights are those of two epochs of training."""
    kept = run_trial(judged(keeping("val_hits"), checkpoints=True, bad_from=9, lr=0.1))
    assert cost(kept)["best_step"] == 8
    assert cost(kept)["train_steps"] == 20
    short = trial_config(OPEN, "Judged", trainer={"max_epochs": 2}, lr=0.1)
    full = trial_config(OPEN, "Judged", lr=0.1)
    assert scores(kept) == scores(run_trial(short)) != scores(run_trial(full))
    assert [p.parent for p in attempt.rglob("*.ckpt")] == [attempt / "checkpoints"]
    shutil.rmtree(attempt / "checkpoints")
    searched = cost(validate_trial(judged(keeping("val_hits"), checkpoints=True, bad_from=9, lr=0.1)))
    assert searched["best_step"] == 8


def test_only_plain_weights_are_loaded(attempt: Path) -> None:
    config = judged(keeping("val_hits"), checkpoints=True)
    config.model._target_ = "stranger.Hoarder"
    with pytest.raises(TrialError, match="objects are not unpickled") as refused:
        run_trial(config)
    assert "save_hyperparameters of Hoarder" in str(refused.value)


@pytest.mark.parametrize(
    ("callbacks", "checkpoints", "words"),
    [
        ([keeping("val_hits", dirpath="elsewhere")], True, "checkpoints go to"),
        ([keeping("val_hits"), keeping("val_hits")], True, "2 callbacks pick a checkpoint"),
        ([keeping("val_hits")], False, "Lightning refuses these settings"),
    ],
    ids=["elsewhere", "two", "switched off"],
)
def test_a_checkpoint_that_cannot_be_is_refused(
    callbacks: list[Any], checkpoints: bool, words: str, attempt: Path
) -> None:
    with pytest.raises(TrialError, match=words):
        preflight(judged(*callbacks, checkpoints=checkpoints))


def test_a_checkpoint_that_was_never_saved_is_refused(attempt: Path) -> None:
    with pytest.raises(TrialError, match="no checkpoint was saved"):
        run_trial(judged(keeping("val_hits", every_n_epochs=50), checkpoints=True))


def reporting(**settings: Any) -> Any:
    config = trial_config("Validated", "Judged", **settings)
    config.prune = "val_hits"
    return config


def test_a_trial_tells_what_it_validates_by_rising_steps(attempt: Path) -> None:
    rows = cost(validate_trial(reporting()))
    told = signals.told(attempt)
    assert [step for step, _ in told] == [4, 8, 12, 16, 20]
    assert told[-1] == (rows["train_steps"], rows["val_hits"])


def test_what_was_trained_after_the_last_validation_is_told_too(attempt: Path) -> None:
    validate_trial(reporting(trainer={"check_val_every_n_epoch": 2}))
    assert [step for step, _ in signals.told(attempt)] == [8, 16, 20]


def test_the_drivers_stop_ends_a_trial_quietly(attempt: Path, capfd: pytest.CaptureFixture[str]) -> None:
    signals.stop(attempt)
    with pytest.raises(Pruned, match="stopped at step 4"):
        validate_trial(reporting())
    assert [step for step, _ in signals.told(attempt)] == [4]
    assert capfd.readouterr() == ("", "")


def test_a_report_that_is_not_finite_is_a_divergence(attempt: Path) -> None:
    config = reporting()
    config.model._target_ = "stranger.Undefined"
    with pytest.raises(Diverged, match="val_hits is nan at step 4"):
        validate_trial(config)


def test_a_report_of_what_validation_does_not_log_is_refused_by_the_preflight(attempt: Path) -> None:
    config = reporting()
    config.prune = "val_hit"
    with pytest.raises(AblateError, match="did you mean 'val_hits'"):
        preflight_search(config)


def test_a_restored_model_is_the_one_that_was_kept(attempt: Path) -> None:
    run_trial(judged(keeping("val_hits"), checkpoints=True))
    (path,) = attempt.rglob("*.ckpt")
    assert set(torch.load(path, weights_only=True)) & {"optimizer_states", "callbacks"} == set(), "weights alone"


def test_confirmed_trials_tell_nothing(attempt: Path) -> None:
    config = judged()
    config.prune = "val_hits"
    assert measured(run_trial(config))
    assert signals.told(attempt) == []
