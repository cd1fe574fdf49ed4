"""Handwritten digits as training data with noisy labels, with cleaned ones, and augmented; and one fixed test set.

The data are the 1,797 pictures of 8 × 8 pixels that come with scikit-learn (test part of the UCI optical digits).
"""

from collections.abc import Iterator
from functools import cache
from typing import Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ablate.training.streams import derive_seed, make_generator

TEST_SIZE = 600  # the same pictures for every trial
CLASSES = 10


@cache
def load_digits() -> tuple[Tensor, Tensor]:
    """Pictures (1797, 1, 8, 8) with values in [0, 1], and labels (1797,)."""
    from sklearn.datasets import load_digits as load

    found = load()
    return torch.tensor(found.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(found.target)


@cache
def split_test() -> tuple[NDArray[np.int64], TensorDataset]:
    """The rows to train from, and the test set: drawn once, stratified by class, independent of any trial."""
    from sklearn.model_selection import train_test_split

    pictures, labels = load_digits()
    rows = np.arange(len(labels))
    pool, test = train_test_split(rows, test_size=TEST_SIZE, stratify=labels.numpy(), random_state=20)
    return pool, TensorDataset(pictures[test], labels[test])


def spoil_labels(labels: Tensor, share: float, seed: int) -> Tensor:
    """Symmetric label noise: a share of the labels, drawn from the seed, becomes another class at random."""
    return _spoil(labels, share, np.random.default_rng(derive_seed(seed, "label")))


def _spoil(labels: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    spoilt = labels.clone()
    moves = torch.from_numpy(rng.integers(1, CLASSES, len(chosen)))
    spoilt[chosen] = (labels[chosen] + moves) % CLASSES
    return spoilt


def keep_consistent(pictures: Tensor, labels: Tensor, neighbours: int, folds: int = 5) -> NDArray[np.bool_]:
    """Which examples agree with their neighbours: a nearest-neighbour vote, cross-validated, predicts their label.

    It sees the given labels only, never the true ones (edited nearest neighbours, Wilson 1972, out of fold).
    """
    from sklearn.model_selection import cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    flat = pictures.flatten(1).numpy()
    voted = cross_val_predict(KNeighborsClassifier(neighbours), flat, labels.numpy(), cv=folds)
    kept: NDArray[np.bool_] = voted == labels.numpy()
    return kept


def draw_training_set(seed: int, size: int, noise: float, clean: bool, neighbours: int) -> tuple[Tensor, Tensor]:
    """Pictures and labels that a seed draws: `size` rows, a share `noise` of the labels wrong, suspicious ones dropped.

    Kept per process: cells of one seed train on the same rows with the same wrong labels.
    """
    return _draw(derive_seed(seed, "split"), derive_seed(seed, "label"), size, noise, clean, neighbours)


@cache  # by the streams' seeds, of which a trial may replace one
def _draw(
    split_seed: int, label_seed: int, size: int, noise: float, clean: bool, neighbours: int
) -> tuple[Tensor, Tensor]:
    rows = _shuffle_pool(split_seed)[:size]
    pictures, truth = load_digits()
    chosen, labels = pictures[rows], _spoil(truth[rows], noise, np.random.default_rng(label_seed))
    if clean:
        kept = torch.from_numpy(keep_consistent(chosen, labels, neighbours))
        chosen, labels = chosen[kept], labels[kept]
    return chosen, labels


def draw_validation_set(seed: int, size: int, validation: int) -> TensorDataset:
    """Pictures with true labels, `validation` of the pool's rows that the seed leaves when `size` are trained on.

    Raises:
        ValueError: the pool has fewer.
    """
    left = _shuffle_pool(derive_seed(seed, "split"))[size:]
    if not 0 <= validation <= len(left):
        raise ValueError(f"validation is {validation}, but training leaves {len(left)} of the pool's pictures")
    pictures, truth = load_digits()
    return TensorDataset(pictures[left[:validation]], truth[left[:validation]])


def _shuffle_pool(split_seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(split_seed).permutation(split_test()[0])


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Shuffled batches of tensors; augmented, each picture is turned, scaled and moved a little every time.

    Args:
        pictures: (n, 1, height, width).
        labels: (n,).
        size: examples per batch.
        augment: whether to turn (±15°), scale (±10 %) and move (±1 pixel in 8) the pictures.
        seed: the trial's seed; order and augmentation draw from streams of their own.
    """

    def __init__(self, pictures: Tensor, labels: Tensor, size: int, augment: bool, seed: int) -> None:
        self.pictures, self.labels, self.size, self.augment = pictures, labels, size, augment
        self.order, self.change = make_generator(seed, "order"), make_generator(seed, "augmentation")

    def __len__(self) -> int:
        return -(-len(self.labels) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.split(torch.randperm(len(self.labels), generator=self.order), self.size):
            pictures = self.pictures[rows]
            yield (jitter(pictures, self.change) if self.augment else pictures), self.labels[rows]


def jitter(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture turned by up to 15°, scaled by up to 10 % and moved by up to one pixel in eight."""
    turn, scale, right, down = torch.rand(4, len(pictures), generator=generator) * 2 - 1
    angle, zoom = turn * torch.pi / 12, 1 + 0.1 * scale
    rows = [
        torch.stack([torch.cos(angle) * zoom, -torch.sin(angle) * zoom, right * 0.25], 1),
        torch.stack([torch.sin(angle) * zoom, torch.cos(angle) * zoom, down * 0.25], 1),
    ]
    grid = torch.nn.functional.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
    return torch.nn.functional.grid_sample(pictures, grid, align_corners=False)


class Digits(LightningDataModule):
    """Handwritten digits with noisy labels, or cleaned, or cleaned and augmented.

    Args:
        seed: the trial's seed; it draws the training rows, the wrong labels, the order and the augmentation.
        labels: `noisy`, or `cleaned`: examples that disagree with their neighbours are dropped.
        augment: whether training pictures are turned, scaled and moved.
        noise: the share of training labels that is wrong before cleaning.
        size: training examples before cleaning.
        neighbours: how many neighbours vote when cleaning.
        batch_size: examples per training batch.
        validation: pictures to validate on, of those that the seed does not draw for training, with true labels.

    Raises:
        ValueError: training leaves fewer pictures than `validation`.
    """

    def __init__(
        self,
        seed: int,
        labels: Literal["noisy", "cleaned"] = "noisy",
        augment: bool = False,
        noise: float = 0.3,
        size: int = 900,
        neighbours: int = 10,
        batch_size: int = 64,
        validation: int = 0,
    ) -> None:
        super().__init__()
        self.seed, self.labels, self.augment, self.noise = seed, labels, augment, noise
        self.size, self.neighbours, self.batch_size = size, neighbours, batch_size
        self.held_out = draw_validation_set(seed, size, validation)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of the rows that the seed drew."""
        drawn = draw_training_set(self.seed, self.size, self.noise, self.labels == "cleaned", self.neighbours)
        return DataLoader(Batches(*drawn, self.batch_size, self.augment, self.seed), batch_size=None)

    def val_dataloader(self) -> list[DataLoader[tuple[Tensor, ...]]]:
        """The pictures held out, in one batch; no loader where there are none."""
        return [DataLoader(self.held_out, batch_size=len(self.held_out))] if len(self.held_out) else []

    def test_dataloader(self) -> dict[str, DataLoader[tuple[Tensor, ...]]]:
        """The fixed test set, as the domain `digits`."""
        return {"digits": DataLoader(split_test()[1], batch_size=TEST_SIZE)}
