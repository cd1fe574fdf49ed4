"""Tables that account for every trial: by cell and state, and one by one."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from ablate.factors import Cell, level_name
from ablate.plans import Plan
from ablate.records import Records
from ablate.report import wordings
from ablate.report.inventories import each_trial, factor_keys, level_entries, run_scores
from ablate.report.papers import Papers
from ablate.report.reckonings import (
    NOT_NEEDED,
    NOT_RUN,
    accounted,
    cell_trials,
    deviations,
    find_reasons,
    find_states,
    find_superseded,
    short_reason,
)
from ablate.report.tables import Entry, Row, Table

Line = tuple[list[Entry], dict[str, str], list[str]]  # what a row is about, trial id -> state, reasons
Part = tuple[str, list[Line]]


def accounting_table(records: Records, papers: Papers | None = None) -> Table:
    """Every trial ever planned or launched, counted by cell and state, with the reasons of those that have no score.

    Trials that tune, and those that an amendment superseded, stand under headings of their own.
    """
    plan = records.plan
    states, parts = find_states(records, papers), _other_parts(records, papers)
    known = {*states, *records.frame["trial"]}
    every = {*states.values(), *(s for _, rows in parts for _, found, _ in rows for s in found.values())}
    names = ["complete", *sorted(every - {"complete", NOT_RUN, NOT_NEEDED})]
    names += [*([NOT_NEEDED] if NOT_NEEDED in every else []), NOT_RUN]
    made: list[Row] = [(Entry("Trials that report"),)] if parts else []
    made += _planned_rows(records, states, names)
    for heading, rows in parts:
        made.append((Entry(heading),))
        made += [_unlink(_row(head, found, why, names), known) for head, found, why in rows]
    width = len(plan.factors)
    head = (*factor_keys(plan), "planned", *names, "reasons")
    align = "l" * width + "r" * (1 + len(names)) + "l"
    launched = [f"{len(papers.account.launches)} attempts were launched in all."] if papers and papers.account else []
    notes = (accounted(records, papers), *launched, *deviations(records, papers))
    title = "Accounting of every trial" if parts else "Accounting of every planned trial"
    return Table(title, head, tuple(made), notes, align)


def _planned_rows(records: Records, states: Mapping[str, str], names: Sequence[str]) -> list[Row]:
    plan, reasons = records.plan, find_reasons(records)
    made: list[Row] = []
    for cell, ids in cell_trials(plan).items():
        why = list(dict.fromkeys(f"{i}: {reasons[i]}" for i in ids if reasons.get(i)))
        made.append(_row(level_entries(cell), {i: states[i] for i in ids}, why, names))
    for cell in plan.excluded:
        made.append(_row(level_entries(cell), {}, [_name_rule(plan, cell)], names))
    blanks = [Entry("") for _ in plan.factors[1:]]
    sums = [tuple(states), *(tuple(i for i in states if states[i] == name) for name in names)]
    return [*made, (Entry("all"), *blanks, *(Entry(str(len(ids)), ids) for ids in sums), Entry(""))]


def _name_rule(plan: Plan, cell: Cell) -> str:
    """Which of the plan's rules excludes a cell."""
    rule = next((rule for rule in plan.exclude if cell.agrees(rule)), {})
    said = ", ".join(f"{key}: {_spell(value)}" for key, value in rule.items())
    return f"excluded by a rule of the plan ({said})"


def _spell(value: Any) -> str:
    return " or ".join(map(level_name, value)) if isinstance(value, list | tuple) else level_name(value)


def _row(head: Sequence[Entry], states: Mapping[str, str], why: Sequence[str], names: Sequence[str]) -> Row:
    counts = [tuple(i for i in states if states[i] == name) for name in names]
    entries = [Entry(str(len(ids)), ids) for ids in (tuple(states), *counts)]
    return (*head, *entries, Entry("; ".join(why) or wordings.MISSING))


def _unlink(row: Row, known: Set[str]) -> Row:
    """A row without the trials that no table lists: those of former plans."""
    return tuple(replace(entry, trials=tuple(i for i in entry.trials if i in known)) for entry in row)


def _other_parts(records: Records, papers: Papers | None) -> list[Part]:
    """The trials that tune, by cell, and those that are no longer of the plan, by amendment and cell."""
    parts = {"Trials that tune, as launched": _tuning_rows(records)}
    if papers:
        parts["Trials that are not, or no longer, of the plan"] = _superseded_rows(records.plan, papers)
    return [(heading, rows) for heading, rows in parts.items() if rows]


def _tuning_rows(records: Records) -> list[Line]:
    tried = records.frame[records.frame["phase"] == "search"].drop_duplicates("trial")
    keys, reasons, rows = factor_keys(records.plan), find_reasons(records), list[Line]()
    for cell in records.plan.tuned_cells if len(tried) else ():
        mine = tried[(tried[keys] == [level_name(level) for level in cell.values()]).all(axis=1)]
        states = {str(i): str(status) for i, status in zip(mine["trial"], mine["status"], strict=True)}
        rows.append((level_entries(cell), states, sorted({reasons[i] for i in states if reasons.get(i)})))
    return rows


def _superseded_rows(plan: Plan, papers: Papers) -> list[Line]:
    found: dict[tuple[int, str], dict[str, str]] = defaultdict(dict)
    for trial, number in find_superseded(plan, papers).items():
        last = papers.account.of_trial[trial][-1]
        found[number, last.cell][trial] = last.status
    blanks = [Entry("") for _ in plan.factors[1:]]
    return [
        ([Entry(cell), *blanks], states, [f"superseded by amendment {number}" if number else "of no plan of the study"])
        for (number, cell), states in sorted(found.items())
    ]


def trials_table(records: Records, papers: Papers | None = None) -> Table:
    """A row for every trial of the plan, run or not: what the trial ids behind a number stand for."""
    plan, states, reasons = records.plan, find_states(records, papers), find_reasons(records)
    each = each_trial(records)
    overall = run_scores(records).mean(axis=1, skipna=False)
    places = wordings.places([overall.std(ddof=1)]) + 1
    seeds = {trial.id: trial.seed for trial in plan.trials}
    attempts, seconds = each["attempt"].to_dict(), each["seconds"].to_dict()
    made: list[Row] = []
    for cell, ids in cell_trials(plan).items():
        for i in ids:
            row = [Entry(i, (i,)), *level_entries(cell), Entry(str(seeds[i]))]
            row.append(Entry(states[i], verdict="" if states[i] in ("complete", NOT_NEEDED) else "refused"))
            row.append(Entry(wordings.whole(attempts.get(i))))
            row.append(Entry(wordings.quantity(float(seconds.get(i, math.nan)))))
            row.append(Entry(wordings.plain(float(overall.get(i, math.nan)), places)))
            made.append((*row, Entry(reasons.get(i, ""))))
    head = ("trial", *factor_keys(plan), "seed", "status", "attempts", "seconds", f"mean {plan.metric}", "reason")
    return Table("Every trial of the plan", head, tuple(made), (), "l" + "l" * len(plan.factors) + "rlrrrl")


def search_table(records: Records) -> Table | None:
    """A row for every trial that tuned: its proposal, settings and validation values; None if there is none."""
    plan = records.plan
    rows = records.frame[records.frame["phase"] == "search"]
    if plan.tuning is None or rows.empty:
        return None
    metrics = [objective.metric for objective in plan.tuning.objectives]
    space = [nuisance.key for nuisance in plan.tuning.space]
    made = [_search_row(part.to_dict("records"), plan, metrics, space) for _, part in rows.groupby("trial", sort=False)]
    head = ("trial", *factor_keys(plan), "proposal", *space, "seed", "status", *metrics, "reason")
    align = "l" + "l" * len(plan.factors) + "r" + "r" * len(space) + "rl" + "r" * len(metrics) + "l"
    return Table("Every trial that tuned", head, tuple(made), (), align)


def _search_row(rows: list[dict[Any, Any]], plan: Plan, metrics: Sequence[str], space: Sequence[str]) -> Row:
    first = rows[0]
    values = {row["metric"]: row["value"] for row in rows}
    return (
        Entry(first["trial"], (first["trial"],)),
        *(Entry(first[key]) for key in factor_keys(plan)),
        Entry(wordings.whole(first["proposal"])),
        *(Entry(spell_setting(first[key])) for key in space),
        Entry(str(first["seed"])),
        Entry(first["status"], verdict="" if first["status"] in ("complete", "pruned") else "refused"),
        *(Entry(wordings.plain(float(values.get(metric, math.nan)), 4)) for metric in metrics),
        Entry(short_reason(first["reason"])),
    )


def spell_setting(value: Any) -> str:
    """A nuisance's value in three significant digits, or in full where it is whole."""
    return wordings.MISSING if value is None or value != value else f"{value:.3g}"
