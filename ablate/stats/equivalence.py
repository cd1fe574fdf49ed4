"""Equivalence and non-inferiority against a declared margin, and the verdict on every result.

Both use one-sided tests at alpha/2 (.025), so that for a single test the verdict is what its two-sided interval at
1 - alpha says: equivalent means that the interval lies within the margin. Within a family Holm's p-values decide,
which are sharper than the simultaneous intervals beside them.
"""

from dataclasses import replace
from math import isnan, nan
from typing import Literal

from ablate.stats.pivots import Pivot, Side, Student
from ablate.stats.results import ONE_SIDED, Result

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
    """The result with its own p-values, unless it is refused or has them already."""
    if result.refusal is not None or result.pivot is None or not isnan(result.p) or not result.simultaneous:
        return result
    if result.contrast.family == "noninferiority":
        assert result.margin is not None  # else it was refused (R11)
        return replace(result, p=noninferiority(result.pivot, result.margin, direction))
    if result.contrast.family == "retention":  # what is retained less what must be, which is to be shown positive
        return replace(result, p=result.pivot.p_value(result.null, "greater"))
    tested = result.quantity == "difference" and result.margin is not None
    p_equivalence = tost(result.pivot, result.margin) if tested and result.margin is not None else nan
    return replace(result, p=result.pivot.p_value(result.null), p_equivalence=p_equivalence)


def judge(result: Result, alpha: float, direction: Direction) -> Result:
    """The corrected result with its verdict, from adjusted p-values alone; one that has its verdict keeps it."""
    larger = result.estimate > result.null
    better = larger if direction == "maximize" or result.quantity != "difference" else not larger
    if result.refusal is not None:
        return replace(result, verdict="refused", note=join(str(result.refusal), result.note))
    if result.verdict:
        return result
    if result.contrast.family in ONE_SIDED:
        shown = result.p_adjusted < alpha / 2
        low, high = result.interval()
        and_better = shown and better and result.quantity == "difference" and not low <= 0 <= high
        words = (
            ("non-inferior", "not shown") if result.contrast.family == "noninferiority" else ("retained", "not shown")
        )
        return replace(result, verdict=words[not shown], note=join("and better" * and_better, result.note))
    differs = result.p_adjusted < alpha
    if not isnan(result.p_equivalence_adjusted) and result.p_equivalence_adjusted < alpha / 2:
        return replace(result, verdict="equivalent", note=join("non-zero" if differs else "", result.note))
    return replace(result, verdict=result.words[not better] if differs else "undecided")


def statistic(result: Result, direction: Direction) -> float:
    """t (or F) of the test behind the p-value: against no effect, or against the margin; NaN where refused."""
    if result.refusal is not None or not isinstance(result.pivot, Student):
        return result.f_ratio
    if result.contrast.family == "noninferiority" and result.margin is not None:
        return result.pivot.statistic(loss_limit(result.margin, direction)[0])
    return result.pivot.statistic(result.null)


def join(*parts: str) -> str:
    """Parts of a note, the empty ones left out."""
    return "; ".join(part for part in parts if part)
