"""Curves: how good a trial is after so many steps or samples; weights are kept on the way and tested afterwards.

No test set is opened while training goes on, and nothing is chosen by a curve.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf

from ablate.errors import TrialError
from ablate.training.guards import count_examples

AT = "@"  # `accuracy@100` is the accuracy after 100 of the budget, as the statistics of efficiency read it
UNITS = ("steps", "samples")


class Snapshots(Callback):
    """Keeps the weights that a module has when it has spent so much of a budget.

    Args:
        budgets: whole numbers from 1.
        unit: `steps` of the optimiser, or `samples` that training saw.

    Attributes:
        kept: budget -> state of the module after the first batch by which it was spent, on the CPU; those that the
            training does not reach are not there.
    """

    def __init__(self, budgets: Sequence[int], unit: str) -> None:
        self.budgets, self.unit = sorted(set(budgets)), unit
        self.kept: dict[int, dict[str, Any]] = {}
        self._samples = 0

    @classmethod
    def of(cls, config: DictConfig) -> "Snapshots | None":
        """Those of a config's `curve`: `{steps: [...]}` or `{samples: [...]}`; None where it has none.

        Raises:
            TrialError: it is of another form.
        """
        node = config.get("curve")
        if not node:
            return None
        curve = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else {}
        (unit, budgets), *others = curve.items() if isinstance(curve, dict) and curve else [("", ())]
        whole = isinstance(budgets, list) and all(type(b) is int and b > 0 for b in budgets)
        if others or unit not in UNITS or not whole or not budgets:
            allowed = [f"{{{name}: [100, 1000]}}" for name in UNITS]
            raise TrialError(f"curve is {curve or node}", where="curve", allowed=allowed)
        return cls(budgets, str(unit))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the weights where a budget is spent."""
        self._samples += count_examples(batch)
        spent = trainer.global_step if self.unit == "steps" else self._samples
        due = [budget for budget in self.budgets if budget <= spent and budget not in self.kept]
        if due:
            self.kept |= dict.fromkeys(due, _copy(pl_module))

    def visit(self, model: LightningModule) -> Iterator[int]:
        """Every budget that was spent, while the module has its weights; afterwards it has its own again."""
        with _weights_kept(model):
            for budget in sorted(self.kept):
                model.load_state_dict(self.kept[budget])
                yield budget


@contextmanager
def _weights_kept(model: LightningModule) -> Iterator[None]:
    state = _copy(model)
    try:
        yield
    finally:
        model.load_state_dict(state)


def _copy(model: LightningModule) -> dict[str, Any]:
    """The state of a module, on the CPU; what is no tensor in it is copied as it is."""
    return {
        name: value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else deepcopy(value)
        for name, value in model.state_dict().items()
    }
