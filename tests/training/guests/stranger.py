"""Somebody's parts: plain torch and Lightning, written for another project, importing nothing of ours."""

from typing import ClassVar

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, TensorDataset, random_split

CORNERS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def make_points(n: int, seed: int) -> TensorDataset:
    """Points around the four corners of a square, labelled by corner."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    return TensorDataset(CORNERS[labels] + 0.7 * torch.randn(n, 2, generator=generator), labels)


class Points(LightningDataModule):
    """Two test sets by name, one of them already a shift."""

    def __init__(self, n: int = 64) -> None:
        super().__init__()
        self.train, self.home, self.away = make_points(n, 1), make_points(40, 2), make_points(24, 3)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=16, shuffle=True)

    def test_dataloader(self) -> object:
        return {"home": DataLoader(self.home, batch_size=16), "home/far": DataLoader(self.away, batch_size=16)}


class OneLoader(Points):
    """The same with one test loader."""

    def test_dataloader(self) -> object:
        return DataLoader(self.home, batch_size=16)


class ListOfLoaders(Points):
    """The same with a list of them."""

    def test_dataloader(self) -> object:
        return [DataLoader(self.home, batch_size=16), DataLoader(self.away, batch_size=16)]


class BatchSampled(Points):
    """The same with a batch sampler, which leaves the loader without a batch size."""

    def test_dataloader(self) -> object:
        sampler = BatchSampler(SequentialSampler(self.home), 16, drop_last=False)
        return {"home": DataLoader(self.home, batch_sampler=sampler)}


class SplitsItself(LightningDataModule):
    """Draws its split in every `setup`, as many do, and remembers which examples it handed out for what."""

    trained: ClassVar[set] = set()
    tested: ClassVar[set] = set()

    def setup(self, stage: str) -> None:
        self.train, self.test = random_split(make_points(100, 4), [60, 40])

    def train_dataloader(self) -> DataLoader:
        SplitsItself.trained = set(self.train.indices)
        return DataLoader(self.train, batch_size=20, shuffle=True)

    def test_dataloader(self) -> object:
        SplitsItself.tested = set(self.test.indices)
        return {"home": DataLoader(self.test, batch_size=20)}


class ScalesOnDevice(Points):
    """Changes every batch once it is on the device: train and test alike."""

    def on_after_batch_transfer(self, batch: list, dataloader_idx: int) -> list:
        return [batch[0] * 0 + 3, *batch[1:]]


class Corners(LightningModule):
    """A linear classifier that takes its objective as an argument and logs under names of its own."""

    def __init__(self, objective: object = None, lr: float = 0.1, explode_at: int = -1) -> None:
        super().__init__()
        self.objective, self.lr, self.explode_at = objective or torch.nn.CrossEntropyLoss(), lr, explode_at
        self.layer = torch.nn.Linear(2, 4)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.layer(points)

    def training_step(self, batch: list, batch_idx: int) -> torch.Tensor:
        loss = self.objective(self(batch[0]), batch[1])
        return loss * float("nan") if self.global_step == self.explode_at else loss

    def test_step(self, batch: list, batch_idx: int) -> None:
        points, corners = batch
        right = (self(points).argmax(1) == corners).float().mean()
        self.log_dict({"hits": right, "mean_input": points.mean()}, batch_size=len(corners))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Silent(Corners):
    """Logs nothing when tested."""

    def test_step(self, batch: list, batch_idx: int) -> None:
        self(batch[0])


class Indexed(Corners):
    """Written for several test loaders: asks which one a batch is from."""

    def test_step(self, batch: list, batch_idx: int, dataloader_idx: int) -> None:
        super().test_step(batch, batch_idx)


class ByHand(Corners):
    """Optimises by hand, so that Lightning sees no loss."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.automatic_optimization = False

    def training_step(self, batch: list, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


def focal(logits: torch.Tensor, labels: torch.Tensor, gamma: float) -> torch.Tensor:
    """An objective that is a plain function."""
    log_p = logits.log_softmax(1).gather(1, labels[:, None])
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()


made: list = []


class Moved:
    """A shift, as a class: moves every point along one axis."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, dataset: Dataset) -> Dataset:
        made.append(self.by)
        points, labels = zip(*(dataset[i] for i in range(len(dataset))), strict=True)
        return TensorDataset(torch.stack(points) + torch.tensor([self.by, 0.0]), torch.stack(labels))


class Remembers(Corners):
    """Remembers the weights it began with and the labels it was trained on, in order."""

    weights: torch.Tensor
    order: torch.Tensor | None

    def on_train_start(self) -> None:
        Remembers.weights, Remembers.order = self.layer.weight.detach().clone(), torch.empty(0)

    def training_step(self, batch: list, batch_idx: int) -> torch.Tensor:
        Remembers.order = torch.cat([Remembers.order, batch[0][:, 0]])
        return super().training_step(batch, batch_idx)


class Validated(Points):
    """The same with held-out training data; whoever sets up, makes or reads its test sets is told off."""

    def __init__(self, sealed: bool = True, tests: str = "own") -> None:
        super().__init__()
        self.sealed, self.tests, self.held_out = sealed, tests, make_points(32, 5)

    def setup(self, stage: str) -> None:
        if stage == "test" and self.sealed:
            raise AssertionError("the seal is broken: set up for testing")

    def val_dataloader(self) -> object:
        return DataLoader(self.held_out, batch_size=16)

    def test_dataloader(self) -> object:
        if self.sealed:
            raise AssertionError("the seal is broken: test data asked for")
        if self.tests == "own":
            return super().test_dataloader()
        same = self.held_out if self.tests == "same" else make_points(32, 5)
        return {"home": DataLoader(same, batch_size=16)}


class TwiceValidated(Validated):
    """The same with two validation loaders."""

    def val_dataloader(self) -> object:
        return [DataLoader(self.held_out, batch_size=16), DataLoader(make_points(16, 6), batch_size=16)]


class NothingHeldOut(Validated):
    """The same without any validation data."""

    def val_dataloader(self) -> object:
        return []


class Judged(Corners):
    """Logs when it is validated, too; `tells` says which loader of several a name is from."""

    def __init__(self, tells: bool = True, bad_from: int = 10**9, **settings: object) -> None:
        super().__init__(**settings)
        self.tells, self.bad_from = tells, bad_from

    def validation_step(self, batch: list, batch_idx: int, dataloader_idx: int = 0) -> None:
        logits = self(batch[0])
        right = (logits.argmax(1) == batch[1]).float().mean()
        worth = right - (self.global_step >= self.bad_from) * 2.0
        self.log("val_hits", worth, batch_size=len(batch[1]), add_dataloader_idx=self.tells)


class SilentlyValidated(Corners):
    """Validates and logs nothing."""

    def validation_step(self, batch: list, batch_idx: int) -> None:
        self(batch[0])


class Hoarder(Judged):
    """Keeps an object among its hyperparameters, where a checkpoint would have to pickle it."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.save_hyperparameters({"data": make_points(4, 7)})


class Undefined(Judged):
    """Its validation metric is no number."""

    def validation_step(self, batch: list, batch_idx: int) -> None:
        self.log("val_hits", torch.tensor(float("nan")), batch_size=len(batch[1]))


class Untested(Judged):
    """Cannot be tested."""

    test_step = LightningModule.test_step


class FailsWhenTested(Corners):
    """Breaks on its first test batch."""

    def test_step(self, batch: list, batch_idx: int) -> None:
        raise ZeroDivisionError


class SplitsForItself(LightningDataModule):
    """Draws its split in every `setup`, for validation, and remembers which examples it handed out for what."""

    trained: ClassVar[set] = set()
    validated: ClassVar[set] = set()

    def setup(self, stage: str) -> None:
        self.train, self.held_out = random_split(make_points(100, 4), [60, 40])

    def train_dataloader(self) -> DataLoader:
        SplitsForItself.trained = set(self.train.indices)
        return DataLoader(self.train, batch_size=20, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        SplitsForItself.validated = set(self.held_out.indices)
        return DataLoader(self.held_out, batch_size=20)

    def test_dataloader(self) -> object:
        raise AssertionError("the seal is broken: test data asked for")


pushed: list = []


def push(batch: list, *, model: LightningModule, generator: torch.Generator, by: float) -> list:
    """A shift that needs the trained module, though it asks it nothing but for an answer."""
    assert model(batch[0]).shape == (len(batch[0]), 4)
    assert not model.training
    pushed.append((len(batch[0]), float(torch.rand((), generator=generator))))
    return [batch[0] + by, *batch[1:]]


def with_a_model(dataset: Dataset, model: str) -> Dataset:
    """A shift with a parameter of that name that is no module."""
    return dataset


class HalvesOnDevice(Corners):
    """Changes every batch once it is on the device, in the module."""

    def on_after_batch_transfer(self, batch: list, dataloader_idx: int) -> list:
        return [batch[0] / 2 + 1, *batch[1:]]


class Answering(Corners):
    """Returns what it answers when tested, shifted by one class."""

    def test_step(self, batch: list, batch_idx: int) -> dict:
        super().test_step(batch, batch_idx)
        return {"logits": self(batch[0]).roll(1, 1), "labels": batch[1]}


class Refusing(Corners):
    """Writes texts by rule: a refusal wherever the first coordinate is negative."""

    def test_step(self, batch: list, batch_idx: int) -> dict:
        super().test_step(batch, batch_idx)
        texts = ["I cannot help with that." if x < 0 else "Here you are." for x, _ in batch[0].tolist()]
        return {"outputs": texts, "labels": [""] * len(texts)}


class Wordless(Corners):
    """Returns something else when tested."""

    def test_step(self, batch: list, batch_idx: int) -> dict:
        super().test_step(batch, batch_idx)
        return {"loss": torch.tensor(1.0)}


def rate(answers: object) -> dict:
    """A scorer: right or wrong by example, and how many there are."""
    return {"right": (answers.outputs.argmax(1) == answers.labels).float(), "count": len(answers.labels)}


def clash(answers: object) -> dict:
    """A scorer that uses a name of the module's."""
    return {"hits": 1.0}


def shorten(answers: object) -> dict:
    """A scorer that forgets an example."""
    return {"short": torch.zeros(len(answers.labels) - 1)}
