"""Lints: what is wrong with a table of scores, found before any of it is judged.

A lint that would make a test refuse has the code of that refusal (`R05`); the others are `L01` and so on. All of them
look at the whole table at once, so a million rows take about a second.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ablate.records import WHOLE
from ablate.stats.duplicates import COINCIDENCE, SURE, find_twins
from ablate.stats.refusals import (
    FOLDS,
    IDENTICAL_RUNS,
    MISSING_DOMAINS,
    ONE_RUN,
    OTHER_TEST_DATA,
    PSEUDO_REPLICATES,
    SELECTED,
    UNEQUAL_BUDGETS,
    UNEQUAL_FAILURES,
    Refusal,
)
from ablate.stats.rosters import Roster, enrol

Severity = Literal["error", "warning", "note"]
SHOWN = 12  # places that a lint names
MAYBE = 0.05  # pairs of runs that would agree by chance, below which they are named
LISTED = 50_000_000  # combinations of levels, or of cells and places, among which the missing ones are looked for


@dataclass(frozen=True)
class Lint:
    """One thing that is wrong, or may be.

    Attributes:
        code: of the refusal that it leads to, or `L01` ...
        sentence: what was found.
        remedy: what to do about it.
        severity: `error`: no test should be made of this; `warning`: it biases or weakens one; `note`: to know.
        about: the cells, runs, rows or columns, the first `SHOWN` of them.
        count: how many there are.
    """

    code: str
    sentence: str
    remedy: str
    severity: Severity
    about: tuple[str, ...] = ()
    count: int = 0

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.about) else ""
        return f"{self.code} {self.sentence}" + (f": {', '.join(self.about)}{more}" if self.about else "")


def lint(frame: pd.DataFrame, roles: Mapping[str, Any]) -> tuple[Lint, ...]:
    """Everything that is wrong with a long table of scores, errors first.

    Args:
        frame: a row per score.
        roles: role -> column; `factors` (a list) and `value` are needed; used where given: run, domain, shift,
            metric, example, budget, status, phase, folds, hpo_trials, eval_hash.

    Raises:
        RecordsError: a column is not there, or the column of scores is not numbers.
    """
    roster = enrol(frame, roles)
    found = [made for check in CHECKS for made in check(roster)]
    order = ["error", "warning", "note"]
    return tuple(sorted(found, key=lambda made: order.index(made.severity)))


def _make(
    kind: Refusal | tuple[str, str],
    sentence: str,
    severity: Severity,
    about: Sequence[object],
    count: int | None = None,
) -> list[Lint]:
    """A lint about something, or none about nothing."""
    code, remedy = (kind.code, kind.remedy) if isinstance(kind, Refusal) else kind
    total = len(about) if count is None else count
    shown = tuple(str(item) for item in about[:SHOWN])
    return [Lint(code, sentence, remedy, severity, shown, total)] if total else []


# --- runs ------------------------------------------------------------------------------------------------------------


def find_identical_runs(roster: Roster) -> list[Lint]:
    """Runs with the same scores, bit for bit, under two names: in one cell or in two.

    Coarse scores (right or wrong, tenths) agree by chance: runs are named only where fewer than `MAYBE` such pairs
    would be expected, and for certain where fewer than `SURE` would, or where all scores are one.
    """
    rows = np.flatnonzero(np.isfinite(roster.value))
    if not roster.has_runs or not len(rows):
        return []
    found = find_twins(roster.unit[rows], roster.place[rows], roster.value[rows])
    named = [t for t in found.twins if (t.expected < MAYBE if t.size >= COINCIDENCE else found.varied)]
    about = [" = ".join(roster.name_unit(unit) for unit in twins.runs) for twins in named]
    sure = any(twins.size >= COINCIDENCE and twins.expected < SURE for twins in named)
    return _make(IDENTICAL_RUNS, "runs have the same scores, bit for bit", "error" if sure else "warning", about)


def find_repeated_rows(roster: Roster) -> list[Lint]:
    """Rows of one run about the same domain, shift, metric and item: they would count as replicates."""
    if not roster.has_runs:
        return []
    pairs = pd.Series(roster.unit * max(roster.n_places, 1) + roster.place)
    rows = np.flatnonzero(pairs.duplicated())
    units = pd.unique(roster.unit[rows])
    about = [roster.name_unit(unit) for unit in units[:SHOWN]]
    return _make(PSEUDO_REPLICATES, f"{len(rows):,} rows repeat a place of their run", "error", about, len(units))


def count_runs(roster: Roster) -> list[Lint]:
    """Cells with one run, and cells with fewer runs than others."""
    counts = roster.runs_per_cell
    single = np.flatnonzero(counts == 1)
    made = _make(ONE_RUN, "one run in a cell", "error", [roster.name_cell(int(cell)) for cell in single])
    if len(counts) and counts.min() != counts.max():
        remedy = "run the missing seeds; the closed form takes as many runs from every cell"
        about = [f"{roster.name_cell(cell)} ({n})" for cell, n in enumerate(counts.tolist()) if n < counts.max()]
        made += _make(("L02", remedy), f"cells have fewer runs than the {counts.max()} of others", "warning", about)
    return made


def find_folds(roster: Roster) -> list[Lint]:
    """Cross-validation folds that stand for runs."""
    folds = roster.levels("folds")
    if len(folds) < 2:
        return []
    column = roster.roles["folds"]
    return _make(FOLDS, f"runs are cross-validation folds ({column})", "error", [f"{len(folds)} folds"], len(folds))


def find_failures(roster: Roster) -> list[Lint]:
    """Cells in which a larger share of the runs has no final score."""
    if "status" not in roster.roles:
        return []
    failed, planned = roster.failed_per_cell
    share = failed / np.maximum(planned, 1)
    worst = [int(cell) for cell in np.argsort(-share, kind="stable") if share[cell] > share.min()]
    about = [f"{roster.name_cell(cell)} ({failed[cell]} of {planned[cell]})" for cell in worst]
    return _make(UNEQUAL_FAILURES, "runs without a final score, more in some cells than in others", "warning", about)


# --- cells and domains -----------------------------------------------------------------------------------------------


def find_missing_cells(roster: Roster) -> list[Lint]:
    """Combinations of levels without a row."""
    sizes = [len(levels) for levels in roster.factor_levels]
    total = int(np.prod([float(size) for size in sizes]))
    missing = total - roster.n_cells
    if len(sizes) < 2 or not missing:
        return []
    names: list[str] = []
    if total <= LISTED:
        there = np.zeros(sizes, bool)
        there[tuple(roster.cell_levels.T)] = True
        names = [roster.name_levels(levels) for levels in np.argwhere(~there)[:SHOWN]]
    remedy = "ask only for effects that the cells there can answer, or run the missing ones"
    return _make(("L01", remedy), f"{missing:,} of {total:,} combinations were not run", "note", names, missing)


def find_missing_scores(roster: Roster) -> list[Lint]:
    """Domains (shifts, metrics, items) that some runs of a cell were not scored on, though others were."""
    triples = pd.unique(roster.unit * max(roster.n_places, 1) + roster.place)
    units, places = triples // max(roster.n_places, 1), triples % max(roster.n_places, 1)
    missing = int(roster.runs_per_cell.sum()) * roster.n_places - len(triples)
    if not missing:
        return []
    names: list[str] = []
    if roster.n_cells * roster.n_places <= LISTED:
        pairs = roster.cell_of_unit[units] * roster.n_places + places
        counts = np.bincount(pairs, minlength=roster.n_cells * roster.n_places).reshape(roster.n_cells, -1)
        for cell, place in np.argwhere(counts < roster.runs_per_cell[:, None])[:SHOWN]:
            share = f"{counts[cell, place]} of {roster.runs_per_cell[cell]} runs"
            names.append(f"{roster.name_cell(cell)} on {roster.name_place(place)} ({share})")
    return _make(MISSING_DOMAINS, f"{missing:,} scores are missing that other runs have", "error", names, missing)


def compare_budgets(roster: Roster) -> list[Lint]:
    """Cells that were tuned with other budgets, or trained to other budgets, than the rest."""
    remedy = "compare cells at the same budget"
    return [
        *_compare_budgets(roster, "hpo_trials", UNEQUAL_BUDGETS, "tuning budgets differ between cells", "error"),
        *_compare_budgets(roster, "budget", ("L08", remedy), "cells ran to different budgets", "warning"),
    ]


def _compare_budgets(
    roster: Roster, role: str, kind: Refusal | tuple[str, str], sentence: str, severity: Severity
) -> list[Lint]:
    if role not in roster.roles:
        return []
    numbers = pd.Series(pd.to_numeric(roster.column(role), errors="coerce").to_numpy(np.float64, na_value=np.nan))
    per_unit = numbers.groupby(roster.unit).max()
    cells = per_unit.groupby(roster.cell_of_unit[per_unit.index.to_numpy()]).agg(["min", "max"])
    if len(cells.drop_duplicates()) < 2:
        return []
    ends = zip(cells.index, cells["min"], cells["max"], strict=True)
    about = [
        f"{roster.name_cell(int(cell))} ({low:g}{'' if low == high else f' to {high:g}'})" for cell, low, high in ends
    ]
    return _make(kind, sentence, severity, about)


def compare_test_data(roster: Roster) -> list[Lint]:
    """Domains (shifts, metrics, items) that were scored with different test data or metric code."""
    if "eval_hash" not in roster.roles:
        return []
    hashes = pd.DataFrame({"place": roster.place, "hash": roster.column("eval_hash").to_numpy()}).dropna()
    counts = hashes.drop_duplicates().groupby("place").size()
    places = counts.index[counts > 1].to_numpy()
    about = [roster.name_place(place) for place in places[:SHOWN]]
    return _make(OTHER_TEST_DATA, "scores were made with different test data", "error", about, len(places))


def find_search_phase(roster: Roster) -> list[Lint]:
    """Rows of the search phase, whose settings were chosen by their scores."""
    if "phase" not in roster.roles:
        return []
    search = (roster.column("phase") == "search").to_numpy(bool)
    total, n = len(search), int(search.sum())
    cells = pd.unique(roster.cell[search])
    mixed = "rows are from the search phase, mixed with others" if n < total else "all rows are from the search phase"
    about = [roster.name_cell(cell) for cell in cells[:SHOWN]]
    return _make(SELECTED, f"{n:,} {mixed}" if n < total else mixed, "error", about, len(cells))


# --- columns and scores ----------------------------------------------------------------------------------------------


def find_constant_columns(roster: Roster) -> list[Lint]:
    """Factors with one level, and columns without a role that say the same in every row."""
    names = [f for f, levels in zip(roster.factors, roster.factor_levels, strict=True) if len(levels) < 2]
    remedy = "drop it from the factors, or add the rows of its other levels"
    made = _make(("L03", remedy), "a factor has one level", "error", names)
    if len(roster.frame) > 1:
        known = {*roster.factors, *(named for role, named in roster.roles.items() if role != "factors")}
        others = [c for c in roster.frame.columns if c not in known and _is_constant(roster.frame[c])]
        made += _make(
            ("L04", "nothing, if it is meant"), "columns without a role say the same in every row", "note", others
        )
    return made


def _is_constant(column: pd.Series) -> bool:
    first = column.iloc[0]
    return bool(column.isna().all() if pd.isna(first) else (column == first).all())


def find_lost_scores(roster: Roster) -> list[Lint]:
    """Rows of finished runs whose score is NaN or infinite."""
    rows = np.flatnonzero(~np.isfinite(roster.value))
    cells = pd.unique(roster.cell[rows])
    about = [roster.name_cell(cell) for cell in cells[:SHOWN]]
    remedy = "a run that diverged failed: give it that status, or rerun it; dropping it makes the rest a selection"
    return _make(("L05", remedy), f"{len(rows):,} scores are not finite", "error", about, len(cells))


def compare_scales(roster: Roster) -> list[Lint]:
    """Scores of one metric from 0 to 1 in some cells or domains and from 0 to 100 in others; and per cent."""
    finite = np.isfinite(roster.value)
    group = pd.Series(roster.value[finite]).groupby(roster.place_in_cell[finite])
    stats = pd.DataFrame({"low": group.min(), "high": group.max(), "middle": group.median()})
    stats["metric"] = roster.metric_of_place[stats.index.to_numpy() % max(roster.n_places, 1)]
    stats = stats[stats["low"] >= 0]
    mixed, percent = [], []
    for metric, own in stats.groupby("metric"):
        name = roster.name_metric(int(str(metric)))
        unit, hundred = own[own["high"] <= 1], own[(own["low"] > 1) & (own["high"] <= 100)]
        if len(unit) and len(hundred) and 20 <= hundred["middle"].median() / max(unit["middle"].median(), 1e-9) <= 500:
            mixed.append(f"{name} (0 to 1 in {len(unit)} places, 0 to 100 in {len(hundred)})")
        elif len(hundred) == len(own) and own["middle"].median() > 1 and any(w in name.lower() for w in SHARES):
            percent.append(name)
    made = _make(("L06", "bring them to one scale"), "one metric seems to be on two scales", "error", mixed)
    remedy = "give margins and bounds in per cent points too"
    return made + _make(("L07", remedy), "scores seem to be per cent", "note", percent)


SHARES = ("acc", "f1", "auc", "recall", "precision", "exact")


def compare_metrics(roster: Roster) -> list[Lint]:
    """Metrics of which none covers all domains: a mean over domains would mix their units."""
    if not {"metric", "domain"} <= set(roster.roles):
        return []
    pairs = pd.DataFrame({"domain": roster.codes("domain"), "metric": roster.codes("metric")}).drop_duplicates()
    domains = roster.levels("domain")
    pairs = pairs[pairs["domain"] != (domains.index(WHOLE) if WHOLE in domains else -1)]
    covered = pairs.groupby("metric").size()
    if covered.empty or covered.max() == pairs["domain"].nunique():
        return []
    about = [f"{roster.name_metric(int(metric))} ({n})" for metric, n in zip(covered.index, covered, strict=True)]
    sentence = f"no metric was measured on all {pairs['domain'].nunique()} domains"
    return _make(("L09", "judge one metric at a time, on its own domains"), sentence, "warning", about)


CHECKS: tuple[Callable[[Roster], list[Lint]], ...] = (
    find_identical_runs,
    find_repeated_rows,
    find_folds,
    compare_test_data,
    find_search_phase,
    count_runs,
    find_missing_scores,
    find_missing_cells,
    compare_budgets,
    find_failures,
    find_lost_scores,
    compare_scales,
    compare_metrics,
    find_constant_columns,
)
