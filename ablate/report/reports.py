"""The written report of a study: tables, figures and one self-contained page, and the check that they are fresh.

All of it is a function of `plan.json`, the records and the papers beside them: nothing depends on the clock, on the
folder, or on who finished first. Tables are compared byte for byte; figures, whose bytes belong to a library, by the
stamp they carry.
"""

import io
import re
from collections.abc import Mapping
from csv import writer as csv_writer
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.factors import digest
from ablate.files import write_whole
from ablate.records import Records
from ablate.report import (
    accountings,
    budgets,
    integrity,
    inventories,
    reckonings,
    rendering,
    sentences,
    sweetspots,
    wordings,
)  # fmt: skip
from ablate.report.papers import Papers, read_papers
from ablate.report.tables import Table, domains_table, table
from ablate.stats.effects import COLUMNS, Effects

if TYPE_CHECKING:
    from jinja2 import Template

PAGE = "report.html"
_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_TRIAL = "trial-"  # prefix of the anchors of single trials on the page


def write_report(records: Records, folder: Path) -> list[Path]:
    """Write `tables/`, `figures/` and `report.html` into a study's folder, each file whole; returns their paths.

    Raises:
        RecordsError: no trial is complete.
    """
    from ablate.report import figures
    from ablate.stats.attribution import attribute

    effects, papers = attribute(records), read_papers(folder, records.plan)
    stamp, tables = make_stamp(effects, records, papers), make_tables(effects, records, papers)
    drawn = {name: figure for name, figure in _figures(effects, records).items() if figure is not None}
    svgs = {name: figures.svg(figure, stamp) for name, figure in drawn.items()}
    contents: dict[str, str | bytes] = {**_table_files(effects, tables)}
    contents |= {f"figures/{name}.svg": text for name, text in svgs.items()}
    contents |= {f"figures/{name}.pdf": figures.pdf(figure, stamp) for name, figure in drawn.items()}
    inline = {name: figures.inline(text) for name, text in svgs.items()}
    contents[PAGE] = make_page(effects, records, papers, tables, inline)
    paths = []
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        paths.append(path)
    return paths


def check_report(folder: Path) -> list[str]:
    """What in a study's folder does not match its plan and records: a line per file, empty if all is fresh."""
    from ablate.report.curves import has_search
    from ablate.stats.attribution import attribute

    path = next(
        (p for p in (folder / "records.csv", folder / "records.parquet") if p.is_file()), folder / "records.csv"
    )
    records = Records.read(path)
    effects, papers = attribute(records), read_papers(folder, records.plan)
    stamp, tables = make_stamp(effects, records, papers), make_tables(effects, records, papers)
    lines = [_compare(folder, name, text) for name, text in _table_files(effects, tables).items()]
    names = [
        "forest",
        *(["domains"] if (effects.frame["family"] == "domain").any() else []),
        *(["tuning"] if has_search(records) else []),
        *(["sweet_spots"] if sweetspots.has_curves(sweetspots.read(records)) else []),
    ]
    lines += [_find(folder, f"figures/{name}{suffix}", stamp) for name in names for suffix in (".svg", ".pdf")]
    page = make_page(effects, records, papers, tables, dict.fromkeys(names, "<svg></svg>"))
    return [line for line in (*lines, _compare(folder, PAGE, page)) if line]


def make_stamp(effects: Effects, records: Records, papers: Papers) -> str:
    """Digest of everything that a report shows: the effects, the records in a fixed order, the plan and the papers."""
    order = ["trial", "domain_group", "domain", "shift", "metric"]
    rows = records.frame.sort_values(order, kind="stable").to_csv(index=False, lineterminator="\n")
    return digest([full_csv(effects), rows, records.plan.hash, *([papers.stamp] if papers.stamp else [])])


def full_csv(effects: Effects) -> str:
    """Every column of the effects, ten significant digits, trial ids separated by spaces."""
    out = io.StringIO()
    writer = csv_writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in effects.frame.to_dict("records"):
        writer.writerow([_field(row[column]) for column in COLUMNS])
    return out.getvalue()


def make_page(
    effects: Effects, records: Records, papers: Papers, tables: Mapping[str, Table], svgs: Mapping[str, str]
) -> str:
    """The report as one HTML page that loads nothing: inline style and figures, no script, every cell with its trials.

    Args:
        effects: what is reported.
        records: what they were made from.
        papers: what else lies in the study's folder.
        tables: as `make_tables` gives them.
        svgs: figures by name (`forest`, `domains`, `tuning`, `sweet_spots`), as `figures.inline` gives them.
    """
    plan, search = records.plan, accountings.search_table(records)
    return _template().render(
        plan=plan,
        stamp=make_stamp(effects, records, papers),
        question=wordings.clean(sentences.question(plan)),
        target=wordings.TARGETS[effects.target][1],
        verdicts=_verdicts(effects, records, papers),
        tables={name: rendering.html(made, link=_TRIAL) for name, made in tables.items()},
        trials=rendering.html(accountings.trials_table(records, papers), link=_TRIAL),
        search=rendering.html(search, link=_TRIAL) if search else "",
        tried=len(search.rows) if search else 0,
        svgs=svgs,
        account=wordings.clean(reckonings.accounted(records, papers)),
        deviations=[wordings.clean(line) for line in reckonings.deviations(records, papers)],
        integrity=[_clean_finding(finding) for finding in integrity.find_integrity(records, papers)],
        explored=bool(papers.scopes),
        methods=wordings.clean(sentences.methods(effects, records, papers)),
        commit=str(plan.provenance.get("commit") or ""),
    )


def _clean_finding(finding: integrity.Finding) -> dict[str, Any]:
    details = [wordings.clean(line) for line in finding.details]
    return {**vars(finding), "text": wordings.clean(finding.text), "details": details}


def _verdicts(effects: Effects, records: Records, papers: Papers) -> list[dict[str, str]]:
    return [
        {"verdict": verdict.replace(" ", "-"), "text": wordings.clean(sentence)}
        for verdict, sentence in sentences.summary(effects, records, papers)
    ]


def make_tables(effects: Effects, records: Records, papers: Papers) -> dict[str, Table]:
    """The tables of a study by name; budgets, tuning, contamination and sizes where there is something to tell."""
    spots = sweetspots.read(records)
    made: dict[str, Table | None] = {
        "effects": table(effects, records, papers),
        "domains": domains_table(effects, records, papers),
        "cells": inventories.cells_table(records, papers),
        "costs": inventories.cost_table(records),
        "accounting": accountings.accounting_table(records, papers),
        "budgets": budgets.budget_table(records),
        "tuning": budgets.tuning_table(records.plan, papers.selection),
        "contamination": integrity.contamination_table(papers),
        "clean_part": integrity.clean_table(effects, records),
        "best_sizes": sweetspots.best_table(spots) if spots else None,
        "overtaking": sweetspots.crossing_table(spots) if spots else None,
    }
    return {name: shown for name, shown in made.items() if shown is not None}


def _table_files(effects: Effects, tables: Mapping[str, Table]) -> dict[str, str]:
    """Path in the folder -> content, of everything that is compared byte for byte."""
    made = {
        f"tables/{name}{suffix}": text
        for name, shown in tables.items()
        for suffix, text in rendering.files(shown).items()
    }
    return {**made, "tables/effects_full.csv": full_csv(effects)}


def _figures(effects: Effects, records: Records) -> dict[str, Any]:
    from ablate.report import curves, figures

    drawn = {"forest": figures.forest(effects, records), "domains": figures.domains(effects, records)}
    spots = sweetspots.read(records)
    return {**drawn, "tuning": curves.tuning(records), "sweet_spots": sweetspots.curves(spots) if spots else None}


def _field(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return "" if value != value else f"{value:.10g}"
    return rendering.disarm(str(value))


def _compare(folder: Path, name: str, expected: str) -> str:
    path = folder / name
    if not path.is_file():
        return f"{name}: missing"
    found, wanted = path.read_bytes().decode(errors="replace"), expected
    if name == PAGE:
        found, wanted = _SVG.sub("", found), _SVG.sub("", wanted)
    if found == wanted:
        return ""
    pairs = zip([*found.splitlines(), ""], [*wanted.splitlines(), ""], strict=False)
    line = next((k for k, (a, b) in enumerate(pairs, 1) if a != b), 1)
    return f"{name}: stale, from line {line} on it is not what plan and records give"


def _find(folder: Path, name: str, stamp: str) -> str:
    path = folder / name
    if not path.is_file():
        return f"{name}: missing"
    if stamp.encode() in path.read_bytes():
        return ""
    return f"{name}: stale, it was drawn from other effects, records or another plan"


@cache
def _template() -> "Template":
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template("page.html")
