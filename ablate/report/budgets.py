"""Tables of what was spent: the budget of every arm, while tuning and for what is reported, and what tuning chose."""

from collections.abc import Mapping, Sequence
from math import log, nan

import pandas as pd

from ablate.factors import Cell, level_name
from ablate.plans import Plan
from ablate.records import WHOLE, Records
from ablate.report import wordings
from ablate.report.accountings import spell_setting
from ablate.report.inventories import factor_keys, level_entries
from ablate.report.tables import Entry, Row, Table
from ablate.report.wordings import counted, listed
from ablate.tunings import Nuisance, Selection, Tuning

# whole-run metric -> its name
SPENT = {
    "epochs": "epochs",
    "train_steps": "steps",
    "samples": "samples",
    "train_seconds": "train seconds",
    "train_flops": "FLOPs",
}
NAMES = {"hpo_trials": "tuning trials", **SPENT}
_EDGE = 0.02  # of its range, within which a setting stands at its end


def budget_table(records: Records) -> Table | None:
    """What every cell spent, while tuning in all and for what is reported per run; None where nothing says so.

    A cell that differs from the baseline in what the plan declares equal, by more than its tolerance, is marked R09.
    """
    plan, rows = records.plan, records.frame[records.frame["domain"].isin([WHOLE]) | records.frame["domain"].isna()]
    wide = _spent(records)
    proofs = {*wide.columns} & {"epochs", "samples", "train_flops"}
    if not (proofs or plan.tuning or plan.budget.equal != ("hpo_trials",)):
        return None
    names = [name for name in SPENT if name in wide.columns]
    trials = rows.drop_duplicates("trial").set_index("trial")
    made: list[Row] = []
    searched = trials[trials["phase"] == "search"]
    if len(searched):
        made.append((Entry("While tuning, in all"),))
        made += [_search_row(cell, searched, wide, names, plan) for cell in plan.tuned_cells]
    confirmed = trials[(trials["phase"] == "confirm") & (trials["status"] == "complete")]
    if made:
        made.append((Entry("Runs that report, the mean of one"),))
    means = {cell: _mean_spent(_of_cell(confirmed, cell), wide) for cell in plan.cells}
    made += [_confirm_row(cell, confirmed, means, names, plan) for cell in plan.cells]
    spent = [SPENT[name] for name in names]
    head = (*factor_keys(plan), "proposals", "runs", *spent, "trial seconds", "against the baseline")
    align = "l" * len(plan.factors) + "rr" + "r" * len(names) + "rl"
    return Table("Budgets", head, tuple(made), tuple(_budget_notes(plan)), align)


def find_unequal(records: Records) -> dict[Cell, list[str]]:
    """The cells that spent other than the baseline of what the plan declares equal: the names of what."""
    plan, wide = records.plan, _spent(records)
    trials = records.complete.drop_duplicates("trial").set_index("trial")
    trials = trials[trials["phase"] == "confirm"]
    means = {cell: _mean_spent(_of_cell(trials, cell), wide) for cell in plan.cells}
    found = {cell: _differing(means[cell], means[plan.cells[0]], plan) for cell in plan.cells}
    return {cell: names for cell, names in found.items() if names}


def _spent(records: Records) -> pd.DataFrame:
    rows = records.complete
    rows = rows[(rows["domain"] == WHOLE) & rows["metric"].isin(list(SPENT))].sort_values("trial")
    return rows.pivot_table(index="trial", columns="metric", values="value", aggfunc="mean", sort=False)


def _of_cell(trials: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    return trials[(trials[list(cell)] == [level_name(level) for level in cell.values()]).all(axis=1)]


def _mean_spent(trials: pd.DataFrame, wide: pd.DataFrame) -> pd.Series:
    """Means over the complete runs of a cell: of every quantity, and of the tuning budget behind them."""
    found = wide.reindex(trials.index).mean()
    found["hpo_trials"] = float(trials["hpo_trials"].astype("float64").fillna(0).mean())
    found["runs"] = float(len(trials))
    return found


def _differing(mine: pd.Series, other: pd.Series, plan: Plan) -> list[str]:
    if not mine["runs"] or not other["runs"]:
        return []
    found = []
    for name in plan.budget.equal:
        a, b = float(mine.get(name, nan)), float(other.get(name, nan))
        both_unknown = a != a and b != b
        if not both_unknown and not abs(a - b) <= plan.budget.tolerance * max(abs(a), abs(b)):
            found.append(name)
    return found


def _search_row(cell: Cell, trials: pd.DataFrame, wide: pd.DataFrame, names: Sequence[str], plan: Plan) -> Row:
    mine = _of_cell(trials, cell)
    ids = tuple(mine.index)
    sums = wide.reindex(mine.index).sum(min_count=1)
    entries = [Entry(wordings.quantity(float(sums[name])), ids) for name in names]
    counts = [Entry(str(mine["proposal"].nunique()), ids), Entry(str(len(mine)), ids)]
    seconds = Entry(wordings.quantity(float(mine["seconds"].sum(min_count=1))), ids)
    return (*level_entries(cell), *counts, *entries, seconds, Entry(wordings.MISSING))


def _confirm_row(
    cell: Cell, trials: pd.DataFrame, means: Mapping[Cell, pd.Series], names: Sequence[str], plan: Plan
) -> Row:
    mine, spent = _of_cell(trials, cell), means[cell]
    ids = tuple(mine.index)
    entries = [Entry(wordings.quantity(float(spent.get(name, nan))), ids) for name in names]
    differing = _differing(spent, means[plan.cells[0]], plan)
    mark = f"R09: {', '.join(NAMES[name] for name in differing)}" if differing else "equal"
    entries.append(Entry(wordings.quantity(float(mine["seconds"].mean())), ids))
    counts = [Entry(wordings.quantity(spent["hpo_trials"]), ids), Entry(str(len(mine)), ids)]
    return (*level_entries(cell), *counts, *entries, Entry(mark, ids, "refused" if differing else ""))


def _budget_notes(plan: Plan) -> list[str]:
    equal = listed(NAMES[name] for name in plan.budget.equal)
    by = f", within {wordings.percent(plan.budget.tolerance)}" if plan.budget.tolerance else ""
    lines = [f"Declared equal between compared arms: {equal}{by}. Where they are not, a comparison is refused (R09)."]
    if plan.tuning:
        lines.append(
            "While tuning: sums over complete runs; trial seconds are those of all, also pruned and failed ones."
        )
        lines.append("Proposals of the runs that report: those that their settings were selected from, in full trials.")
    return lines


def tuning_table(plan: Plan, selection: Selection | None) -> Table | None:
    """What tuning selected in every cell, from how many proposals, and how good it was on validation data."""
    tuning = plan.tuning
    if tuning is None or selection is None:
        return None
    several = len(tuning.objectives) > 1
    made: list[Row] = []
    for choice in (selection.of(cell) for cell in plan.cells):
        settings = [Entry(spell_setting(choice.settings.get(nuisance.key))) for nuisance in tuning.space]
        values = [Entry(wordings.plain(value, 4)) for value in choice.values or (nan,) * len(tuning.objectives)]
        origin = "declared" if choice.tuned_in is None else "here" if choice.tuned_in == choice.cell else "the baseline"
        tried = [choice.proposals, choice.runs, choice.failed, choice.pruned]
        numbers = [Entry(wordings.whole(choice.proposal)), *values, *(Entry(str(count)) for count in tried)]
        row = [*level_entries(choice.cell), *settings, Entry(origin), *numbers]
        made.append((*row, Entry(f"{choice.resource:g}"), *([Entry(str(len(choice.front)))] if several else [])))
    names = [n.key for n in tuning.space]
    counts = ("proposals", "runs", "failed", "pruned", "full trials spent", *(["Pareto front"] if several else []))
    head = (*factor_keys(plan), *names, "tuned", "proposal", *(o.metric for o in tuning.objectives), *counts)
    align = "l" * len(plan.factors) + "r" * len(names) + "l" + "r" * (1 + len(tuning.objectives) + len(counts))
    return Table("What tuning selected", head, tuple(made), tuple(_tuning_notes(tuning, selection)), align)


def _tuning_notes(tuning: Tuning, selection: Selection) -> list[str]:
    scopes = {
        "per_cell": "Tuned in every cell by itself.",
        "inherited": "Tuned in the baseline; all other cells inherit its setting.",
        "fixed": "Not tuned: one declared setting serves all cells.",
    }
    lines = [scopes[tuning.scope], f"Ranges: {'; '.join(map(_spell_range, tuning.space))}."]
    if tuning.scope == "fixed":
        return lines
    pruner = "no pruner" if tuning.pruner == "none" else f"pruner {tuning.pruner}"
    ends = {"maximize": "highest", "minimize": "lowest"}
    goals = listed(f"{ends[objective.direction]} {objective.metric}" for objective in tuning.objectives)
    lines.append(
        f"{counted(tuning.trials, 'proposal')} per search by {tuning.sampler}, {pruner}, on "
        f"{counted(len(tuning.seeds), 'tuning seed')}, for the {goals} on validation data."
    )
    if len(tuning.objectives) > 1:
        first, second = tuning.objectives[:2]
        lines.append(
            f"Selected: of the proposals within {tuning.tolerance:g} of the best {first.metric}, the one of the best "
            f"{second.metric}. Pareto front: proposals that no other is better than in all."
        )
    lines.append(
        "Validation values of selected settings are too good, being the best of many; verdicts rest on reruns."
    )
    if edges := _at_edges(tuning, selection):
        lines.append(f"At an end of its range, which may have been too narrow: {'; '.join(edges)}.")
    return lines


def _spell_range(nuisance: Nuisance) -> str:
    kind = ", ".join(filter(None, ["logarithmic" if nuisance.log else "", "whole" if nuisance.integer else ""]))
    return f"{nuisance.key} {nuisance.low:g} to {nuisance.high:g}" + (f" ({kind})" if kind else "")


def _at_edges(tuning: Tuning, selection: Selection) -> list[str]:
    """The selected settings that stand at an end of their range, on the scale on which it is searched."""
    found = []
    for nuisance in tuning.space:
        scale = log if nuisance.log else float
        low, high = scale(nuisance.low), scale(nuisance.high)
        for choice in selection.choices:
            value = choice.settings.get(nuisance.key)
            if isinstance(value, int | float) and choice.tuned_in in (None, choice.cell):
                share = (scale(value) - low) / (high - low)
                if not _EDGE < share < 1 - _EDGE:
                    found.append(f"{nuisance.key} in {choice.cell}")
    return found
