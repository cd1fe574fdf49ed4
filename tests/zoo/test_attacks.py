"""Attacks: in the direction that hurts, inside the ball, and the module as it was."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningModule
from omegaconf import OmegaConf

from ablate.errors import TrialError
from ablate.sweeps import conf_dir
from ablate.training.parts import build
from ablate.zoo.attacks import climb, step_once


class Plane(LightningModule):
    """Two classes, linear in the inputs: the margin of class 1 over class 0 is `weights @ x`."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(weights)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        margin = inputs.flatten(1) @ self.weights
        return torch.stack([-margin / 2, margin / 2], 1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, n: int = 5, values: int = 6) -> tuple[Plane, list[torch.Tensor]]:
    made = rng(seed)
    inputs = torch.rand(n, 1, values, generator=made, dtype=torch.double)
    labels = torch.randint(2, (n,), generator=made)
    return Plane(torch.randn(values, generator=made, dtype=torch.double)), [inputs, labels]


def losses(model: Plane, batch: list[torch.Tensor]) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none").detach()


def test_one_step_moves_every_value_to_where_the_loss_grows() -> None:
    model, batch = Plane(torch.tensor([2.0, -3.0])), [torch.full((2, 2), 0.5), torch.tensor([1, 0])]
    moved, labels = step_once(batch, model=model, generator=rng(), epsilon=0.1)
    assert torch.allclose(moved, torch.tensor([[0.4, 0.6], [0.6, 0.4]])), "against the margin of its own class"
    assert labels is not batch[0]
    assert torch.equal(labels, batch[1])
    assert torch.equal(batch[0], torch.full((2, 2), 0.5)), "the test set itself stays"


@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(["max", "euclidean"]), st.integers(0, 6))
def test_a_climb_stays_in_the_ball_and_in_bounds(seed: int, epsilon: float, norm: Any, steps: int) -> None:
    model, batch = draw(seed)
    moved, _ = climb(batch, model=model, generator=rng(seed), epsilon=epsilon, steps=steps, norm=norm)
    away = (moved - batch[0]).flatten(1)
    size = away.abs().amax(1) if norm == "max" else away.norm(dim=1)
    assert float(size.max()) <= epsilon + 1e-12
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1


@given(st.integers(0, 10**6), st.floats(0.01, 0.5))
def test_on_a_linear_model_the_climb_is_no_less_harmful_than_the_step_and_neither_helps(
    seed: int, epsilon: float
) -> None:
    model, batch = draw(seed)
    once = step_once(batch, model=model, generator=rng(), epsilon=epsilon, bounds=None)
    many = climb(batch, model=model, generator=rng(seed), epsilon=epsilon, bounds=None)
    assert (losses(model, once) >= losses(model, batch) - 1e-12).all()
    assert torch.allclose(losses(model, many), losses(model, once)), "the corner of the ball is the worst of it"


def test_a_euclidean_climb_ends_where_the_slope_leads() -> None:
    model, batch = draw(3)
    moved, _ = climb(
        batch, model=model, generator=rng(), epsilon=0.3, steps=40, rate=0.3, norm="euclidean", bounds=None
    )
    side = 1 - 2 * batch[1].double()[:, None]  # class 1 loses where the margin falls
    wanted = 0.3 * side * (model.weights / model.weights.norm()).detach()
    assert torch.allclose((moved - batch[0]).flatten(1), wanted, atol=1e-3)


def test_the_start_is_drawn_from_the_generator_and_from_nothing_else() -> None:
    model, batch = draw(1)

    def start(seed: int) -> torch.Tensor:
        moved: torch.Tensor = climb(batch, model=model, generator=rng(seed), epsilon=0.2, steps=0)[0]
        return moved

    torch.manual_seed(4)
    state = torch.get_rng_state()
    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("attack", [step_once, climb])
def test_the_module_stays_as_it_was_even_where_nothing_is_differentiated(attack: Any) -> None:
    model, batch = draw(2)
    model.eval()
    with torch.inference_mode():
        read = [batch[0] * 1, batch[1] * 1]
        moved = attack(read, model=model, generator=rng(), epsilon=0.1)
        assert losses(model, moved).sum() > losses(model, read).sum()
    assert (model.weights.grad, model.training) == (None, False)


def test_a_batch_keeps_its_form() -> None:
    model, (inputs, labels) = draw(5)
    named = step_once(
        {"x": inputs, "y": labels, "who": ["a"] * 5}, model=model, generator=rng(), epsilon=0.1, bounds=None
    )
    listed = step_once((inputs, labels, 7), model=model, generator=rng(), epsilon=0.1, bounds=None)
    assert list(named) == ["x", "y", "who"]
    assert isinstance(listed, tuple)
    assert listed[2] == 7
    assert torch.equal(named["x"], listed[0])


@pytest.mark.parametrize(
    ("batch", "options", "word"),
    [
        ([torch.ones(2, 3, dtype=torch.long), torch.zeros(2)], {}, "real numbers"),
        (["text", "labels"], {}, "real numbers"),
        ([torch.ones(2, 3)], {}, "inputs and labels"),
        ([torch.ones(2, 3), torch.zeros(2)], {"epsilon": -1.0}, "epsilon is -1"),
        ([torch.ones(2, 3), torch.zeros(2)], {"norm": "maxi"}, "did you mean 'max'"),
    ],
)
def test_what_cannot_be_attacked_is_refused(batch: Any, options: dict[str, Any], word: str) -> None:
    with pytest.raises(TrialError, match=word):
        climb(batch, model=draw(0)[0], generator=rng(), **{"epsilon": 0.1, **options})


def test_shipped_severities_grow() -> None:
    groups: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / "domains" / "adversarial.yaml"))
    model, batch = draw(7, n=40)
    for members in (groups["fgsm"], groups["pgd"]):
        harm = [losses(model, batch).mean()]
        for node in members.values():
            attack = build(OmegaConf.create({"attack": node}), "attack")
            harm.append(losses(model, attack(batch, model=model, generator=rng())).mean())
        assert np.all(np.diff(harm) > 0)
        assert math.isfinite(harm[-1])
