"""Tables straight from the records, descriptive and untested: cells, costs, accounting, every trial."""

import math

import pandas as pd

from ablate.factors import Cell, level_name
from ablate.plans import Plan
from ablate.records import WHOLE, Records
from ablate.report import sentences, wordings
from ablate.report.tables import Entry, Row, Table

NOT_RUN = "not run"


def cells_table(records: Records) -> Table:
    """The mean of every cell, over all domain groups and in each, with its number of runs and their SD."""
    scores = run_scores(records)
    groups = list(scores.columns)
    overall = scores.mean(axis=1, skipna=False)
    trials = _cell_trials(records.plan)
    spread = {cell: float(_values(overall, ids).std(ddof=1)) for cell, ids in trials.items()}
    places = wordings.places(spread.values())
    rows: list[Row] = []
    for cell, ids in trials.items():
        run = tuple(i for i in ids if i in scores.index)
        row = [*_levels(cell), Entry(f"{len(run)} of {len(ids)}", run), _mean(overall, run, places)]
        row.append(Entry(wordings.plain(spread[cell], places), run))
        if len(groups) > 1:
            row += [_mean(scores[group], run, places) for group in groups]
        rows.append(tuple(row))
    head = [
        *_keys(records.plan),
        "Runs",
        f"Mean {records.plan.metric}",
        "Run SD",
        *(groups if len(groups) > 1 else []),
    ]
    notes = [
        "Descriptive: means carry no test, and the largest of many means is largest partly by luck.",
        "Mean: over runs, of the mean over domain groups"
        + (f" ({len(groups)}; domains of a group are averaged first)." if len(groups) > 1 else "."),
        "Run SD: standard deviation between runs of a cell (ddof = 1); it is not the uncertainty of the mean.",
        sentences.accounted(records),
    ]
    align = "l" * len(records.plan.factors) + "r" * (len(head) - len(records.plan.factors))
    return Table(f"Mean {records.plan.metric} of every cell", tuple(head), tuple(rows), tuple(notes), align)


def cost_table(records: Records) -> Table:
    """What a cell costs: the quantities of the whole run, and the seconds and tuning budget its trials used.

    Whole numbers that all runs of a cell share (parameters) are exact; everything else is a median over runs.
    """
    plan, rows = records.plan, records.complete
    rows = rows[(rows["domain"] == WHOLE) & (rows["metric"] != plan.metric)]
    wide = rows.pivot_table(index="trial", columns="metric", values="value", aggfunc="mean", sort=False)
    metrics = sorted(wide.columns)
    each = _each(records)
    made: list[Row] = []
    for cell, ids in _cell_trials(plan).items():
        run = tuple(i for i in ids if i in each.index)
        complete = tuple(i for i in run if each["status"][i] == "complete")
        seconds, tuning = _values(each["seconds"], run), _values(each["hpo_trials"], run)
        made.append(
            (
                *_levels(cell),
                Entry(f"{len(complete)} of {len(ids)}", run),
                *(_cost(wide[metric], complete) for metric in metrics),
                Entry(wordings.quantity(float(_values(each["seconds"], complete).median())), complete),
                Entry(wordings.quantity(float(seconds.sum(min_count=1))), run),
                Entry(wordings.whole(tuning.sum()) if len(tuning) else "0", run),
            )
        )
    names = [metric.replace("_", " ") for metric in metrics]
    head = (*_keys(plan), "Runs", *names, "trial seconds", "seconds in all", "tuning trials")
    total = wordings.quantity(float(each["seconds"].sum()))
    notes = [
        "Medians over the complete runs of a cell; whole numbers that all its runs share are exact.",
        f"Seconds in all: every recorded attempt, failed ones too; {total} s for the study.",
    ]
    machines = sorted(set(each["hardware"].dropna()))
    if machines:
        notes.append(f"Measured on: {'; '.join(machines)}.")
    width = len(plan.factors)
    return Table(
        "Costs, and what else was measured once per run",
        head,
        tuple(made),
        tuple(notes),
        "l" * width + "r" * (len(head) - width),
    )


def accounting_table(records: Records) -> Table:
    """Every planned trial, counted by cell and state, with the reasons of those that have no score."""
    state, reasons = _states(records), _reasons(records)
    names = ["complete", *sorted({*state.values()} - {"complete", NOT_RUN}), NOT_RUN]
    made: list[Row] = []
    for cell, ids in _cell_trials(records.plan).items():
        counts = [tuple(i for i in ids if state[i] == name) for name in names]
        why = list(dict.fromkeys(f"{i}: {reasons[i]}" for i in ids if reasons.get(i)))
        states = [Entry(str(len(c)), c) for c in counts]
        made.append((*_levels(cell), Entry(str(len(ids)), ids), *states, Entry("; ".join(why) or wordings.MISSING)))
    for cell in records.plan.excluded:
        made.append(
            (
                *_levels(cell),
                Entry("0"),
                *(Entry("0") for _ in names),
                Entry("excluded by a rule of the plan"),
            )
        )
    sums = [tuple(state), *(tuple(i for i in state if state[i] == name) for name in names)]
    blanks = [Entry("") for _ in records.plan.factors[1:]]
    made.append((Entry("all"), *blanks, *(Entry(str(len(ids)), ids) for ids in sums), Entry("")))
    width = len(records.plan.factors)
    head = (*_keys(records.plan), "planned", *names, "reasons")
    align = "l" * width + "r" * (1 + len(names)) + "l"
    notes = (sentences.accounted(records), *sentences.deviations(records))
    return Table("Accounting of every planned trial", head, tuple(made), notes, align)


def trials_table(records: Records) -> Table:
    """A row for every trial of the plan, run or not: what the trial ids behind a number stand for."""
    plan, state, reasons = records.plan, _states(records), _reasons(records)
    each = _each(records)
    overall = run_scores(records).mean(axis=1, skipna=False)
    places = wordings.places([overall.std(ddof=1)]) + 1
    seeds = {trial.id: trial.seed for trial in plan.trials}
    attempts, seconds = each["attempt"].to_dict(), each["seconds"].to_dict()
    made: list[Row] = []
    for cell, ids in _cell_trials(plan).items():
        for i in ids:
            row = [Entry(i, (i,)), *_levels(cell), Entry(str(seeds[i]))]
            row.append(Entry(state[i], verdict="" if state[i] == "complete" else "refused"))
            row.append(Entry(wordings.whole(attempts.get(i))))
            row.append(Entry(wordings.quantity(float(seconds.get(i, math.nan)))))
            row.append(Entry(wordings.plain(float(overall.get(i, math.nan)), places)))
            made.append((*row, Entry(reasons.get(i, ""))))
    head = ("trial", *_keys(plan), "seed", "status", "attempts", "seconds", f"mean {plan.metric}", "reason")
    return Table("Every trial of the plan", head, tuple(made), (), "l" + "l" * len(plan.factors) + "rlrrrl")


def run_scores(records: Records) -> pd.DataFrame:
    """The primary metric: a row per complete trial, a column per domain group, domains of a group averaged.

    Where a task measures no domains, the one column is `all`. A group that a run lacks is missing, not zero.
    """
    rows = records.complete
    rows = rows[rows["metric"] == records.plan.metric]
    if (rows["domain"] != WHOLE).any():
        rows = rows[rows["domain"] != WHOLE]
    rows = rows.sort_values(["trial", "domain", "shift"])  # sums must not depend on who finished first
    wide = rows.pivot_table(index="trial", columns="domain_group", values="value", aggfunc="mean")
    groups = [g for g in sentences.groups(records) if g in wide.columns] or list(wide.columns)
    present = set(wide.index)
    return wide.loc[[i for ids in _cell_trials(records.plan).values() for i in ids if i in present], groups]


def _cell_trials(plan: Plan) -> dict[Cell, tuple[str, ...]]:
    """Trial ids of every cell by seed; `plan.trials` itself is shuffled."""
    found: dict[Cell, list[str]] = {cell: [] for cell in plan.cells}
    for trial in sorted(plan.trials, key=lambda t: plan.seeds.index(t.seed)):
        found[trial.cell].append(trial.id)
    return {cell: tuple(ids) for cell, ids in found.items()}


def _states(records: Records) -> dict[str, str]:
    """Planned trial id -> its status, `not run` where the records have none."""
    known = dict(zip(records.frame["trial"], records.frame["status"], strict=True))
    return {i: str(known.get(i, NOT_RUN)) for ids in _cell_trials(records.plan).values() for i in ids}


def _reasons(records: Records) -> dict[str, str]:
    rows = records.failures.drop_duplicates("trial")
    return {str(i): sentences.short_reason(why) for i, why in zip(rows["trial"], rows["reason"], strict=True)}


def _each(records: Records) -> pd.DataFrame:
    """One row per trial, in the plan's order: what belongs to the trial and to no measurement."""
    frame = records.frame.drop_duplicates("trial").set_index("trial")
    known = [i for ids in _cell_trials(records.plan).values() for i in ids if i in frame.index]
    return frame.loc[known]


def _keys(plan: Plan) -> list[str]:
    return [f.key for f in plan.factors]


def _levels(cell: Cell) -> list[Entry]:
    return [Entry(level_name(level)) for level in cell.values()]


def _values(column: pd.Series, ids: tuple[str, ...]) -> pd.Series:
    return column.reindex(list(ids)).dropna()


def _mean(column: pd.Series, run: tuple[str, ...], places: int) -> Entry:
    values = _values(column, run)
    text = wordings.plain(float(values.mean()), places)
    short = f" (n={len(values)})" if 0 < len(values) < len(run) else ""
    return Entry(text + short, tuple(values.index))


def _cost(column: pd.Series, run: tuple[str, ...]) -> Entry:
    values = _values(column, run)
    return Entry(wordings.quantity(float(values.median())), tuple(values.index))
