"""A table as Markdown, LaTeX, HTML and CSV: functions from Table to text, and the escaping that each needs.

All text is foreign (level names come from a command line, reasons from a traceback) and is escaped.
"""

import csv as csv_module
import io
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from ablate.factors import digest
from ablate.report.tables import Entry, Row, Table
from ablate.report.wordings import clean, counted

if TYPE_CHECKING:
    from jinja2 import Template

NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?(?<=\d)([eE][+-]?\d+)?")

# Signs of ours (and common ones of others) that pdflatex does not know as letters.
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "`": r"\textasciigrave{}",
    },
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"{\char34}"},
    **{"[": "{[}", "]": "{]}", "*": "{*}"},  # after \\ these would be read as its arguments
    **{"−": "$-$", "×": r"$\times$", "Δ": r"$\Delta$", "±": r"$\pm$", "≈": r"$\approx$", "∞": r"$\infty$"},
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "≤": r"$\leq$", "≥": r"$\geq$"},
    **{"α": r"$\alpha$", "τ": r"$\tau$", "μ": r"$\mu$", "σ": r"$\sigma$", "·": r"$\cdot$", "…": r"\ldots{}"},
    **{"–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''", "\u00a0": "~"},
}
_OT1_ACCENTS = set("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
_OT1_LETTERS = set("ßæøœÆØŒłŁı")
# A character that pdflatex may lack: itself under XeTeX and LuaTeX, its code point under pdfTeX.
_UNICODE_MACRO = r"\providecommand{\ablateunicode}[2]{\ifdefined\Umathcode #2\else\texttt{U+#1}\fi}"

# Total width in characters up to which a font size fits a line of some 450 points (A4 with one-inch margins).
_SIZES = [(100, r"\small"), (113, r"\footnotesize"), (125, r"\scriptsize"), (10**6, r"\tiny")]
_WRAPS = (24, 18, 12)  # characters after which text is wrapped: the first at which the table is not too wide

_HTML = """\
<figure class="ablate-table" id="{{ name }}">
<div class="ablate-scroll"><table>
<caption>{{ title }}</caption>
<thead><tr>
{%- for cell in header %}<th class="{{ cell.align }}">{{ cell.lines | join(br) }}</th>{% endfor -%}
{% if sets %}<th class="l">Trials</th>{% endif %}</tr></thead>
{%- for heading, rows in sections %}
<tbody>
{%- if heading %}
<tr class="heading"><th colspan="{{ header | length + 1 }}">{{ heading }}</th></tr>
{%- endif %}
{%- for row in rows %}
<tr{% if row.anchor %} id="{{ row.anchor }}"{% endif %}>
{%- for cell in row.cells %}<td class="{{ cell.classes }}"
{%- if cell.number %} data-trials="{{ cell.number }}" title="{{ cell.hint }}"{% endif -%}
>{{ cell.text }}</td>{% endfor -%}
{% if sets %}<td class="sets">
{%- for k in row.sets %}{% if not loop.first %} {% endif %}<a href="#{{ name }}-{{ k }}">{{ k }}</a>{% endfor -%}
</td>{% endif %}</tr>
{%- endfor %}
</tbody>
{%- endfor %}
</table></div>
<figcaption>
{%- if notes %}<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
{%- if sets %}
<details><summary>The trials behind every number ({{ sets | length }} sets)</summary><ol>
{%- for ids in sets %}
<li id="{{ name }}-{{ loop.index }}">{{ ids | length }}:
{%- for id in ids %} {% if link %}<a href="#{{ link }}{{ id }}"><code>{{ id }}</code></a>
{%- else %}<code>{{ id }}</code>{% endif %}{% endfor %}</li>
{%- endfor %}
</ol></details>
{%- endif %}
</figcaption>
</figure>
"""


def files(table: Table) -> dict[str, str]:
    """Suffix -> text of every file that a table is written to."""
    head = f'<!doctype html>\n<html lang="en"><meta charset="utf-8">\n<title>{_page_title(table)}</title>\n'
    return {
        ".md": markdown(table),
        ".tex": latex(table),
        ".csv": csv(table),
        ".html": f"{head}{html(table)}</html>\n",
    }


def markdown(table: Table) -> str:
    """GitHub-flavoured Markdown, padded to read well in a terminal; a table per heading, notes as a list."""
    header = [_markdown(" ".join(name.split("\n"))) for name in table.header]
    parts = [(h, [[_markdown(e.text) for e in row] for row in rows]) for h, rows in sections(table)]
    lines = [header, *(row for _, rows in parts for row in rows)]
    widths = [max(3, *(_width(line[i]) for line in lines)) for i in range(len(header))]
    rule = ["-" * (w - 1) + ":" if a == "r" else "-" * w for w, a in zip(widths, table.align, strict=True)]
    blocks = [f"**{_markdown(table.title)}**"]
    for heading, rows in parts:
        if heading:
            blocks.append(f"*{_markdown(heading)}*")
        padded = [[_pad(*cell) for cell in zip(row, widths, table.align, strict=True)] for row in [header, rule, *rows]]
        blocks.append("\n".join(f"| {' | '.join(row)} |" for row in padded))
    if table.notes:
        blocks.append("\n".join(f"- {_markdown_line(note)}" for note in table.notes))
    return "\n\n".join(blocks) + "\n"


def latex(table: Table) -> str:
    r"""A `table` float that needs `\usepackage{booktabs}` and compiles under pdfTeX, XeTeX and LuaTeX."""
    count = len(table.header)
    wrap = next((w for w in _WRAPS if _characters(table, w) <= 125), _WRAPS[-1])
    length = _characters(table, wrap)
    names = [name.split("\n") for name in table.header]
    depth = max(map(len, names))
    stacked = [[""] * (depth - len(name)) + name for name in names]
    body = [" & ".join(_latex(name[i]) for name in stacked) + r" \\" for i in range(depth)]
    for number, (heading, rows) in enumerate(sections(table)):
        body.append(r"\midrule" if number == 0 or not heading else r"\addlinespace")
        if heading:
            body.append(rf"\multicolumn{{{count}}}{{@{{}}l}}{{\itshape {_latex(heading)}}} \\")
        body += [
            " & ".join(_latex_cell(*cell, wrap) for cell in zip(row, table.align, strict=True)) + r" \\" for row in rows
        ]
    size = next(command for limit, command in _SIZES if length <= limit)
    notes = [rf"\par {_latex(note)}" for note in table.notes]
    gap = 4 if length <= 100 else 3 if length <= 125 else 2
    note_size = r"\footnotesize" if length <= 113 else r"\scriptsize"
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{_latex(table.title)}}}",
        rf"{size}\setlength{{\tabcolsep}}{{{gap}pt}}",
        rf"\begin{{tabular}}{{@{{}}{table.align}@{{}}}}",
        r"\toprule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\par\smallskip", rf"\begin{{minipage}}{{\linewidth}}{note_size}", *notes] if notes else []),
        *([r"\end{minipage}"] if notes else []),
        r"\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    return f"{_UNICODE_MACRO}\n{text}" if r"\ablateunicode" in text else text


def html(table: Table, link: str = "") -> str:
    """A `<figure>` with the table, its notes, and the numbered sets of trials that its cells refer to.

    Args:
        table: what to render.
        link: prefix of the anchors of single trials on the same page; empty where there are none. A row whose
            first cell is a trial's own id becomes its anchor.
    """
    sets = list(dict.fromkeys(entry.trials for row in table.rows for entry in row if _names_a_set(entry)))
    numbers = {ids: k for k, ids in enumerate(sets, 1)}
    parts = [
        (clean(heading), [_html_row(row, table.align, numbers, link) for row in rows])
        for heading, rows in sections(table)
    ]
    header = [
        {"lines": clean(name, keep="\n").split("\n"), "align": align}
        for name, align in zip(table.header, table.align, strict=True)
    ]
    name = f"t{digest([table.title, table.header, [[e.text for e in row] for row in table.rows]])[:8]}"
    template, br = _template()
    title, notes = clean(table.title), [clean(note) for note in table.notes]
    return template.render(
        title=title, notes=notes, name=name, header=header, sections=parts, sets=sets, link=link, br=br
    )


def csv(table: Table) -> str:
    """Comma-separated values: headings become a column `section`; numbers are plain, formulas disarmed."""
    parts = sections(table)
    headed = any(heading for heading, _ in parts)
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    header = [disarm(name) for name in table.header]
    writer.writerow(["section", *header] if headed else header)
    for heading, rows in parts:
        for row in rows:
            cells = [disarm(entry.text) for entry in row]
            writer.writerow([disarm(heading), *cells] if headed else cells)
    return out.getvalue()


def disarm(text: str) -> str:
    """Text for a field of a CSV file: numbers plain, and a quote before what a spreadsheet takes for a formula."""
    text = clean(text)
    number = text.replace("−", "-")
    if text and NUMBER.fullmatch(number):
        return number.replace(",", "").removeprefix("+")
    formula = text.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    return f"'{text}" if formula else text


def sections(table: Table) -> list[tuple[str, list[Row]]]:
    """The rows under each heading; rows before the first heading stand under an empty one."""
    parts: list[tuple[str, list[Row]]] = []
    for row in table.rows:
        if len(row) == 1:
            parts.append((row[0].text, []))
        else:
            if not parts:
                parts.append(("", []))
            parts[-1][1].append(row)
    return parts or [("", [])]


def _markdown(text: str) -> str:
    """Escapes what would be read as markup, and no more, so that the source stays readable."""
    text = re.sub(r"([\\`*|~$])", r"\\\1", clean(text).strip())
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)  # inside a word it is no emphasis
    text = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text)
    text = re.sub(r"&(?=[#A-Za-z])", r"\\&", text)
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)
    return re.sub(r"\[(?=\^)", r"\\[", text)


def _markdown_line(text: str) -> str:
    """The same for text that opens a line, where lists, headings, quotes and rules begin."""
    text = _markdown(text)
    text = re.sub(r"^(\d{1,9})([.)])", r"\1\\\2", text)
    return re.sub(r"^([-+=#>])", r"\\\1", text)


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _pad(text: str, width: int, align: str) -> str:
    space = " " * (width - _width(text))
    return space + text if align == "r" else text + space


def _latex(text: str) -> str:
    pieces: list[str] = []
    for c in clean(text).strip():
        if c in "-'" and pieces and pieces[-1][-1] == c:
            pieces.append("{}")  # no ligature
        pieces.append(_LATEX.get(c) or (c if c.isascii() or _in_ot1(c) else rf"\ablateunicode{{{ord(c):04X}}}{{{c}}}"))
    return "".join(pieces)


def _latex_cell(entry: Entry, align: str, wrap: int) -> str:
    text = _latex(entry.text)
    if align == "r" or _width(entry.text) <= wrap:
        return text
    return rf"\parbox[t]{{{wrap / 2:g}em}}{{\raggedright {text}\strut}}"


def _in_ot1(c: str) -> bool:
    """Whether pdflatex composes the letter in its default encoding."""
    parts = unicodedata.normalize("NFD", c)
    composed = len(parts) == 2 and parts[0].isascii() and parts[1] in _OT1_ACCENTS
    return c in _OT1_LETTERS or ("À" <= c <= "ž" and composed)


def _characters(table: Table, wrap: int) -> int:
    """The width of the table in characters, columns of text being wrapped."""
    names = [max(name.split("\n"), key=len) for name in table.header]
    lines = [names, *([e.text for e in row] for row in table.rows if len(row) > 1)]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(names))]
    return sum(2 + (w if a == "r" else min(w, wrap)) for w, a in zip(widths, table.align, strict=True))


def _names_a_set(entry: Entry) -> bool:
    """Whether the trials of a cell are worth listing: there are some, and the cell is not itself their name."""
    return bool(entry.trials) and entry.trials != (entry.text,)


def _html_row(row: Row, align: str, numbers: dict[tuple[str, ...], int], link: str) -> dict[str, object]:
    own = row[0].trials and not _names_a_set(row[0])
    return {
        "cells": [_html_cell(entry, a, numbers.get(entry.trials)) for entry, a in zip(row, align, strict=True)],
        "sets": sorted({numbers[entry.trials] for entry in row if entry.trials in numbers}),
        "anchor": f"{link}{row[0].text}" if link and own else "",
    }


def _html_cell(entry: Entry, align: str, number: int | None) -> dict[str, object]:
    classes = " ".join(filter(None, [align, entry.verdict.replace(" ", "-")]))
    hint = f"trial set {number}: {counted(len(entry.trials), 'trial')}"
    return {"text": clean(entry.text), "classes": classes, "number": number, "hint": hint}


def _page_title(table: Table) -> str:
    from markupsafe import escape

    return str(escape(clean(table.title)))


@cache
def _template() -> tuple["Template", object]:
    import jinja2
    from markupsafe import Markup

    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_HTML), Markup("<br>")
