"""Gates: families that are tested in a declared order, so that the error rate holds over all of them together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ablate.analyses import Analysis
from ablate.stats.results import ONE_SIDED, Result

TRUNCATION = 0.5  # how much of Holm's gain over Bonferroni a family keeps for itself; the rest it may hand on
STEPS = 50  # of the bisection that finds adjusted p-values: exact to 1e-15


def pass_gates(results: Sequence[Result], chain: Sequence[Sequence[int]], analysis: Analysis) -> list[Result]:
    """The results with p-values that allow for the gates, within each stratum and target.

    Serial: a family is tested once every test of the one before has rejected, so that its adjusted p-values are no
    smaller than the largest before it. Parallel: once any has, at the error rate that the accepted ones leave over
    (truncated Holm; Dmitrienko, Tamhane and Wiens 2008, Biometrical Journal 50, 667-677). Claims of equivalence wait
    for the gate of their family too.

    Args:
        results: already corrected within their families, equivalence over all of them.
        chain: the places of each family's results, in the order of the plan.
        analysis: which gates, and alpha.
    """
    passed = list(results)
    if analysis.gatekeeping == "none":
        return passed
    roads: dict[tuple[str, str], list[Sequence[int]]] = {}
    for places in chain:
        roads.setdefault(results[places[0]].family[1:], []).append(places)
    for road in roads.values():
        adjusted = _serial(results, road) if analysis.gatekeeping == "serial" else _parallel(results, road)
        gate = 0.0
        for places, values in zip(road, adjusted, strict=True):
            for i, p in zip(places, values, strict=True):
                r = passed[i]
                halved = 2.0 if r.contrast.family in ONE_SIDED else 1.0
                equivalence = max(r.p_equivalence_adjusted, gate / 2)
                adjusted_p = max(float(p) / halved, r.p_adjusted)  # NaN stays
                passed[i] = replace(r, p_adjusted=adjusted_p, p_equivalence_adjusted=equivalence)
            gate = max(gate, _opens(values, analysis.gatekeeping))
    return passed


def _opens(p: NDArray[np.float64], gatekeeping: str) -> float:
    """The alpha from which on the next family may be tested at all."""
    known = np.nan_to_num(p, nan=1.0)
    return float(known.max() if gatekeeping == "serial" else known.min())


def _two_sided(results: Sequence[Result], places: Sequence[int], *, adjusted: bool) -> NDArray[np.float64]:
    values = [results[i].p_adjusted if adjusted else results[i].p for i in places]
    factor = [2.0 if results[i].contrast.family in ONE_SIDED else 1.0 for i in places]
    return np.minimum(1.0, np.array(values) * factor)


def _serial(results: Sequence[Result], road: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    gate, found = 0.0, []
    for places in road:
        own = np.maximum(_two_sided(results, places, adjusted=True), gate)
        gate = max(gate, _opens(own, "serial"))
        found.append(own)
    return found


def _parallel(results: Sequence[Result], road: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """The smallest alpha at which each test is rejected, by bisection: what is rejected at one alpha is at a larger."""
    raw = [_two_sided(results, places, adjusted=False) for places in road]
    sizes = np.cumsum([len(p) for p in raw])[:-1]
    flat = np.concatenate(raw)
    low, high = np.zeros(len(flat)), np.ones(len(flat))
    for i in range(len(flat)):
        if np.isnan(flat[i]):
            high[i] = np.nan
            continue
        for _ in range(STEPS):
            middle = (low[i] + high[i]) / 2
            if np.concatenate(reject_in_parallel(raw, middle))[i]:
                high[i] = middle
            else:
                low[i] = middle
    return list(np.split(high, sizes))


def reject_in_parallel(families: Sequence[NDArray[np.float64]], alpha: float) -> list[NDArray[np.bool_]]:
    """Which p-values are rejected at alpha, over families in their order; a missing p is not."""
    left, rejected = alpha, []
    for number, p in enumerate(families):
        last = number == len(families) - 1
        done = _truncated_holm(p, left, 1.0 if last else TRUNCATION)
        rejected.append(done)
        accepted = len(p) - int(done.sum())
        if accepted:
            left -= (TRUNCATION + (1 - TRUNCATION) * accepted / len(p)) * left
    return rejected


def _truncated_holm(p: NDArray[np.float64], alpha: float, share: float) -> NDArray[np.bool_]:
    m = len(p)
    order = np.argsort(np.nan_to_num(p, nan=np.inf), kind="stable")
    bounds = alpha * (share / (m - np.arange(m)) + (1 - share) / m)
    below = np.nan_to_num(p[order], nan=np.inf) <= bounds
    passing = np.cumprod(below).astype(bool) if alpha > 0 else np.zeros(m, bool)
    rejected = np.zeros(m, bool)
    rejected[order] = passing
    return rejected
