"""The guard of a trial's fit: ends it when training diverges, counts what it saw, starts the order stream."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ablate.errors import Diverged
from ablate.training.streams import seed_globals

CHECK_EVERY = 50  # batches between looks at the losses, which wait for an accelerator; on a CPU each one is looked at


class Guard(Callback):
    """Ends a trial when its loss is no longer a number or too high; starts the order stream when the data are set up.

    Args:
        seed: the trial's seed.
        above: the loss above which training has diverged: the mean of the last 50 batches (of all, where there were
            fewer), looked at after every 50th batch and at the end, whatever the device.

    Attributes:
        batches: training batches seen.
        samples: training examples seen.
        first: the first training batch, as it reached the module.
    """

    def __init__(self, seed: int, above: float | None = None) -> None:
        self.seed, self.above = seed, above
        self.batches = self.samples = 0
        self.first: Any = None
        self._losses: deque[torch.Tensor] = deque(maxlen=CHECK_EVERY)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The split is drawn; what is random from here on (order, dropout) has a stream of its own."""
        if stage == "fit":
            seed_globals(self.seed, "order")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; keep its loss, and look."""
        self.first = batch if self.batches == 0 else self.first
        self.batches += 1
        self.samples += count_examples(batch)
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self._losses.append(loss.detach().mean() if loss.ndim else loss.detach())
            if loss.device.type == "cpu" and not self._losses[-1].isfinite():
                self._look(trainer, pl_module)
        if self.batches % CHECK_EVERY == 0:
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last look; a manual optimisation shows no loss, but its weights tell."""
        self._look(trainer, pl_module)
        for name, parameter in pl_module.named_parameters():
            if not torch.isfinite(parameter).all():
                raise Diverged(f"the parameter {name!r} is not finite after training (diverged)")

    def _look(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._losses:
            return
        losses = torch.stack(tuple(self._losses))
        if not torch.isfinite(losses).all():
            raise Diverged(f"the training loss is not finite by step {trainer.global_step} (diverged)")
        parts = trainer.accumulate_grad_batches if module.automatic_optimization else 1  # Lightning divided by it
        mean = float(losses.mean()) * parts
        if self.above is not None and mean > self.above:
            raise Diverged(
                f"the training loss is {mean:.4g} by step {trainer.global_step}, the mean of {len(losses)} batches; "
                f"the plan calls more than {self.above:g} diverged"
            )


def count_examples(batch: Any) -> int:
    """The examples in a batch: the length of its first tensor, else its own length; 1 where it has none."""
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.ndim else 1
    if isinstance(batch, Mapping) and batch:
        return count_examples(next(iter(batch.values())))
    if isinstance(batch, list | tuple) and batch and not isinstance(batch[0], str | int | float):
        return count_examples(batch[0])
    return len(batch) if hasattr(batch, "__len__") and not isinstance(batch, str) else 1
