"""Datamodules with training data that hold some of the test items, as a stranger would write them."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from lightning.pytorch import LightningDataModule
from stranger import Points
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset


def draw(n: int, seed: int, side: int = 20) -> torch.Tensor:
    """Smooth pictures of random blobs."""
    raw = torch.rand(n, 1, side + 6, side + 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(raw, 7, 1)


def label(pictures: torch.Tensor) -> TensorDataset:
    """With labels that the audit leaves out."""
    return TensorDataset(pictures, torch.arange(len(pictures)))


class Invert:
    """A shift: every picture's negative."""

    def __call__(self, dataset: Dataset) -> Dataset:
        return TensorDataset(1 - dataset.tensors[0], dataset.tensors[1])


class Leaky(LightningDataModule):
    """Training data with every twentieth test picture of the domain `leaked`, under other labels."""

    home, leaked = label(draw(40, 1)), label(draw(60, 2))
    copied: ClassVar[list[int]] = [7, 27, 47]  # 5 % of 60

    def prepare_data(self) -> None:
        self.prepared = True

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.prepared:
            self.train = label(torch.cat([draw(80, 3), self.copy(self.leaked.tensors[0][self.copied])]))

    def copy(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures

    def train_dataloader(self) -> object:
        return DataLoader(self.train, batch_size=16, shuffle=True)

    def test_dataloader(self) -> object:
        return {"home": DataLoader(self.home, batch_size=16), "leaked": DataLoader(self.leaked, batch_size=16)}


class Brighter(Leaky):
    """The same with copies of another brightness and contrast."""

    def copy(self, pictures: torch.Tensor) -> torch.Tensor:
        return 0.5 * pictures + 0.25


class Noisier(Leaky):
    """The same with a little noise on the copies."""

    def copy(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures + 0.002 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))


class Stream(IterableDataset):
    """Batches of a training set."""

    def __init__(self, dataset: TensorDataset) -> None:
        self.tensors = dataset.tensors

    def __iter__(self) -> Iterator[object]:
        return zip(*(torch.split(tensor, 32) for tensor in self.tensors), strict=True)


class Streaming(Leaky):
    """The same as a stream, beside another loader, for some epochs without end."""

    def train_dataloader(self) -> object:
        return {"stream": DataLoader(Stream(self.train), batch_size=None), "other": super().train_dataloader()}

    def test_dataloader(self) -> object:
        return {"stream": DataLoader(Stream(self.home), batch_size=None), **super().test_dataloader()}


class OnePool(LightningDataModule):
    """One dataset, whose loaders draw from rows of their own; three rows are in both."""

    pool = label(draw(50, 4))

    def train_dataloader(self) -> object:
        return DataLoader(self.pool, batch_size=8, sampler=SubsetRandomSampler(range(30)))

    def test_dataloader(self) -> object:
        rows = range(27, 50)
        return {
            "sampled": DataLoader(self.pool, batch_size=8, sampler=SubsetRandomSampler(rows)),
            "cut": DataLoader(Subset(self.pool, list(rows)), batch_size=8),
        }


class Told(Dataset):
    """Texts as mappings, one of them no text."""

    def __init__(self, texts: list) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> dict:
        return {"text": self.texts[row], "label": 0}


class Sayings(LightningDataModule):
    """Questions of which one is in the training data, shouted."""

    asked: ClassVar[list] = [f"Which of the {n} rivers that flow through the town is the longest?" for n in "abc"]

    def train_dataloader(self) -> object:
        return DataLoader(Told(["What is that?", self.asked[1].upper()]), batch_size=2)

    def test_dataloader(self) -> object:
        far = ["How many moons has Mars?", self.asked[1]]
        return {"far": DataLoader(Told(far)), "mixed": DataLoader(Told([far[0], torch.zeros(2, 2)]))}


class WithoutThree(Points):
    """The stranger's points, three of whose test items are left out."""

    def test_dataloader(self) -> object:
        return {"home": DataLoader(Subset(self.home, [n for n in range(40) if n not in (3, 20, 39)]), batch_size=16)}
