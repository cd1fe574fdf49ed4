"""Handwritten digits one by one, as most datasets come: what the changes of `ablate.zoo.changes` are shown on."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ablate.zoo.digits import Digits, draw_training_set, jitter


class DigitExamples(Digits):
    """The digits of `Digits` without cleaning or augmentation, whose training loader goes over single examples.

    Args:
        seed: the trial's seed; it draws the training rows and the wrong labels.
        noise: the share of training labels that is wrong.
        size: training examples.
        batch_size: examples per training batch.
        validation: pictures to validate on, with true labels.

    Raises:
        ValueError: training leaves fewer pictures than `validation`.
    """

    def __init__(
        self, seed: int, noise: float = 0.3, size: int = 900, batch_size: int = 64, validation: int = 0
    ) -> None:
        super().__init__(seed, noise=noise, size=size, batch_size=batch_size, validation=validation)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffled batches of the rows that the seed drew."""
        drawn = draw_training_set(self.seed, self.size, self.noise, False, self.neighbours)
        return DataLoader(TensorDataset(*drawn), self.batch_size, shuffle=True)  # type: ignore[arg-type]


def jitter_picture(picture: Tensor) -> Tensor:
    """One picture turned, scaled and moved a little, as `jitter` does, drawn from torch's global generator."""
    return jitter(picture[None], torch.default_generator)[0]
