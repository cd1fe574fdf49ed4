"""Small tasks with nuisances: where each cell is best is known, no network, milliseconds."""

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import ablate as ab
from ablate.factors import Trial
from ablate.plans import Plan

BEST = {"raw": -3.0, "clean": -1.0}  # the decimal logarithm of the learning rate that is best
SEARCHED = {"lr": {"low": 1e-5, "high": 1.0, "log": True}}


def make_plan(trials: int = 6, space: Any = SEARCHED, **tuning: Any) -> Plan:
    """A study of two cells, in each of which a learning rate is tuned."""
    declared = {"space": space, "trials": trials, **tuning}
    return ab.plan({"data": ["raw", "clean"]}, metric="accuracy", seeds=2, tuning=declared)


def hill(trial: Trial) -> dict[str, float]:
    """Accuracy falls with the square of the distance from the cell's best learning rate."""
    gap = math.log10(float(trial.settings["lr"])) - BEST[str(trial.cell["data"])]  # type: ignore[arg-type]
    name = "val_accuracy" if trial.phase == "search" else "accuracy"
    return {name: 1 - gap**2 / 10 + 1e-4 * (trial.seed % 7)}


def slow_hill(trial: Trial) -> dict[str, float]:
    """The same after a time that differs from trial to trial, so that trials overtake each other."""
    time.sleep(int(trial.id[:2], 16) / 5000)
    return hill(trial)


def killed_hill(trial: Trial) -> dict[str, float]:
    """The second proposal of every cell kills its process at its first attempt."""
    if trial.proposal == 1 and Path(str(trial.folder)).name == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return hill(trial)


def broken_hill(trial: Trial) -> dict[str, float]:
    """Every third proposal raises, every other third has no finite value; what is left is sound."""
    if trial.phase == "search" and trial.proposal is not None and trial.proposal % 3:
        if trial.proposal % 3 == 1:
            raise ValueError("planted")
        return {"val_accuracy": math.nan}
    return hill(trial)


def stepped_hill(trial: Trial) -> dict[str, float]:
    """The same, told on the way in ten steps of a hundredth of a second."""
    found = hill(trial)
    for step in range(1, 11) if trial.phase == "search" else ():
        time.sleep(0.01)
        trial.report(found["val_accuracy"] - 1 / step, step)
    return found


def two_hills(trial: Trial) -> dict[str, float]:
    """Accuracy as before, and a latency that falls with the learning rate."""
    return {**hill(trial), "latency": -math.log10(float(trial.settings["lr"]))}  # type: ignore[arg-type]
