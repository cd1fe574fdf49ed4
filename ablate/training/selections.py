"""Selection inside one trial, on validation data only: early stopping, the best checkpoint, the report to a pruner."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from ablate import signals
from ablate.errors import Diverged, Pruned, TrialError


class Reporter(Callback):
    """Tells the driver a validation metric each time Lightning has validated; ends the trial when it says stop.

    Args:
        folder: of the trial's attempt.
        metric: as `validation_step` logs it.
    """

    def __init__(self, folder: Path, metric: str) -> None:
        self.folder, self.metric = folder, metric
        self._last = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the value at this optimiser step; steps rise.

        Raises:
            Diverged: the value is not finite.
            Pruned: the driver has said stop.
            TrialError: validation does not log the metric.
        """
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if self.metric not in trainer.callback_metrics:
            raise TrialError(
                f"validation does not log {self.metric!r}",
                where=f"validation_step of {type(pl_module).__name__}",
                allowed=sorted(trainer.callback_metrics),
                word=self.metric,
            )
        self.tell(float(trainer.callback_metrics[self.metric]), trainer.global_step)
        if signals.stopped(self.folder):
            raise Pruned(f"stopped at step {trainer.global_step}: {self.metric} promised less than other settings")

    def tell(self, value: float, step: int) -> None:
        """Tell a value, unless one of this step is told."""
        if not torch.isfinite(torch.tensor(value)):
            raise Diverged(f"{self.metric} is {value} at step {step} (diverged)")
        if step > self._last:
            signals.tell(self.folder, value, step)
            self._last = step


def check_monitors(trainer: Trainer) -> None:
    """See that what stops training or picks a checkpoint was logged while fitting, where no test set is.

    Raises:
        TrialError: a callback monitors what neither training nor validation has logged; lists what they have.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # the trainer has them, its stub does not say so
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor not in trainer.callback_metrics:
            raise TrialError(
                f"{type(callback).__name__} monitors {monitor!r}, which neither training nor validation logs",
                where="trainer.callbacks",
                allowed=sorted(trainer.callback_metrics),
                remedy="monitor one of these: stopping and checkpoints are chosen before any test set is read",
                word=monitor,
            )


def keep_checkpoints_home(callbacks: list[Any], folder: Path | None) -> None:
    """See that at most one callback picks a checkpoint, by weights alone, in the trial's own folder.

    Raises:
        TrialError: there are several, or one that writes elsewhere, where trials would overwrite each other's.
    """
    chosen = [c for c in callbacks if isinstance(c, ModelCheckpoint) and c.monitor is not None]
    if len(chosen) > 1:
        raise TrialError(f"{len(chosen)} callbacks pick a checkpoint", where="trainer.callbacks", allowed=["one"])
    for callback in chosen:
        callback.save_weights_only = True
        home = folder.resolve() if folder else None
        if callback.dirpath is not None and home and not Path(callback.dirpath).resolve().is_relative_to(home):
            raise TrialError(
                f"checkpoints go to {callback.dirpath}",
                where="trainer.callbacks: dirpath",
                remedy="leave `dirpath` out: they lie in the trial's own folder",
            )


def restore_best(trainer: Trainer, model: LightningModule) -> dict[str, float]:
    """Put the weights of the best checkpoint back, where a callback monitors a metric; `best_step` says which.

    Raises:
        TrialError: no checkpoint was saved, or it holds more than weights and plain values.
    """
    chosen = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor is not None]
    if not chosen or trainer.fast_dev_run:  # type: ignore[attr-defined]  # set in a helper of the constructor
        return {}
    path = chosen[0].best_model_path
    if not path:
        raise TrialError(
            "no checkpoint was saved",
            where="trainer.callbacks",
            remedy="let ModelCheckpoint save once at least: see its `every_n_epochs`, `every_n_train_steps`",
        )
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise TrialError(
            "the best checkpoint holds objects, and objects are not unpickled",
            where=f"save_hyperparameters of {type(model).__name__}",
            remedy="save plain values only: self.save_hyperparameters(ignore=[...])",
        ) from error
    model.load_state_dict(saved["state_dict"])
    return {"best_step": float(saved["global_step"])}
