"""A datamodule whose training set has been changed: the data factors, around anybody's LightningDataModule."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler

from ablate.errors import TrialError
from ablate.training.streams import derive_seed, make_generator, seed_globals
from ablate.zoo.datasets import Augmented, Items, Ordered, Rows, contains, count_items, trace_rows

Change = Callable[[Items, int], Items]

# Lightning asks a datamodule whether it overrides these: where the base does not, neither does what wraps it.
HOOKS = (
    *("prepare_data", "setup", "teardown", "on_exception", "state_dict", "load_state_dict"),
    *("val_dataloader", "test_dataloader", "predict_dataloader"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)
SAME = (
    *("drop_last", "collate_fn", "num_workers", "pin_memory", "timeout", "worker_init_fn"),
    *("multiprocessing_context", "prefetch_factor", "persistent_workers"),
)


class Changed(LightningDataModule):
    """A datamodule that trains on its base's training set after some changes, and is its base in all else.

    Batch size, collation and workers are those of the base's training loader. Where that shuffles, rows are shuffled
    anew every epoch from the stream `order`, unless a change has put them in order. What a change draws from global
    generators comes from the stream `data`. Augmentation is drawn by row and epoch from the stream `augmentation`:
    neither batch size nor workers alter it.

    Args:
        base: whose training loader goes over a map-style dataset.
        changes: (dataset, seed) -> dataset, one after the other; those of `ablate.zoo.changes`, or any callable.
        seed: the trial's.
        batch_size: in place of the base's. A base that batches by a sampler of its own needs one, and is shuffled.

    Attributes:
        kept: for every row trained on, its row in the base's training set, or -1 for one that is not from there (or
            whose change makes datasets of its own); there once the training loader is made.
    """

    base: LightningDataModule
    kept: Rows

    def __init__(
        self, base: LightningDataModule, changes: Sequence[Change], seed: int, batch_size: int | None = None
    ) -> None:
        # LightningDataModule's own __init__ would set attributes, in front of the base's.
        self.base, self._changes, self._seed, self._batch_size = base, list(changes), seed, batch_size
        for hook in HOOKS:
            setattr(self, hook, getattr(base, hook))

    def __getattr__(self, name: str) -> Any:
        if name in ("base", "kept"):  # not there yet
            raise AttributeError(name)
        return getattr(self.base, name)

    @property
    def trainer(self) -> Trainer | None:
        """The base's."""
        return self.base.trainer

    @trainer.setter
    def trainer(self, trainer: Trainer | None) -> None:
        self.base.trainer = trainer

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the changed training set.

        Raises:
            TrialError: the base's training loader cannot be gone over anew, or nothing is left to train on.
        """
        loader = self.base.train_dataloader()
        shuffled = _check(loader, self._batch_size)
        dataset = root = loader.dataset
        with isolate_rng():
            seed_globals(self._seed, "data")
            for change in self._changes:
                dataset = change(dataset, self._seed)
        self.kept = trace_rows(dataset, root)
        if not len(self.kept):
            raise TrialError("no rows are left to train on", where="data.changes")
        generator = make_generator(self._seed, "order") if shuffled and not contains(dataset, Ordered) else None
        augmented = contains(dataset, Augmented)
        sampler = Epochs(len(self.kept), generator, told=augmented)
        read = Redrawn(dataset, derive_seed(self._seed, "augmentation")) if augmented else dataset
        settings = {name: getattr(loader, name) for name in SAME}
        settings["batch_size"] = self._batch_size or loader.batch_size
        return DataLoader(read, sampler=sampler, **settings)


class Epochs(Sampler[int]):
    """All rows once an epoch.

    Args:
        size: rows.
        generator: draws an order for every epoch; None: they stay in theirs.
        told: whether the number of the epoch times `size` is added to every row, for `Redrawn`.
    """

    def __init__(self, size: int, generator: torch.Generator | None, told: bool = False) -> None:
        self.size, self.generator, self.told, self.epoch = size, generator, told, 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        offset = self.epoch * self.size if self.told else 0
        self.epoch += 1
        rows = (
            torch.arange(self.size) if self.generator is None else torch.randperm(self.size, generator=self.generator)
        )
        yield from (rows + offset).tolist()


class Redrawn(Dataset[Any]):
    """Items whose random draws depend on seed, row and epoch alone; item `row + epoch * len` is that of an epoch."""

    def __init__(self, dataset: Items, seed: int) -> None:
        self.dataset, self.seed, self.size = dataset, seed, count_items(dataset)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> Any:
        epoch, row = divmod(number, self.size)
        drawn = np.random.SeedSequence((self.seed, epoch, row)).generate_state(1, np.uint64)
        with isolate_rng(include_cuda=False):
            torch.default_generator.manual_seed(int(drawn[0] >> 1))  # an accelerator's generator stays as it is
            np.random.seed(int(drawn[0] >> 32))  # noqa: NPY002 - for transforms that are not ours
            random.seed(int(drawn[0]))
            return self.dataset[row]


def _check(loader: Any, batch_size: int | None) -> bool:
    """Whether a training loader shuffles; TrialError where its rows cannot be gone over anew."""
    refused, sampler = None, getattr(loader, "sampler", None)
    if not isinstance(loader, DataLoader):
        refused = f"the training loader is a {type(loader).__name__}"
    elif loader.batch_sampler is None:
        refused = "the training set hands out whole batches"
    elif loader.batch_size is None and batch_size is None:
        refused = "the training loader has a batch sampler, and no `batch_size` is given in its place"
    elif loader.batch_size is None:
        return True
    elif not isinstance(sampler, RandomSampler | SequentialSampler):
        refused = f"the training loader draws by a {type(sampler).__name__}"
    elif getattr(sampler, "replacement", False) or len(sampler) != count_items(loader.dataset):
        refused = "the training loader does not go over all its rows once an epoch"
    if refused:
        raise TrialError(
            f"{refused}: its rows cannot be changed",
            where="data.base",
            allowed=["one DataLoader with a map-style dataset, a batch size, shuffled or not"],
            remedy="return such a loader from the base's `train_dataloader`, and list all changes in one `changes`",
        )
    return isinstance(sampler, RandomSampler)
