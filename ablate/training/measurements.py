"""Measurements: a trained model on one domain's test set, as rows; each reading of a test set is noted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import IterableDataset

from ablate import signals
from ablate.errors import TrialError
from ablate.training.answers import Collector, Examples, Scorer, Scores, name_place, score
from ablate.training.domains import Domain
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
    trainer: Trainer,
    model: LightningModule,
    data: LightningDataModule,
    domain: Domain,
    folder: Path | None = None,
    scores: Scores | None = None,
    examples: Examples | None = None,
) -> Iterator[Row]:
    """Test on one domain at a time: a metric object that the module keeps must not run on over several.

    Args:
        trainer: that fitted the model.
        model: trained.
        data: whose hooks see every batch.
        domain: what to test on.
        folder: of the attempt, where the reading is noted; None: it is not.
        scores: what else to score, from the module's answers.
        examples: where values of single examples go.

    Raises:
        TrialError: nothing is logged, or the answers cannot be scored.
    """
    if folder is not None:
        signals.note_reading(folder, name_place(domain))
    scorers = scores.at(name_place(domain)) if scores else []
    tested = OneDomain(data, domain)
    with _index_given(model, domain.index), _attacked(model, tested), _collecting(trainer, scorers) as collector:
        (logged,) = trainer.test(model, datamodule=tested, verbose=False)
    if not logged:
        raise TrialError(
            "the module logs nothing when it is tested",
            where=f"test_step of {type(model).__name__}",
            remedy="log the metrics there: self.log('accuracy', ...)",
        )
    metrics = dict(logged)
    if collector is not None:
        scored, single = score(collector.gather(), scorers, logged)
        metrics |= scored
        if examples is not None:
            examples.add(domain, single)
    dataset: Any = domain.loader.dataset
    size = len(dataset) if not isinstance(dataset, IterableDataset) and hasattr(dataset, "__len__") else None
    place = {"domain": domain.name, "shift": domain.shift, "n_examples": size}
    if (digest := fingerprint(dataset)) is not None:
        place["eval_hash"] = digest
    for metric, value in metrics.items():
        yield {**place, "metric": metric, "value": value}


@contextmanager
def _collecting(trainer: Trainer, scorers: Sequence[Scorer]) -> Iterator[Collector | None]:
    """What the module answers is collected where somebody scores it."""
    if not scorers:
        yield None
        return
    collector, callbacks = Collector(), trainer.callbacks  # type: ignore[attr-defined]  # the stub does not say so
    callbacks.append(collector)
    try:
        yield collector
    finally:
        callbacks.remove(collector)


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


@contextmanager
def _attacked(model: LightningModule, tested: OneDomain) -> Iterator[None]:
    """Every batch is attacked once it is as the module would get it: after the hook that Lightning calls last."""
    if tested.domain.attack is None:
        yield
        return
    attack, hook = tested.domain.attack.begin(model), HOOKS[-1]
    # Lightning calls the datamodule's hook, unless the module alone has one, of which it warns.
    owner = model if is_overridden(hook, model) and not is_overridden(hook, tested) else tested
    original, before = getattr(owner, hook), vars(owner).get(hook)
    vars(owner)[hook] = lambda batch, index: attack(original(batch, index))
    try:
        yield
    finally:
        if before is None:
            del vars(owner)[hook]
        else:
            vars(owner)[hook] = before
