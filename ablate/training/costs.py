"""What a trial cost: parameters, seconds, operations, latency, memory. Measured or absent, never guessed."""

import time
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.flop_counter import FlopCounterMode

from ablate.training.fingerprints import steady

CALLS, WARM_UP = 100, 20


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


def _ignore(*args: Any, **options: Any) -> None:
    """What a module logs while its operations are counted."""


def measure_latency(model: torch.nn.Module, loader: "DataLoader[Any]") -> dict[str, float]:
    """Milliseconds of one forward pass at batch 1, median and 95th percentile over 100 calls after 20 to warm up.

    Empty where the module cannot be called with the first element of a batch, or the test set is a stream.
    """
    if isinstance(loader.dataset, IterableDataset):
        return {}
    batch = next(iter(DataLoader(loader.dataset, batch_size=1, collate_fn=loader.collate_fn)))
    inputs = batch[0] if isinstance(batch, list | tuple) else batch
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inputs = inputs.to(device) if isinstance(inputs, torch.Tensor) else inputs
    training = model.training
    model.eval()
    times = []
    try:
        with torch.inference_mode():
            for _ in range(WARM_UP + CALLS):
                start = time.perf_counter()
                model(inputs)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - start)
    except Exception:  # noqa: BLE001 - a foreign `forward` may want anything; a trained trial is not lost for it
        return {}
    finally:
        model.train(training)
    p50, p95 = np.percentile(np.array(times[WARM_UP:]) * 1e3, [50, 95])
    return {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95)}


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
