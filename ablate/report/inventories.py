"""Tables straight from the records, descriptive and untested: the mean of every cell, and what it costs."""

import pandas as pd

from ablate.factors import Cell, level_name
from ablate.plans import Plan
from ablate.records import WHOLE, Records
from ablate.report import sentences, wordings
from ablate.report.papers import Papers
from ablate.report.reckonings import accounted, cell_trials
from ablate.report.tables import Entry, Row, Table


def cells_table(records: Records, papers: Papers | None = None) -> Table:
    """The mean of every cell, over all domain groups and in each, with its number of runs and their SD."""
    scores = run_scores(records)
    groups = list(scores.columns)
    overall = scores.mean(axis=1, skipna=False)
    trials = cell_trials(records.plan)
    spread = {cell: float(_values(overall, ids).std(ddof=1)) for cell, ids in trials.items()}
    places = wordings.places(spread.values())
    rows: list[Row] = []
    for cell, ids in trials.items():
        run = tuple(i for i in ids if i in scores.index)
        row = [*level_entries(cell), Entry(f"{len(run)} of {len(ids)}", run), _mean(overall, run, places)]
        row.append(Entry(wordings.plain(spread[cell], places), run))
        if len(groups) > 1:
            row += [_mean(scores[group], run, places) for group in groups]
        rows.append(tuple(row))
    head = [
        *factor_keys(records.plan),
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
        accounted(records, papers),
    ]
    align = "l" * len(records.plan.factors) + "r" * (len(head) - len(records.plan.factors))
    return Table(f"Mean {records.plan.metric} of every cell", tuple(head), tuple(rows), tuple(notes), align)


def cost_table(records: Records) -> Table:
    """What a cell costs: the quantities of the whole run, and the seconds and tuning budget its trials used.

    Whole numbers that all runs of a cell share (parameters) are exact; everything else is a median over runs.
    """
    plan, rows = records.plan, records.complete
    rows = rows[(rows["domain"] == WHOLE) & (rows["metric"] != plan.metric) & (rows["phase"] == "confirm")]
    rows = rows[~rows["metric"].str.contains("@", regex=False)]  # a learning curve is no cost
    wide = rows.pivot_table(index="trial", columns="metric", values="value", aggfunc="mean", sort=False)
    metrics = sorted(wide.columns)
    each = each_trial(records)
    made: list[Row] = []
    for cell, ids in cell_trials(plan).items():
        run = tuple(i for i in ids if i in each.index)
        complete = tuple(i for i in run if each["status"][i] == "complete")
        seconds, tuning = _values(each["seconds"], run), _values(each["hpo_trials"], run)
        made.append(
            (
                *level_entries(cell),
                Entry(f"{len(complete)} of {len(ids)}", run),
                *(_cost(wide[metric], complete) for metric in metrics),
                Entry(wordings.quantity(float(_values(each["seconds"], complete).median())), complete),
                Entry(wordings.quantity(float(seconds.sum(min_count=1))), run),
                Entry(wordings.whole(tuning.max()) if len(tuning) else "0", run),
            )
        )
    names = [metric.replace("_", " ") for metric in metrics]
    head = (*factor_keys(plan), "Runs", *names, "trial seconds", "seconds in all", "tuning trials")
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
    return wide.loc[[i for ids in cell_trials(records.plan).values() for i in ids if i in present], groups]


def each_trial(records: Records) -> pd.DataFrame:
    """One row per trial that reports, in the plan's order: what belongs to the trial and to no measurement."""
    frame = records.frame.drop_duplicates("trial").set_index("trial")
    known = [i for ids in cell_trials(records.plan).values() for i in ids if i in frame.index]
    return frame.loc[known]


def factor_keys(plan: Plan) -> list[str]:
    """The heads of the columns that name a cell."""
    return [f.key for f in plan.factors]


def level_entries(cell: Cell) -> list[Entry]:
    """The entries that name a cell."""
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
