"""Resampling beside rliable and deepsig, on the same data."""

from typing import Any

import numpy as np

from ablate.stats.aggregates import interquartile_mean
from ablate.stats.dominance import AlmostStochasticOrder
from ablate.stats.resampling import Resampling
from tests.benchmarks.peers import Row, ask_python, compare, measure

RLIABLE = """
from rliable import library, metrics
np.random.seed(0)  # rliable draws from the global generator
scores = {str(i): one for i, one in enumerate(values["scores"])}
(points, ends), seconds = measure(lambda: library.get_interval_estimates(
    scores, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=int(values["resamples"])), 1)
answer = {"seconds": seconds, "points": [float(points[k][0]) for k in scores],
          "ends": [ends[k][:, 0].tolist() for k in scores]}
"""
DEEPSIG = """
from deepsig import aso
bound, seconds = measure(lambda: aso(*values["arms"], seed=7, show_progress=False), int(values["times"]))
answer = {"seconds": seconds, "bound": float(bound)}
"""


def bench_iqm(python: str | None = None, resamples: int = 50_000, times: int = 3) -> Row:
    """Interquartile means of 5 algorithms × 10 runs × 26 tasks, stratified resamples, percentiles."""
    rng = np.random.default_rng(0)
    scores = rng.gamma(2, 0.5, (5, 10, 26)) * rng.gamma(2, 0.5, 26)
    how = Resampling("stratified", "percentile", resamples=resamples)
    found, ours = measure(lambda: how(scores, 0, interquartile_mean), times)

    def judge(answer: dict[str, Any]) -> tuple[bool, str]:
        points = np.abs(found.estimate - answer["points"]).max()
        ends = (np.abs(np.array([found.low, found.high]).T - answer["ends"]) / found.se[:, None]).max()
        # a quantile at .025 of n normal draws has a standard error of sqrt(.025 × .975)/density = 2.67 se / sqrt(n)
        allowed = 4 * 2.67 * np.sqrt(2 / resamples)
        words = f"points {points:.0e}, ends within {ends:.3f} se (Monte Carlo error allows {allowed:.3f})"
        return points < 1e-12 and ends < allowed, words

    name = f"IQM, {resamples:,} resamples: rliable"
    return compare(name, ours, ask_python(python, RLIABLE, scores=scores, resamples=resamples), 25, judge)


def bench_aso(python: str | None = None, times: int = 5) -> Row:
    """Almost stochastic order of two arms of 30 runs, 1,000 resamples, compared on deepsig's own draws and grid."""
    arms = np.random.default_rng(0).normal([[0.6], [0.0]], 1, (2, 30))  # a bound within (0, 1)
    order = AlmostStochasticOrder(step=0.005)
    _, ours = measure(lambda: order(*arms, 0), times)

    def judge(answer: dict[str, Any]) -> tuple[bool, str]:
        draws = np.array([np.random.RandomState(7 + i).uniform(0, 1, 60) for i in range(1, order.resamples + 1)])
        bound = order.bound(*arms, draws[:, :30], draws[:, 30:]).bound
        gap = abs(bound - answer["bound"])
        return gap < 1e-12 and 0 < bound < 1, f"bound {bound:.12f} on deepsig's draws: {gap:.0e}"

    answer = ask_python(python, DEEPSIG, arms=arms, times=min(times, 3))
    return compare("ASO, 30 runs a side: deepsig", ours, answer, 100, judge)
