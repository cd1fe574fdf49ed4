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
        interval: whether the interval may still be shown (with R14 the test stands too: the code is its flag).
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
    "runs have identical scores, so that they are no runs of their own and there is no variance to test against",
    "check that the seed reaches initialisation and data order, that the factor reaches the model, and that no log "
    "was copied",
)
UNEQUAL_FAILURES = Refusal(
    "R06",
    "trials failed more often in some of the compared cells, so the rest are a selection",
    "mend and rerun the failed trials; give `bounds=(low, high)` of the metric for a worst-case bound",
)
SELECTED = Refusal(
    "R07",
    "the cell was chosen on these very data (tuning or selection trials), whose scores are then too good",
    "rerun the chosen setting on fresh seeds (phase `confirm`) and judge those",
)
NO_STOPPING_RULE = Refusal(
    "R08",
    "the number of seeds was not fixed and is no look of a declared schedule",
    "declare `looks` before the first trial, run on to the next look, or use an e-process",
)
UNEQUAL_BUDGETS = Refusal(
    "R09",
    "the compared cells had different budgets (of tuning, steps, seconds), so that a gain may be the budget's",
    "tune and train every cell on the same budget, or declare in `budget` before the first trial what may differ",
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
    "so few domain groups say nothing about new domains",
    "measure on at least three domain groups, five for heterogeneity or prediction (ten or more make a useful test), "
    "or read the rows for these domains",
)
NO_TEST_ERROR = Refusal(
    "R13",
    "all runs are scored on the same examples, whose sampling error looks like differences between domains",
    "give per-example scores (`example`) or the standard error of every score (`score_se`, `se`)",
)
ZERO_COMPONENT = Refusal(
    "R14",
    "a variance component at zero, largest variance taken",
    "nothing, or more seeds and domains: the interval is on the safe side",
    interval=True,
)
NO_TOTAL = Refusal(
    "R15",
    "the total gain may be zero, and a share of it then means nothing",
    "read the contributions in units of the metric (family `shapley`), or run more seeds",
)
OTHER_TEST_DATA = Refusal(
    "R16",
    "the compared cells were measured on different test data or with different metric code",
    "evaluate all of them again on the same test data",
)
RUNS_SHARED = Refusal(
    "R17",
    "the same runs were scored on several domains, whose estimates are then not independent as a meta-analysis needs",
    "leave `engine` at `auto`: the runs themselves are here, and say more than their summaries",
)
FOLDS = Refusal(
    "R18",
    "cross-validation folds share training data and are no independent replicates",
    "name the column as `fold` (corrected by Nadeau and Bengio), or train on independent seeds",
)
MISSING_DOMAINS = Refusal(
    "R19",
    "runs lack scores that others have, and the closed form needs every run on every domain",
    "evaluate these runs on what is missing, drop it for all of them, or leave `engine` at `auto`",
)
FEW_BLOCKS = Refusal(
    "R20",
    "a joint test of several contrasts within blocks needs more blocks than contrasts",
    "run more seeds of every cell, declare `variances: pooled`, or read the contrasts one by one",
)
NO_TRIALS = Refusal(
    "R21",
    "a tuning curve needs three or more tuning trials of every cell",
    "run them, or name the column that says `search` of tuning trials as `phase`",
)
FEW_ITEMS = Refusal(
    "R22",
    "so few examples of two values have no trustworthy t test, and McNemar's exact one is for independent ones",
    "score 300 examples or more; or code right as 1 and wrong as 0 and take one example of each cluster",
)
SEPARATED = Refusal(
    "R23",
    "every run of one arm scores above every run of the other, so that the probability has no error to test against",
    "read the difference (family `simple`), or run more seeds",
)
DEPENDENT_TRIALS = Refusal(
    "R24",
    "the tuning trials are no independent draws, on which the best of n of them rests",
    "tune by `sampler: random` without a pruner, or compare the reruns of the chosen settings",
)
