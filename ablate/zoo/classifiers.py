"""A classifier of pictures: a perceptron of stated width and depth, with any objective."""

from collections.abc import Callable
from itertools import pairwise

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy


class Perceptron(LightningModule):
    """A multilayer perceptron over flattened pictures.

    Logs `accuracy` and `nll` (mean cross-entropy, nats) when tested, whatever it was trained with, and `val_accuracy`
    and `val_nll` when validated.

    Args:
        objective: (logits, labels) -> loss.
        width: units of every hidden layer.
        depth: hidden layers.
        learning_rate: of AdamW.
        inputs: values per picture.
        classes: how many.
    """

    def __init__(
        self,
        objective: Callable[[Tensor, Tensor], Tensor],
        width: int,
        depth: int,
        learning_rate: float,
        inputs: int = 64,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.objective, self.learning_rate = objective, learning_rate
        sizes = [inputs, *[width] * depth]
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.net = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], classes))
        self.accuracy = MulticlassAccuracy(classes, average="micro")

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (n, classes) of pictures (n, ...)."""
        logits: Tensor = self.net(pictures)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The objective on a batch."""
        pictures, labels = batch
        return self.objective(self(pictures), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """`val_accuracy` and `val_nll` of a batch, averaged by Lightning over the validation set."""
        self._log_scores(batch, "val_")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy and cross-entropy of a batch, averaged by Lightning over the test set."""
        self._log_scores(batch, "")

    def _log_scores(self, batch: tuple[Tensor, Tensor], prefix: str) -> None:
        pictures, labels = batch
        logits = self(pictures)
        self.accuracy(logits, labels)
        self.log(f"{prefix}accuracy", self.accuracy, on_step=False, on_epoch=True)
        nll = nn.functional.cross_entropy(logits, labels)
        self.log(f"{prefix}nll", nll, on_step=False, on_epoch=True, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)
