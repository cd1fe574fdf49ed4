"""Objectives on mixtures of examples: mixup and cutmix."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ablate.errors import TrialError
from ablate.zoo.objectives import Batch, BatchObjective, LossObjective, require_from_zero, supervise


class MixUp(BatchObjective):
    """Every example is mixed with another of its batch, inputs and loss in the same shares (Zhang 2018).

    Args:
        alpha: the share is drawn for every batch from Beta(alpha, alpha); 0 mixes nothing.
        objective: of each of the two labels; None: cross-entropy.

    Raises:
        TrialError: alpha is negative; when training, the inputs are whole numbers.
    """

    def __init__(self, alpha: float = 0.2, objective: LossObjective | None = None) -> None:
        super().__init__()
        require_from_zero(alpha, "alpha")
        self.alpha, self.objective = alpha, objective or nn.CrossEntropyLoss()

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss on mixed inputs, of their own labels and of the others', by share."""
        inputs, labels = batch
        if not inputs.is_floating_point():
            what = f"{type(self).__name__} mixes inputs, and these are whole numbers ({inputs.dtype})"
            raise TrialError(what, where="objective", allowed=["inputs of floating point"])
        share = draw_share(self.alpha, generator)
        others = torch.randperm(len(labels), generator=generator).to(labels.device)
        mixed, share = self.mix(inputs, inputs[others], share, generator)
        logits = network(mixed)
        own, other = (supervise(self.objective, logits, its) for its in (labels, labels[others]))
        return share * own + (1 - share) * other

    def mix(self, inputs: Tensor, others: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, float]:
        """Inputs with about that share of their own, and their share exactly."""
        return share * inputs + (1 - share) * others, share


class CutMix(MixUp):
    """Every picture has a box of another of its batch pasted in; the loss is shared by area (Yun 2019, section 3.1).

    Args:
        alpha: the share is drawn for every batch from Beta(alpha, alpha); 0 pastes nothing.
        objective: of each of the two labels; None: cross-entropy.

    Raises:
        TrialError: alpha is negative; when training, the inputs are whole numbers.
    """

    def __init__(self, alpha: float = 1.0, objective: LossObjective | None = None) -> None:
        super().__init__(alpha, objective)

    def mix(self, inputs: Tensor, others: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, float]:
        """Pictures (n, ..., height, width), all with the box in one place; it may stick out, which the share heeds."""
        height, width = inputs.shape[-2:]
        spans = []
        for length in (height, width):
            side = int(length * math.sqrt(1 - share))
            start = int(torch.randint(length, (), generator=generator)) - side // 2
            spans.append((max(start, 0), min(start + side, length)))
        (top, bottom), (left, right) = spans
        mixed = inputs.clone()
        mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def draw_share(alpha: float, generator: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha), of which 0 means 1; torch's own Beta takes no generator."""
    if alpha == 0:
        return 1.0
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
