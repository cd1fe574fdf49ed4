"""Searches: the scores of tuning proposals, which are evidence of what tuning costs and of nothing else."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.plans import Plan

UNFINISHED = ("complete", "preempted")  # a proposal that lacks a score without any other status is not done yet


def read_search(rows: pd.DataFrame, cells: NDArray[np.object_], plan: Plan) -> tuple[pd.DataFrame, int]:
    """A row per proposal that was tried to its end, cell and value; and how many of them have no score of their own.

    The value is the mean of the first objective over the tuning seeds. A proposal of which a run failed, diverged or
    was pruned has none, and cannot have been the best: it used up budget and counts as the worst proposal of all cells.

    Args:
        rows: those of search trials.
        cells: the cell of each.
        plan: how they were tuned.
    """
    none = pd.DataFrame({"cell": np.empty(0, object), "value": np.empty(0)})
    if plan.tuning is None or rows.empty:
        return none, 0
    objective, place = plan.tuning.objectives[0], ["cell", "proposal"]
    rows = rows.assign(cell=cells, lost=~rows["status"].isin(UNFINISHED))
    lost = rows.groupby(place, sort=False)["lost"].any()
    scored = rows[(rows["status"] == "complete") & (rows["metric"] == objective.metric)]
    found = scored.groupby(place, sort=False).agg(value=("value", "mean"), seeds=("trial", "nunique"))
    found = found.reindex(lost.index)
    done = (found["seeds"] == len(plan.tuning.seeds)) & ~lost
    value = found["value"].where(done)
    if not done.any():
        return none, 0
    worst = value.min() if objective.direction == "maximize" else value.max()
    kept = value[done | lost].fillna(worst)
    return kept.reset_index()[["cell", "value"]], int(lost.sum())
