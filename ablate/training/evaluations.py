"""Evaluations: the levels under which one trained model is measured, each a module made from it.

What is switched after training stands under the config's `inference`: a callable, by `_target_`, that takes the trained
module and gives the one to be tested.
"""

import io
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from omegaconf import DictConfig, OmegaConf

from ablate.errors import TrialError
from ablate.training.energies import Meter
from ablate.training.parts import build

NODE = "inference"
ENERGY_SECONDS = 2.0  # counters tick every few milliseconds


@dataclass(frozen=True)
class Evaluation:
    """One way to use a trained model.

    Attributes:
        levels: evaluation factor -> level; empty where nothing but the trial's own cell is measured.
        config: the trial's config, with this level's `inference`.
    """

    levels: Mapping[str, str]
    config: DictConfig

    def adapt(self, model: LightningModule) -> LightningModule:
        """The module to be tested: made from a copy of the trained one, or, where the config says nothing, itself.

        Raises:
            TrialError: `inference` cannot be built, refuses the module, or gives no module.
        """
        if self.config.get(NODE) is None:
            return model
        change = build(self.config, NODE)
        where = f"{NODE}._target_ = {self.config[NODE].get('_target_')}"
        if not callable(change):
            raise TrialError(f"a {type(change).__name__} cannot be called", where=where, allowed=["module -> module"])
        copied = deepcopy(model).eval()
        copied.trainer = model.trainer  # a copy has none; it knows the checkpoints that were kept
        made = change(copied)
        if not isinstance(made, LightningModule):
            raise TrialError(f"it gave a {type(made).__name__}", where=where, allowed=["a LightningModule"])
        return made


def list_evaluations(config: DictConfig) -> Iterator[Evaluation]:
    """The evaluations of a trial: those that the config's `evaluations` lists, else its own alone.

    Raises:
        TrialError: a level changes what training reads.
    """
    given: Any = OmegaConf.to_container(config, resolve=False)
    for each in given.pop("evaluations", None) or [{"levels": {}, "config": {}}]:
        strange = [key for key in each["config"] if key != NODE]
        if strange:
            levels = ", ".join(f"{key}={level}" for key, level in each["levels"].items())
            remedy = f"put what is switched after training under `{NODE}`, or take it out of the evaluation factors"
            raise TrialError(f"{levels} changes {strange[0]!r}, which training reads", where=NODE, remedy=remedy)
        yield Evaluation(each["levels"], OmegaConf.create({**given, **each["config"]}))


def measure_size(model: torch.nn.Module) -> dict[str, float]:
    """`size_mb`: what a module's weights take when they are stored, in units of 10^6 bytes."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return {"size_mb": buffer.tell() / 1e6}


def measure_energy(model: torch.nn.Module, inputs: Any, examples: int, meter: Meter) -> dict[str, float]:
    """Joules per example of calling a module for two seconds, `use_energy_gpu_j` and `use_energy_cpu_j`.

    Args:
        model: in evaluation mode while it is called.
        inputs: on its device.
        examples: how many the inputs are.
        meter: of the machine's counters.

    Returns:
        Nothing where there is no counter, or the module cannot be called so.
    """
    if not meter.counters:
        return {}
    training, calls = model.training, 0
    model.eval()
    try:
        with torch.inference_mode():
            meter.start()
            start = time.perf_counter()
            while time.perf_counter() - start < ENERGY_SECONDS:
                model(inputs)
                calls += 1
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            spent = meter.stop()
    except Exception:  # noqa: BLE001 - a foreign `forward` may want anything; a trained trial is not lost for it
        return {}
    finally:
        model.train(training)
    return {name.replace("train_", "use_"): joules / (calls * examples) for name, joules in spent.items()}
