"""Sweet spots as the report shows them: the best size on every budget, where sizes overtake the largest, the curves."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ablate.records import Records
from ablate.report import wordings
from ablate.report.figures import BAND, GRID, INK, OTHER, PRIMARY, STYLE, plain_axes, shorten
from ablate.report.tables import Entry, Row, Table
from ablate.stats.refusals import Refusal
from ablate.stats.surfaces import Surface
from ablate.stats.sweetspots import Best, Crossing, SweetSpots, find_sweet_spots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))


def read(records: Records) -> SweetSpots | None:
    """The sweet spots that the plan's analysis asks for; None where it asks for none.

    Raises:
        PlanError, RecordsError: as `find_sweet_spots`.
    """
    asked = records.plan.analysis.sweet_spot
    if asked is None:
        return None
    return find_sweet_spots(records, asked.size, asked.budget, asked.cost, asked.sizes, asked.unit)


def best_table(found: SweetSpots) -> Table:
    """A row per arm and training budget: the mean of every size, the best one, and which may be the best."""
    sizes = list(dict.fromkeys(size for surface in found.surfaces for size in surface.sizes))
    errors = (b for best in found.bests for b in best.means.values())
    places = _places(errors)
    level = next((best.level for best in found.bests if best.refusal is None), math.nan)
    rows: list[Row] = []
    for best, heading in zip(found.bests, _headings(found.bests), strict=True):
        rows += [(Entry(heading),)] if heading else []
        budget = Entry(wordings.quantity(round(best.budget, 6)), best.trials)
        if best.refusal is not None:
            rows.append((budget, *[Entry(wordings.MISSING)] * (len(sizes) + 1), Entry(best.refusal.code, best.trials)))
            continue
        means = [Entry(wordings.plain(best.means.get(size, math.nan), places), best.trials) for size in sizes]
        may = ", ".join(f"{size} ({wordings.percent(round(best.shares[size], 2))})" for size in best.candidates)
        rows.append((budget, *means, Entry(best.best, best.trials), Entry(may, best.trials)))
    head = (_label("Budget", found), *(f"Mean {size}" for size in sizes), "Best", "May be best")
    drawn = "runs and domains" if found.target == "new_domains" else "runs"
    judged = f" at {wordings.percent(level)}" if level == level else ""
    notes = (
        *([] if rows else ["No two sizes were trained on a common budget: train the small one longer."]),
        f"May be best: Hsu's comparisons with the best{judged}, every budget by itself; about "
        f"{wordings.TARGETS[found.target][1]}.",
        f"In brackets: how often it is the best if {drawn} are drawn anew, which is no probability of being so.",
        "Between budgets that were trained, straight lines on the logarithmic axis.",
        *_refused(best.refusal for best in found.bests),
    )
    return Table(
        f"Best size on every training budget, by {found.metric}",
        head,
        tuple(rows),
        notes,
        "l" + "r" * len(sizes) + "ll",
    )


def crossing_table(found: SweetSpots) -> Table:
    """A row per arm and size: the budget at which it overtakes the largest, or that it never does."""
    rows: list[Row] = []
    for crossing, heading in zip(found.crossings, _headings(found.crossings), strict=True):
        rows += [(Entry(heading),)] if heading else []
        estimate = wordings.quantity(_short(crossing.estimate))
        between = f"{wordings.quantity(_short(crossing.range[0]))} to {wordings.quantity(_short(crossing.range[1]))}"
        row = [
            crossing.small,
            crossing.large,
            wordings.MISSING if crossing.refusal else between,
            estimate,
            _interval(crossing),
            crossing.refusal.code if crossing.refusal else crossing.told,
        ]
        rows.append(tuple(Entry(text, crossing.trials) for text in row))
    first = next((c for c in found.crossings if c.refusal is None), None)
    interval = "Interval" if first is None else f"{wordings.percent(first.level)} interval"
    size = len(found.crossings)
    head = ("Size", "Against", _label("Range", found), "Equal at", interval, "Finding")
    among = f"; Bonferroni over {size} comparisons" if size > 1 else ""
    notes = (
        "Interval: the budgets at which the difference is not told from zero, about "
        f"{wordings.TARGETS[found.target][1]}{among}. A round bracket: up to the end of the range, and perhaps beyond.",
        "Overtakes: behind at the one end of the range and ahead at the other, both clearly. Never: clearly apart on "
        "every budget of the range; nothing is said of budgets beyond it.",
        *_refused(crossing.refusal for crossing in found.crossings),
    )
    return Table(f"Where sizes overtake the largest, by {found.metric}", head, tuple(rows), notes, "lllrrl")


def curves(found: SweetSpots) -> "Figure | None":
    """A panel per arm: every size on its budgets; the band is where the smallest one and the largest may be equal.

    None where no arm can be judged.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    surfaces = [surface for surface in found.surfaces if surface.refusal is None]
    if not has_curves(found):
        return None
    columns = min(_COLUMNS, len(surfaces))
    rows = math.ceil(len(surfaces) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 2.4 * columns, 0.9 + 2.0 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, surface in zip(grid, surfaces, strict=False):
            for crossing in found.crossings:
                if (crossing.arm, crossing.small) == (surface.arm, surface.sizes[0]):
                    _draw_crossing(axes, crossing)
            _draw_sizes(axes, surface)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda budget, _: wordings.quantity(round(budget, 9)))
            plain_axes(axes)
            axes.grid(axis="y", color=GRID, lw=0.5)
            axes.set_title(shorten(surface.arm, 34), fontsize=8.5, loc="left")
        for axes in grid[len(surfaces) :]:
            axes.set_axis_off()
        figure.supxlabel(_label("training budget", found), fontsize=8.5)
        figure.supylabel(found.metric, fontsize=8.5)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8)
    return figure


def has_curves(found: SweetSpots | None) -> bool:
    """Whether there is an arm to draw."""
    return found is not None and any(surface.refusal is None for surface in found.surfaces)


def _draw_sizes(axes: "Axes", surface: Surface) -> None:
    """Dots are runs, lines their means; the smallest and the largest size have a colour of their own."""
    colours = [PRIMARY, *[INK] * (len(surface.sizes) - 2), OTHER]
    for place, (size, budgets, scores) in enumerate(zip(surface.sizes, surface.budgets, surface.scores, strict=True)):
        runs, dashes = scores.mean(2), _DASHES[place % len(_DASHES)]
        axes.plot(budgets, runs, ".", ms=2.5, color=colours[place], alpha=0.35)
        axes.plot(budgets, runs.mean(1), color=colours[place], lw=1.6, ls=dashes, label=shorten(size, 24))


def _draw_crossing(axes: "Axes", crossing: Crossing) -> None:
    low, high = max(crossing.low, crossing.range[0]), min(crossing.high, crossing.range[1])
    if crossing.verdict in ("overtakes", "is overtaken"):
        axes.axvspan(low, high, color=BAND, lw=0, zorder=0)
        if not math.isnan(crossing.estimate):
            axes.axvline(crossing.estimate, color=INK, lw=0.8, zorder=1)


def _label(word: str, found: SweetSpots) -> str:
    return f"{word} ({found.axis})" if found.axis else word


def _headings(rows: "tuple[Best, ...] | tuple[Crossing, ...]") -> Iterator[str]:
    """Before a row, the heading that is due: its arm, where it is the first of several."""
    before = ""
    for row in rows:
        yield row.arm if row.arm != before else ""
        before = row.arm


def _places(values: Iterator[float]) -> int:
    """Decimals that show three digits of how far the means are apart."""
    known = np.array([value for value in values if math.isfinite(value)])
    return wordings.places([float(np.ptp(known)) / 10]) if len(known) else 3


def _short(budget: float) -> float:
    """A budget to three digits, for it is an estimate; whole numbers stay whole."""
    return float(f"{budget:.3g}") if math.isfinite(budget) else budget


def _interval(crossing: Crossing) -> str:
    if math.isnan(crossing.low):
        return wordings.MISSING
    opened = crossing.low == 0, math.isinf(crossing.high)
    low = crossing.range[0] if opened[0] else crossing.low
    high = crossing.range[1] if opened[1] else crossing.high
    ends = ", ".join(wordings.quantity(_short(end)) for end in (low, high))
    return f"{'(' if opened[0] else '['}{ends}{')' if opened[1] else ']'}"


def _refused(refusals: "Iterator[Refusal | None]") -> list[str]:
    told = {refusal.code: refusal for refusal in refusals if refusal is not None}
    return [f"{code}: {refusal}. To do: {refusal.remedy}." for code, refusal in sorted(told.items())]
