"""Results: one contrast in one stratum, domain and target, before and after it is corrected and judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

from ablate.analyses import Target
from ablate.factors import Cell
from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Components
from ablate.stats.nested import NestedComponents
from ablate.stats.pivots import Pivot, Student
from ablate.stats.refusals import NO_MARGIN, Refusal
from ablate.stats.sizes import small_sample_factor

ONE_SIDED = ("noninferiority", "retention")  # families whose p is of one side, and judged at alpha/2


@dataclass(frozen=True)
class Result:
    """What is known about a contrast; `corrections` fill in the adjusted fields, `equivalence` the verdict.

    Attributes:
        contrast, stratum, domain, target: what it is about.
        estimate: the contrast, NaN if a cell has no scores at all.
        components: the variances behind it; None where refused without interval, or where an engine gives none.
        pivot: gives its p-values and intervals; None where refused without interval.
        refusal: why there is no test, or None.
        margin: what it is compared with, or None.
        method, note, trials, n_runs, n_seeds, n_domains: as in `Effects`.
        spread: per cell the variance of its mean over runs, where cells are independent; for max-t.
        unit: what the variance over runs of a single run's score would have to be multiplied by to give the estimate's.
        base: the mean of what it is judged against.
        quantity: what the estimate is: a `difference`, or a word of `effects.QUANTITIES`.
        null: the estimate of no effect.
        words: the verdicts on an estimate clearly above and below that.
        simultaneous: whether interval and p are corrected within the family.
        f_ratio: the F of a test of several contrasts at once.
        ends: an interval that does not come from the pivot.
        loading: of a simple effect, its correlation with the baseline cell: sqrt(n_i / (n_0 + n_i)).
        p, p_equivalence: of this contrast alone; NaN where refused or without margin.
        p_adjusted, p_equivalence_adjusted, level_ci, family_size, correction: after the correction.
        verdict: after judging.
    """

    contrast: Contrast
    stratum: str
    domain: str
    target: Target
    estimate: float
    components: Components | NestedComponents | None
    pivot: Pivot | None
    refusal: Refusal | None
    margin: float | None
    method: str
    note: str = ""
    trials: tuple[str, ...] = ()
    n_runs: int = 0
    n_seeds: int = 0
    n_domains: int = 0
    loading: float = nan
    spread: Mapping[Cell, float] = field(default_factory=dict)
    unit: float = nan
    base: float = nan
    quantity: str = "difference"
    null: float = 0.0
    words: tuple[str, str] = ("better", "worse")
    simultaneous: bool = True
    f_ratio: float = nan
    ends: tuple[float, float] | None = None
    p: float = nan
    p_equivalence: float = nan
    p_adjusted: float = nan
    p_equivalence_adjusted: float = nan
    level_ci: float = nan
    family_size: int = 0
    correction: str = "none"
    verdict: str = ""

    @property
    def family(self) -> tuple[str, str, str]:
        """What is corrected together: the family, within a stratum and a target."""
        return self.contrast.family, self.stratum, self.target

    @property
    def answerable(self) -> bool:
        """Whether the plan alone allows the question; data may still refuse it, and it then counts in its family."""
        return self.contrast.refusal is None and (self.refusal is None or self.refusal.code != NO_MARGIN.code)

    def interval(self) -> tuple[float, float]:
        """The interval at `level_ci`; NaN where there is none."""
        if self.ends is not None:
            return self.ends
        return (nan, nan) if self.pivot is None else self.pivot.interval(self.level_ci)

    def _in_run_deviations(self) -> float:
        """Hedges' g: the estimate over the standard deviation of single runs, corrected for few degrees of freedom."""
        if self.components is None or self.quantity != "difference" or isnan(self.unit):
            return nan
        variance, df = float(self.components.run) / self.unit, float(self.components.df_run)
        return small_sample_factor(df) * self.estimate / variance**0.5 if variance > 0 and df > 1 else nan

    def row(self, metric: str, statistic: float) -> dict[str, Any]:
        """The row of `Effects`."""
        low, high = self.interval()
        student = self.pivot if isinstance(self.pivot, Student) else None
        if student is None and self.components is not None:
            se = float(self.components.variance(self.target)[0]) ** 0.5
        else:
            se = student.se if student else nan
        return {
            "family": self.family[0],
            "stratum": self.stratum,
            "factor": self.contrast.factor,
            "level": self.contrast.level,
            "versus": self.contrast.versus,
            "domain": self.domain,
            "metric": metric,
            "quantity": self.quantity,
            "target": self.target,
            "estimate": self.estimate,
            "percent": 100 * self.estimate / abs(self.base) if self.base and self.quantity == "difference" else nan,
            "g": self._in_run_deviations(),
            "se": se,
            "df": student.df if student else nan,
            "statistic": statistic,
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "low": low,
            "high": high,
            "level_ci": self.level_ci,
            "family_size": self.family_size,
            "correction": self.correction,
            "n_runs": self.n_runs,
            "n_seeds": self.n_seeds,
            "n_domains": self.n_domains,
            "method": self.method,
            "margin": nan if self.margin is None else self.margin,
            "p_equivalence": self.p_equivalence_adjusted,
            "verdict": self.verdict,
            "note": self.note,
            "refusal": "" if self.refusal is None else self.refusal.code,
            "trials": self.trials,
        }
