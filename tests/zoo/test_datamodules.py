"""A changed datamodule is its base but for the training rows; what is drawn has its stream, workers or not."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import OmegaConf
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from ablate.errors import TrialError
from ablate.training import preflight, run_trial
from ablate.training.audits import audit
from ablate.training.rows import ROWS
from ablate.training.streams import replace_streams
from ablate.zoo import changes
from ablate.zoo.datamodules import HOOKS, Changed
from ablate.zoo.digits import Digits
from ablate.zoo.examples import DigitExamples

ROOT = TensorDataset(torch.arange(10.0)[:, None], torch.arange(10) % 2)


class Plain(LightningDataModule):
    """Ten rows in batches of four, and hooks of its own."""

    extra = "its own"

    def __init__(self, **loader: Any) -> None:
        super().__init__()
        self.loader = {"batch_size": 4, "shuffle": True, **loader}
        self.stages: list[str] = []

    def setup(self, stage: str) -> None:
        self.stages.append(stage)

    def train_dataloader(self) -> Any:
        return DataLoader(ROOT, **self.loader)

    def test_dataloader(self) -> Any:
        return DataLoader(ROOT, batch_size=5)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] * 2, *batch[1:]]


class Given(Plain):
    """Whatever loader it is given."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given

    def train_dataloader(self) -> Any:
        return self.given


def read(data: LightningDataModule, epochs: int = 2) -> list[list[float]]:
    """The contents that each epoch goes over."""
    loader = data.train_dataloader()
    return [[float(value) for batch in loader for value in batch[0].flatten()] for _ in range(epochs)]


def blur(content: torch.Tensor) -> torch.Tensor:
    """A transform that draws from all three generators that transforms use."""
    import random

    return content + torch.rand(1) + np.random.rand() + random.random()  # noqa: NPY002


AUGMENT = partial(changes.augment, transform=blur)


def test_no_change_is_no_change() -> None:
    """The very batches of the reference digits, epoch by epoch."""
    one, other = Digits(3, size=200).train_dataloader(), Changed(DigitExamples(3, size=200), [], 3).train_dataloader()
    for _ in range(2):
        pairs = list(zip(one, other, strict=True))
        assert len(pairs) == 4
        assert all(torch.equal(a, b) for batch in pairs for a, b in zip(*batch, strict=True))


@pytest.mark.parametrize("hook", [*HOOKS, "train_dataloader"])
def test_lightning_finds_the_hooks_that_the_base_overrides(hook: str) -> None:
    base = Plain()
    assert is_overridden(hook, Changed(base, [], 0)) == is_overridden(hook, base)


def test_all_hooks_of_a_datamodule_are_handed_on() -> None:
    not_hooks = {"train_dataloader", "from_datasets", "load_from_checkpoint", "save_hyperparameters"}
    public = {name for name in dir(LightningDataModule) if not name.startswith("_")}
    callables = {name for name in public if callable(getattr(LightningDataModule, name))}
    assert callables - not_hooks - {"remove_ignored_hparams"} == set(HOOKS)


def test_attributes_are_the_bases() -> None:
    base = Plain(num_workers=0)
    data = Changed(base, [], 0)
    data.setup("fit")
    assert base.stages == data.stages == ["fit"]
    assert data.extra == "its own"
    assert Changed(DigitExamples(2, size=40), [], 3).size == 40
    assert data.prepare_data_per_node
    data.trainer = "a trainer"  # type: ignore[assignment]
    assert base.trainer == data.trainer == "a trainer"
    with pytest.raises(AttributeError, match="'Plain' object has no attribute 'nothing'"):
        data.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="kept"):
        data.kept  # noqa: B018


def test_the_loader_keeps_its_settings() -> None:
    def stack(items: Any) -> Any:
        return [torch.stack([content for content, _ in items])]

    loader = Changed(Plain(drop_last=True, collate_fn=stack), [], 0).train_dataloader()
    assert (loader.batch_size, loader.drop_last, loader.collate_fn) == (4, True, stack)
    assert [len(batch[0]) for batch in loader] == [4, 4]


def test_changes_follow_each_other_and_the_rows_are_known() -> None:
    def drop_first(dataset: Dataset[Any], seed: int) -> Dataset[Any]:
        return Subset(dataset, range(1, len(dataset)))  # type: ignore[arg-type]

    extra = TensorDataset(-torch.ones(1, 1), torch.zeros(1, dtype=torch.long))
    made = partial(changes.add_synthetic, generator=lambda dataset, count, seed: extra, count=1)
    data = Changed(Plain(), [drop_first, drop_first, made], 0)
    assert sorted(read(data, 1)[0]) == [-1, *range(2, 10)]
    assert data.kept.tolist() == [*range(2, 10), -1]


def test_shuffling_is_that_of_the_stream_and_anew_every_epoch() -> None:
    first, second = read(Changed(Plain(), [], 0))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(10))
    torch.manual_seed(99)
    assert read(Changed(Plain(), [], 0)) == [first, second]
    assert read(Changed(Plain(), [], 1))[0] != first
    with replace_streams({"order": 1}):
        assert read(Changed(Plain(), [], 0)) == read(Changed(Plain(), [], 1))


def test_an_order_of_the_base_or_of_a_change_stays() -> None:
    assert read(Changed(Plain(shuffle=False), [], 0)) == [list(range(10))] * 2
    backwards = partial(changes.order, by=lambda dataset, seed: np.arange(10))
    noisy = partial(changes.mislabel, share=0.5)
    assert read(Changed(Plain(), [backwards, noisy], 0)) == [list(range(10))[::-1]] * 2


def test_changes_draw_from_their_stream_and_leave_the_others_alone() -> None:
    def draw(dataset: Dataset[Any], seed: int) -> Dataset[Any]:
        return Subset(dataset, torch.randperm(10)[:5].tolist())

    def kept(seed: int, before: int) -> tuple[list[int], float]:
        torch.manual_seed(before)
        data = Changed(Plain(), [draw], seed)
        data.train_dataloader()
        return data.kept.tolist(), float(torch.rand(1))

    assert kept(0, 1)[0] == kept(0, 2)[0] != kept(1, 1)[0]
    torch.manual_seed(1)
    assert kept(0, 1)[1] == float(torch.rand(1, generator=torch.Generator().manual_seed(1)))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_augmentation_is_by_row_and_epoch_whatever_batch_and_workers() -> None:
    def augmented(seed: int, epochs: int = 3, **loader: Any) -> list[list[float]]:
        return read(Changed(Plain(shuffle=False, **loader), [AUGMENT], seed), epochs)

    first, second, _ = found = augmented(0)
    changed = np.array([*first, *second]) - np.tile(np.arange(10), 2)
    assert len(set(np.round(changed, 6))) == 20, "each reading has draws of its own"
    torch.manual_seed(7)
    assert augmented(0, batch_size=3) == found
    assert augmented(0, num_workers=2) == found
    assert augmented(1)[0] != first


def test_augmentation_leaves_the_generators_alone() -> None:
    data = Changed(Plain(shuffle=False), [AUGMENT], 0)
    dataset = data.train_dataloader().dataset
    torch.manual_seed(1)
    before = torch.get_rng_state()
    dataset[3]
    assert torch.equal(torch.get_rng_state(), before)


class Stream(IterableDataset[Any]):
    """No rows."""

    def __iter__(self) -> Any:
        return iter(ROOT)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([DataLoader(ROOT)], "the training loader is a list"),
        (
            DataLoader(ROOT, batch_sampler=BatchSampler(SequentialSampler(ROOT), 2, False)),
            "has a batch sampler, and no",
        ),
        (DataLoader(ROOT, batch_size=None), "hands out whole batches"),
        (DataLoader(ROOT, sampler=WeightedRandomSampler([1.0] * 10, 10)), "draws by a WeightedRandomSampler"),
        (DataLoader(ROOT, sampler=RandomSampler(ROOT, replacement=True)), "does not go over all its rows"),
        (DataLoader(ROOT, sampler=RandomSampler(ROOT, num_samples=5)), "does not go over all its rows"),
        (DataLoader(Stream(), batch_size=2), "draws by a _InfiniteConstantSampler"),
    ],
)
def test_loaders_whose_rows_cannot_be_changed_are_refused(given: Any, message: str) -> None:
    with pytest.raises(TrialError, match=message):
        Changed(Given(given), [], 0).train_dataloader()


def test_a_base_with_a_batch_sampler_is_batched_anew() -> None:
    batches = DataLoader(ROOT, batch_sampler=BatchSampler(SequentialSampler(ROOT), 2, False))
    loader = Changed(Given(batches), [], 0, batch_size=4).train_dataloader()
    assert [len(batch[0]) for batch in loader] == [4, 4, 2]
    first, second = read(Changed(Given(batches), [], 0, batch_size=4))
    assert first != second


def test_nothing_left_is_refused() -> None:
    with pytest.raises(TrialError, match="no rows are left"):
        Changed(Plain(), [partial(changes.subset, size=0)], 0).train_dataloader()


def test_concatenated_bases_have_rows_too() -> None:
    data = Changed(Given(DataLoader(ConcatDataset([ROOT, ROOT]), 4)), [partial(changes.subset, share=0.5)], 0)
    data.train_dataloader()
    assert len(data.kept) == 10
    assert data.kept.max() > 9


# --- trials ----------------------------------------------------------------------------------------------------------


def config(*change: dict[str, Any], **trainer: Any) -> Any:
    base = {"_target_": "ablate.zoo.examples.DigitExamples", "seed": 1, "size": 60, "validation": 5}
    model = {"_target_": "ablate.zoo.classifiers.Perceptron", "width": 8, "depth": 1, "learning_rate": 0.01}
    return OmegaConf.create(
        {
            "seed": 1,
            "data": {
                "_target_": "ablate.zoo.datamodules.Changed",
                "seed": 1,
                "base": base,
                "changes": [{**one, "_partial_": True} for one in change],
            },
            "model": {**model, "objective": {"_target_": "torch.nn.CrossEntropyLoss"}},
            "trainer": {"accelerator": "cpu", "max_steps": 3, **trainer},
        }
    )


SUBSET = {"_target_": "ablate.zoo.changes.subset", "share": 0.5}
PAIRS = {"_target_": "ablate.zoo.changes.mislabel", "share": 0.3, "kind": "asymmetric", "transitions": {7: 1, 3: 8}}


def test_a_trial_tells_how_many_rows_and_keeps_which(tmp_path: Path) -> None:
    hydra = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
    hydra.hydra.runtime.output_dir = str(tmp_path)
    HydraConfig.instance().set_config(hydra)
    try:
        rows = run_trial(config(SUBSET, PAIRS))
    finally:
        HydraConfig.instance().cfg = None
    assert [row["value"] for row in rows if row["metric"] == "train_rows"] == [30]
    kept = np.load(tmp_path / ROWS)
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert len(kept) == 30
    assert kept.max() < 60


def test_a_contaminated_trial_runs_and_its_audit_finds_what_was_put_in() -> None:
    contaminate = {
        "_target_": "ablate.zoo.changes.contaminate",
        "domain": "digits",
        "share": 0.1,
        "data": "${data.base}",
    }
    assert {row["metric"] for row in preflight(config(contaminate))} == {"accuracy", "nll"}
    assert len(audit(config(contaminate))["digits"]["exact"]) == 60
    assert audit(config(SUBSET))["digits"]["exact"] == []


def test_nothing_of_ours_is_needed_in_a_change() -> None:
    """A plain callable by `_target_`: torch's own Subset takes the place of a change that keeps five rows."""
    take: Callable[..., Any] = partial(lambda dataset, seed: Subset(dataset, range(5)))
    data = Changed(Plain(), [take], 0)
    assert sorted(read(data, 1)[0]) == [0, 1, 2, 3, 4]
