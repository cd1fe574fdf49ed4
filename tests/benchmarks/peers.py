"""Peers: the stopwatch that both sides are timed with, and other people's tools in a Python or R of their own.

A peer's Python imports this module too, so that one stopwatch serves both sides; it needs numpy and no more.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np

from tests.stats.rscript import run_r

ROOT = Path(__file__).parents[2]
ABSENT = "ModuleNotFoundError", "there is no package called"
FRAME = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from tests.benchmarks.peers import measure
values = np.load(sys.argv[1])
{script}
print(json.dumps(answer))
"""
R_FRAME = """
measure <- function(call, times) {
    seconds <- numeric(times)
    for (i in seq_len(times)) seconds[i] <- sum(system.time(found <<- call())[1:2])
    median(seconds)
}
"""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what is computed, and who the peer is.
        answers: how far the results agree, in words; or `not installed`.
        agree: whether they are the same answer; None without a peer.
        ours: our processor seconds.
        peer: the peer's, or None.
        target: how many times as fast we mean to be; None where nothing is promised.
    """

    name: str
    answers: str
    agree: bool | None
    ours: float
    peer: float | None = None
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as fast; None where the answers differ, as speed does not count then."""
        return self.peer / self.ours if self.peer is not None and self.agree else None


def measure(call: Callable[[], Any], times: int = 5) -> tuple[Any, float]:
    """The last result, and the median processor seconds."""
    seconds = []
    for _ in range(times):
        begin = process_time()
        found = call()
        seconds.append(process_time() - begin)
    return found, median(seconds)


def ask_python(python: str | None, script: str, **values: Any) -> dict[str, Any] | None:
    """What the script puts into `answer` there, given `values` as arrays; None if the Python or a package is absent."""
    if python is None or shutil.which(python) is None:
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "values.npz"
        np.savez(path, **values)
        command = [python, "-c", FRAME.replace("{script}", script), str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        if any(word in done.stderr for word in ABSENT):
            return None
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ask_r(script: str, values: dict[str, Any]) -> dict[str, Any] | None:
    """The same in R, which has a `measure(call, times)` that leaves the result in `found`."""
    if shutil.which("Rscript") is None:
        return None
    try:
        return run_r(R_FRAME + script, values)
    except RuntimeError as error:
        if any(word in str(error) for word in ABSENT):
            return None
        raise


def compare(name: str, ours: float, answer: dict[str, Any] | None, target: float, judge: Callable[..., Any]) -> Row:
    """A row of our seconds and a peer's answer; `judge(answer)` gives whether they agree, and the words."""
    if answer is None:
        return Row(name, "not installed", None, ours, None, target)
    agree, words = judge(answer)
    return Row(name, words, bool(agree), ours, answer["seconds"], target)
