"""Objectives on two views of every example: consistency regularisation and the supervised contrast.

A view is (inputs, generator) -> inputs, changed at random; `jitter_pictures` is one.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ablate.zoo.digits import jitter
from ablate.zoo.objectives import (
    UNLABELLED,
    Batch,
    BatchObjective,
    LossObjective,
    require_from_zero,
    require_parts,
    supervise,
)

View = Callable[[Tensor, torch.Generator], Tensor]


def jitter_pictures(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (n, 1, height, width) turned, scaled and moved a little, wherever they are; drawn on the CPU."""
    return jitter(pictures.cpu(), generator).to(pictures.device)


class Consistency(BatchObjective):
    """The labels of one view, and the same probabilities for two, of unlabelled examples too.

    The second term is the mean squared difference of the two views' probabilities (the Π-model, Laine 2017).

    Args:
        view: drawn twice for every batch.
        weight: of the second term; 0: the objective on one view.
        objective: of the labelled examples; None: cross-entropy.

    Raises:
        TrialError: the weight is negative.
    """

    def __init__(self, view: View, weight: float = 1.0, objective: LossObjective | None = None) -> None:
        super().__init__()
        require_from_zero(weight, "weight")
        self.view, self.weight, self.objective = view, weight, objective or nn.CrossEntropyLoss()

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of the labelled examples, where there are any, and the disagreement of all."""
        inputs, labels = batch
        one, other = (network(self.view(inputs, generator)) for _ in range(2))
        apart: Tensor = self.weight * (one.softmax(-1) - other.softmax(-1)).square().mean()
        labelled = bool((labels != UNLABELLED).any())
        return supervise(self.objective, one, labels) + apart if labelled else apart


class SupervisedContrast(BatchObjective):
    """The labels of two views, and features that are near where labels agree (Khosla 2020), both at once.

    The network has `features` and `head`, as `ablate.zoo.networks.MultilayerPerceptron` does.

    Args:
        view: drawn twice for every batch.
        weight: of the contrast; 0: the objective on both views.
        temperature: by which the features' cosines are divided.
        objective: of the labels; None: cross-entropy.

    Raises:
        TrialError: the weight is negative; when training, the network has no features.
    """

    def __init__(
        self, view: View, weight: float = 1.0, temperature: float = 0.1, objective: LossObjective | None = None
    ) -> None:
        super().__init__()
        require_from_zero(weight, "weight")
        self.view, self.weight, self.temperature = view, weight, temperature
        self.objective = objective or nn.CrossEntropyLoss()

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of the labels and the contrast, over both views of all examples."""
        require_parts(network, "features", "head")
        inputs, labels = batch
        features = network.features(torch.cat([self.view(inputs, generator) for _ in range(2)]))  # type: ignore[operator]
        twice = labels.repeat(2)
        known = supervise(self.objective, network.head(features), twice)  # type: ignore[operator]
        return known + self.weight * contrast(features, twice, self.temperature)


def contrast(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """How badly each example's own class is found among all others by cosine (Khosla 2020, equation 2), nats.

    Args:
        features: (m, width), of any length.
        labels: (m,).
        temperature: by which cosines are divided.

    Returns:
        The mean over the examples that share their class with another; the unlabelled are a class of nobody.
    """
    units = nn.functional.normalize(features, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    cosines = (units @ units.T / temperature).masked_fill(itself, -torch.inf)
    found = cosines.log_softmax(1)
    alike = (labels[:, None] == labels) & ~itself & (labels != UNLABELLED)
    counts = alike.sum(1)
    each = -found.masked_fill(~alike, 0).sum(1) / counts.clamp_min(1)
    return each.sum() / (counts > 0).sum().clamp_min(1)
