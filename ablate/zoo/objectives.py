"""Objectives: what a network is trained for, of two kinds; and the losses that torch does not have.

A loss objective is called with logits (m, classes) and labels (m,) and gives a loss: torch's own, and those here. Any
module can call it. A batch objective sees the network, the batch and a generator, in a method `loss`; the module that
calls it is `ablate.zoo.learners.Learner`. A batch is (inputs, labels), a label for every example or for every position
of a sequence; at those labelled `UNLABELLED` no label is known.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablate.errors import TrialError

UNLABELLED = -100  # what torch's cross-entropy leaves out

LossObjective = Callable[[Tensor, Tensor], Tensor]
Batch = Sequence[Tensor]


class BatchObjective(nn.Module, ABC):
    """The base of those here; somebody else's needs no more than the method."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of a batch.

        Args:
            network: that is trained; called with inputs, it gives logits, classes last.
            batch: as the data give it, on the network's device.
            generator: of the trial's stream `augmentation`, on the CPU: what the objective draws comes from it alone.
        """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """TrialError: logits and labels are not enough."""
        raise TrialError(
            f"{type(self).__name__} needs the network and the batch, and is given logits and labels",
            where="model.objective",
            remedy="take a module that hands them over: model=learner, or ablate.zoo.learners.Learner",
        )


def find_loss(objective: Any, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """The loss of a batch by an objective of either kind."""
    if hasattr(objective, "loss"):
        loss: Tensor = objective.loss(network, batch, generator)
        return loss
    inputs, labels = batch
    return supervise(objective, network(inputs), labels)


def supervise(objective: LossObjective, logits: Tensor, labels: Tensor) -> Tensor:
    """A loss objective on logits (..., classes) and labels (...), every position an example."""
    return objective(logits.flatten(0, -2), labels.flatten())


class FocalLoss(nn.Module):
    """Cross-entropy in which an example of probability p counts (1 - p)^gamma (Lin 2017, equation 4).

    Args:
        gamma: from 0, which is cross-entropy; the higher, the less easy examples count.

    Raises:
        TrialError: gamma is negative.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        require_from_zero(gamma, "gamma")
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over labelled examples; logits (m, classes), labels (m,)."""
        entropy = nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=UNLABELLED)
        missed = -torch.expm1(-entropy)  # 1 - p, exact where p is near 1
        missed = missed.clamp_min(torch.finfo(missed.dtype).eps)  # a root has no slope at 0
        return (missed**self.gamma * entropy).sum() / (labels != UNLABELLED).sum()


class ZLoss(nn.Module):
    """A loss objective, and a pull of the logits' normaliser towards 1: weight · log² Z (Chowdhery 2022, section 5).

    Args:
        weight: from 0, which is the objective alone.
        objective: None: cross-entropy.

    Raises:
        TrialError: the weight is negative.
    """

    def __init__(self, weight: float = 1e-4, objective: LossObjective | None = None) -> None:
        super().__init__()
        require_from_zero(weight, "weight")
        self.weight, self.objective = weight, objective or nn.CrossEntropyLoss()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over labelled examples; logits (m, classes), labels (m,)."""
        squares = logits.logsumexp(1).square()[labels != UNLABELLED]
        return self.objective(logits, labels) + self.weight * squares.mean()


def require_from_zero(value: float, name: str) -> None:
    """TrialError where an option of an objective is negative."""
    if not value >= 0:
        raise TrialError(f"{name} is {value}", where=f"objective.{name}", allowed=["0 or more"])


def require_parts(network: nn.Module, *names: str) -> None:
    """TrialError where a network does not offer what an objective asks of it."""
    for name in names:
        if not hasattr(network, name):
            raise TrialError(
                f"the objective needs `{name}` of the network, which {type(network).__name__} does not have",
                where="model.network",
                remedy="`features(inputs)` gives what the last layer reads, `head(features)` the logits",
            )
