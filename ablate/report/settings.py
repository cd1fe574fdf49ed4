"""Settings: whether what cells were run with is what tuning selected, and that what its own trials measured."""

from collections.abc import Iterator
from math import isclose
from typing import Any

import pandas as pd

from ablate.factors import Cell, level_name
from ablate.records import Records
from ablate.report.wordings import listed
from ablate.tunings import Choice, Selection

_EXACT = 1e-9  # the share by which numbers that are the same may differ after they were a table


def misfits(records: Records, selection: Selection | None) -> Iterator[str]:
    """What the selection, the trials that tuned and those that report say against each other, a sentence each."""
    if selection is None or records.plan.tuning is None:
        return
    for choice in selection.choices:
        if choice.tuned_in == choice.cell and (wrong := list(_find_wrong(records, choice))):
            yield f"The selection in {choice.cell} is not what its trials give: {listed(wrong)}."
        rows = _of_cell(records, choice.cell, "confirm")
        done = rows[rows["status"] == "complete"].drop_duplicates("trial")
        other = [row["trial"] for row in done.to_dict("records") if not _agree(row, choice)]
        if other:
            yield f"Run with another setting than was selected, or counted as tuned otherwise: {', '.join(other)}."


def _find_wrong(records: Records, choice: Choice) -> Iterator[str]:
    """What a choice says that the trials of its search do not."""
    rows, tuning = _of_cell(records, choice.cell, "search"), records.plan.tuning
    assert tuning is not None
    proposals, runs = rows["proposal"].nunique(), rows["trial"].nunique()
    if (choice.proposals, choice.runs) != (proposals, runs):
        yield f"it tells of {choice.proposals} proposals and {choice.runs} runs, the records of {proposals} and {runs}"
    own = rows[rows["proposal"] == choice.proposal]
    if own.empty or any(not _same(own.iloc[0][key], value) for key, value in choice.settings.items()):
        yield f"proposal {choice.proposal} has another setting"
    goal = tuning.objectives[0]
    values = rows[rows["metric"] == goal.metric].groupby("proposal")["value"].agg(["mean", "size"])
    means = values["mean"][values["size"] == len(tuning.seeds)]
    found = means.get(choice.proposal)
    if found is None or not choice.values or not isclose(found, choice.values[0], rel_tol=_EXACT):
        yield f"its {goal.metric} is another"
    elif tuning.pruner == "none" and len(tuning.objectives) == 1:
        best = means.max() if goal.direction == "maximize" else means.min()
        if not isclose(found, best, rel_tol=_EXACT):
            yield f"proposal {means.eq(best).idxmax()} is better"


def _of_cell(records: Records, cell: Cell, phase: str) -> pd.DataFrame:
    rows = records.frame[records.frame["phase"] == phase]
    return rows[(rows[list(cell)] == [level_name(level) for level in cell.values()]).all(axis=1)]


def _agree(row: dict[Any, Any], choice: Choice) -> bool:
    """Whether a trial was run with the setting of its cell."""
    told = None if pd.isna(row["hpo_trials"]) else int(row["hpo_trials"])
    return told == choice.hpo_trials and all(_same(row[key], value) for key, value in choice.settings.items())


def _same(told: Any, value: Any) -> bool:
    return not pd.isna(told) and isclose(float(told), float(value), rel_tol=_EXACT)
