"""Attacks: shifts that are drawn from the trained module itself, within a ball around every input.

Each is called with a batch whose first two parts are inputs and labels, the trained module, which gives logits when
called with inputs, and a generator, and gives a batch of the same form. The module's weights, gradients and mode stay
as they are. They are white-box attacks of one model: what it withstands here, another attack may break (Athalye 2018).
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ablate.errors import TrialError

Norm = Literal["max", "euclidean"]
Bounds = tuple[float, float] | list[float] | None


def step_once(
    batch: Any, *, model: LightningModule, generator: torch.Generator, epsilon: float, bounds: Bounds = (0.0, 1.0)
) -> Any:
    """The fast gradient sign method (Goodfellow 2015, section 4): every value moved by epsilon to where the loss grows.

    Args:
        batch: (inputs, labels, ...), or a mapping in that order.
        model: trained; gives logits (n, classes, ...).
        generator: of no use here.
        epsilon: how far a value may move, in units of the inputs.
        bounds: the least and the greatest value an input may have; None: any.

    Raises:
        TrialError: epsilon is negative, or inputs are no real numbers.
    """
    inputs, labels = _open(batch, epsilon)
    moved = inputs + epsilon * _find_slope(model, inputs, labels).sign()
    return _close(batch, moved if bounds is None else moved.clamp(*bounds))


def climb(
    batch: Any,
    *,
    model: LightningModule,
    generator: torch.Generator,
    epsilon: float,
    steps: int = 10,
    rate: float | None = None,
    norm: Norm = "max",
    bounds: Bounds = (0.0, 1.0),
) -> Any:
    """Projected gradient descent (Madry 2018, section 2.1): from a random start in the ball, steps up the loss.

    Args:
        batch: (inputs, labels, ...), or a mapping in that order.
        model: trained; gives logits (n, classes, ...).
        generator: draws the start.
        epsilon: radius of the ball around each input.
        steps: how many.
        rate: length of a step; None: 2.5 epsilon / steps, so that the far side of the ball is in reach.
        norm: of the ball: `max`, no value moves by more than epsilon; `euclidean`, no input by more than epsilon.
        bounds: the least and the greatest value an input may have; None: any.

    Raises:
        TrialError: epsilon is negative, the norm is unknown, or inputs are no real numbers.
    """
    if norm not in get_args(Norm):
        raise TrialError(f"unknown norm {norm!r}", where="domains: norm", allowed=get_args(Norm), word=norm)
    inputs, labels = _open(batch, epsilon)
    length = 2.5 * epsilon / max(steps, 1) if rate is None else rate
    drawn = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype).to(inputs.device)
    moved = _keep(inputs, inputs + epsilon * (2 * drawn - 1), epsilon, norm, bounds)
    for _ in range(steps):
        slope = _find_slope(model, moved, labels)
        direction = slope.sign() if norm == "max" else slope / _measure(slope).clamp_min(torch.finfo(slope.dtype).tiny)
        moved = _keep(inputs, moved + length * direction, epsilon, norm, bounds)
    return _close(batch, moved)


def _open(batch: Any, epsilon: float) -> tuple[Tensor, Tensor]:
    """Inputs and labels of a batch, as tensors of their own that autograd may keep."""
    if epsilon < 0:
        raise TrialError(f"epsilon is {epsilon}", where="domains: epsilon", allowed=["0 or more"])
    parts = list(batch.values()) if isinstance(batch, Mapping) else batch
    if not isinstance(parts, list | tuple) or len(parts) < 2 or not isinstance(parts[0], Tensor):
        parts = [torch.empty(0, dtype=torch.long)]
    if not parts[0].is_floating_point():
        raise TrialError(
            "an attack needs batches of inputs and labels, inputs as real numbers",
            where="domains",
            remedy="leave attacks out where inputs are text or tokens, and take corruptions instead",
        )
    with torch.inference_mode(False):
        return parts[0].clone(), parts[1].clone()


def _close(batch: Any, inputs: Tensor) -> Any:
    """The batch with other inputs."""
    if isinstance(batch, Mapping):
        return {**batch, next(iter(batch)): inputs}
    parts = [inputs, *batch[1:]]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def _find_slope(model: LightningModule, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy by the inputs; that of one example does not depend on the others."""
    with torch.inference_mode(False), torch.enable_grad():
        point = inputs.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(point), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, point)
    return slope


def _keep(inputs: Tensor, moved: Tensor, epsilon: float, norm: Norm, bounds: Bounds) -> Tensor:
    """The nearest point of the ball, then of the bounds: inputs lie within these, so the ball is not left again."""
    if norm == "max":
        moved = torch.maximum(torch.minimum(moved, inputs + epsilon), inputs - epsilon)
    else:
        away = moved - inputs
        moved = inputs + away * (epsilon / _measure(away).clamp_min(torch.finfo(away.dtype).tiny)).clamp_max(1)
    return moved if bounds is None else moved.clamp(*bounds)


def _measure(values: Tensor) -> Tensor:
    """The Euclidean length of every example, in a shape that divides them."""
    lengths: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return lengths.view(-1, *[1] * (values.ndim - 1))
