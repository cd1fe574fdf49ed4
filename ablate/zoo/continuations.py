"""Objectives of language models that look further than the next token."""

import torch
from torch import Tensor, nn

from ablate.errors import TrialError
from ablate.zoo.objectives import Batch, BatchObjective, LossObjective, require_parts, supervise


class MultiToken(BatchObjective):
    """Every position predicts its label and those of the positions behind it (Gloeckle 2024), all losses added up.

    The network has `features` and `head`; a head for a later token is the network's own behind one layer more, which
    begins as no change (Cai 2024, section 2.1). The heads are parameters of the training, not of the network.

    Args:
        width: of the features.
        ahead: labels that a position predicts; 1: its own alone.
        weight: of each later label's loss.
        objective: of the labels; None: cross-entropy.

    Raises:
        TrialError: fewer than one label ahead; when training, the network has no features, or the labels no positions.
    """

    def __init__(self, width: int, ahead: int = 4, weight: float = 1.0, objective: LossObjective | None = None) -> None:
        super().__init__()
        if ahead < 1:
            raise TrialError(f"ahead is {ahead}", where="objective.ahead", allowed=["1 or more"])
        self.weight, self.objective = weight, objective or nn.CrossEntropyLoss()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(ahead - 1))
        for parameter in self.layers.parameters():
            nn.init.zeros_(parameter)

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of all labels (n, steps), as far ahead as the sequences go."""
        require_parts(network, "features", "head")
        inputs, labels = batch
        if labels.ndim != 2:
            what = f"MultiToken needs a label for every position, and labels have {labels.ndim} dimensions"
            raise TrialError(what, where="data", allowed=["labels (n, steps)"])
        states = network.features(inputs)  # type: ignore[operator]
        total = supervise(self.objective, network.head(states), labels)  # type: ignore[operator]
        for distance, layer in enumerate(self.layers, 1):
            if distance < labels.shape[1]:
                early = states[:, :-distance]
                logits = network.head(early + nn.functional.silu(layer(early)))  # type: ignore[operator]
                total = total + self.weight * supervise(self.objective, logits, labels[:, distance:])
        return total
