"""Sizes: what follows from a width, by a stated rule; and the width or steps at which arms cost the same."""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

from ablate.errors import TrialError
from ablate.training.costs import count_parameters, count_step_flops
from ablate.training.fingerprints import steady

Match = Literal["params", "flops", "seconds"]

DOUBLINGS = 20  # of the width, in search of one that is too wide
WARM_UP, TIMED = 3, 10  # steps of which the seconds of a step are the median


@dataclass(frozen=True)
class Size:
    """What a size decides, as the options of `conf/size/` hold it.

    Attributes:
        width: units of every layer.
        depth: layers.
        batch_size: examples per step.
        steps: of training.
        learning_rate: highest of training.
    """

    width: int
    depth: int
    batch_size: int
    steps: int
    learning_rate: float


@dataclass(frozen=True)
class Ladder:
    """Sizes from one number, the width: everything else is a power of it.

    Args:
        base: the size at whose width all factors are 1.
        layers: added for every doubling of the width, rounded to whole layers, one at least.
        batch: exponent of the batch size.
        steps: exponent of the steps; with `batch` it says how the examples seen grow.
        rate: exponent of the learning rate: -1 falls with the width, as Adam's does between layers (Yang 2021, table
            3); 0 where `ablate.zoo.scalings.MaximalUpdate` sees to the rates.
    """

    base: Size
    layers: float = 0.0
    batch: float = 0.0
    steps: float = 0.0
    rate: float = -1.0

    def __call__(self, width: int) -> Size:
        """The size of a width; the learning rate to four digits."""
        ratio = width / self.base.width
        return Size(
            width,
            max(1, round(self.base.depth + self.layers * math.log2(ratio))),
            max(1, round(self.base.batch_size * ratio**self.batch)),
            max(1, round(self.base.steps * ratio**self.steps)),
            float(f"{self.base.learning_rate * ratio**self.rate:.4g}"),
        )


def match_width(
    build: Callable[..., nn.Module],
    target: float,
    match: Match = "params",
    batch: Any = None,
    multiple: int = 1,
    tolerance: float = 0.05,
) -> int:
    """The width at which a network has so many parameters, or a step takes so many operations.

    Args:
        build: called with `width`, a network (for operations a LightningModule); it grows with the width.
        target: parameters, or operations of one training step as `ablate.training.costs.count_step_flops` counts them.
        match: `params` or `flops`.
        batch: that the step is taken on.
        multiple: of which the width is one: as many as there are heads.
        tolerance: how far the nearest width may be off, as a share of the target.

    Raises:
        TrialError: no width comes so near, or operations cannot be counted.
    """
    if match not in ("params", "flops"):
        raise TrialError(f"widths are not matched by {match!r}", where="match", allowed=["params", "flops"], word=match)

    def measure(times: int) -> float:
        with steady():
            built = build(width=times * multiple)
        return count_parameters(built) if match == "params" else _count_flops(built, batch)

    high = next((2**power for power in range(DOUBLINGS) if measure(2**power) >= target), 2**DOUBLINGS)
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if measure(middle) < target else (low, middle)
    found = {times: measure(times) for times in (low, high)}
    best: int = min(found, key=lambda times: abs(found[times] - target))
    if abs(found[best] - target) > tolerance * target:
        near = ", ".join(f"{value:,.0f} at width {times * multiple}" for times, value in found.items())
        raise TrialError(
            f"no width has {target:,.0f} {match} within {tolerance:.0%}",
            where="match",
            allowed=[near],
            remedy="take one of these as the target of all arms, another depth, or a wider tolerance",
        )
    return best * multiple


def build_matched(
    build: Callable[..., nn.Module],
    target: float,
    match: Match = "params",
    batch: Any = None,
    multiple: int = 1,
    tolerance: float = 0.05,
) -> nn.Module:
    """The network of the width that `match_width` finds: for a config, with `build` a `_target_` of `_partial_`."""
    return build(width=match_width(build, target, match, batch, multiple, tolerance))


def match_steps(
    model: LightningModule, data: LightningDataModule, target: float, match: Match = "flops", tolerance: float = 0.05
) -> int:
    """The steps of training that cost so much in all, found before anything trains: for `max_steps` of a trainer.

    Args:
        model: as it is trained; it stays as it is.
        data: whose first training batch a step is taken on. Give both objects of their own: data draw as they are read.
        target: operations of the whole training, or its seconds on the device of the model.
        match: `flops` or `seconds`. Seconds are those of the moment: runs of one cell may differ in their steps.
        tolerance: how far whole steps may be off, as a share of the target.

    Raises:
        TrialError: one step costs too much to come near, or the cost cannot be had.
    """
    if match not in ("flops", "seconds"):
        raise TrialError(f"steps are not matched by {match!r}", where="match", allowed=["flops", "seconds"], word=match)
    with steady():
        data.prepare_data()
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        cost = _count_flops(model, batch) if match == "flops" else measure_step_seconds(model, batch)
    steps = max(1, round(target / cost))
    if abs(steps * cost - target) > tolerance * target:
        what = f"a step takes {cost:,.4g} {match}: whole steps do not come within {tolerance:.0%} of {target:,.4g}"
        raise TrialError(what, where="match", allowed=[f"multiples of {cost:,.4g}"])
    return steps


def measure_step_seconds(model: LightningModule, batch: Any) -> float:
    """Seconds of one training step with its optimiser, the median of ten, taken by a copy of the module.

    Raises:
        TrialError: the copy cannot be stepped without a trainer.
    """
    times = []
    try:
        with steady(), torch.inference_mode(False), torch.enable_grad():
            twin = deepcopy(model).train()
            vars(twin).update(log=_ignore, log_dict=_ignore)
            optimiser: Any = twin.configure_optimizers()
            for _ in range(WARM_UP + TIMED):
                start = time.perf_counter()
                given: Any = twin.training_step(batch, 0)
                optimiser.zero_grad()
                (given["loss"] if isinstance(given, dict) else given).backward()
                optimiser.step()
                if twin.device.type == "cuda":
                    torch.cuda.synchronize(twin.device)
                times.append(time.perf_counter() - start)
    except Exception as error:
        what = f"a step of {type(model).__name__} cannot be timed without a trainer: {type(error).__name__}: {error}"
        remedy = "limit the seconds by `trainer.max_time`, or match by flops"
        raise TrialError(what, where="match", remedy=remedy) from error
    return median(times[WARM_UP:])


def _ignore(*args: Any, **options: Any) -> None:
    """What a module logs while a step is timed."""


def _count_flops(model: nn.Module, batch: Any) -> int:
    flops = count_step_flops(model, batch) if isinstance(model, LightningModule) and batch is not None else None
    if flops is None:
        raise TrialError(
            f"the operations of a step of {type(model).__name__} cannot be counted",
            where="match",
            allowed=["a LightningModule with a batch, automatic optimisation and no RNN"],
            remedy="match by params",
        )
    return flops
