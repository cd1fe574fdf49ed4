"""What a trial cost: parameters, latency per example, peak memory. What cannot be measured gives no row."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ablate.training.domains import inputs_of

WARMUP, REPEATS, SECONDS = 5, 50, 0.2  # calls before, calls measured, and the time after which fewer will do
MEGABYTE = 1e6


def parameters(model: Any) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def latency(model: Any, batch: Any) -> dict[str, float]:
    """Median and 95th percentile of the seconds that one example takes, as `latency_p50_ms` and `latency_p95_ms`.

    The first example of the batch passes through `forward` in evaluation mode, alone, again and again. Empty for a
    module that has no `forward`, or whose `forward` does not take the batch's inputs as its one argument.
    """
    import numpy as np
    import torch
    from lightning.pytorch import LightningModule

    if type(model).forward in (LightningModule.forward, torch.nn.Module.forward):
        return {}
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            example = model.transfer_batch_to_device(_first(_inputs(batch)), model.device, 0)
            seconds = _time(lambda: model(example), model.device)
    except Exception as error:  # noqa: BLE001 - a cost that cannot be measured must not lose a trained model's scores
        warnings.warn(f"no latency: forward(inputs) raised {type(error).__name__}: {error}", stacklevel=2)
        return {}
    finally:
        model.train(training)
    p50, p95 = np.percentile(seconds, [50, 95]) * 1e3
    return {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95)}


def _inputs(batch: Any) -> Any:
    return batch if isinstance(batch, dict) else inputs_of(batch)


def _first(inputs: Any) -> Any:
    """A batch of one: the first example of everything in the inputs."""
    if isinstance(inputs, dict):
        return {key: _first(value) for key, value in inputs.items()}
    return inputs[:1]


def _time(call: Callable[[], object], device: Any) -> list[float]:
    import torch

    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for _ in range(WARMUP):
        call()
    finish()
    seconds: list[float] = []
    while len(seconds) < REPEATS and (sum(seconds) < SECONDS or len(seconds) < 3):
        start = time.perf_counter()
        call()
        finish()
        seconds.append(time.perf_counter() - start)
    return seconds


@contextlib.contextmanager
def peak_memory() -> Iterator[Callable[[], dict[str, float]]]:
    """Gives a function for the peak since entry, as `peak_memory_mb` (10^6 bytes); empty where it is unknown.

    On a GPU it is what torch allocated there. Otherwise it is the resident memory of the whole process, libraries
    included, which Linux alone lets a process measure anew.
    """
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5: forget the peak (proc(5))
        yield _gpu_peak if torch.cuda.is_available() else _resident_peak
        return
    yield _gpu_peak if torch.cuda.is_available() else dict


def _gpu_peak() -> dict[str, float]:
    import torch

    return {"peak_memory_mb": torch.cuda.max_memory_allocated() / MEGABYTE}


def _resident_peak() -> dict[str, float]:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return {"peak_memory_mb": int(line.split()[1]) * 1024 / MEGABYTE}
    return {}
