"""Carriers: one training run, measured in every cell that differs from its own in evaluation factors alone.

Of such cells the first of the plan is the carrier. Its trials are launched, and theirs alone; what they measure is the
outcome of the others' trials too, so that every cell and seed has its record and nothing is trained twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ablate.factors import Cell, Trial, level_name
from ablate.plans import Plan


def list_carried(plan: Plan, cell: Cell) -> tuple[Cell, ...]:
    """The cells that a carrier's runs are measured in, itself first; none where the plan has no evaluation factors."""
    return tuple(other for other, carrier in plan.carriers.items() if carrier == cell) if plan.evaluation else ()


def find_carrier(plan: Plan, trial: Trial) -> Trial:
    """The trial whose training run a trial is measured from: itself, unless the plan has evaluation factors."""
    return plan.trial(plan.carriers[trial.cell], trial.seed) if plan.evaluation and trial.proposal is None else trial


def list_launches(plan: Plan, trials: Iterable[Trial]) -> list[Trial]:
    """The trials to be launched so that these have an outcome, each once, in their order."""
    return list({carrier.id: carrier for carrier in (find_carrier(plan, trial) for trial in trials)}.values())


def list_levels(plan: Plan, cell: Cell) -> dict[str, str]:
    """A cell's levels of the evaluation factors, by name."""
    return {key: level_name(cell[key]) for key in plan.evaluation}


def share(outcome: Mapping[str, Any], cell: Cell, plan: Plan) -> dict[str, Any]:
    """What the outcome of a carrier says of one of its cells: rows that name other levels left out."""
    return {**outcome, "rows": _rows_of(outcome["rows"], list_levels(plan, cell))} if plan.evaluation else dict(outcome)


def spread(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rows of an attempt's record; of a carrier's those of each of its cells, as `name_levels` gives them."""
    rows = record.get("rows") or ()
    if not record.get("carries"):
        yield from rows
    for levels in record.get("carries") or ():
        yield from name_levels(_rows_of(rows, levels), levels)


def name_levels(rows: Iterable[Mapping[str, Any]], levels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of a cell with its levels beside the domain: so that one signature can tell all cells of a run."""
    place = " ".join(f"{key}={level}" for key, level in levels.items())
    return ({**row, "domain": f"{row['domain']} ({place})"} for row in rows)


def _rows_of(rows: Iterable[Mapping[str, Any]], levels: Mapping[str, str]) -> list[dict[str, Any]]:
    own = [row for row in rows if all(row.get(key, name) == name for key, name in levels.items())]
    return [{key: value for key, value in row.items() if key not in levels} for row in own]
