"""Dialects of text tables: what a file is, found in its first block, before the rest of it is read."""

import csv
import gzip
import io
import re
from codecs import getincrementaldecoder
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from ablate.errors import RecordsError

BLOCK = 1 << 20  # bytes looked at, and the longest row that is read
LIMIT = 4 << 30  # bytes of text, unpacked: beyond it a table is no table of results
COLUMNS = 5_000
SAMPLE = 200  # rows looked at
DELIMITERS = ",;\t|"
HEADER_ONLY = "there is a header and no row"

NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")
COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+")
POINT = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?")

# First bytes of what is no text table, and what to say.
MAGIC = {
    b"\x80": ("a pickle is never opened: it can run code", "save the table as CSV or Parquet where you made it"),
    b"PK\x03\x04": ("a zip archive or a workbook", "save the sheet or the array as CSV"),
    b"\xff\xfe": ("text in UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "save it as UTF-8"),
    b"\x89HDF": ("an HDF5 file", "save the table as CSV or Parquet"),
    b"\x93NUMPY": ("an array file", "save the table as CSV or Parquet"),
    b"PAR1": ("a Parquet file under another suffix", "name it .parquet"),
    b"SQLite format 3": ("a SQLite database", "say kind='optuna' if it is a study of Optuna's"),
}


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Attributes:
        delimiter: between fields.
        decimal: `.` or `,`, or nothing where the first rows have no fraction.
        header: names of the columns.
    """

    delimiter: str
    decimal: str
    header: tuple[str, ...]


def require_file(path: Path) -> None:
    """RecordsError unless the path is a regular file that holds something."""
    if not path.exists():
        raise RecordsError("there is no such file", where=str(path))
    if not path.is_file():
        raise RecordsError("not a regular file", where=str(path), remedy="save the stream to a file, and name that")
    if not path.stat().st_size:
        raise RecordsError("the file is empty", where=str(path))


def open_text(path: Path) -> IO[bytes]:
    """A text file's bytes, unpacked where it is gzip; reading beyond `LIMIT` raises RecordsError."""
    file: Any = path.open("rb")
    if file.read(2) == b"\x1f\x8b":
        file.close()
        file = gzip.open(path)  # noqa: SIM115 - handed on open
    else:
        file.seek(0)
    return cast("IO[bytes]", io.BufferedReader(_Bounded(file, path), BLOCK))


class _Bounded(io.RawIOBase):
    """A stream that is not read beyond `LIMIT` bytes."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path, self._left = file, path, LIMIT

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except (OSError, EOFError) as error:  # a damaged archive
            raise RecordsError(f"the file cannot be unpacked: {error}", where=str(self._path)) from error
        self._left -= len(data)
        if self._left < 0:
            remedy = "keep the rows and columns of results, or convert the table to Parquet"
            raise RecordsError(f"more than {LIMIT >> 30} GiB of text", where=str(self._path), remedy=remedy)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def peek(path: Path) -> str:
    """The first block of a text file, whole lines of it.

    Raises:
        RecordsError: not a regular file, empty, binary, not UTF-8, or a line longer than the block.
    """
    require_file(path)
    with open_text(path) as file:
        block = file.read(BLOCK + 1)
    for magic, (what, remedy) in MAGIC.items():
        if block.startswith(magic):
            raise RecordsError(
                f"this is {what}" if not what.startswith("a pickle") else what, where=str(path), remedy=remedy
            )
    if b"\0" in block:
        raise RecordsError("this is a binary file", where=str(path), remedy="save the table as CSV or Parquet")
    try:
        text = getincrementaldecoder("utf-8-sig")().decode(block, final=len(block) <= BLOCK)
    except UnicodeDecodeError as error:
        raise RecordsError(
            f"the text is not UTF-8 (byte {error.start})", where=str(path), remedy="save it as UTF-8"
        ) from error
    if len(block) <= BLOCK:
        return text
    whole, end, _ = text.rpartition("\n")
    if not end:
        raise RecordsError(f"the first line is longer than {BLOCK:,} bytes", where=str(path), remedy="a table has rows")
    return whole + end


def sniff(text: str, where: str) -> Dialect:
    """The dialect of a table, from its first rows.

    The delimiter is the one that gives all rows the most fields; a decimal comma is one that no digit group could be.

    Raises:
        RecordsError: no rows, no header, one column, a name that stands twice, or far too many columns.
    """
    found: dict[str, list[list[str]]] = {}
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in islice(csv.reader(io.StringIO(text), delimiter=delimiter), SAMPLE) if row]
        except csv.Error as error:
            raise RecordsError(f"the table cannot be read: {error}", where=where) from error
        if rows:
            found[delimiter] = rows
    if not found:
        raise RecordsError("the file has only blank lines", where=where)
    even = {d: rows for d, rows in found.items() if len({len(row) for row in rows[:-1] or rows}) == 1}
    pool = {d: rows for d, rows in even.items() if len(rows[0]) > 1} or found
    delimiter = max(pool, key=lambda d: len(pool[d][0]))
    rows = pool[delimiter]
    header = _check_header(tuple(name.strip() for name in rows[0]), where)
    if len(rows) == 1:
        raise RecordsError(HEADER_ONLY, where=where)
    return Dialect(delimiter, _find_decimal(rows[1:], delimiter), header)


def _check_header(header: tuple[str, ...], where: str) -> tuple[str, ...]:
    if len(header) == 1:
        raise RecordsError(
            f"one column only: {header[0]!r:.60}", where=where, remedy="separate columns by comma, semicolon or tab"
        )
    if len(header) > COLUMNS:
        raise RecordsError(
            f"{len(header):,} columns", where=where, allowed=[f"up to {COLUMNS:,}"], remedy="give a row per score"
        )
    if all(NUMBER.fullmatch(name) for name in header):
        raise RecordsError("the first row is numbers, not names", where=where, remedy="put the columns' names first")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise RecordsError(f"two columns are named {twice[0]!r}", where=where, remedy="give each its own name")
    return header


def _find_decimal(rows: list[list[str]], delimiter: str) -> str:
    fields = [field.strip() for row in rows for field in row]
    commas = [field for field in fields if COMMA.fullmatch(field)]
    if delimiter == "," or any(POINT.fullmatch(field) for field in fields):
        return "."
    return "," if any(not THOUSANDS.fullmatch(field) for field in commas) else ""
