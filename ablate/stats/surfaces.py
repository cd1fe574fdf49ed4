"""Surfaces: what every size of a model scored on every training budget, in one arm (data, objective) of a study.

Budgets are the points of learning curves (metric `accuracy@1000`) or the levels of a factor. Where a cost is named
(`train_flops`), it is the axis instead: that is what equal compute means, as equal steps of unequal sizes are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.errors import PlanError, RecordsError, require_one_of
from ablate.factors import level_name
from ablate.measurements import AT
from ablate.plans import WHOLE
from ablate.records import Records
from ablate.stats.refusals import (
    MISSING_DOMAINS,
    NO_STOPPING_RULE,
    ONE_RUN,
    OTHER_TEST_DATA,
    TWO_RUNS,
    UNEQUAL_BUDGETS,
    UNEQUAL_FAILURES,
    Refusal,
)

Array = NDArray[np.float64]
VARIES = 0.05  # share by which the cost of a size's runs on one budget may differ and still be called that budget


@dataclass(frozen=True, eq=False)
class Surface:
    """One arm.

    Attributes:
        arm: its levels, as text; empty where there is one arm.
        sizes: names, the smallest first.
        budgets: of each size, increasing.
        scores: of each size, budgets × runs × domain groups; runs of one seed stand at the same place.
        blocked: whether runs of one seed share randomness and are compared within it.
        trials: of each size, the ids behind its scores.
        refusal: why nothing can be said of this arm, or None.
    """

    arm: str
    sizes: tuple[str, ...]
    budgets: tuple[Array, ...]
    scores: tuple[Array, ...]
    blocked: bool
    trials: tuple[tuple[str, ...], ...]
    refusal: Refusal | None = None

    def covers(self, size: int, budget: float) -> bool:
        """Whether a budget lies within those of a size."""
        return bool(self.budgets[size][0] * (1 - 1e-9) <= budget <= self.budgets[size][-1] * (1 + 1e-9))

    def at(self, size: int, logs: Array) -> Array:
        """Scores at these log budgets, points × runs × domain groups.

        Between budgets, straight lines on the logarithmic axis. Where budgets were trained apart, the runs of one seed
        make a line, whose variance over seeds is right whether or not they share anything.
        """
        x, y = np.log(self.budgets[size]), self.scores[size]
        after = np.clip(np.searchsorted(x, logs), 1, max(len(x) - 1, 1))
        if len(x) == 1:
            return np.repeat(y, len(logs), axis=0)
        share = np.clip((logs - x[after - 1]) / (x[after] - x[after - 1]), 0.0, 1.0)[:, None, None]
        return np.asarray((1 - share) * y[after - 1] + share * y[after])


def read_surfaces(
    records: Records,
    size: str,
    budget: str | None = None,
    cost: str | None = None,
    sizes: Sequence[str] | None = None,
    unit: str = "train_steps",
    tolerance: float = 0.02,
) -> list[Surface]:
    """The surfaces of a study, one for each combination of its other factors.

    Args:
        records: of the study; the metric is its primary one.
        size: the factor whose levels are sizes.
        budget: the factor whose levels are budgets; None takes learning curves.
        cost: a metric of the whole run, to take as the axis; a point of a learning curve is its share of the run. It
            must not vary between the runs of a cell by more than 5 %.
        sizes: levels, the smallest first; None orders them by `params`, or else as the numbers that they are.
        unit: the metric of the whole run that the points of a learning curve are counted in, to tell their share.
        tolerance: budgets that differ by a smaller share are one.

    Raises:
        PlanError: a factor that there is not, or sizes without an order.
        RecordsError: no score at two budgets, or a budget or cost that is none.
    """
    keys = [f.key for f in records.plan.factors]
    for key in [size] if budget is None else [size, budget]:
        require_one_of(key, keys, "sweet spot", "factor")
    points = _points(records, budget, cost, unit, tolerance)
    if points["budget"].nunique() < 2:
        remedy = "log the metric as `metric@budget`, or name the factor that is the budget"
        raise RecordsError("no score at two budgets", where="sweet spot", remedy=remedy)
    order = [level_name(s) for s in sizes] if sizes else _order(records, size)
    arms = [key for key in keys if key not in (size, budget)]
    names = [" ".join(f"{key}={row[key]}" for key in arms) for row in points[arms].to_dict("records")]
    points = points.assign(arm=names, size=points[size])
    return [
        _surface(records, str(arm), part, [s for s in order if (part["size"] == s).any()])
        for arm, part in points.groupby("arm", sort=False)
    ]


def _points(records: Records, budget: str | None, cost: str | None, unit: str, tolerance: float) -> pd.DataFrame:
    """The rows of the metric with the budget of each."""
    metric, rows = records.plan.metric, records.complete
    rows = rows[rows["phase"] == "confirm"]
    chosen = rows[rows["metric"].str.startswith(metric + AT) if budget is None else rows["metric"] == metric]
    chosen = chosen[chosen["domain"] != WHOLE] if (chosen["domain"] != WHOLE).any() else chosen
    step = chosen["metric"].str.removeprefix(metric + AT) if budget is None else chosen[budget]
    numbers = pd.to_numeric(step, errors="coerce")
    if cost is not None:
        share = numbers / _of_run(rows, chosen, unit) if budget is None else 1.0
        if np.any(share > 1 + 1e-9):
            what, remedy = (
                f"a curve goes beyond the {unit} of its run",
                "name the `unit` that it is counted in: samples",
            )
            raise RecordsError(what, where="sweet spot", remedy=remedy)
        numbers = _of_run(rows, chosen, cost) * share
    wrong = sorted(set(step[~(numbers > 0)]))
    if wrong:
        remedy = "name a `cost` that every run has, or budgets that are numbers above zero"
        raise RecordsError(f"no budget: {', '.join(wrong[:5])}", where=cost or budget or AT, remedy=remedy)
    if chosen.empty:
        return chosen.assign(budget=numbers)
    cells = [chosen[f.key] for f in records.plan.factors]
    means = numbers.groupby([*cells, step]).transform("mean")
    if ((numbers - means).abs() > VARIES * means).any():
        remedy = "take steps or examples as the budget, or train to a fixed cost"
        raise RecordsError("it differs between the runs of a cell by more than 5 %", where=cost or AT, remedy=remedy)
    return chosen.assign(budget=_join(means.to_numpy(float), tolerance))


def _of_run(rows: pd.DataFrame, chosen: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """A metric of the whole run, for every chosen row."""
    whole = rows[(rows["metric"] == metric) & (rows["domain"] == WHOLE)].set_index("trial")["value"]
    found = chosen["trial"].map(whole)
    if found.isna().any():
        known = sorted(rows["metric"][rows["domain"] == WHOLE].unique())
        raise RecordsError(f"runs without {metric!r}", where="sweet spot", allowed=known, word=metric)
    return found


def _join(budgets: Array, tolerance: float) -> Array:
    """Budgets, of which those within the tolerance of the smallest among them are one: their mean."""
    known = np.unique(budgets)
    first = known[0]
    starts = [first := b if b > first * (1 + tolerance) else first for b in known]
    joined = pd.Series(known).groupby(starts).transform("mean")
    return np.asarray(joined.to_numpy()[np.searchsorted(known, budgets)])


def _order(records: Records, size: str) -> list[str]:
    """Sizes by their number of parameters, or as numbers."""
    rows = records.complete
    rows = rows[(rows["metric"] == "params") & (rows["domain"] == WHOLE)]
    levels = [level_name(level) for f in records.plan.factors if f.key == size for level in f.levels]
    ranks = rows.groupby(size)["value"].mean().reindex(levels)
    if ranks.isna().any() or ranks.duplicated().any():
        ranks = pd.to_numeric(pd.Series(levels, index=levels), errors="coerce")
    if ranks.isna().any():
        remedy = "record `params` of every run, or name `sizes`, the smallest first"
        raise PlanError(f"which is smaller: {', '.join(levels)}?", where=size, remedy=remedy)
    return [str(level) for level in ranks.sort_values(kind="stable").index]


def _surface(records: Records, arm: str, rows: pd.DataFrame, sizes: list[str]) -> Surface:
    """The surface of the rows of one arm."""
    plan = records.plan
    place = ["size", "budget", "seed", "domain_group"]
    table = rows.sort_values(["domain", "shift"], kind="stable").groupby(place)["value"].mean().unstack("domain_group")
    counts = table.groupby(level=["size", "budget"]).size()
    tables = [table.loc[size] for size in sizes]
    budgets = tuple(t.index.unique("budget").to_numpy(float) for t in tables)
    trials = tuple(tuple(dict.fromkeys(rows["trial"][rows["size"] == size])) for size in sizes)
    refusal = _find_refusal(records, rows, table, counts)
    scores: tuple[Array, ...] = ()
    if refusal is None:
        runs = int(counts.iloc[0])
        scores = tuple(t.to_numpy(float).reshape(len(b), runs, -1) for t, b in zip(tables, budgets, strict=True))
    return Surface(arm, tuple(sizes), budgets, scores, plan.blocking == "seed", trials, refusal)


def _find_refusal(
    records: Records, rows: pd.DataFrame, table: pd.DataFrame, counts: "pd.Series[int]"
) -> Refusal | None:
    """Why the scores of an arm carry no answer, or None."""
    analysis = records.plan.analysis
    seeds = int(counts.min())
    hashes = rows.dropna(subset=["eval_hash"]).groupby(["domain", "shift"])["eval_hash"].nunique()
    if analysis.stopping != "fixed" or (analysis.looks and seeds not in analysis.looks):
        return NO_STOPPING_RULE
    if rows["hpo_trials"].nunique() > 1:
        return UNEQUAL_BUDGETS
    if (hashes > 1).any():
        return OTHER_TEST_DATA
    if counts.nunique() > 1:
        return UNEQUAL_FAILURES.about(f"from {seeds} to {counts.max()} runs")
    per_seed = table.groupby(level="seed").size()
    if table.isna().any(axis=None) or (records.plan.blocking == "seed" and per_seed.nunique() > 1):
        return MISSING_DOMAINS
    if seeds < 3:
        return ONE_RUN if seeds == 1 else TWO_RUNS
    return None
