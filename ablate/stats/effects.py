"""Effects: estimates with interval, test and verdict, a row per contrast. Rendering is the report's."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

# column -> meaning; the frame has exactly these, in this order.
COLUMNS: dict[str, str] = {
    "family": "family of contrasts: main, simple, interaction, leave_one_out, step, noninferiority, domain",
    "stratum": "levels of the `across` factors ('' if there are none)",
    "factor": "factor, or factors joined by ' × ', or the name of a declared comparison",
    "level": "the level (or levels) that is judged",
    "versus": "what it is judged against",
    "domain": "'all', or one domain group",
    "metric": "the metric",
    "target": "these_domains (T1) or new_domains (T2)",
    "estimate": "difference as measured, in units of the metric (negative is better where the metric is minimised)",
    "se": "standard error",
    "df": "degrees of freedom",
    "statistic": "t",
    "p": "two-sided p-value (one-sided against the margin for non-inferiority); missing when refused",
    "p_adjusted": "p corrected within the family",
    "low": "lower end of the interval that matches the adjusted p",
    "high": "upper end",
    "level_ci": "confidence level of that interval for one contrast, e.g. .95, or 1 - .05/m",
    "family_size": "number of tests m the family was corrected for",
    "correction": "holm, dunnett or none",
    "n_runs": "independent training runs behind the estimate",
    "n_seeds": "seeds (runs per cell)",
    "n_domains": "domain groups averaged",
    "method": "engine and form, e.g. 'E1 crossed, blocked by seed'",
    "margin": "the plan's margin, or missing",
    "p_equivalence": "adjusted TOST p (larger of the two one-sided), or missing without a margin",
    "verdict": "better, worse, equivalent, undecided, non-inferior, not shown, refused",
    "note": "what to add to the verdict: 'non-zero', the further seeds or domains that would decide it",
    "refusal": "code of the refusal (R01 ...), or ''",
    "trials": "ids of the trials behind the estimate, a tuple",
}


@dataclass(frozen=True, eq=False)
class Effects:
    """The judged contrasts of a study.

    Attributes:
        frame: the columns of `COLUMNS`; a row per contrast, domain and target.
        notes: the sentences every rendering must carry: engine chosen and why, target, refusals with remedies,
            what was left out.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        shown = ["family", "factor", "level", "versus", "domain", "target", "estimate", "low", "high", "p_adjusted"]
        with pd.option_context("display.width", 220, "display.max_columns", None):
            return repr(self.frame[[*shown, "n_runs", "verdict", "note"]])

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, **values: Any) -> "Effects":
        """The rows whose columns have these values: `effects.select(family="main", target="new_domains")`."""
        keep = pd.Series(True, index=self.frame.index)
        for column, value in values.items():
            keep &= self.frame[column] == value
        return Effects(self.frame[keep].reset_index(drop=True), self.notes)
