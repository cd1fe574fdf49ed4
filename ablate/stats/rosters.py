"""Rosters: the rows of a long table by cell, run and place, as whole numbers that can be counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.errors import RecordsError

Codes = NDArray[np.int64]

PLACE = ("domain", "shift", "metric", "example")  # what one score of a run is about
COMPLETE = "complete"


@dataclass(frozen=True, eq=False)
class Roster:
    """Who scored what. Arrays are a value per row that has a final score, unless said otherwise.

    Attributes:
        frame: all rows.
        roles: role -> column.
        complete: for all rows, whether the row has a final score.
        cells, units: for all rows, numbers of the cell and of the run in its cell.
        place: number of the domain, shift, metric, item and, along a curve, budget.
        value: the score.
        cell_levels: cells × factors, numbers of levels.
        factor_levels: per factor, its levels in order of appearance.
        cell_of_unit: per run, its cell.
        run_of_unit: per run, its name.
        place_rows: per place, a row that stands for it.
        has_runs: whether a column tells runs apart; without one, the k-th row of a place belongs to run k.
    """

    frame: pd.DataFrame
    roles: Mapping[str, Any]
    complete: NDArray[np.bool_]
    cells: Codes
    units: Codes
    place: Codes
    value: NDArray[np.float64]
    cell_levels: Codes
    factor_levels: tuple[Sequence[object], ...]
    cell_of_unit: Codes
    run_of_unit: Sequence[object]
    place_rows: Codes
    has_runs: bool

    @property
    def factors(self) -> list[str]:
        """The factor columns."""
        return list(self.roles["factors"])

    @property
    def n_cells(self) -> int:
        """Cells that have a row."""
        return len(self.cell_levels)

    @property
    def n_places(self) -> int:
        """Places that have a score."""
        return len(self.place_rows)

    @cached_property
    def cell(self) -> Codes:
        """The cell of every score."""
        return self.cells[self.complete]

    @cached_property
    def unit(self) -> Codes:
        """The run of every score."""
        return self.units[self.complete]

    @cached_property
    def runs_per_cell(self) -> Codes:
        """Runs with a score, per cell."""
        there = np.bincount(self.unit, minlength=len(self.cell_of_unit)) > 0
        return np.bincount(self.cell_of_unit[there], minlength=self.n_cells)

    @cached_property
    def failed_per_cell(self) -> tuple[Codes, Codes]:
        """Per cell: runs without any score, and all runs."""
        there = np.bincount(self.unit, minlength=len(self.cell_of_unit)) > 0
        failed = np.bincount(self.cell_of_unit[~there], minlength=self.n_cells)
        return failed, np.bincount(self.cell_of_unit, minlength=self.n_cells)

    @cached_property
    def place_in_cell(self) -> Codes:
        """Cell and place of every score as one number."""
        return self.cell * max(self.n_places, 1) + self.place

    @cached_property
    def metric_of_place(self) -> Codes:
        """Per place, the number of its metric."""
        if "metric" not in self.roles:
            return np.zeros(self.n_places, np.int64)
        return self.codes("metric")[self.place_rows]

    def column(self, role: str) -> pd.Series:
        """The column of a role, of the rows with a final score."""
        column: pd.Series = self.frame[self.roles[role]].loc[self.complete]
        return column

    @cached_property
    def _coded(self) -> dict[str, tuple[Codes, Sequence[object]]]:
        return {}

    def codes(self, role: str) -> Codes:
        """Numbers of the levels of a role, of the rows with a final score."""
        return self._code(role)[0]

    def levels(self, role: str) -> Sequence[object]:
        """Levels of a role, none where there is no such column."""
        return self._code(role)[1] if role in self.roles else ()

    def _code(self, role: str) -> tuple[Codes, Sequence[object]]:
        if role not in self._coded:
            self._coded[role] = number(self.column(role))
        return self._coded[role]

    def name_cell(self, cell: int) -> str:
        """A cell as its levels."""
        return self.name_levels(self.cell_levels[cell])

    def name_levels(self, levels: Sequence[int] | Codes) -> str:
        """A combination of levels, given by their numbers."""
        named = zip(self.factors, self.factor_levels, levels, strict=True)
        return " ".join(f"{factor}={own[level]}" for factor, own, level in named)

    def name_unit(self, unit: int) -> str:
        """A run and its cell."""
        return f"{self.name_cell(self.cell_of_unit[unit])} run {self.run_of_unit[unit]}"

    def name_place(self, place: int) -> str:
        """A place as its domain, shift, metric and item."""
        row = self.place_rows[place]
        parts = [f"{self.column(role).iloc[row]}" for role in (*PLACE, "budget") if role in self.roles]
        return "/".join(parts) or str(self.roles["value"])

    def name_metric(self, metric: int) -> str:
        """A metric's name; the column of scores where no column names metrics."""
        return str(self.levels("metric")[metric]) if "metric" in self.roles else str(self.roles["value"])


def enrol(frame: pd.DataFrame, roles: Mapping[str, Any]) -> Roster:
    """The roster of a long table.

    Raises:
        RecordsError: no factors or scores are named, a column is not there, or scores are not numbers.
    """
    factors = _check(frame, roles)
    value = frame[roles["value"]]
    complete = np.ones(len(frame), bool)
    if "status" in roles:
        complete = (frame[roles["status"]] == COMPLETE).to_numpy(bool)
    coded = [number(frame[factor]) for factor in factors]
    cells, first = combine([codes for codes, _ in coded], len(frame))
    kept = frame.loc[complete]
    parts = [number(kept[roles[role]])[0] for role in PLACE if role in roles]
    place, place_rows = combine(parts, len(kept))
    if "run" in roles:
        runs, names = number(frame[roles["run"]])
        units, unit_rows = combine([cells, runs], len(frame))
        run_of_unit: Sequence[object] = [names[run] for run in runs[unit_rows]]
    else:
        units, unit_rows, run_of_unit = _count_off(cells, complete, place)
    if "budget" in roles and len(kept):  # along a curve, one run has a score per budget
        budgets = number(kept[roles["budget"]])[0]
        if len(combine([units[complete], budgets], len(kept))[1]) > len(np.unique(units[complete])):
            place, place_rows = combine([place, budgets], len(kept))
    return Roster(
        frame=frame,
        roles=roles,
        complete=complete,
        cells=cells,
        units=units,
        place=place,
        value=value.loc[complete].to_numpy(np.float64, na_value=np.nan),
        cell_levels=np.stack([codes[first] for codes, _ in coded], axis=1),
        factor_levels=tuple(levels for _, levels in coded),
        cell_of_unit=cells[unit_rows],
        run_of_unit=run_of_unit,
        place_rows=place_rows,
        has_runs="run" in roles,
    )


def _check(frame: pd.DataFrame, roles: Mapping[str, Any]) -> list[str]:
    for role in ("factors", "value"):
        if not roles.get(role):
            raise RecordsError(f"no column is named as {role}", where="lint", allowed=frame.columns)
    factors = list(roles["factors"])
    for column in [*factors, *(named for role, named in roles.items() if role != "factors")]:
        if column not in frame.columns:
            raise RecordsError(f"there is no column {column!r}", where="lint", allowed=frame.columns, word=column)
    if not pd.api.types.is_numeric_dtype(frame[roles["value"]]):
        raise RecordsError("scores are not numbers", where=f"column {roles['value']!r}")
    if frame.empty:
        raise RecordsError("there are no rows", where="lint")
    return factors


def number(column: pd.Series) -> tuple[Codes, Sequence[object]]:
    """Levels as numbers in order of appearance, what is missing as a level of its own; and the levels."""
    codes, levels = pd.factorize(column, use_na_sentinel=False)
    return codes.astype(np.int64), list(levels)


def combine(parts: Sequence[Codes], n: int) -> tuple[Codes, Codes]:
    """Combinations of numbers as one number, in order of appearance, and the first row of each."""
    made = np.zeros(n, np.int64)
    for part in parts:
        made = pd.factorize(made * (int(part.max(initial=0)) + 1) + part)[0].astype(np.int64)
    first = np.empty(int(made.max(initial=-1)) + 1, np.int64)
    first[made[::-1]] = np.arange(n - 1, -1, -1)
    return made, first


def _count_off(cells: Codes, complete: NDArray[np.bool_], place: Codes) -> tuple[Codes, Codes, list[object]]:
    """Runs where no column names them: the k-th row of a place in its cell is run k; a failed row is a run."""
    spots = np.full(len(cells), -1, np.int64)
    spots[complete] = place
    together, _ = combine([cells, spots + 1], len(cells))
    rank = pd.Series(together).groupby(together).cumcount().to_numpy(np.int64)
    units, first = combine([cells, (rank * 2 + ~complete).astype(np.int64)], len(cells))
    return units, first, [f"no. {k + 1}" for k in rank[first]]
