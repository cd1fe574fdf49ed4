"""Datasets made of datasets: where their rows come from, what their items hold, and how they are opened and read.

What is made here is torch's own (Subset, ConcatDataset), or a `Mapped`: so the rows of a training set can be followed
back through any changes to the one they were made from.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from ablate.errors import TrialError
from ablate.training.domains import CLEAN, list_domains
from ablate.training.fingerprints import steady
from ablate.training.seals import require_open
from ablate.training.streams import derive_seed, seed_globals

Items = Dataset[Any]
Rows = NDArray[np.int64]
Place = int | str  # of a part of an item: its position in a tuple, or its key in a mapping


class Mapped(Dataset[Any]):
    """The items of another dataset, one for one and in its order, each changed by `change`."""

    def __init__(self, dataset: Items) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return count_items(self.dataset)

    def __getitem__(self, row: int) -> Any:
        return self.change(self.dataset[row], row)

    def change(self, item: Any, row: int) -> Any:
        """The item of a row as it is to be."""
        return item


class Relabelled(Mapped):
    """Items of which some have other labels.

    Args:
        dataset: map-style.
        labels: row -> its new label.
        place: of the label in an item.
    """

    def __init__(self, dataset: Items, labels: Mapping[int, Any], place: Place) -> None:
        super().__init__(dataset)
        self.labels, self.place = dict(labels), place

    def change(self, item: Any, row: int) -> Any:
        """The item, with its new label where it has one, of the old one's type."""
        if row not in self.labels:
            return item
        old, new = get_part(item, self.place), self.labels[row]
        return replace_part(item, self.place, torch.full_like(old, new) if isinstance(old, torch.Tensor) else new)


class Augmented(Mapped):
    """Items whose content is changed at random each time it is read, drawn from the global generators."""

    def __init__(self, dataset: Items, transform: Callable[[Any], Any], place: Place) -> None:
        super().__init__(dataset)
        self.transform, self.place = transform, place

    def change(self, item: Any, row: int) -> Any:
        """The item with its content transformed."""
        return replace_part(item, self.place, self.transform(get_part(item, self.place)))


class Ordered(Subset[Any]):
    """Rows that are trained on in this order, never shuffled."""


def make_rng(seed: int, purpose: str, stream: str = "data") -> np.random.Generator:
    """What a change draws from: the trial's stream, and a branch of it for each purpose, so that no two draw alike."""
    return np.random.default_rng([derive_seed(seed, stream), *purpose.encode()])


def count_items(dataset: Items) -> int:
    """The length, which `Dataset` itself does not declare.

    Raises:
        TrialError: it is a stream, or has no length.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise TrialError(
            f"{type(dataset).__name__} has no rows to choose from",
            where="data",
            allowed=["datasets with a length and items by number"],
            remedy="let the training loader go over a map-style dataset",
        )
    return len(dataset)


def trace_rows(dataset: Items, root: Items) -> Rows:
    """For every row, the row of `root` that it was made from; -1 where it comes from elsewhere, or nobody knows.

    Subsets, concatenations and `Mapped` datasets are followed, nested or not.
    """
    if dataset is root:
        return np.arange(count_items(root))
    if isinstance(dataset, Subset):
        return trace_rows(dataset.dataset, root)[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        return np.concatenate([trace_rows(part, root) for part in dataset.datasets])
    if isinstance(dataset, Mapped):
        return trace_rows(dataset.dataset, root)
    return np.full(count_items(dataset), -1)


def contains(dataset: Items, kind: type) -> bool:
    """Whether a dataset is of a kind, or made of one that is, by subsets, concatenations and `Mapped` datasets."""
    inner = dataset.datasets if isinstance(dataset, ConcatDataset) else [getattr(dataset, "dataset", None)]
    return isinstance(dataset, kind) or any(part is not None and contains(part, kind) for part in inner)


def choose(dataset: Items, rows: Iterable[int]) -> Subset[Any]:
    """The dataset's rows of these numbers, in this order."""
    return Subset(dataset, [int(row) for row in rows])


def get_part(item: Any, place: Place) -> Any:
    """One part of an item: by position, by key, or the item itself as its part 0 where it is not made of parts.

    Raises:
        TrialError: it has no such part.
    """
    if not isinstance(item, Mapping | tuple | list):
        item = (item,)
    try:
        return item[place]
    except (KeyError, IndexError, TypeError) as error:
        places = list(item) if isinstance(item, Mapping) else range(len(item))
        raise TrialError(
            f"an item has no part {place!r}",
            where="data.changes",
            allowed=[str(known) for known in places],
            remedy="say where it stands: `content` and `label` take a position or a key",
        ) from error


def replace_part(item: Any, place: Place, value: Any) -> Any:
    """The item with another part in this place."""
    if isinstance(item, Mapping):
        return {**item, place: value}
    if not isinstance(item, tuple | list):
        return value
    parts = [value if number == place else part for number, part in enumerate(item)]
    return type(item)(*parts) if hasattr(item, "_fields") else type(item)(parts)


def read_parts(dataset: Items, place: Place) -> list[Any]:
    """One part of every item; what is random in reading draws from a fixed seed and leaves the generators alone."""
    with steady():
        return [get_part(dataset[row], place) for row in range(count_items(dataset))]


def read_labels(dataset: Items, place: Place) -> list[Any]:
    """Every item's label as a plain value.

    Raises:
        TrialError: items have no label there, or it is no single value.
    """
    try:
        return [part.item() if hasattr(part, "item") else part for part in read_parts(dataset, place)]
    except (RuntimeError, ValueError) as error:  # torch's and numpy's, of more than one value
        raise TrialError(
            "labels are not single values", where="data.changes", allowed=["whole numbers", "text"]
        ) from error


def read_matrix(dataset: Items, place: Place) -> NDArray[np.float64]:
    """Contents as rows of numbers (items, values).

    Raises:
        TrialError: they are no arrays, or of different shapes.
    """
    try:
        arrays = [np.asarray(part, dtype=float).ravel() for part in read_parts(dataset, place)]
        return np.stack(arrays)
    except ValueError as error:
        raise TrialError(
            f"contents are no arrays of one shape: {error}",
            where="data.changes",
            remedy="use a score or generator that is made for such items",
        ) from error


def open_training_set(data: LightningDataModule, seed: int) -> Items:
    """The training set of a datamodule, as a source to mix in or to learn from; its split is that of the seed."""
    opened: Items = _open(data, seed, "fit", lambda: data.train_dataloader()).dataset
    return opened


def open_test_set(data: LightningDataModule, seed: int, domain: str) -> Items:
    """A test set of a datamodule by the name of its domain, as `domains` would call it.

    Raises:
        TrialError: there is no such domain; or the trial tunes.
    """
    require_open("data.changes")
    found = _open(data, seed, "test", lambda: list(list_domains(OmegaConf.create(), data)))
    sets: dict[str, Items] = {d.name if d.shift == CLEAN else f"{d.name}/{d.shift}": d.loader.dataset for d in found}
    if domain not in sets:
        raise TrialError(f"domain {domain!r} is not a test dataloader", where="data.changes", allowed=sets, word=domain)
    return sets[domain]


def _open(data: LightningDataModule, seed: int, stage: str, loaders: Callable[[], Any]) -> Any:
    with isolate_rng():
        seed_globals(seed, "split")  # as a trial does before a setup
        data.prepare_data()
        data.setup(stage)
        return loaders()
