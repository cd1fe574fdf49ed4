"""One trial: build the parts, seed them, fit, test on every domain and shift, measure the cost.

The user's module and data are plain Lightning: metrics are what `test_step` logs, domains are test dataloaders.
"""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig
from torch.utils.data import IterableDataset

from ablate.errors import TrialError
from ablate.training.costs import PeakMemory, count_parameters, measure_latency
from ablate.training.domains import CLEAN, Domain, list_domains
from ablate.training.parts import build
from ablate.training.streams import seed_globals

Row = dict[str, Any]

# A trial needs none of these; the config's `trainer` may switch any on.
QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
CHECK_EVERY = 50  # steps between looks at the loss on an accelerator, where a look waits for the device
HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Guard(Callback):
    """Ends a trial when its loss is no longer a number; starts the order stream when the data are set up."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._sum: torch.Tensor | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The split is drawn; what is random from here on (order, dropout) has a stream of its own."""
        if stage == "fit":
            seed_globals(self.seed, "order")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss up, and look at the sum: a NaN stays in it."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self._sum = loss.detach() if self._sum is None else self._sum + loss.detach()
        if pl_module.device.type == "cpu" or trainer.global_step % CHECK_EVERY == 0:
            self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last look; a manual optimisation shows no loss, but its weights tell."""
        self._look(trainer)
        for name, parameter in pl_module.named_parameters():
            if not torch.isfinite(parameter).all():
                raise TrialError(f"the parameter {name!r} is not finite after training (diverged)")

    def _look(self, trainer: Trainer) -> None:
        if self._sum is not None and not torch.isfinite(self._sum).all():
            raise TrialError(f"the training loss is not finite by step {trainer.global_step} (diverged)")


def run_trial(config: DictConfig) -> list[Row]:
    """Train and test one trial.

    Args:
        config: a composed config with `model` (a LightningModule by `_target_`), `data` (a LightningDataModule by
            `_target_`), `seed`, and optionally `trainer` (arguments of Lightning's Trainer) and `domains`.

    Returns:
        Rows of domain, shift, metric, value, n_examples; what belongs to the whole run (params, train_seconds,
        train_steps, latency, memory) has the domain `all`.

    Raises:
        TrialError: a part cannot be built, a domain is unknown, nothing was logged, or the loss diverged.
    """
    with _quiet():
        memory = PeakMemory()
        model, data, trainer = _fit(config)
        seed_globals(int(config.seed), "split")  # a module that splits in every setup draws the same split again
        data.setup("test")
        domains = list(list_domains(config, data))
        rows = [row for domain in domains for row in _test(trainer, model, data, domain)]
        cost = {
            "params": count_parameters(model),
            "train_seconds": trainer.train_seconds,
            "train_steps": trainer.global_step,
            **measure_latency(model, domains[0].loader),
            **memory.read(model.device),
        }
    return rows + [{"domain": "all", "shift": CLEAN, "metric": name, "value": value} for name, value in cost.items()]


def preflight(config: DictConfig) -> list[Row]:
    """Try a config on one training batch and one test batch per domain; its rows, whose values mean nothing.

    Raises:
        TrialError: as `run_trial`.
    """
    with _quiet():
        model, data, trainer = _fit(config, fast_dev_run=1)
        seed_globals(int(config.seed), "split")  # a module that splits in every setup draws the same split again
        data.setup("test")
        return [row for domain in list_domains(config, data) for row in _test(trainer, model, data, domain)]


class TimedTrainer(Trainer):
    """Lightning's Trainer, with the seconds that fitting took."""

    train_seconds: float = 0.0


def _fit(config: DictConfig, **forced: Any) -> tuple[LightningModule, LightningDataModule, TimedTrainer]:
    if config.get("seed") is None:
        raise TrialError("the config has no seed", where="seed", remedy="add it: `seed: 0`")
    seed = int(config.seed)
    seed_globals(seed, "split")
    data = build(config, "data", LightningDataModule)
    seed_globals(seed, "init")
    model = build(config, "model", LightningModule)
    trainer = _make_trainer(config, seed, forced)
    seed_globals(seed, "split")  # the datamodule's setup, which Lightning calls first, draws the split
    start = time.perf_counter()
    trainer.fit(model, datamodule=data)
    trainer.train_seconds = time.perf_counter() - start
    return model, data, trainer


def _make_trainer(config: DictConfig, seed: int, forced: dict[str, Any]) -> TimedTrainer:
    settings = build(config, "trainer") if config.get("trainer") else {}
    known = [name for name in signature(Trainer).parameters if name != "self"]
    for key in settings:
        if key not in known:
            raise TrialError(f"Lightning's Trainer has no {key!r}", where="trainer", allowed=known, word=key)
    given = settings.pop("callbacks", None) or ()
    callbacks = [*(given if isinstance(given, list | tuple) else [given]), Guard(seed)]
    root = HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else None
    return TimedTrainer(**{"default_root_dir": root, **QUIET, **settings, **forced, "callbacks": callbacks})


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


def _test(trainer: Trainer, model: LightningModule, data: LightningDataModule, domain: Domain) -> Iterator[Row]:
    """Test on one domain at a time: a metric object that the module keeps must not run on over several."""
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
    for metric, value in logged.items():
        yield {"domain": domain.name, "shift": domain.shift, "metric": metric, "value": value, "n_examples": size}


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
def _quiet() -> Iterator[None]:
    """No banners, tips or advice on loaders: there would be a screenful per trial."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for text in (".*does not have many workers", ".*num_workers", r".*`(val|test)_dataloader`", ".*fast_dev_run"):
            warnings.filterwarnings("ignore", text)
        warnings.filterwarnings("ignore", ".*smaller than the logging interval")
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
