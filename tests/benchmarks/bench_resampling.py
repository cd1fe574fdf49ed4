"""Resampling beside rliable and deepsig on the same data: agreement first, then processor seconds.

    python -m tests.benchmarks.bench_resampling [PYTHON_WITH_RLIABLE [PYTHON_WITH_DEEPSIG]]

A peer runs in the Python given for it, or is reported as not installed. OMP_NUM_THREADS=1 keeps both to one thread.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np

from ablate.stats.aggregates import interquartile_mean
from ablate.stats.dominance import AlmostStochasticOrder
from ablate.stats.resampling import Resampling

RESAMPLES = 50_000
RLIABLE = """
import json, sys, time
import numpy as np
from rliable import library, metrics
scores = np.load(sys.argv[1])
np.random.seed(0)  # rliable draws from the global generator
begin = time.process_time()
points, intervals = library.get_interval_estimates(
    {str(i): one for i, one in enumerate(scores)}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=int(sys.argv[2])
)
seconds = time.process_time() - begin
keys = sorted(points)
print(json.dumps([seconds, [float(points[k][0]) for k in keys], [intervals[k][:, 0].tolist() for k in keys]]))
"""
DEEPSIG = """
import json, sys, time
import numpy as np
from deepsig import aso
a, b = np.load(sys.argv[1])
begin = time.process_time()
bound = aso(a, b, seed=7, show_progress=False)
print(json.dumps([time.process_time() - begin, float(bound)]))
"""


class Row(NamedTuple):
    """One comparison; the peer's figures are None where it is not installed."""

    name: str
    ours_s: float
    peer_s: float | None
    ratio: float | None
    agreement: str


def bench_iqm(peer_python: str | None = None) -> list[Row]:
    """Interquartile means of 5 algorithms × 10 runs × 26 tasks, 50,000 stratified resamples, percentiles."""
    rng = np.random.default_rng(0)
    scores = rng.gamma(2, 0.5, (5, 10, 26)) * rng.gamma(2, 0.5, 26)
    found, ours = _timed(
        lambda: Resampling("stratified", "percentile", resamples=RESAMPLES)(scores, 0, interquartile_mean)
    )
    peer = _peer(peer_python, RLIABLE, scores, RESAMPLES)
    if peer is None:
        return [Row("IQM, rliable", ours, None, None, "not installed")]
    seconds, points, intervals = peer
    point = np.abs(found.estimate - points).max()
    ends = np.abs(np.array([found.low, found.high]).T - intervals) / found.se[:, None]
    # a quantile at .025 of so many normal draws has a standard error of sqrt(.025 × .975)/density = 2.67 se / sqrt(n)
    allowed = 4 * 2.67 * np.sqrt(2 / RESAMPLES)
    agreement = f"points {point:.0e}, ends within {ends.max():.3f} se (Monte Carlo allows {allowed:.3f})"
    agrees = point < 1e-12 and ends.max() < allowed
    return [Row("IQM, rliable", ours, seconds, seconds / ours, agreement if agrees else f"DIFFERS: {agreement}")]


def bench_aso(peer_python: str | None = None) -> list[Row]:
    """Almost stochastic order of two arms of 30 runs, 1,000 resamples, on deepsig's own draws and grid."""
    rng = np.random.default_rng(0)
    arms = rng.normal([[0.3], [0.0]], 1, (2, 30))
    order = AlmostStochasticOrder(step=0.005)
    _, ours = _timed(lambda: order(*arms, 0))
    peer = _peer(peer_python, DEEPSIG, arms)
    if peer is None:
        return [Row("ASO, deepsig", ours, None, None, "not installed")]
    legacy = [np.random.RandomState(7 + i).uniform(0, 1, 60) for i in range(1, order.resamples + 1)]
    draws = np.array(legacy)
    gap = abs(order.bound(*arms, draws[:, :30], draws[:, 30:]).bound - peer[1])
    agreement = f"bound {gap:.0e} on the same draws"
    return [Row("ASO, deepsig", ours, peer[0], peer[0] / ours, agreement if gap < 1e-12 else f"DIFFERS: {agreement}")]


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the seconds of the better of two calls."""
    seconds = []
    for _ in range(2):
        begin = process_time()
        found = call()
        seconds.append(process_time() - begin)
    return found, min(seconds)


def _peer(python: str | None, script: str, data: np.ndarray, *arguments: object) -> Any:
    """What the script prints in that Python, or None without one."""
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npy"
        np.save(path, data)
        command = [python, "-W", "ignore", "-c", script, str(path), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if "ModuleNotFoundError" in done.stderr:
            return None
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def show(rows: list[Row]) -> None:
    """Print rows, agreement before speed."""
    for row in rows:
        print(f"{row.name}: {row.agreement}")
        if row.peer_s is None or row.ratio is None:
            print(f"  ours {row.ours_s:.3g} s")
        else:
            print(f"  ours {row.ours_s:.3g} s, peer {row.peer_s:.3g} s: {row.ratio:.0f} times as fast")


if __name__ == "__main__":
    pythons = [*sys.argv[1:], *sys.argv[1:2], None, None]
    show(bench_iqm(pythons[0]))
    show(bench_aso(pythons[1]))
