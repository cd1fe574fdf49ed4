"""Small tasks that the tests of the running side share: known truth, no network, milliseconds."""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from ablate.factors import Trial

DOMAINS = ("a", "b", "c", "d")


def surface(trial: Trial) -> list[dict[str, object]]:
    """Accuracy with a planted effect of clean data (+.10) and of the large size (+.02), noise from the seed alone."""
    gain = 0.10 * (trial.cell.get("data") == "clean") + 0.02 * (trial.cell.get("size") == "large")
    rng = random.Random(f"{trial.cell}/{trial.seed}")
    run = rng.gauss(0, 0.004)
    return [
        {"domain": d, "metric": "accuracy", "value": 0.6 + gain + run + rng.gauss(0, 0.004), "n_examples": 100}
        for d in DOMAINS
    ]


def slow_surface(trial: Trial) -> list[dict[str, object]]:
    """The same after a little work."""
    time.sleep(0.1)
    return surface(trial)


def killed_once(trial: Trial) -> list[dict[str, object]]:
    """One trial kills its own process at its first attempt."""
    if trial.cell["data"] == "clean" and trial.seed == 1 and Path(str(trial.folder)).name == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return surface(trial)


def poison(trial: Trial) -> list[dict[str, object]]:
    """One trial kills its process whenever it is tried."""
    if trial.cell["data"] == "clean" and trial.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return surface(trial)


def failing(trial: Trial) -> list[dict[str, object]]:
    """One trial raises, until the environment says that it was mended."""
    if trial.cell["data"] == "clean" and trial.seed == 1 and "MENDED" not in os.environ:
        raise ValueError("a planted failure")
    return surface(trial)


def hanging(trial: Trial) -> list[dict[str, object]]:
    """One trial never ends."""
    if trial.cell["data"] == "clean" and trial.seed == 1:
        time.sleep(1000)
    return surface(trial)


def chatty(trial: Trial) -> list[dict[str, object]]:
    """Prints, from Python and from below it."""
    print("from python", flush=True)
    os.write(2, b"from below\n")
    return surface(trial)


def threads(trial: Trial) -> dict[str, float]:
    """How many numerical threads the worker may use."""
    return {"accuracy": float(os.environ["OMP_NUM_THREADS"])}


def rude(trial: Trial) -> list[dict[str, object]]:
    """Leaves its directory for another and closes what it prints to."""
    print("in", Path.cwd())
    os.chdir("/")
    sys.stdout.close()
    return surface(trial)


class Locked:
    """A task that holds what no other process can have."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, trial: Trial) -> float:
        return 0.5


class Foreign:
    """A task that loads nowhere else."""

    def __call__(self, trial: Trial) -> float:
        return 0.5

    def __reduce__(self) -> tuple[object, ...]:
        return _not_here, ()


def _not_here() -> None:
    raise ImportError("not here")


class Checked:
    """A task with a preflight that knows one level to be broken."""

    def __init__(self, rows: object = None) -> None:
        self.rows = rows

    def __call__(self, trial: Trial) -> object:
        Path(str(trial.folder), "ran").touch()
        return surface(trial)

    def preflight(self, trial: Trial) -> object:
        """Rows as a trial would give them; raises for one level."""
        if trial.cell["data"] == "clean" and self.rows is None:
            raise KeyError("no such column: text")
        return self.rows
