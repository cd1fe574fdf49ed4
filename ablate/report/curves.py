"""Figures of tuning: the best validation score to expect of n proposals in every cell, or the best so far."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ablate.factors import Cell, level_name
from ablate.records import Records
from ablate.report.figures import GRID, INK, PRIMARY, STYLE, plain_axes, shorten
from ablate.stats.budgets import INDEPENDENT, expected_best
from ablate.stats.searches import read_search

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4


def has_search(records: Records) -> bool:
    """Whether any proposal has a validation score."""
    return records.plan.tuning is not None and any(len(values) for values in search_values(records).values())


def search_values(records: Records) -> dict[Cell, NDArray[np.float64]]:
    """Of every tuned cell, the values of its proposals in the order in which they were made; lost ones are worst."""
    plan = records.plan
    rows = records.frame[records.frame["phase"] == "search"].sort_values("proposal", kind="stable")
    names = [" ".join(f"{f.key}={row[f.key]}" for f in plan.factors) for row in rows.to_dict("records")]
    found, _ = read_search(rows, np.array(names, object), plan)
    return {cell: found["value"][found["cell"] == str(cell)].to_numpy(float) for cell in plan.tuned_cells}


def tuning(records: Records) -> "Figure | None":
    """A panel per tuned cell: the value of every proposal as a dot, and the best to expect of n as a line.

    Only proposals of a random search are exchangeable, so that an expectation over their order can be taken
    (`ablate.stats.budgets`); of any other sampler the line is the best so far.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    plan = records.plan
    values = {cell: found for cell, found in search_values(records).items() if len(found)} if plan.tuning else {}
    if not values or plan.tuning is None:
        return None
    columns = min(_COLUMNS, len(values))
    rows = -(-len(values) // columns)
    independent = plan.tuning.sampler in INDEPENDENT
    with rc_context(STYLE):
        figure = Figure(figsize=(0.8 + 1.9 * columns, 0.6 + 1.5 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, (cell, found) in zip(grid, values.items(), strict=False):
            _draw(axes, found, plan.tuning.objectives[0].direction, independent)
            title = "\n".join(shorten(f"{key}={level_name(level)}", 24) for key, level in cell.items())
            axes.set_title(title, fontsize=7.5, loc="left")
        for axes in grid[len(values) :]:
            axes.set_axis_off()
        line = "expected best of n" if independent else "best so far"
        figure.supxlabel(f"proposals (n); line: {line}", fontsize=8.5)
        figure.supylabel(plan.tuning.objectives[0].metric, fontsize=8.5)
    return figure


def _draw(axes: "Axes", values: NDArray[np.float64], direction: str, independent: bool) -> None:
    budgets = np.arange(1, len(values) + 1)
    best = np.maximum.accumulate(values) if direction == "maximize" else np.minimum.accumulate(values)
    if independent:
        best = expected_best(values, budgets, "U", "maximize" if direction == "maximize" else "minimize")
    axes.plot(budgets, values, ".", ms=3, color=INK, alpha=0.45)
    axes.plot(budgets, best, color=PRIMARY, lw=1.6)
    plain_axes(axes)
    axes.grid(axis="y", color=GRID, lw=0.5)
