"""Measurements: a trained model on one domain's test set, as rows; each reading of a test set is noted."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch.utils.data import IterableDataset

from ablate import signals
from ablate.errors import TrialError
from ablate.training.domains import CLEAN, Domain
from ablate.training.fingerprints import fingerprint

HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")

Row = dict[str, Any]


class OneDomain(LightningDataModule):
    """A datamodule reduced to one test set, with the hooks of the one it comes from."""

    def __init__(self, data: LightningDataModule, domain: Domain) -> None:
        super().__init__()
        self.domain = domain
        for hook in HOOKS:
            setattr(self, hook, getattr(data, hook))

    def test_dataloader(self) -> Any:
        """The loader of the domain."""
        return self.domain.loader


def measure_domain(
    trainer: Trainer, model: LightningModule, data: LightningDataModule, domain: Domain, folder: Path | None = None
) -> Iterator[Row]:
    """Test on one domain at a time: a metric object that the module keeps must not run on over several.

    Args:
        trainer: that fitted the model.
        model: trained.
        data: whose hooks see every batch.
        domain: what to test on.
        folder: of the attempt, where the reading is noted; None: it is not.

    Raises:
        TrialError: nothing is logged.
    """
    if folder is not None:
        signals.note_reading(folder, domain.name if domain.shift == CLEAN else f"{domain.name}/{domain.shift}")
    with _index_given(model, domain.index):
        (logged,) = trainer.test(model, datamodule=OneDomain(data, domain), verbose=False)
    if not logged:
        raise TrialError(
            "the module logs nothing when it is tested",
            where=f"test_step of {type(model).__name__}",
            remedy="log the metrics there: self.log('accuracy', ...)",
        )
    dataset: Any = domain.loader.dataset
    size = len(dataset) if not isinstance(dataset, IterableDataset) and hasattr(dataset, "__len__") else None
    place = {"domain": domain.name, "shift": domain.shift, "n_examples": size}
    if (digest := fingerprint(dataset)) is not None:
        place["eval_hash"] = digest
    for metric, value in logged.items():
        yield {**place, "metric": metric, "value": value}


@contextmanager
def _index_given(model: LightningModule, index: int) -> Iterator[None]:
    """A `test_step` that asks for the index of its loader gets it; Lightning gives none where there is one loader."""
    step = model.test_step
    if "dataloader_idx" not in signature(step).parameters:
        yield
        return
    vars(model)["test_step"] = lambda batch, batch_idx: step(batch, batch_idx, dataloader_idx=index)
    try:
        yield
    finally:
        del vars(model)["test_step"]
