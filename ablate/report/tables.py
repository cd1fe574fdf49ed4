"""Tables as frozen values, and the two that show effects: overall, and per domain group.

A table holds text that is ready to be read, and behind every cell the trials it was made from. What a number
looks like is decided in `wordings`; what a file looks like in `rendering`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.errors import RecordsError
from ablate.files import write_whole
from ablate.records import WHOLE, Records
from ablate.report import sentences, wordings
from ablate.report.papers import Papers
from ablate.stats.effects import Effects

# The order in which a table shows families; "domain" has a table of its own.
FAMILIES = (
    "main", "leave_one_out", "step", "noninferiority", "retention", "interaction", "omnibus", "simple", "pairs",
    "shapley", "share", "improvement", "iqm", "robustness", "efficiency", "prediction", "heterogeneity", "best",
    "tuning", "cost",
)  # fmt: skip
CONTRAST = ["metric", "stratum", "family", "factor", "level", "versus", "domain"]


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        text: what is read.
        trials: ids of the trials behind it.
        verdict: the verdict it states, where it states one.
    """

    text: str
    trials: tuple[str, ...] = ()
    verdict: str = ""


Row = tuple[Entry, ...]


@dataclass(frozen=True, repr=False)
class Table:
    """A table ready to be rendered: as Markdown where it is printed, as HTML in a notebook.

    Attributes:
        title: its caption.
        header: the column names, at least two; a line break in one asks for lines one below the other.
        rows: a row has an entry per column; a row with a single entry is a heading over those that follow.
        notes: the sentences below the table.
        align: `l` or `r` per column.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())
    align: str = ""

    def __post_init__(self) -> None:
        width = len(self.header)
        object.__setattr__(self, "align", self.align or "l" + "r" * (width - 1))
        uneven = [row for row in self.rows if len(row) not in (1, width)]
        if width < 2 or len(self.align) != width or uneven:
            raise RecordsError(
                f"{width} columns, {len(self.align)} alignments, rows of {sorted(map(len, self.rows))}",
                where=f"table {self.title!r}",
                remedy="give every row an entry per column, or a single one for a heading",
            )

    def __repr__(self) -> str:
        from ablate.report.rendering import markdown

        return markdown(self)

    def _repr_html_(self) -> str:
        from ablate.report.rendering import html

        return html(self)

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write `name.md`, `.tex`, `.csv` and `.html` into the folder, each whole; returns the paths."""
        from ablate.report.rendering import files

        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for suffix, text in files(self).items():
            paths.append(folder / f"{name}{suffix}")
            write_whole(paths[-1], text)
        return paths


def table(effects: Effects, records: Records | None = None, papers: Papers | None = None) -> Table:
    """The ablation table: a row per contrast, all domains together, under both targets.

    Args:
        effects: what `attribute` gave.
        records: what they were made from; adds the plan's words (domains, seeds, margin) and accounting.
        papers: what else lies in the study's folder; sets apart what an amendment made exploratory.

    The interval and the p of a row belong together: both are corrected within the row's family. Verdicts
    follow the plan's target; the other target stands beside it. A refused test shows its code instead of p.
    """
    primary = effects.target
    frame = effects.frame[effects.frame["family"].isin(FAMILIES)]
    leads = frame.assign(second=frame["target"] != primary).groupby(CONTRAST, sort=False)["second"].transform("min")
    second = next(target for target in wordings.TARGETS if target != primary)
    other = frame[(frame["target"] == second) & ~leads.astype(bool)]
    beside = {tuple(row[c] for c in CONTRAST): row for row in other.to_dict("records")}
    # a question that has no answer for the primary target, such as a prediction, is told for its own
    frame = frame[(frame["target"] == primary) | leads.astype(bool)]
    places = wordings.places(frame["se"][frame["quantity"] == "difference"])
    metric = wordings.listed(frame["metric"].unique())
    interval = f"{wordings.percent(1 - effects.alpha)} interval"
    head = ["Factor", "Level", "Against", f"Δ {metric}", interval, "p", "n", "Verdict"]
    align = "lllrrrrl"
    if beside:
        name = wordings.TARGETS[second][0]
        head, align = [*head, f"{name}:\n{interval}", "\np"], align + "rr"
    noted = any(wordings.note(effect) for effect in frame.to_dict("records"))
    if noted:
        head, align = [*head, "Note"], align + "l"
    rows: list[Row] = []
    for heading, part in _sections(frame, papers):
        rows.append((Entry(heading),))
        for effect in part.to_dict("records"):
            row = _effect_row(effect, places)
            if beside:
                twin = beside.get(tuple(effect[c] for c in CONTRAST))
                row += _interval_and_p(twin, places) if twin else (Entry("–"), Entry("–"))
            rows.append((*row, Entry(wordings.note(effect))) if noted else row)
        if part["family"].iloc[0] == "leave_one_out":
            rows += _sum_row(part, places, len(head))
    title = f"Ablation of {records.plan.name}: effects on {metric}" if records else f"Effects on {metric}"
    notes = (*sentences.footnotes(effects, records, frame, papers), wordings.REPLICATION_NOTE)
    return Table(title, tuple(head), tuple(rows), notes, align)


def domains_table(effects: Effects, records: Records | None = None, papers: Papers | None = None) -> Table:
    """The effects within each domain group: a difference with the mark of its verdict, its interval below.

    Domain groups and contrasts share the two sides of the table, the longer side going down. All of them are
    one family; an effect that is clear in one group and not in another does not thereby differ between them.
    """
    frame = effects.frame[(effects.frame["family"] == "domain") & (effects.frame["domain"] != WHOLE)]
    primary = effects.target
    if (frame["target"] == primary).any():
        frame = frame[frame["target"] == primary]
    places = wordings.places(frame["se"])
    frame = frame.assign(contrast=[wordings.contrast(row) for row in frame.to_dict("records")])
    domains_down = frame["domain"].nunique() >= frame["contrast"].nunique()
    down, over = ("domain", "contrast") if domains_down else ("contrast", "domain")
    columns = list(dict.fromkeys(frame[over]))
    rows: list[Row] = []
    for (metric, stratum), part in frame.groupby(["metric", "stratum"], sort=False):
        if frame["stratum"].nunique() > 1 or frame["metric"].nunique() > 1:
            rows.append((Entry(", ".join(filter(None, [str(stratum), str(metric)]))),))
        for name, line in part.groupby(down, sort=False):
            found = {row[over]: row for row in line.to_dict("records")}
            pairs = [_two_lines(found.get(column), places) for column in columns]
            rows.append((Entry(str(name)), *(upper for upper, _ in pairs)))
            rows.append((Entry(""), *(lower for _, lower in pairs)))
    corner = "Domain group" if domains_down else "Contrast"
    metric = wordings.listed(frame["metric"].unique())
    notes = (wordings.MARKS_NOTE, *_explored(frame, papers), *sentences.footnotes(effects, records, frame, papers))
    header = (corner, *(str(name).replace(": ", ":\n", 1) for name in columns or ["Δ"]))
    return Table(f"Effects on {metric or 'the metric'} in each domain group", header, tuple(rows), notes)


def _sections(frame: pd.DataFrame, papers: Papers | None) -> list[tuple[str, pd.DataFrame]]:
    """The frame cut by metric, stratum and family, each with its heading; what is exploratory comes last."""
    numbers = [papers.explores(row) if papers else () for row in frame.to_dict("records")]
    parts = []
    for amended in sorted({*numbers}):
        said = f"Exploratory, {sentences.amended(amended)}" if amended else ""
        rows = frame[[each == amended for each in numbers]]
        for (metric, stratum), block in rows.groupby(["metric", "stratum"], sort=False):
            for family in FAMILIES:
                part = block[block["family"] == family]
                if len(part):
                    several = frame["metric"].nunique() > 1
                    before = [said, str(stratum), str(metric) if several else ""]
                    parts.append((wordings.family_heading(part, before), part))
    return parts


def _explored(frame: pd.DataFrame, papers: Papers | None) -> list[str]:
    """A sentence that names the contrasts which an amendment made exploratory in some domain group."""
    rows = frame.to_dict("records") if papers and papers.scopes else []
    named = dict.fromkeys(f"{row['contrast']} in {row['domain']}" for row in rows if papers and papers.explores(row))
    if not named:
        return []
    which = "all" if len(named) == len(rows) else "; ".join(named)
    return [f"Exploratory, since an amendment came after results: {which}."]


def _sum_row(part: pd.DataFrame, places: int, width: int) -> list[Row]:
    """The sum of the single contributions, to stand below the total gain, if the part has one (its last row).

    Of a component with several levels the last counts: it is the one that the total takes away.
    """
    total = part.iloc[-1]
    single = part.iloc[:-1].drop_duplicates("factor", keep="last")
    if len(single) < 2 or total["factor"] != " × ".join(single["factor"]):
        return []
    trials = tuple(dict.fromkeys(i for ids in single["trials"] for i in ids))
    size = Entry(wordings.signed(float(single["estimate"].sum()), places), trials)
    words = [Entry("sum of the single ones"), Entry(""), Entry(""), size]
    return [(*words, *(Entry(wordings.MISSING) for _ in range(width - len(words))))]


def _effect_row(effect: dict[Any, Any], places: int) -> Row:
    trials = tuple(effect["trials"])
    interval, p = _interval_and_p(effect, places)
    return (
        Entry(str(effect["factor"])),
        Entry(str(effect["level"])),
        Entry(str(effect["versus"])),
        Entry(wordings.estimate(effect, places), trials),
        interval,
        p,
        Entry(wordings.replication(effect), trials),
        Entry(str(effect["verdict"]), trials, str(effect["verdict"])),
    )


def _interval_and_p(effect: dict[Any, Any], places: int) -> Row:
    trials = tuple(effect["trials"])
    p = str(effect["refusal"]) if effect["refusal"] else wordings.p_value(effect["p_adjusted"])
    return Entry(wordings.ends(effect, places), trials), Entry(p, trials)


def _two_lines(effect: dict[Any, Any] | None, places: int) -> tuple[Entry, Entry]:
    if effect is None:
        return Entry("–"), Entry("")
    trials = tuple(effect["trials"])
    mark = str(effect["refusal"]) or wordings.MARKS.get(str(effect["verdict"]), "?")
    upper = f"{wordings.signed(effect['estimate'], places)} {mark}"
    return (
        Entry(upper, trials, str(effect["verdict"])),
        Entry(wordings.interval(effect["low"], effect["high"], places), trials),
    )
