"""Figures of effects: a forest of the overall ones under both targets, and one panel per contrast over domains.

The one room of matplotlib. Figures are made with its object interface, so that no back end and no global state
of the caller matters; an SVG is the same to the byte for the same effects and library, and carries a stamp.
"""

import io
import logging
import math
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ablate.records import WHOLE, Records
from ablate.report import wordings
from ablate.stats.effects import Effects

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The report replaces these by its own light and dark colours; blue and orange differ for every kind of sight.
INK, PRIMARY, OTHER, BAND, GRID, PAPER = "#1b1f24", "#1f5fa8", "#b3541e", "#dfe6ee", "#c9ced6", "#fefefe"

# Families of the forest; simple effects only where the design has nothing more telling.
_FAMILIES = ("main", "leave_one_out", "step", "noninferiority", "interaction")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ablate",
    "pdf.fonttype": 42,
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.unicode_minus": True,
    "text.parse_math": False,
}


def forest(effects: Effects, records: Records | None = None) -> "Figure":
    """Every overall effect with its intervals: the plan's target as a disc, the other as an open diamond.

    The band is the margin; a bar at a row of its own margin is that of a non-inferiority question. Refused
    effects show the code of the refusal and no marker of a test.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    primary = effects.target
    frame = effects.frame[effects.frame["domain"] == WHOLE]
    families = [f for f in _FAMILIES if (frame["family"] == f).any()]
    if not {"main", "leave_one_out", "step"} & set(families):
        families = ["simple", *families]
    lines = _lines(frame, families)
    direction = records.plan.direction if records is not None else "maximize"
    with rc_context(STYLE):
        figure = Figure(figsize=(6.6, 1.1 + 0.27 * len(lines)), layout="constrained")
        axes = figure.add_subplot()
        _margin(axes, records)
        labels: dict[int, str] = {}
        for place, (label, rows) in enumerate(lines):
            if rows:
                labels[place] = label
            else:
                axes.text(0, place, label, transform=axes.get_yaxis_transform(), va="center", weight="bold")
            for target, row in rows.items():
                _draw(axes, row, place, target == primary, direction)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_yticks(list(labels), list(labels.values()))
        axes.set_xlabel(_axis_label(frame, records))
        plain_axes(axes)
        _legend(figure, frame, primary, records)
    return figure


def domains(effects: Effects, records: Records | None = None) -> "Figure | None":
    """A panel per contrast, a row per domain group, filled where the corrected test decides; None if there are none."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    frame = effects.frame[(effects.frame["family"] == "domain") & (effects.frame["target"] == "these_domains")]
    panels = [(key, part) for key, part in frame.groupby(["stratum", "factor", "level", "versus"], sort=False)]
    if not panels:
        return None
    groups = list(dict.fromkeys(frame["domain"]))
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.3 + 2.2 * columns, 0.5 + rows * (0.75 + 0.2 * len(groups))), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, (key, part) in zip(grid, panels, strict=False):
            _margin(axes, records)
            for row in part.to_dict("records"):
                _draw_domain(axes, row, groups.index(row["domain"]))
            axes.set_title("\n".join(shorten(line, 34) for line in _panel_title(key)), fontsize=8.5, loc="left")
            axes.set_ylim(len(groups) - 0.4, -0.6)
            axes.set_yticks(range(len(groups)), [shorten(group, 28) for group in groups])
            plain_axes(axes)
        for axes in grid[max(0, len(panels) - columns) : len(panels)]:
            axes.tick_params(labelbottom=True)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        figure.supxlabel(_axis_label(frame, records), fontsize=8.5)
    return figure


def svg(figure: "Figure", stamp: str) -> str:
    """The figure as SVG text, with no date in it and the stamp as its description."""
    out = io.StringIO()
    _save(figure, out, "svg", {"Date": None, "Creator": "ablate", "Description": stamp})
    return out.getvalue()


def pdf(figure: "Figure", stamp: str) -> bytes:
    """The figure as PDF, with no date in it and the stamp as its subject."""
    out = io.BytesIO()
    _save(figure, out, "pdf", {"CreationDate": None, "Creator": "ablate", "Producer": None, "Subject": stamp})
    return out.getvalue()


def inline(text: str) -> str:
    """An SVG to stand in an HTML page: without its prolog and metadata, in the colours of the page."""
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    names = {INK: "ink", PRIMARY: "first", OTHER: "second", BAND: "band", GRID: "line", PAPER: "paper"}
    for colour, name in names.items():
        text = text.replace(colour, f"var(--{name})")
    return text.strip()


def _save(figure: "Figure", out: Any, kind: str, metadata: Mapping[str, str | None]) -> None:
    from matplotlib import rc_context

    with rc_context(STYLE), warnings.catch_warnings():
        logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every font it puts into a PDF
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # foreign names; the viewer has fonts
        figure.savefig(out, format=kind, metadata=dict(metadata), transparent=True)


def _lines(frame: pd.DataFrame, families: list[str]) -> list[tuple[str, dict[str, dict[Any, Any]]]]:
    """From top to bottom: a contrast's label and its rows by target; a heading has no rows."""
    lines: list[tuple[str, dict[str, dict[Any, Any]]]] = []
    for stratum, block in frame.groupby("stratum", sort=False):
        for family in families:
            part = block[block["family"] == family]
            if len(part):
                heading = wordings.FAMILY_WORDS[family].split(" (")[0]
                lines.append((shorten(f"{stratum!s}: {heading}" if stratum else heading, 80), {}))
            for _, both in part.groupby(["factor", "level", "versus"], sort=False):
                rows = {str(row["target"]): row for row in both.to_dict("records")}
                lines.append((_label(next(iter(rows.values()))), rows))
    return lines


def _label(row: Mapping[Any, Any]) -> str:
    """A contrast in few words: what the heading above it does not already say."""
    if row["family"] in ("noninferiority", "leave_one_out"):
        return shorten(str(row["factor"]))
    return shorten(str(row["level"]) if row["family"] in ("simple", "interaction") else wordings.contrast(row))


def _draw(axes: "Axes", row: Mapping[Any, Any], place: int, primary: bool, direction: str) -> None:
    y = place - 0.12 if primary else place + 0.2
    colour = PRIMARY if primary else OTHER
    width, dashes = (1.8, "-") if primary else (1.1, (0, (4, 1.5)))
    axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=width, ls=dashes, solid_capstyle="butt")
    if not row["refusal"]:
        axes.plot([row["estimate"]], [y], **_marker(primary))
    if not primary:
        return
    words = str(row["refusal"] or row["verdict"])
    axes.text(1.015, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    if row["family"] == "noninferiority" and pd.notna(row["margin"]):
        bound = -row["margin"] if direction == "maximize" else row["margin"]
        axes.plot([bound, bound], [place - 0.4, place + 0.4], color=INK, lw=1.4)


def _marker(primary: bool) -> dict[str, Any]:
    if primary:
        return {"marker": "o", "ms": 5, "mec": PRIMARY, "mfc": PRIMARY, "color": PRIMARY}
    return {"marker": "D", "ms": 4, "mec": OTHER, "mfc": "none", "color": OTHER}


def _draw_domain(axes: "Axes", row: Mapping[Any, Any], place: int) -> None:
    decided = row["verdict"] in ("better", "worse", "equivalent")
    axes.plot([row["low"], row["high"]], [place, place], color=PRIMARY, lw=1.4, solid_capstyle="butt")
    if not row["refusal"]:
        axes.plot([row["estimate"]], [place], "o", ms=4.5, mec=PRIMARY, mfc=PRIMARY if decided else PAPER)


def _margin(axes: "Axes", records: Records | None) -> None:
    """The band of differences that do not matter, if one was declared, and the line of no difference."""
    if records is not None and records.plan.margin is not None:
        axes.axvspan(-records.plan.margin, records.plan.margin, color=BAND, lw=0, zorder=0)
    axes.axvline(0, color=INK, lw=0.8, zorder=1)


def plain_axes(axes: "Axes") -> None:
    """Axes without a frame, with lines that lead the eye to the numbers below."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID, lw=0.5)
    axes.set_axisbelow(True)


def _axis_label(frame: pd.DataFrame, records: Records | None) -> str:
    label = f"Δ {wordings.listed(frame['metric'].unique())}"
    if records is None:
        return label
    return f"{label}  (better →)" if records.plan.direction == "maximize" else f"{label}  (← better)"


def _legend(figure: "Figure", frame: pd.DataFrame, primary: str, records: Records | None) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown = [primary, *(t for t in wordings.TARGETS if t != primary and (frame["target"] == t).any())]
    handles: list[Any] = [
        Line2D([], [], **_marker(t == primary), lw=1.5, ls="-" if t == primary else (0, (4, 1.5)), label=_claim(t))
        for t in shown
    ]
    if records is not None and records.plan.margin is not None:
        handles.append(Patch(color=BAND, label=f"margin ±{records.plan.margin:g}"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)


def _claim(target: str) -> str:
    return wordings.TARGETS[target][1].replace("training runs on these domains", "runs, these domains")


def _panel_title(key: tuple[Any, ...]) -> list[str]:
    stratum, factor, level, versus = map(str, key)
    return [f"{stratum}: {factor}" if stratum else factor, f"{level} vs {versus}"]


def shorten(text: str, width: int = 44) -> str:
    """A foreign text, cut to a number of characters."""
    text = wordings.clean(text)
    return text if len(text) <= width else text[: width - 1] + "…"
