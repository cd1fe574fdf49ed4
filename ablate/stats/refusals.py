"""Refusals: what the statistics decline to answer, as named values with a code, a sentence and a remedy.

A refused effect keeps its estimate (and its interval, where the refusal allows it) but has no p-value and no star.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Refusal:
    """Why a contrast is not tested.

    Attributes:
        code: `R01` ...; the same in every table.
        sentence: what is wrong.
        remedy: what to do about it.
        interval: whether the interval may still be shown.
        detail: which cells, runs or numbers it is about.
    """

    code: str
    sentence: str
    remedy: str
    interval: bool = False
    detail: str = ""

    def about(self, detail: str) -> "Refusal":
        """The same refusal, saying what it is about here."""
        return replace(self, detail=detail)

    def __str__(self) -> str:
        return f"{self.sentence}: {self.detail}" if self.detail else self.sentence


ONE_RUN = Refusal(
    "R01",
    "one run per cell, so a difference cannot be told from run-to-run noise",
    "run at least three seeds of every cell",
)
TWO_RUNS = Refusal(
    "R02",
    "two runs per cell give an interval but no trustworthy test",
    "run at least three seeds of every cell; five make a useful test",
    interval=True,
)
COARSE_TEST = Refusal(
    "R03",
    "the smallest p-value that this permutation test can give is above alpha",
    "run more seeds (six blocks for alpha .05), or use the t test",
)
PSEUDO_REPLICATES = Refusal(
    "R04",
    "several rows of one run in the same domain would be counted as replicates",
    "name the column that tells them apart as `domain` or `shift`, or average them to one score per run and domain",
)
IDENTICAL_RUNS = Refusal(
    "R05",
    "scores are identical across seeds, so there is no run-to-run variance to test against",
    "check that the seed reaches initialisation and data order, and that the factor reaches the model",
)
UNEQUAL_FAILURES = Refusal(
    "R06",
    "trials failed more often in some of the compared cells, so the rest are a selection",
    "mend and rerun the failed trials; give `bounds=(low, high)` of the metric for a worst-case bound",
)
NOT_ESTIMABLE = Refusal(
    "R10",
    "the design cannot tell this contrast from others",
    "run the missing cells, or ask for a family that the design answers",
)
NO_MARGIN = Refusal(
    "R11",
    "no margin was declared",
    "declare the largest loss that still counts as no worse, before looking at results",
)
FEW_DOMAINS = Refusal(
    "R12",
    "fewer than three domain groups say nothing about new domains",
    "measure on at least three domain groups (ten or more make a useful test), or read the rows for these domains",
)
MISSING_DOMAINS = Refusal(
    "R19",
    "runs lack scores that others have, and the closed form needs every run on every domain",
    "evaluate these runs on what is missing, or drop that domain for all of them",
)
