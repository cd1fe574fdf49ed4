"""Tables on terminals of every width: numbers whole, the verdict in sight."""

import io
import re

import pytest
from rich.console import Console

import ablate as ab
from ablate.report.screens import choose_widths, show
from ablate.report.tables import table
from tests.report.studies import make_records


@pytest.fixture(scope="module")
def shown():
    records = make_records()
    return table(ab.attribute(records), records)


def printed(table, width):
    out = io.StringIO()
    show(table, Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 130, 170, 300])
def test_intervals_and_verdicts_are_whole_at_every_width(shown, width):
    text = printed(shown, width)
    for row in shown.rows:
        if len(row) > 1:
            for name, entry in list(zip(shown.header, row, strict=True))[3:8]:
                assert entry.text in text, (name, width)
    assert len(re.findall(r"Main effects", text)) >= 1


@pytest.mark.parametrize("width", [115, 130, 170, 300])
def test_no_line_of_the_table_is_wider_than_the_terminal(shown, width):
    widths = choose_widths(shown, width)
    assert sum(widths) + 2 * len(widths) <= width
    assert len(widths) >= shown.header.index("Verdict") + 1
    body = printed(shown, width).split("\n- ")[0]
    assert max(map(len, body.splitlines())) <= width


def test_what_is_left_out_is_said(shown):
    assert "Not shown on a terminal this narrow" in printed(shown, 120)
    assert "Not shown" not in printed(shown, 300)
