"""Carriers: one training run, measured in every cell that differs from its own in evaluation factors alone.

Of such cells the first of the plan is the carrier. Its trials are launched, and theirs alone; what they measure is the
outcome of the others' trials too, so that every cell and seed has its record and nothing is trained twice.
"""

from collections.abc import Iterable, Mapping
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


def share(outcome: Mapping[str, Any], cell: Cell, plan: Plan) -> dict[str, Any]:
    """What the outcome of a carrier says of one of its cells: rows that name other levels left out."""
    if not plan.evaluation:
        return dict(outcome)
    levels = {key: level_name(cell[key]) for key in plan.evaluation}
    own = [row for row in outcome["rows"] if all(row.get(key, name) == name for key, name in levels.items())]
    rows = [{key: value for key, value in row.items() if key not in levels} for row in own]
    return {**outcome, "rows": rows}
