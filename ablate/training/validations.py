"""Validation: what a search trial is judged by, measured on the datamodule's validation data and nothing else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import DataLoader

from ablate.errors import TrialError
from ablate.training.domains import Domain
from ablate.training.fingerprints import fingerprint

REMEDY = "return held-out training data from `val_dataloader`, and log metrics in `validation_step`"


def require_validation(model: LightningModule, data: LightningDataModule) -> None:
    """TrialError, before anything trains, unless module and datamodule can validate, and the module can be tested."""
    for part, hooks in ((model, ("validation_step", "test_step")), (data, ("val_dataloader", "test_dataloader"))):
        for hook in hooks:
            if not is_overridden(hook, part):
                raise TrialError(
                    f"tuning needs `{hook}`, which {type(part).__name__} does not have", where=hook, remedy=REMEDY
                )


def validate(trainer: Trainer, model: LightningModule, data: LightningDataModule) -> dict[str, float]:
    """The metrics that validation logs; those of several dataloaders are told apart by Lightning's suffix.

    Raises:
        TrialError: there is no validation data, nothing is logged, or one name is logged for several dataloaders.
    """
    with lightning_refusing(model):
        logged = trainer.validate(model, datamodule=data, verbose=False)
    if not sum(trainer.num_val_batches):
        raise TrialError("the datamodule has no validation data", where=f"{type(data).__name__}.val_dataloader")
    metrics = {name: float(value) for part in logged for name, value in part.items()}
    if not metrics:
        raise TrialError(
            "the module logs nothing when it is validated",
            where=f"validation_step of {type(model).__name__}",
            remedy="log the metrics there: self.log('val_accuracy', ...)",
        )
    return metrics


@contextmanager
def lightning_refusing(model: LightningModule) -> Iterator[None]:
    """What Lightning refuses, as a TrialError that names the module."""
    try:
        yield
    except MisconfigurationException as error:
        twice = "several dataloaders need names of their own: leave `add_dataloader_idx=False` out"
        raise TrialError(
            f"Lightning refuses: {error}",
            where=type(model).__name__,
            remedy=twice if "self.log(" in str(error) else None,
        ) from error


def list_loaders(given: Any) -> list["DataLoader[Any]"]:
    """The dataloaders in what `val_dataloader` returned: one, or a list or mapping of them."""
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, list | tuple):
        return [loader for part in given for loader in list_loaders(part)]
    return [given] if isinstance(given, DataLoader) else []


def keep_apart(trainer: Trainer, domains: list[Domain]) -> None:
    """TrialError where training validates on a test set: whatever is chosen there is chosen by looking at the test.

    The two are the same when they are one object or have one fingerprint.
    """
    for loader in list_loaders(trainer.val_dataloaders):
        digest = fingerprint(loader.dataset)
        for domain in domains:
            tested = domain.loader.dataset
            if tested is loader.dataset or (digest is not None and digest == fingerprint(tested)):
                raise TrialError(
                    f"the validation set is the test set of the domain {domain.name!r}",
                    where="val_dataloader",
                    remedy=f"{REMEDY}; or switch validation off: `trainer.limit_val_batches: 0`",
                )
