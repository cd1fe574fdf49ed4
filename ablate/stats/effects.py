"""Effects: estimates with interval, test and verdict, a row per contrast. Rendering is the report's."""

from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ablate.analyses import Family, Target

# What an estimate is: its name -> its meaning and scale.
QUANTITIES: dict[str, str] = {
    "difference": "in units of the metric; no effect is 0",
    "probability": "that a run of the level scores above one of the other; no effect is .5",
    "share": "a fraction of the total gain, or of another gain; 1 is all of it",
    "sd": "a standard deviation between domains, in units of the metric",
    "ratio": "of two costs or budgets; no effect is 1",
    "score": "in units of the metric",
    "F": "a test statistic of several contrasts at once",
}

# column -> meaning; the frame has exactly these, in this order.
COLUMNS: dict[str, str] = {
    "family": "family of questions, as `ablate.analyses.Family` names them",
    "stratum": "levels of the `across` factors ('' if there are none)",
    "factor": "factor, or factors joined by ' × ', or the name of a declared comparison",
    "level": "the level (or levels) that is judged",
    "versus": "what it is judged against",
    "domain": "'all', or one domain group",
    "metric": "the metric",
    "quantity": "what the estimate is, one of `QUANTITIES`: a difference unless said otherwise",
    "target": "these_domains (T1), new_domains (T2), or new_items (these trained models, other examples)",
    "estimate": "difference as measured, in units of the metric (negative is better where the metric is minimised)",
    "percent": "the difference in per cent of what it is judged against, where that is not zero",
    "g": "the difference in standard deviations of single runs (Hedges), where runs gave their own",
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
    "verdict": "better, worse, equivalent, undecided, non-inferior, retained, not shown, refused; differs, varies, "
    "cheaper, costlier; best, may be best, no better (than the best other); described, where nothing is tested",
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
        target: whose verdicts are primary.
        alpha: the error rate they are corrected for.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = field(default=())
    target: Target = "these_domains"
    alpha: float = 0.05

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
        return replace(self, frame=self.frame[keep].reset_index(drop=True))

    def without(self, family: Family) -> "Effects":
        """All rows but those of a family."""
        return replace(self, frame=self.frame[self.frame["family"] != family].reset_index(drop=True))
