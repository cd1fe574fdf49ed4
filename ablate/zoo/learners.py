"""A LightningModule for any network and any objective, of either kind: classifiers and language models."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from ablate.training.streams import make_generator
from ablate.zoo.objectives import UNLABELLED, Batch, BatchObjective, LossObjective, find_loss
from ablate.zoo.teachers import prefer


class Learner(LightningModule):
    """A network trained by an objective; a batch is (inputs, labels), a label per example or per position.

    Logs `accuracy` and `nll` (mean cross-entropy, nats) over all labels when tested, whatever it was trained with, and
    `val_accuracy` and `val_nll` when validated. Of pairs of answers (see `ablate.zoo.teachers.Preference`) these are
    over the chosen ones, and `preferred` is the share of pairs whose chosen answer is the likelier one.

    Args:
        network: gives logits (..., classes) of inputs; anybody's.
        objective: (logits, labels) -> loss, or anything with `loss(network, batch, generator)`. What parameters it has
            are trained too.
        learning_rate: of all parameters that `scaling` does not change.
        classes: how many, or the tokens of the vocabulary.
        seed: the trial's; what the objective draws comes from its stream `augmentation`.
        optimiser: called with parameter groups and `lr`.
        scaling: network -> factor of the learning rate by the parameter's name; it may change the network's first
            weights: `ablate.zoo.scalings.MaximalUpdate`.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: LossObjective | BatchObjective,
        learning_rate: float,
        classes: int,
        seed: int,
        optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        scaling: Callable[[nn.Module], Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.objective, self.learning_rate, self.optimiser = network, objective, learning_rate, optimiser
        self.rates = dict(scaling(network)) if scaling else {}
        self.accuracy = MulticlassAccuracy(classes, average="micro", ignore_index=UNLABELLED)
        self._generator = make_generator(seed, "augmentation")

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of inputs."""
        logits: Tensor = self.network(inputs)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The objective on a batch."""
        return find_loss(self.objective, self.network, batch, self._generator)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """`val_accuracy` and `val_nll` of a batch, averaged by Lightning over the validation set."""
        self._log_scores(batch, "val_")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Accuracy and cross-entropy of a batch, averaged by Lightning over the test set."""
        self._log_scores(batch, "")

    def _log_scores(self, batch: Batch, prefix: str) -> None:
        inputs, labels = batch[:2]
        logits, labels = self(inputs).flatten(0, -2), labels.flatten()
        self.accuracy(logits, labels)
        options: dict[str, Any] = {"on_step": False, "on_epoch": True}
        self.log(f"{prefix}accuracy", self.accuracy, **options)
        nll = nn.functional.cross_entropy(logits, labels, ignore_index=UNLABELLED)
        self.log(f"{prefix}nll", nll, **options, batch_size=int((labels != UNLABELLED).sum()))
        if len(batch) == 4:
            share = (prefer(self.network, batch) > 0).float().mean()
            self.log(f"{prefix}preferred", share, **options, batch_size=len(inputs))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser, a group of parameters for every rate."""
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(self.rates.get(name.removeprefix("network."), 1.0), []).append(parameter)
        rated = [{"params": members, "lr": self.learning_rate * factor} for factor, members in groups.items()]
        return self.optimiser(rated, lr=self.learning_rate)
