"""What a trial cost: parameters, seconds, operations, latency, memory, money. Measured or absent, never guessed."""

import time
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, IterableDataset, Subset
from torch.utils.flop_counter import FlopCounterMode

from ablate.errors import TrialError
from ablate.training.fingerprints import steady

CALLS, WARM_UP = 100, 20
LEAST, PATIENCE = 20, 2.0  # a slow module is called for so many seconds, but so often at least
JOULES = 3.6e6  # of a kilowatt hour

# Operations counted in this process: of a config without its seed, a module's class and the shapes it was given.
_counted: dict[tuple[Any, ...], int | None] = {}


@dataclass(frozen=True)
class Costing:
    """What to measure and to price beyond what every trial has.

    Attributes:
        batch: examples of a second latency, and of the throughput.
        device_hour: the price of an hour of training on one device.
        kwh: that of a kilowatt hour.
    """

    batch: int | None = None
    device_hour: float | None = None
    kwh: float | None = None

    @classmethod
    def of(cls, config: DictConfig) -> "Costing":
        """That of a config's `cost`: `{batch: 64, prices: {device_hour: 2.5, kwh: 0.3}}`, or parts of it.

        Raises:
            TrialError: an unknown key, or a value that is no such number.
        """
        node = config.get("cost") or OmegaConf.create()
        given: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else {str(node): None}
        prices = given.pop("prices", None) or {}
        for where, keys, known in (
            ("cost", given, ["batch", "prices"]),
            ("cost.prices", prices, [field.name for field in fields(cls)][1:]),
        ):
            for key, value in keys.items():
                if key not in known:
                    raise TrialError(f"unknown key {key!r}", where=where, allowed=known, word=str(key))
                number = type(value) in ((int,) if key == "batch" else (int, float))
                if not number or not (key == "batch") <= value < float("inf"):
                    allowed = ["a whole number from 1" if key == "batch" else "a number from 0"]
                    raise TrialError(f"{key} is {value!r}", where=f"{where}.{key}", allowed=allowed)
        return cls(**given, **prices)

    def price(self, costs: Mapping[str, float], devices: int = 1) -> dict[str, float]:
        """What training cost, in the unit of the prices: `money_device`, `money_energy` and their sum `money`.

        Args:
            costs: `train_seconds`, and `train_energy_..._j` of every counter that was read.
            devices: how many trained.

        Returns:
            What could be measured of what is priced; the sum where that is all of it.
        """
        energy = [value for name, value in costs.items() if name.startswith("train_energy_")]
        found = {}
        if self.device_hour is not None:
            found["money_device"] = self.device_hour * devices * costs["train_seconds"] / 3600
        if self.kwh is not None and energy:
            found["money_energy"] = self.kwh * sum(energy) / JOULES
        priced = [price for price in (self.device_hour, self.kwh) if price is not None]
        return {**found, "money": sum(found.values())} if found and len(found) == len(priced) else found


def count_parameters(model: torch.nn.Module) -> int:
    """Trainable and frozen parameters."""
    return sum(p.numel() for p in model.parameters())


def count_step_flops(model: LightningModule, batch: Any) -> int | None:
    """Floating-point operations of one `training_step` on a batch, forward and backward, as PyTorch counts them.

    Counted are matrix products, convolutions and attention, a multiplication and an addition as two. The step is taken
    by a copy of the module without its trainer, so that weights, gradients, buffers, logged metrics and the global
    generators stay as they are. The copy takes memory and the step takes time: call this once both were read.

    Args:
        model: with automatic optimisation.
        batch: on the module's device, as `training_step` gets it.

    Returns:
        None where nothing was counted: the copy cannot be made or stepped (it optimises by hand or asks its trainer),
        its step gives no loss, or it holds PyTorch's LSTM, GRU or RNN, whose kernels the counter does not see.
    """
    if any(isinstance(part, torch.nn.RNNBase) for part in model.modules()):
        return None
    try:
        with warnings.catch_warnings(), steady(), torch.inference_mode(False), torch.enable_grad():
            warnings.simplefilter("ignore")
            twin = deepcopy(model).train()
            vars(twin).update(log=_ignore, log_dict=_ignore)
            with FlopCounterMode(display=False) as counter:
                given: Any = twin.training_step(deepcopy(batch), 0)
                loss = given["loss"] if isinstance(given, dict) else given
                loss.backward()
    except Exception:  # noqa: BLE001 - a foreign `training_step` may want anything; a trained trial is not lost for it
        return None
    return counter.get_total_flops() or None


def count_forward_flops(model: torch.nn.Module, inputs: Any) -> int | None:
    """Floating-point operations of one call of a module, counted as those of a step are.

    Args:
        model: in evaluation mode while it is called.
        inputs: on the module's device.

    Returns:
        None where the module cannot be called so, holds PyTorch's LSTM, GRU or RNN, or nothing was counted.
    """
    if any(isinstance(part, torch.nn.RNNBase) for part in model.modules()):
        return None
    training = model.training
    model.eval()
    try:
        with warnings.catch_warnings(), steady(), torch.inference_mode(), FlopCounterMode(display=False) as counter:
            warnings.simplefilter("ignore")
            model(inputs)
    except Exception:  # noqa: BLE001 - a foreign `forward` may want anything; a trained trial is not lost for it
        return None
    finally:
        model.train(training)
    return counter.get_total_flops() or None


def count_once(count: Callable[[Any, Any], int | None], model: Any, given: Any, config: DictConfig) -> int | None:
    """What `count` counts of a module and what it is given; in this process once for each cell.

    Operations follow from the config without its seed, the module's class and all shapes, so that a number kept is
    exactly the number counted. Latencies are another matter: copied to other seeds they would pass for evidence.
    """
    described = [(name, _shapes(value)) for name, value in model.state_dict().items()]
    settings: Any = OmegaConf.to_container(config, resolve=False)
    settings.pop("seed", None)
    texts = (repr(described), repr(settings), repr(_shapes(given)), str(_device(model)))
    key = (count.__name__, type(model), *texts)
    if key not in _counted:
        _counted[key] = count(model, given)
    return _counted[key]


def _shapes(given: Any) -> Any:
    """The shapes in a batch; of what is no tensor, the value."""
    if isinstance(given, torch.Tensor):
        return tuple(given.shape), given.dtype
    if isinstance(given, Mapping):
        return {key: _shapes(part) for key, part in given.items()}
    return [_shapes(part) for part in given] if isinstance(given, list | tuple) else given


def _ignore(*args: Any, **options: Any) -> None:
    """What a module logs while its operations are counted."""


def take_inputs(model: torch.nn.Module, loader: "DataLoader[Any]", batch: int = 1) -> Any:
    """The first part of a batch of a loader's first examples, repeated where there are fewer, on the module's device.

    None where the test set is a stream.
    """
    if isinstance(loader.dataset, IterableDataset):
        return None
    size = len(loader.dataset)  # type: ignore[arg-type]  # a map-style dataset
    rows = Subset(loader.dataset, [row % size for row in range(batch)])
    taken = next(iter(DataLoader(rows, batch_size=batch, collate_fn=loader.collate_fn)))
    inputs = taken[0] if isinstance(taken, list | tuple) else taken
    return inputs.to(_device(model)) if isinstance(inputs, torch.Tensor) else inputs


def measure_latency(model: torch.nn.Module, loader: "DataLoader[Any]", batch: int = 1) -> dict[str, float]:
    """Milliseconds of one forward pass, median and 95th percentile over 100 calls after 20 to warm up.

    A slow module is called less often: it is warm after half a second, then called for 2 seconds, 20 times at least.

    Args:
        model: is called with the first part of a batch, on its device, in evaluation mode.
        loader: whose first examples are taken.
        batch: how many at once. For more than one, names end in `_at_<batch>`, and `throughput_at_<batch>` is the
            examples per second over all these calls.

    Returns:
        Nothing where the module cannot be called so, or the test set is a stream.
    """
    inputs = take_inputs(model, loader, batch)
    times = _time_calls(model, inputs) if inputs is not None else []
    if not times:
        return {}
    p50, p95 = np.percentile(np.array(times) * 1e3, [50, 95])
    end = "" if batch == 1 else f"_at_{batch}"
    found = {f"latency_p50_ms{end}": float(p50), f"latency_p95_ms{end}": float(p95)}
    return found if batch == 1 else {**found, f"throughput{end}": batch * len(times) / sum(times)}


def _time_calls(model: torch.nn.Module, inputs: Any) -> list[float]:
    """Seconds of each call, those to warm up left out; empty where the module cannot be called."""
    device, training = _device(model), model.training
    model.eval()
    warm: list[float] = []
    times: list[float] = []
    try:
        with torch.inference_mode():
            while len(times) < CALLS and (len(times) < LEAST or sum(times) < PATIENCE):
                start = time.perf_counter()
                model(inputs)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                enough = len(warm) >= WARM_UP or sum(warm) > PATIENCE / 4
                (times if enough else warm).append(time.perf_counter() - start)
    except Exception:  # noqa: BLE001 - a foreign `forward` may want anything; a trained trial is not lost for it
        return []
    finally:
        model.train(training)
    return times


def _device(model: torch.nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


class PeakMemory:
    """The peak memory of a trial, in MB: allocated on the GPU where one is used, else resident in the process.

    Warm processes run many trials, so the kernel's high-water mark is reset at the start; where that is not
    allowed the peak is absent.
    """

    def __init__(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self.resettable = True
        except OSError:
            self.resettable = False

    def read(self, device: torch.device) -> dict[str, float]:
        """`peak_memory_mb` since the start."""
        if device.type == "cuda":
            return {"peak_memory_mb": torch.cuda.max_memory_allocated(device) / 2**20}
        if not self.resettable:
            return {}
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return {"peak_memory_mb": peak / 2**10}
