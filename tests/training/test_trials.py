"""Trials: a stranger's parts in, rows out; seeds, divergence, refusals, and no noise."""

from importlib import import_module
from typing import Any

import pytest
import torch

from ablate.errors import AblateError, TrialError
from ablate.training import preflight, run_trial

from .configs import MOVED, measured, scores, trial_config


def stranger() -> Any:
    return import_module("stranger")


def test_own_parts_give_a_row_per_domain_and_logged_metric() -> None:
    rows = run_trial(trial_config())
    assert set(scores(rows)) == set(scores(rows, "mean_input")) == {"home/none", "home/far"}
    assert {(r["domain"], r["shift"]): r["n_examples"] for r in measured(rows)} == {
        ("home", "none"): 40,
        ("home", "far"): 24,
    }
    points = stranger().Points()
    expected = {"home/none": float(points.home.tensors[0].mean()), "home/far": float(points.away.tensors[0].mean())}
    assert scores(rows, "mean_input") == pytest.approx(expected, abs=1e-6)


def test_it_learns() -> None:
    untrained = scores(run_trial(trial_config(lr=0.0)))
    trained = scores(run_trial(trial_config(trainer={"max_epochs": 40}, lr=0.5)))
    assert trained["home/none"] > untrained["home/none"] + 0.2


def test_what_belongs_to_the_run_stands_in_the_domain_all() -> None:
    cost = {r["metric"]: r["value"] for r in run_trial(trial_config()) if r["domain"] == "all"}
    assert cost["params"] == 2 * 4 + 4
    assert cost["train_steps"] == 5 * 64 / 16
    assert 0 < cost["train_seconds"] < 60
    assert (cost["epochs"], cost["samples"]) == (5, 5 * 64)
    forward = 2 * 16 * 2 * 4  # of a batch of 16 through a linear layer, 2 to 4; as much again for its gradient
    assert cost["train_flops"] == 2 * forward * cost["train_steps"]
    assert {"latency_p50_ms", "latency_p95_ms"} <= set(cost)


def test_an_epoch_that_was_cut_short_counts_in_part() -> None:
    rows = run_trial(trial_config(trainer={"max_epochs": -1, "max_steps": 6, "accumulate_grad_batches": 2}))
    cost = {r["metric"]: r["value"] for r in rows if r["domain"] == "all"}
    assert (cost["train_steps"], cost["epochs"], cost["samples"]) == (6, 3, 192)
    cost = {r["metric"]: r["value"] for r in run_trial(trial_config(trainer={"max_epochs": -1, "max_steps": 6}))}
    assert (cost["train_steps"], cost["epochs"], cost["samples"]) == (6, 1.5, 96)


def test_an_own_shift_and_an_own_objective_enter_by_target() -> None:
    focal = {"_target_": "stranger.focal", "_partial_": True, "gamma": 2.0}
    declared = {"clean": {"home": None}, "moved": {"home/moved": MOVED}}
    rows = run_trial(trial_config(domains=declared, objective=focal))
    means = scores(rows, "mean_input")
    assert means["home/moved"] == pytest.approx(means["home/none"] + 2.5, abs=1e-5)
    assert measured(rows) != measured(run_trial(trial_config(domains=declared)))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, again, other = (measured(run_trial(trial_config(seed=seed))) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_what_ran_before_in_the_process_changes_nothing() -> None:
    first = measured(run_trial(trial_config(seed=3)))
    torch.rand(17)
    run_trial(trial_config("ListOfLoaders", seed=9))
    assert measured(run_trial(trial_config(seed=3))) == first


def test_cells_of_one_seed_share_initial_weights_and_order() -> None:
    def begin(seed: int, lr: float) -> tuple[torch.Tensor, torch.Tensor]:
        run_trial(trial_config(model="Remembers", seed=seed, lr=lr))
        return stranger().Remembers.weights, stranger().Remembers.order

    (weights, order), shared, other = begin(1, 0.1), begin(1, 0.01), begin(2, 0.1)
    assert torch.equal(weights, shared[0])
    assert torch.equal(order, shared[1])
    assert not torch.equal(weights, other[0])
    assert not torch.equal(order, other[1])


def test_preflight_gives_the_places_and_metrics_of_the_trial_after_one_step() -> None:
    config = trial_config(model="Remembers")
    rows = preflight(config)
    assert len(stranger().Remembers.order) == 16, "one batch was trained on"
    keys = ("domain", "shift", "metric")
    assert [[r[k] for k in keys] for r in rows] == [[r[k] for k in keys] for r in measured(run_trial(config))]


@pytest.mark.parametrize("at", [0, 3, 19, 120])
def test_a_loss_that_is_not_a_number_ends_the_trial(at: int) -> None:
    with pytest.raises(TrialError, match=r"loss is not finite .*diverged"):
        run_trial(trial_config(explode_at=at, trainer={"max_epochs": 50}))


def test_preflight_finds_a_loss_that_is_not_a_number() -> None:
    with pytest.raises(TrialError, match="diverged"):
        preflight(trial_config(explode_at=0))


def test_a_test_that_logs_nothing_is_named() -> None:
    with pytest.raises(TrialError, match="test_step of Silent"):
        preflight(trial_config(model="Silent"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (trial_config(model="Corner"), ["stranger.Corner", "model._target_"]),
        (trial_config(model="Moved", by=1), ["'model' is a Moved", "LightningModule"]),
        (trial_config(data="Moved"), ["cannot build 'data'", "data._target_"]),
        (trial_config(objective={"_target_": "stranger.nope"}), ["stranger.nope"]),
        (trial_config(domains={"far": {"hom": None}}), ["'hom' is not a test dataloader", "allowed: home, home/far"]),
    ],
)
def test_what_makes_no_trial_is_refused_by_the_preflight(config: Any, words: list[str]) -> None:
    with pytest.raises(AblateError) as refused:
        preflight(config)
    assert all(word in str(refused.value) for word in words)


def test_nothing_is_printed_and_nothing_written(
    capfd: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_trial(trial_config())
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_the_config_may_ask_for_callbacks() -> None:
    timer = {"_target_": "lightning.pytorch.callbacks.Timer", "duration": {"seconds": 0}}
    rows = run_trial(trial_config(trainer={"callbacks": [timer]}))
    assert {r["metric"]: r["value"] for r in rows}["train_steps"] < 20


def test_one_stream_of_a_trial_may_have_a_seed_of_its_own() -> None:
    def begin(**streams: int) -> tuple[torch.Tensor, torch.Tensor]:
        config = trial_config(model="Remembers", seed=1)
        config.streams = streams
        run_trial(config)
        return stranger().Remembers.weights, stranger().Remembers.order

    (weights, order), varied, shuffled, again = begin(), begin(init=7), begin(order=7), begin()
    assert not torch.equal(varied[0], weights)
    assert torch.equal(varied[1], order)
    assert torch.equal(shuffled[0], weights)
    assert not torch.equal(shuffled[1], order)
    assert torch.equal(again[0], weights)


def test_an_unknown_stream_is_found_by_the_preflight() -> None:
    config = trial_config()
    config.streams = {"oder": 1}
    with pytest.raises(TrialError, match="did you mean 'order'"):
        preflight(config)


def test_no_test_example_was_trained_on_where_every_setup_draws_the_split() -> None:
    run_trial(trial_config("SplitsItself"))
    trained, tested = stranger().SplitsItself.trained, stranger().SplitsItself.tested
    assert (len(trained), len(tested), len(trained & tested)) == (60, 40, 0)


def test_hooks_of_the_data_module_work_when_testing() -> None:
    assert scores(run_trial(trial_config("ScalesOnDevice")), "mean_input")["home/none"] == pytest.approx(3)


def test_a_module_may_ask_for_the_index_of_the_loader() -> None:
    indexed = run_trial(trial_config("ListOfLoaders", "Indexed"))
    assert scores(indexed) == scores(run_trial(trial_config("ListOfLoaders")))


def test_a_manual_optimisation_that_diverges_ends_the_trial() -> None:
    with pytest.raises(TrialError):
        run_trial(trial_config(model="ByHand", explode_at=3))


def test_a_divergence_is_found_at_once() -> None:
    with pytest.raises(TrialError) as refused:
        run_trial(trial_config(explode_at=3, trainer={"max_epochs": 50}))
    assert "step 4 " in str(refused.value)


def test_an_unknown_domain_is_found_by_the_preflight() -> None:
    with pytest.raises(TrialError, match="'hom' is not a test dataloader"):
        preflight(trial_config(domains={"far": {"hom": None}}))


@pytest.mark.parametrize(
    "config", [trial_config(trainer={"max_epoch": 1}), trial_config(seed=None)], ids=["trainer key", "no seed"]
)
def test_a_wrong_setting_is_named(config: Any) -> None:
    with pytest.raises(AblateError):
        preflight(config)
