"""Outcomes: how the runs of records ended, and what a diverged run counts as by the plan's own rule.

A diverged run is an outcome: where it has no score it failed (what is compared with it is refused, R06, or bounded);
where the plan declares a worst score it has that one, on every domain. None disappears: each is counted in a note.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ablate.plans import Plan

CLEAN_EXAMPLES = "clean examples"  # metric: how many of a domain's are in no training data
CLEAN_PART = " (clean part)"  # of a metric: of the examples that are in no training data
ENDED = {"complete": "complete", "preempted": "missing"}  # a preempted trial resumes; whatever else has failed


def is_primary(plan: Plan, metric: str) -> bool:
    """Whether a metric is the one that the plan's rule for diverged runs is about."""
    return metric.removesuffix(CLEAN_PART) == plan.metric


def worst_score(plan: Plan, metric: str) -> float | None:
    """What a diverged run has scored by the plan's rule, if it has."""
    rule = plan.divergence
    return rule.value if rule is not None and rule.treatment == "worst" and is_primary(plan, metric) else None


def bounds_of(plan: Plan, metric: str) -> tuple[float, float] | None:
    """What a diverged run could have scored by the plan's rule, where such runs are left out."""
    return plan.divergence.bounds if plan.divergence is not None and is_primary(plan, metric) else None


def end_runs(first: pd.DataFrame, plan: Plan, metric: str) -> pd.DataFrame:
    """The columns status and imputed of `Source.runs`, from a row of records per trial."""
    imputed = (first["status"] == "diverged").to_numpy(bool) & (worst_score(plan, metric) is not None)
    ended = ["complete" if given else ENDED.get(s, "failed") for s, given in zip(first["status"], imputed, strict=True)]
    return pd.DataFrame({"status": ended, "imputed": imputed})


def impute(scores: pd.DataFrame, runs: pd.DataFrame, plan: Plan, value: float | None) -> pd.DataFrame:
    """The scores, and of diverged runs the declared one for every item that runs of their stratum were scored on.

    A declared score has no sampling error and no test data.
    """
    if value is None or not runs["imputed"].any() or scores.empty:
        return scores
    across = [f.key for f in plan.factors if f.role == "across"]
    stratum = np.array(["/".join(str(cell[key]) for key in across) for cell in runs["cell"]], object)
    made = [scores]
    for run in np.flatnonzero(runs["imputed"]):
        own = scores["item"][stratum[scores["run"].to_numpy(int)] == stratum[run]].unique()
        given = pd.DataFrame({"run": run, "item": own, "value": value})
        made.append(given.assign(se=0.0) if "se" in scores else given)
    return pd.concat(made, ignore_index=True)


def tell_diverged(first: pd.DataFrame, runs: pd.DataFrame, plan: Plan, metric: str) -> Iterator[str]:
    """How many runs of which cells diverged, and what they count as."""
    cells = runs["cell"][(first["status"] == "diverged").to_numpy()]
    if cells.empty:
        return
    rule, value, bounds = plan.divergence, worst_score(plan, metric), bounds_of(plan, metric)
    lead = f"{len(cells)} {'run' if len(cells) == 1 else 'runs'} diverged ({count_cells(cells)}) and"
    if value is not None:
        yield f"{lead} count with {metric} {value:g}, as declared."
    elif bounds is not None:
        ends = f"{bounds[0]:g} and {bounds[1]:g}"
        yield f"{lead} were left out, as declared: effects are bounded by what they could have scored, between {ends}."
    else:
        retried = rule is not None and rule.treatment == "retry"
        yield f"{lead} have no {metric}: they failed{', as did their replacements' if retried else ''}."


def tell_missing(runs: pd.DataFrame, plan: Plan) -> Iterator[str]:
    """Which cells lack more trials than others, and that all seeds are to be run before results are looked at."""
    there = runs["cell"][runs["status"] != "missing"].value_counts()
    lacking = {cell: len(plan.seeds) - int(there.get(cell, 0)) for cell in plan.cells}
    if plan.analysis.stopping == "fixed" and len(set(lacking.values())) > 1:
        cells = pd.Series([cell for cell, n in lacking.items() for _ in range(n)], dtype=object)
        lead = f"Trials without an outcome, more in some cells than in others: {count_cells(cells)}."
        yield f"{lead} A run that was dropped for its score looks the same."
    elif plan.analysis.stopping == "fixed" and not plan.analysis.looks and any(lacking.values()):
        n = sum(lacking.values())
        yield (
            f"An interim look: {n} planned trials have no outcome yet. p and intervals hold for the whole plan; where "
            "results decide when to stop, declare looks (`stopping: sequential`)."
        )


def count_cells(cells: "pd.Series[Any]") -> str:
    """How many of each cell, in the order in which they appear."""
    counts = cells.map(str).value_counts(sort=False)
    return "; ".join(f"{n} of {cell}" if cell else f"{n}" for cell, n in counts.items())
