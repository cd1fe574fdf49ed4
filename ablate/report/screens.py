"""Tables on a terminal: text wraps and numbers never do; a narrow one leaves out columns, or stacks."""

from collections.abc import Sequence
from typing import Any

from ablate.report.tables import Row, Table

# Colour is an addition: the verdict's word says the same.
STYLES = {"better": "green", "worse": "red", "non-inferior": "green", "equivalent": "cyan", "refused": "yellow"}
WIDE, NARROW, GAP = 34, 12, 2  # most and least characters of a text column; spaces between columns
ELSEWHERE = 220  # columns where there is no terminal


def show(table: Table, console: Any = None) -> None:
    """Print a table with rich, its headings over the rows they head, its notes below."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=ELSEWHERE)
    widths = choose_widths(table, console.width)
    console.print(Text(table.title, style="bold"), soft_wrap=True)
    if not widths:
        _stack(table, console)
        return
    part: list[Row] = []
    console.print(_grid(table, widths, [], header=True))
    for row in table.rows:
        if len(row) > 1:
            part.append(row)
            continue
        if part:
            console.print(_grid(table, widths, part))
        console.print()
        console.print(Text(row[0].text, style="italic"), soft_wrap=True)
        part = []
    console.print(_grid(table, widths, part))
    console.print()
    left_out = ", ".join(" ".join(name.split()) for name in table.header[len(widths) :])
    notes = [*table.notes, *([f"Not shown on a terminal this narrow: {left_out}."] if left_out else [])]
    for note in notes:
        console.print(Text(f"- {note}", style="dim"), soft_wrap=True)


def choose_widths(table: Table, width: int) -> list[int]:
    """Characters for each column that fits into a terminal of this width; columns after the verdict may not.

    Numbers get what they need; text columns share the rest, each at least 12 characters and at most 34. None where
    not even the columns up to the verdict fit.
    """
    rows = [row for row in table.rows if len(row) > 1]
    columns = [[name, *(row[i].text for row in rows)] for i, name in enumerate(table.header)]
    needed = [max(len(line) for text in column for line in text.splitlines() or [""]) for column in columns]
    fixed = [side == "r" or name == "Verdict" for name, side in zip(table.header, table.align, strict=True)]
    least = table.header.index("Verdict") + 1 if "Verdict" in table.header else len(table.header)
    for count in range(len(table.header), least - 1, -1):
        texts = [min(WIDE, n) for n, exact in zip(needed[:count], fixed[:count], strict=True) if not exact]
        numbers = [n for n, exact in zip(needed[:count], fixed[:count], strict=True) if exact]
        room = width - sum(numbers) - GAP * count
        if room >= sum(min(NARROW, n) for n in texts):
            shared = iter(_share(texts, room))
            return [n if exact else next(shared) for n, exact in zip(needed[:count], fixed[:count], strict=True)]
    return []


def _share(wanted: Sequence[int], room: int) -> list[int]:
    """Shrink the widest wish until all fit, but none below the least."""
    widths = list(wanted)
    while sum(widths) > room and max(widths, default=0) > NARROW:
        widths[widths.index(max(widths))] -= 1
    return widths


def _grid(table: Table, widths: Sequence[int], rows: Sequence[Row], header: bool = False) -> Any:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=header)
    for name, side, width in zip(table.header, table.align, widths, strict=False):
        grid.add_column(Text(name), justify="right" if side == "r" else "left", width=width, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(entry.text, style=STYLES.get(entry.verdict, "")) for entry in row[: len(widths)]))
    return grid


def _stack(table: Table, console: Any) -> None:
    """A row's text on one line and its numbers on the next."""
    from rich.text import Text

    verdict = table.header.index("Verdict") if "Verdict" in table.header else len(table.header)
    texts = [i for i in range(verdict) if table.align[i] == "l"]
    for row in table.rows:
        if len(row) == 1:
            console.print(Text(f"\n{row[0].text}", style="italic"), soft_wrap=True)
            continue
        console.print(Text(", ".join(row[i].text for i in texts)), soft_wrap=True)
        numbers = [f"{table.header[i]} {row[i].text}" for i in range(verdict) if i not in texts]
        line = Text("  " + ", ".join(numbers))
        for entry in row[verdict : verdict + 1]:
            line.append(": ").append(entry.text, style=STYLES.get(entry.verdict, ""))
        console.print(line, soft_wrap=True)
    console.print()
    for note in table.notes:
        console.print(Text(f"- {note}", style="dim"), soft_wrap=True)
