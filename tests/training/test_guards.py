"""The guard: divergence by its rule, whatever the device and accumulation, and what it counts."""

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from ablate.errors import Diverged
from ablate.training import run_trial
from ablate.training.guards import CHECK_EVERY, Guard, count_examples

from .configs import trial_config


class Loop:
    """What the guard asks of a trainer and of a module."""

    global_step, accumulate_grad_batches, automatic_optimization = 7, 1, True


def fed(losses: list[float], above: float | None = None, parts: int = 1) -> Guard:
    guard, loop = Guard(0, above), Loop()
    loop.accumulate_grad_batches = parts
    trainer: Any = loop
    for i, loss in enumerate(losses):
        guard.on_train_batch_end(trainer, trainer, {"loss": torch.tensor(loss)}, torch.zeros(3, 2), i)
    return guard


def test_a_peak_is_no_divergence_but_a_high_mean_of_fifty_is() -> None:
    fed([100.0] + [0.0] * (CHECK_EVERY - 1), above=2.1)  # mean 2
    with pytest.raises(Diverged, match=r"the training loss is 2 by step 7, the mean of 50 batches.* more than 1\.9"):
        fed([100.0] + [0.0] * (CHECK_EVERY - 1), above=1.9)


def test_a_loss_that_rises_late_is_seen_in_its_own_fifty() -> None:
    fed([0.0] * CHECK_EVERY + [3.0] * (CHECK_EVERY - 1), above=2)
    with pytest.raises(Diverged):
        fed([0.0] * CHECK_EVERY + [3.0] * CHECK_EVERY, above=2)


def test_the_end_looks_at_what_there_was() -> None:
    model = LightningModule()
    trainer: Any = Loop()
    fed([3.0] * 4).on_train_end(trainer, model)
    with pytest.raises(Diverged, match="mean of 4 batches"):
        fed([3.0] * 4, above=2).on_train_end(trainer, model)


def test_an_accumulated_loss_counts_whole() -> None:
    fed([0.6] * CHECK_EVERY, above=1)
    with pytest.raises(Diverged, match=r"loss is 1\.2 "):
        fed([0.6] * CHECK_EVERY, above=1, parts=2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_ends_at_once(bad: float) -> None:
    with pytest.raises(Diverged, match="not finite by step 7"):
        fed([1.0, bad])


def test_the_rule_ends_a_trial() -> None:
    config = trial_config()
    config.diverged_above = 0.01
    with pytest.raises(Diverged, match=r"mean of 20 batches; the plan calls more than 0\.01 diverged"):
        run_trial(config)
    config.diverged_above = 100
    assert run_trial(config)


def test_the_first_batch_is_kept_and_examples_are_counted() -> None:
    guard = fed([1.0] * 5)
    assert (guard.batches, guard.samples, guard.first.shape) == (5, 15, (3, 2))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (torch.zeros(4, 2), 4),
        ([torch.zeros(5, 2), torch.zeros(5)], 5),
        ({"text": {"ids": torch.zeros(6, 9)}}, 6),
        (torch.tensor(1.0), 1),
        (["a", "b"], 2),
        ([], 0),
        ("text", 1),
        (object(), 1),
    ],
    ids=["tensor", "pair", "nested", "scalar", "texts", "empty", "text", "object"],
)
def test_examples_of_a_batch(batch: object, expected: int) -> None:
    assert count_examples(batch) == expected
