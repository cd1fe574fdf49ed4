"""Energy: what counters in the machine say that training took, in joules; where there is no counter, there is none.

A counter sees a whole device: run one trial at a time on what is measured. NVML counts since the driver was loaded
(Volta and later; extra `energy`); RAPL counts a processor's packages in files that only root reads on most systems.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

POWERCAP = Path("/sys/class/powercap")
PAUSE = 5.0  # seconds between looks
MOST_WATTS = 2000.0  # of one package: a counter that could have run round at this power is not believed


@dataclass(frozen=True)
class Counter:
    """A counter of energy.

    Attributes:
        name: of what is counted: `gpu` or `cpu`.
        read: joules since some time.
        span: the joules after which it begins at 0 again; None: it never does.
    """

    name: str
    read: Callable[[], float]
    span: float | None = None


class Meter(Callback):
    """Adds up what counters count from `start` to `stop`; it looks while training, so that none runs round unseen.

    Args:
        counters: to look at; those that cannot be read any more are left out.
        clock: seconds.
    """

    def __init__(self, counters: list[Counter], clock: Callable[[], float] = time.monotonic) -> None:
        self.counters, self.clock = counters, clock
        self._last: list[float] = []
        self._spent: list[float | None] = []
        self._looked = 0.0

    def start(self) -> None:
        """Begin at nothing."""
        self._last, self._spent, self._looked = [], [], self.clock()
        for counter in self.counters:
            try:
                self._last.append(counter.read())
                self._spent.append(0.0)
            except Exception:  # noqa: BLE001 - a driver may raise anything; the energy is then not known
                self._last.append(0.0)
                self._spent.append(None)

    def look(self) -> None:
        """Add what was counted since the last look."""
        now = self.clock()
        gap, self._looked = now - self._looked, now
        for place, counter in enumerate(self.counters):
            self._spent[place] = self._add(place, counter, gap)

    def stop(self) -> dict[str, float]:
        """`train_energy_gpu_j` and `train_energy_cpu_j`, where all counters of the kind were read."""
        self.look()
        found: dict[str, float] = {}
        for name in sorted({counter.name for counter in self.counters}):
            parts = [s for c, s in zip(self.counters, self._spent, strict=True) if c.name == name]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts):
                found[f"train_energy_{name}_j"] = sum(known)
        return found

    def on_train_batch_end(self, *args: Any) -> None:
        """Look, where it is time."""
        if self.clock() - self._looked >= PAUSE:
            self.look()

    def on_validation_batch_end(self, *args: Any) -> None:
        """Look, where it is time."""
        self.on_train_batch_end()

    def _add(self, place: int, counter: Counter, gap: float) -> float | None:
        spent = self._spent[place]
        if spent is None or (counter.span is not None and gap * MOST_WATTS >= counter.span):
            return None
        try:
            value = counter.read()
        except Exception:  # noqa: BLE001 - as above
            return None
        step, self._last[place] = value - self._last[place], value
        if step < 0:
            if counter.span is None:
                return None
            step += counter.span
        return spent + step


def find_counters(devices: Sequence[torch.device], powercap: Path = POWERCAP) -> list[Counter]:
    """The counters of what trains: of its GPUs, and of the processor's packages.

    Args:
        devices: of the trial; where one of several GPUs has no counter, none is counted.
        powercap: the kernel's folder of RAPL counters.
    """
    found = [list(_find_gpu(device)) for device in devices]
    return [*(counter for each in found for counter in each if all(found)), *_find_packages(powercap)]


def _find_packages(powercap: Path) -> Iterator[Counter]:
    """RAPL's packages; cores and memory controllers are parts of one, and the platform holds them all."""
    for folder in sorted(powercap.glob("*-rapl:*")):
        try:
            if not (folder / "name").read_text(encoding="ascii").startswith("package"):
                continue
            span = _read_joules(folder / "max_energy_range_uj")
            _read_joules(folder / "energy_uj")
        except (OSError, ValueError):
            continue
        yield Counter("cpu", lambda file=folder / "energy_uj": _read_joules(file), span)  # type: ignore[misc]


def _read_joules(file: Path) -> float:
    return int(file.read_text(encoding="ascii")) / 1e6


def _find_gpu(device: torch.device) -> Iterator[Counter]:
    if device.type != "cuda":
        return
    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # noqa: BLE001 - not installed, no driver, a card without the counter: there is no energy then
        return
    yield Counter("gpu", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)
