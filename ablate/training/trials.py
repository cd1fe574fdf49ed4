"""One trial: build the parts, seed them, fit, and measure: on validation data to search, on every domain to confirm.

The user's module and data are plain Lightning: metrics are what `test_step` and `validation_step` log, domains are
test dataloaders.
"""

import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from ablate.errors import TrialError
from ablate.training.answers import Examples, Scores
from ablate.training.audits import clean_domains, count_clean, read_contaminated
from ablate.training.costs import (
    Costing,
    PeakMemory,
    count_forward_flops,
    count_once,
    count_parameters,
    count_step_flops,
    measure_latency,
    take_inputs,
)
from ablate.training.curves import AT, Snapshots
from ablate.training.domains import CLEAN, Domain, list_domains
from ablate.training.energies import Meter, find_counters
from ablate.training.evaluations import list_evaluations, measure_energy, measure_size
from ablate.training.evaluators import build_evaluators, evaluate
from ablate.training.guards import Guard, count_examples
from ablate.training.measurements import Row, measure_domain
from ablate.training.parts import build
from ablate.training.rows import record_rows
from ablate.training.seals import seal
from ablate.training.selections import Reporter, check_monitors, keep_checkpoints_home, restore_best
from ablate.training.streams import replace_streams, seed_globals
from ablate.training.validations import keep_apart, lightning_refusing, list_loaders, require_validation, validate

# A trial needs none of these; the config's `trainer` may switch any on.
QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def run_trial(config: DictConfig) -> list[Row]:
    """Train and test one trial.

    Args:
        config: a composed config with `model` (a LightningModule by `_target_`), `data` (a LightningDataModule by
            `_target_`), `seed`, and optionally `trainer` (arguments of Lightning's Trainer), `domains`,
            `diverged_above` (the mean training loss of 50 batches that ends the trial), `streams` (stream -> seed, in
            place of the trial's seed for that stream alone), `contaminated` (domain or domain/shift -> numbers of
            its items that training data repeat; every metric is also given for the rest, as `... (clean part)`),
            `scores` (see `ablate.training.answers`), `curve` (steps or samples at which the weights are kept, to be
            tested after training), `cost` (a second batch size, and prices), `inference` (how the trained module is
            used: see `ablate.training.evaluations`), `evaluations` (several such ways; each row then names its own) and
            `evaluators` (what measures the module by means of its own: see `ablate.training.evaluators`).

    Returns:
        Rows of domain, shift, metric, value, n_examples, eval_hash (the test set's fingerprint); what belongs to the
        whole run has the domain `all`: params, train_seconds (of the fit, validation included), train_steps, epochs,
        samples, train_flops (those of the first training step, by the examples seen), inference_flops (of one
        example), latency, memory, energy where there are counters, money where there are prices, best_step where a
        checkpoint was chosen, and train_rows where the datamodule tells which rows it kept. A metric `...@100` is that
        of the weights kept by `curve`. Values of single examples lie in the attempt's folder, `examples.parquet`.

    Raises:
        Diverged: a loss or a weight is not finite, or the loss is too high.
        TrialError: a part cannot be built, a domain is unknown, nothing was logged, or something is chosen by what
            only the test logs.
    """
    return _confirm(config)


def preflight(config: DictConfig) -> list[Row]:
    """Try a config on one training batch and one test batch per domain; its rows, whose values mean nothing.

    Raises:
        TrialError: as `run_trial`.
    """
    return [row for row in _confirm(config, fast_dev_run=1) if row["domain"] != "all"]


def validate_trial(config: DictConfig) -> list[Row]:
    """Train one trial and measure it on the datamodule's validation data; no test set is set up, made or read.

    Args:
        config: as of `run_trial`; `domains` is not looked at. With `prune`, a metric of validation, that metric is
            told to the driver each time Lightning validates, and the trial ends when the driver says stop.

    Returns:
        Rows of the domain `all`: every metric that validation logs, and the costs of `run_trial`.

    Raises:
        Diverged: as `run_trial`.
        Pruned: the driver said stop.
        TrialError: a part cannot be built, there is no validation data, or validation logs nothing.
    """
    return _search(config)


def preflight_search(config: DictConfig) -> list[Row]:
    """Try a config on one training batch and one validation batch; the rows of `validate_trial`, without meaning.

    That there is a test to be had later is seen from the hooks, without a test set.

    Raises:
        TrialError: as `validate_trial`; or the module or datamodule cannot be tested.
    """
    return _search(config, fast_dev_run=1)


def _confirm(config: DictConfig, **forced: Any) -> list[Row]:
    with _conditions(config):
        fit, scores, examples, snapshots = _Fit(config, forced), Scores.of(config), Examples(), Snapshots.of(config)
        evaluators = build_evaluators(config)
        fit.train(snapshots)
        seed_globals(fit.seed, "split")  # a module that splits in every setup draws the same split again
        fit.data.setup("test")
        domains = list(list_domains(config, fit.data))
        keep_apart(fit.trainer, domains)
        scores.check(domains)
        folder = None if forced else fit.folder
        contaminated = read_contaminated(config.get("contaminated"))
        parts, evaluations = list(clean_domains(domains, contaminated)), list(list_evaluations(config))
        rows = count_clean(domains, contaminated)
        rows += [] if forced else _for_all(fit.measure_costs(domains[0].loader))
        for evaluation in evaluations:
            model, single = evaluation.adapt(fit.model), examples if evaluation is evaluations[0] else None
            own = list(fit.test(model, domains, "", folder, scores, single))
            own += fit.test(model, parts, " (clean part)", None, scores)  # of test sets whose reading is noted
            device, keep = fit.trainer.strategy.root_device, single is not None
            own += evaluate(evaluators, model, device, folder, few=bool(forced), keep=keep)
            own += [] if forced else _for_all(fit.measure_use(model, domains[0].loader))
            rows += [{**row, **evaluation.levels} for row in own]
        for budget in snapshots.visit(fit.model) if snapshots else ():
            for evaluation in evaluations:
                tested = fit.test(evaluation.adapt(fit.model), domains, f"{AT}{budget}", folder, scores)
                rows += [{**row, **evaluation.levels} for row in tested]
        if folder is not None:
            examples.write(folder)
        return rows


def _search(config: DictConfig, **forced: Any) -> list[Row]:
    with _conditions(config), seal():
        fit, _ = _Fit(config, forced), (Scores.of(config), Snapshots.of(config))  # refused before a search is paid for
        require_validation(fit.model, fit.data)
        metric = config.get("prune")
        reporter = Reporter(fit.folder, metric) if metric and fit.folder else None
        fit.train(reporter)
        seed_globals(fit.seed, "split")
        metrics = validate(fit.trainer, fit.model, fit.data)
        if reporter is not None and metric in metrics:
            reporter.tell(metrics[metric], fit.trainer.global_step)
        loader = next(iter(list_loaders(fit.trainer.val_dataloaders)), None)
        return _for_all({**metrics, **fit.measure_costs(loader), **fit.measure_use(fit.model, loader)})


def _for_all(values: Mapping[str, float]) -> list[Row]:
    return [{"domain": "all", "shift": CLEAN, "metric": name, "value": value} for name, value in values.items()]


class _Fit:
    """The parts of a trial, built and seeded, and what training them took."""

    def __init__(self, config: DictConfig, forced: Mapping[str, Any]) -> None:
        if config.get("seed") is None:
            raise TrialError("the config has no seed", where="seed", remedy="add it: `seed: 0`")
        self.memory, self.seed, self.seconds = PeakMemory(), int(config.seed), 0.0
        self.config, self.costing = config, Costing.of(config)
        self.folder = Path(HydraConfig.get().runtime.output_dir) if HydraConfig.initialized() else None
        seed_globals(self.seed, "split")
        self.data: LightningDataModule = build(config, "data", LightningDataModule)
        seed_globals(self.seed, "init")
        self.model: LightningModule = build(config, "model", LightningModule)
        self.guard = Guard(self.seed, config.get("diverged_above"))
        self.trainer = _make_trainer(config, self.guard, self.folder, forced)
        self.best: dict[str, float] = {}
        self.rows: dict[str, float] = {}
        self.energy: dict[str, float] = {}

    def train(self, *watching: Callback | None) -> None:
        """Fit, watched by further callbacks, and put the best checkpoint back where one is chosen."""
        alone = self.trainer.num_nodes == 1  # counters of other machines cannot be read
        strategy: Any = self.trainer.strategy
        devices = getattr(strategy, "parallel_devices", None) or [strategy.root_device]
        meter = Meter(find_counters(devices) if alone else [])
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        callbacks += [callback for callback in (*watching, meter if meter.counters else None) if callback is not None]
        seed_globals(self.seed, "split")  # the datamodule's setup, which Lightning calls first, draws the split
        meter.start()
        start = time.perf_counter()
        with lightning_refusing(self.model):
            try:
                self.trainer.fit(self.model, datamodule=self.data)
            except (RuntimeError, MisconfigurationException) as error:
                if str(error).startswith(("Early stopping conditioned", "`ModelCheckpoint(monitor")):
                    check_monitors(self.trainer)
                raise
        self.seconds, self.energy = time.perf_counter() - start, meter.stop()
        check_monitors(self.trainer)
        self.best = restore_best(self.trainer, self.model)
        self.rows = record_rows(self.data, self.folder)

    def test(
        self,
        model: LightningModule,
        domains: Sequence[Domain],
        suffix: str,
        folder: Path | None,
        scores: Scores,
        examples: Examples | None = None,
    ) -> Iterator[Row]:
        """The rows of a module, trained or made from it, on some domains; their metrics end in the suffix."""
        for domain in domains:
            for row in measure_domain(self.trainer, model, self.data, domain, folder, scores, examples):
                yield {**row, "metric": row["metric"] + suffix}

    def measure_costs(self, loader: "DataLoader[Any] | None") -> dict[str, float]:
        """What the run took; the latency is that of single examples of a loader, on the device that trained."""
        batches = self.trainer.num_training_batches  # of an epoch; infinite where the data do not say
        epochs = self.guard.batches / batches if batches < float("inf") else self.trainer.current_epoch
        device = self.trainer.strategy.root_device
        costs: dict[str, float] = {
            "params": count_parameters(self.model),
            "train_seconds": self.seconds,
            "train_steps": self.trainer.global_step,
            "epochs": float(epochs),
            "samples": self.guard.samples,
            **self.energy,
            **self.best,
            **self.rows,
            **self.memory.read(device),
        }
        self.model.to(device)  # Lightning leaves it on the CPU
        if loader is not None:
            inputs = take_inputs(self.model, loader)
            once = None if inputs is None else count_once(count_forward_flops, self.model, inputs, self.config)
            costs |= {} if once is None else {"inference_flops": once}
        first = move_data_to_device(self.guard.first, device)
        flops, seen = count_once(count_step_flops, self.model, first, self.config), count_examples(first)
        self.model.cpu()
        if flops is not None and seen:  # the last batch of an epoch may be smaller than the first
            costs["train_flops"] = flops * self.guard.samples / seen
        return {**costs, **self.costing.price(costs, self.trainer.num_nodes * self.trainer.num_devices)}

    def measure_use(self, model: LightningModule, loader: "DataLoader[Any] | None") -> dict[str, float]:
        """What it takes to use a module, trained or made from it: its size; latency, energy of examples of a loader."""
        device, batch = self.trainer.strategy.root_device, self.costing.batch or 1
        model.to(device)
        found = measure_latency(model, loader) if loader is not None else {}
        if loader is not None and batch > 1:
            found |= measure_latency(model, loader, batch)
        if found and loader is not None:
            inputs = take_inputs(model, loader, batch)
            found |= measure_energy(model, inputs, batch, Meter(find_counters([device])))
        model.cpu()
        return {**measure_size(model), **found}


def _make_trainer(config: DictConfig, guard: Guard, folder: Path | None, forced: Mapping[str, Any]) -> Trainer:
    settings = build(config, "trainer") if config.get("trainer") else {}
    known = [name for name in signature(Trainer).parameters if name != "self"]
    for key in settings:
        if key not in known:
            raise TrialError(f"Lightning's Trainer has no {key!r}", where="trainer", allowed=known, word=key)
    given = settings.pop("callbacks", None) or ()
    callbacks = [*(given if isinstance(given, list | tuple) else [given]), guard]
    keep_checkpoints_home(callbacks, folder)
    try:
        trainer = Trainer(**{"default_root_dir": folder, **QUIET, **settings, **forced, "callbacks": callbacks})
    except MisconfigurationException as error:
        raise TrialError(f"Lightning refuses these settings: {error}", where="trainer") from error
    if settings.get("limit_val_batches") == 0:
        trainer.limit_val_batches = 0  # a trial run of one batch would switch it on again
    return trainer


@contextmanager
def _conditions(config: DictConfig) -> Iterator[None]:
    """Streams as the config wants them, and no banners, tips or advice: there would be a screenful per trial."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), replace_streams(config.get("streams")):
        for text in (".*does not have many workers", ".*num_workers", r".*`(val|test)_dataloader`", ".*fast_dev_run"):
            warnings.filterwarnings("ignore", text)
        warnings.filterwarnings("ignore", ".*smaller than the logging interval")
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec")
        warnings.filterwarnings("ignore", "Total length of .* across ranks is zero")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
