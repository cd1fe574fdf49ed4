"""Tuning-budget curves: the best score to expect of n trials, from the trials of one random search.

The trials must be independent draws of settings. Those of TPE, of a genetic search or of a pruned one are not: each
depends on the scores before it, so that the best of n of them is no order statistic, and they are refused here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from ablate.errors import PlanError, RecordsError, require_one_of

Array = NDArray[np.float64]
Seed = int | np.random.Generator
Form = Literal["V", "U"]
Direction = Literal["maximize", "minimize"]
INDEPENDENT = ("random",)  # samplers whose trials are independent and alike; a grid or Sobol sequence is neither


def expected_best(values: ArrayLike, budgets: ArrayLike, form: Form = "V", direction: Direction = "maximize") -> Array:
    """The expected best of n trials, for each n of `budgets`.

    Args:
        values: scores of N trials on the last axis, after any others.
        budgets: numbers of trials, 1 to N.
        form: `V` draws with replacement (Dodge et al. 2019, EMNLP): biased towards worse. `U` averages over all
            subsets of n trials (Tang et al. 2020, ACL): unbiased, and more variable near n = N.
        direction: `minimize` expects the smallest.

    Raises:
        RecordsError: values are missing, or a budget is not between 1 and N: nothing is known of more trials.
    """
    scores = np.asarray(values, float)
    if not scores.size or not np.isfinite(scores).all():
        raise RecordsError(
            "the curve needs a finite score of every trial",
            where="values",
            remedy="give a failed trial the worst score of the metric: it used up budget",
        )
    require_one_of(direction, ("maximize", "minimize"), "direction")
    sign = 1.0 if direction == "maximize" else -1.0
    weights = _weights(scores.shape[-1], _checked(budgets, scores.shape[-1]), form)
    return np.asarray(sign * (np.sort(sign * scores, -1) @ weights))


def _checked(budgets: ArrayLike, trials: int) -> NDArray[np.int_]:
    sizes = np.atleast_1d(np.asarray(budgets))
    if not np.issubdtype(sizes.dtype, np.integer) or sizes.min() < 1 or sizes.max() > trials:
        raise RecordsError(
            "a budget is a whole number of trials, no more than there are",
            where="budgets",
            allowed=[f"1 to {trials}"],
            remedy="run more trials",
        )
    return sizes


def _weights(trials: int, budgets: NDArray[np.int_], form: Form) -> Array:
    """Chance that each of the sorted trials is the best of n, trials × budgets."""
    require_one_of(form, ("V", "U"), "form")
    rank = np.arange(1.0, trials + 1)[:, None]
    if form == "V":
        return np.asarray((rank / trials) ** budgets - ((rank - 1) / trials) ** budgets)
    return np.asarray(special.binom(rank - 1, budgets - 1) / special.binom(trials, budgets))


@dataclass(frozen=True, eq=False)
class BudgetCurve:
    """A curve, or the difference of two, with an interval at each budget alone.

    The standard error is that of resampled trials. N trials hold only N/n sets of n, so that Student's t has N/n - 1
    degrees of freedom: 95 % intervals of the U form cover .91 (right-skewed scores) to 1.00 for n up to N/2 and N from
    20 to 200, where percentiles fall to .60.

    Attributes:
        budgets: numbers of trials.
        expected: expected best score.
        low: lower end of the interval; NaN with fewer than two sets of trials.
        high: upper end of the interval.
        se: standard error.
        df: its degrees of freedom.
        level: as asked for.
        nominal: per budget, whether the interval may be called by its level: the U form, and n up to half the trials.
    """

    budgets: NDArray[np.int_]
    expected: Array
    low: Array
    high: Array
    se: Array
    df: Array
    level: float
    nominal: NDArray[np.bool_]


@dataclass(frozen=True)
class TuningBudget:
    """How curves are made.

    Attributes:
        sampler: what proposed the trials; only `random` gives independent ones.
        direction: of the metric.
        form: of the expectation, see `expected_best`.
        level: confidence level, of each budget alone.
        resamples: bootstrap resamples of trials.
    """

    sampler: str
    direction: Direction = "maximize"
    form: Form = "U"
    level: float = 0.95
    resamples: int = 2000

    def __post_init__(self) -> None:
        if self.sampler not in INDEPENDENT:
            raise PlanError(
                f"trials of the sampler {self.sampler!r} are not independent and alike, which the curve rests on",
                where="sampler",
                allowed=INDEPENDENT,
                remedy="tune both arms by random search of equal size, or compare reruns of the chosen settings",
            )
        require_one_of(self.direction, ("maximize", "minimize"), "direction")
        require_one_of(self.form, ("V", "U"), "form")
        if not 0 < self.level < 1 or self.resamples < 100:
            raise PlanError("no such interval", where="level, resamples", allowed=["0 < level < 1", "100 or more"])

    def __call__(self, values: ArrayLike, budgets: ArrayLike, rng: Seed) -> BudgetCurve:
        """The curve of one cell from the scores of its trials."""
        found, variance, df = self._judge(values, budgets, np.random.default_rng(rng))
        return self._curve(budgets, found, variance, df)

    def compare(self, values: ArrayLike, others: ArrayLike, budgets: ArrayLike, rng: Seed) -> BudgetCurve:
        """The first cell's curve less the other's, at equal budgets that both have trials for."""
        rng = np.random.default_rng(rng)
        first, variance, df = self._judge(values, budgets, rng)
        second, other, df_other = self._judge(others, budgets, rng)
        with np.errstate(divide="ignore", invalid="ignore"):
            shared = (variance + other) ** 2 / (variance**2 / df + other**2 / df_other)
        few = np.minimum(df, df_other)
        return self._curve(budgets, first - second, variance + other, np.where(few >= 1, shared, few))

    def _judge(self, values: ArrayLike, budgets: ArrayLike, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """The curve, its variance and degrees of freedom."""
        scores = np.asarray(values, float)
        if scores.ndim != 1 or len(scores) < 3:
            raise RecordsError(f"three or more trials in a row expected, not {scores.shape}", where="values")
        trials = len(scores)
        found = expected_best(scores, budgets, self.form, self.direction)
        drawn = scores[rng.integers(0, trials, (self.resamples, trials))]
        variance = expected_best(drawn, budgets, self.form, self.direction).var(0) * trials / (trials - 1)
        return found, variance, trials / _checked(budgets, trials) - 1

    def _curve(self, budgets: ArrayLike, found: Array, variance: Array, df: Array) -> BudgetCurve:
        se = np.sqrt(variance)
        half = se * np.where(df >= 1, stats.t.isf((1 - self.level) / 2, np.maximum(df, 1)), np.nan)
        nominal = (df >= 1) & (self.form == "U")
        sizes = np.atleast_1d(np.asarray(budgets))
        return BudgetCurve(sizes, found, found - half, found + half, se, df, self.level, nominal)
