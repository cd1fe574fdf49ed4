"""Equivalence and non-inferiority against a declared margin, and the verdict on every result.

Both use one-sided tests at alpha/2 (.025), so that for a single test the verdict is what its two-sided interval at
1 - alpha says: equivalent means that the interval lies within the margin. Within a family Holm's p-values decide,
which are sharper than the simultaneous intervals beside them.
"""

from dataclasses import replace
from math import isnan, nan
from typing import Literal

from ablate.stats.pivots import Pivot, Side, Student
from ablate.stats.results import Result

Direction = Literal["maximize", "minimize"]


def tost(pivot: Pivot, margin: float) -> float:
    """The larger p of the two one-sided tests that the truth is above -margin and below +margin (Schuirmann 1987)."""
    return max(pivot.p_value(-margin, "greater"), pivot.p_value(margin, "less"))


def noninferiority(pivot: Pivot, margin: float, direction: Direction) -> float:
    """One-sided p that the truth is worse by the margin or more; small where a smaller loss is shown."""
    against, side = loss_limit(margin, direction)
    return pivot.p_value(against, side)


def loss_limit(margin: float, direction: Direction) -> tuple[float, Side]:
    """The difference that is just too bad, and the side of it that is to be shown."""
    return (-margin, "greater") if direction == "maximize" else (margin, "less")


def compute_p(result: Result, direction: Direction) -> Result:
    """The result with its own p-values, unless it is refused."""
    if result.refusal is not None or result.pivot is None:
        return result
    if result.contrast.family == "noninferiority":
        assert result.margin is not None  # else it was refused (R11)
        return replace(result, p=noninferiority(result.pivot, result.margin, direction))
    p_equivalence = nan if result.margin is None else tost(result.pivot, result.margin)
    return replace(result, p=result.pivot.p_value(), p_equivalence=p_equivalence)


def judge(result: Result, alpha: float, direction: Direction) -> Result:
    """The corrected result with its verdict, from adjusted p-values alone."""
    better = result.estimate > 0 if direction == "maximize" else result.estimate < 0
    if result.refusal is not None:
        return replace(result, verdict="refused", note=join(str(result.refusal), result.note))
    if result.contrast.family == "noninferiority":
        shown = result.p_adjusted < alpha / 2
        low, high = result.interval()
        note = "and better" if shown and better and not low <= 0 <= high else ""
        return replace(result, verdict="non-inferior" if shown else "not shown", note=join(note, result.note))
    differs = result.p_adjusted < alpha
    if not isnan(result.p_equivalence_adjusted) and result.p_equivalence_adjusted < alpha / 2:
        return replace(result, verdict="equivalent", note=join("non-zero" if differs else "", result.note))
    verdict = ("better" if better else "worse") if differs else "undecided"
    return replace(result, verdict=verdict)


def statistic(result: Result, direction: Direction) -> float:
    """t of the test behind the p-value: against zero, or against the margin for non-inferiority; NaN where refused."""
    if result.refusal is not None or not isinstance(result.pivot, Student):
        return nan
    if result.contrast.family == "noninferiority" and result.margin is not None:
        return result.pivot.statistic(loss_limit(result.margin, direction)[0])
    return result.pivot.statistic()


def join(*parts: str) -> str:
    """Parts of a note, the empty ones left out."""
    return "; ".join(part for part in parts if part)
