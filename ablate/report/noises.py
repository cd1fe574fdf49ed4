"""Noise in words and a picture: standard deviations source by source, and the smallest effect that seeds would show."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ablate.factors import Cell
from ablate.report.figures import OTHER, PRIMARY, STYLE, plain_axes, shorten
from ablate.report.rendering import markdown
from ablate.report.tables import Entry, Table
from ablate.report.wordings import MINUS, MISSING, interval, listed, places, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TOLD = (3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30)  # numbers of seeds in the table; the JSON has all


def tell_noise(found: Mapping[str, Any]) -> str:
    """What noise runs say, as Markdown that reads well in a terminal too.

    Args:
        found: as `ablate.noises.summarise` gives it.
    """
    parts = [markdown(tabulate_sources(found))]
    if found["visible"]:
        parts.append(markdown(tabulate_visible(found)))
    return "\n".join(parts)


def tabulate_sources(found: Mapping[str, Any]) -> Table:
    """A row per source of randomness: standard deviations over its runs, over all domain groups and in each."""
    sources = found["sources"]
    groups = list(sources[0]["domains"])
    inside = groups if len(groups) > 1 else []
    digits = places([source["variance"] ** 0.5 for source in sources])
    rows = []
    for source in sources:
        ends = interval(source["low"] ** 0.5, source["high"] ** 0.5, digits) if source["high"] else MISSING
        sds = [source["variance"], *(source["domains"][group] for group in inside)]
        whole, *rest = [plain(variance**0.5, digits) if variance else "0" for variance in sds]
        rows.append(tuple(map(Entry, (source["source"], str(source["runs"]), whole, ends, *rest))))
    title = f"Noise of {found['study']}: standard deviation of {found['metric']} over runs, by source of randomness"
    header = ("Source", "Runs", "All domains" if inside else "SD", "95 %", *inside)
    return Table(title, header, tuple(rows), tuple(_notes(found)), "lrrr" + "r" * len(inside))


def tabulate_visible(found: Mapping[str, Any]) -> Table:
    """The smallest difference of two cells that so many seeds show."""
    seen = found["visible"]
    rows = [row for row in seen["rows"] if row["seeds"] in _TOLD]
    digits = places([row["these_domains"] / 3 for row in rows])
    new = any(row["new_domains"] is not None for row in rows)
    columns = ["these_domains", "new_domains"][: 1 + new]
    body = tuple(
        tuple(map(Entry, (str(row["seeds"]), *(plain(row[column], digits) for column in columns)))) for row in rows
    )
    header = ("Seeds", *(column.replace("_", " ") for column in columns))
    title = f"Smallest difference of two cells that is found with a chance of {seen['power']:g}"
    return Table(title, header, body, tuple(_visible_notes(seen)), "r" * len(header))


def _notes(found: Mapping[str, Any]) -> Iterator[str]:
    which = "The baseline cell" if found["baseline"] else "The first cell (the baseline is excluded)"
    yield f"{which}, {Cell(found['cell'])}; {_tuned(found)}"
    seeds, fixed = found["seeds"], found["fixed_seed"]
    yield (
        f"Seeds {seeds[0]} to {seeds[-1]}, none of which the study has; whatever does not vary is on seed {fixed}. "
        f"Test sets were read {found['readings']} times, and nothing was selected by that."
    )
    if lost := [f"{s['source']} {found['runs'] - s['runs']}" for s in found["sources"] if s["runs"] < found["runs"]]:
        yield f"Runs without a score, which leaves the spread too small if they went astray: {listed(lost)}."
    if found["unmeasured"]:
        yield f"With fewer than two scores, and so without a row: {listed(found['unmeasured'])}."
    yield _same_seed(found)
    yield from _zeros(found)
    if found["parts"]:
        yield _parts(found)
    yield "Intervals are those of chi-square, for normal runs; all domains: of a run's mean over the domain groups."


def _tuned(found: Mapping[str, Any]) -> str:
    if found["settings"]:
        settings = ", ".join(f"{key}={value}" for key, value in found["settings"].items())
        return f"with the settings that the study uses: {settings}."
    return "not tuned yet: as the config has it." if found["tuned"] else "as the config has it."


def _same_seed(found: Mapping[str, Any]) -> str:
    same = found["same_seed"]
    if same["reproduces"] is None:
        return "Whether the same seed gives the same is not known: fewer than two of its runs have a score."
    if same["reproduces"]:
        return f"The same seed reproduces bit for bit: {same['scores']} scores of a run, of every metric, are the same."
    text = f"The same seed does not reproduce: a score differs by up to {same['apart']:.3g} between its runs. "
    whole = {source["source"]: source["variance"] for source in found["sources"]}
    if whole.get("new seeds"):
        share = whole["same seed"] / whole["new seeds"]
        text += f"Over all domains its variance is {100 * share:.0f} % of that of new seeds. "
    return text + "It is a part of the spread of every other source."


def _zeros(found: Mapping[str, Any]) -> Iterator[str]:
    new = next((source for source in found["sources"] if source["source"] == "new seeds"), None)
    idle, singles = found["idle"], [s for s in found["sources"] if s["source"] not in ("new seeds", "same seed")]
    if new and not new["high"]:
        yield (
            "New seeds change nothing, to the last digit: the app does not read its seed, or nothing in this cell is "
            "random. Nothing can be said on power."
        )
    elif singles and len(idle) == len(singles):
        yield (
            "No single source changes anything though new seeds do: the app does not read streams of its config "
            "(trials of ablate.training do), or what it draws follows none of them."
        )
    elif idle:
        yield (
            f"Without effect: {listed(idle)}. This cell draws nothing there, or draws it from the generator of "
            "another source, whose figure then holds both: the two cannot be told apart."
        )


def _parts(found: Mapping[str, Any]) -> str:
    parts = found["parts"]
    rest, error = parts["rest"], parts["rest_se"]
    text = (
        f"Variance over all domains: single sources add up to {parts['sum']:.3g}, new seeds have "
        f"{parts['sum'] + rest:.3g}; the rest is {f'{rest:.2g}'.replace('-', MINUS)} (standard error {error:.2g}): "
    )
    if abs(rest) <= 2 * error:
        return text + "no more than so few runs leave open."
    if rest < 0:
        return text + "sources act together, which each of them counts, or vary most around the seed of the others."
    return text + "something follows the seed that is none of these, or they vary least around the seed of the others."


def _visible_notes(seen: Mapping[str, Any]) -> Iterator[str]:
    family = f"the {seen['tests']} tests of family {seen['family']}" if seen["family"] else "a single test"
    yield (
        f"Two-sided, alpha {seen['alpha']:g} over {family} (Holm's first step); run SD {seen['run_sd']:.3g}, error SD "
        f"{seen['error_sd']:.3g}, {seen['domains']} domain groups."
    )
    low, high = seen["stretch"]
    yield (
        f"The deviations are estimates: with 95 % confidence the true effects, on these domains, are {low:.2f} to "
        f"{high:.2f} times these."
    )
    yield (
        "A main effect averages over other factors, so that smaller ones are seen; cells other than this one may be "
        "noisier or calmer."
    )
    if seen["blocked"]:
        yield (
            "Cells of one seed are compared within it (blocking by seed), which takes away what a seed does to all "
            "cells alike. One cell cannot tell how much that is: these are upper bounds."
        )
    if seen["domain_sd"] is None:
        yield "New domains: not known from one cell; state how an effect varies over domains with --domain-sd."
    else:
        yield f"New domains: the standard deviation of an effect over domains is {seen['domain_sd']:.3g}, as stated."


def draw_noise(found: Mapping[str, Any]) -> "Figure":
    """A line per source: the deviation over all domain groups with its interval, and that in each group as a ring."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    sources = found["sources"]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.0, 1.0 + 0.32 * len(sources)), layout="constrained")
        axes = figure.add_subplot()
        for place, source in enumerate(sources):
            rings = [variance**0.5 for variance in source["domains"].values()]
            axes.plot(rings, [place + 0.18] * len(rings), "o", ms=3.5, mfc="none", mec=OTHER, ls="none")
            axes.plot([source["low"] ** 0.5, source["high"] ** 0.5], [place] * 2, color=PRIMARY, lw=1.8)
            axes.plot([source["variance"] ** 0.5], [place], "o", ms=5, color=PRIMARY)
        axes.set_ylim(len(sources) - 0.4, -0.6)
        axes.set_yticks(range(len(sources)), [shorten(source["source"], 28) for source in sources])
        axes.set_xlim(left=-0.01 * axes.get_xlim()[1])  # discs at zero are whole
        axes.set_xlabel(f"standard deviation of {found['metric']} over runs")
        plain_axes(axes)
        handles = [
            Line2D([], [], marker="o", ms=5, color=PRIMARY, lw=1.8, label="all domains, 95 % interval"),
            Line2D([], [], marker="o", ms=3.5, mfc="none", mec=OTHER, ls="none", label="one domain group"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
