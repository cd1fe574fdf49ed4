"""Texts: delimited files as frames; names stay text as written, numbers are exact."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ablate.errors import RecordsError
from ablate.readers.dialects import BLOCK, Dialect, open_text, peek, sniff


def read_texts(paths: Sequence[Path], text: frozenset[str]) -> tuple[pd.DataFrame, list[int]]:
    """Delimited files with the same columns as one frame, and how many rows each gave; see `read_tables`."""
    tables, dialects = [], []
    for path in paths:
        dialects.append(sniff(peek(path), str(path)))
        tables.append(_read_strings(path, dialects[-1]))
        require_same_columns(tables[0].column_names, tables[-1].column_names, path)
    commas = {dialect.decimal for dialect in dialects} - {""}
    if len(commas) > 1:
        raise RecordsError("decimal points and decimal commas in one table", remedy="save the files alike")
    decimal = next(iter(commas), ".")
    table = pa.concat_tables([t.select(tables[0].column_names) for t in tables])
    columns = {
        name: to_pandas(column if name in text else _type_column(column, decimal))
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pd.DataFrame(columns), [t.num_rows for t in tables]


def _read_strings(path: Path, dialect: Dialect) -> pa.Table:
    options = {
        "read_options": pa.csv.ReadOptions(
            use_threads=False, block_size=BLOCK, column_names=list(dialect.header), skip_rows=0
        ),
        "parse_options": pa.csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
        "convert_options": pa.csv.ConvertOptions(
            column_types=dict.fromkeys(dialect.header, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    }
    try:
        with open_text(path) as file:
            table = pa.csv.read_csv(file, **options)
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("CSV parse error: ").splitlines()[0][:200]
        remedy = "every row needs a field per column; quote what holds the delimiter"
        raise RecordsError(f"the table cannot be read: {reason}", where=str(path), remedy=remedy) from error
    return table.slice(1)  # the header was read as a row, so that blank lines before it do no harm


def _type_column(column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    """A column of text as whole numbers, numbers, or the text it is."""
    column = pc.utf8_trim_whitespace(column)
    if column.null_count == len(column):
        return column
    digits = column
    if decimal == "," and pc.all(pc.match_substring_regex(column, r"^[-+]?\d*(,\d+)?([eE][-+]?\d+)?$")).as_py():
        digits = pc.replace_substring(column, ",", ".")
    try:
        whole = digits.cast(pa.int64())
        return whole if whole.cast(pa.string()).equals(digits) else column  # 007 and 0x1 are names
    except pa.ArrowInvalid:
        pass
    try:
        numbers = digits.cast(pa.float64())
    except pa.ArrowInvalid:
        return column
    if pc.all(pc.match_substring_regex(digits, r"^[-+]?\d+$")).as_py():
        return column  # beyond 64 bits: an identifier
    return numbers if pc.any(pc.is_finite(numbers)).as_py() else column


def to_pandas(column: pa.ChunkedArray) -> pd.Series:
    """A column of Arrow's as pandas has it; whole numbers with gaps stay whole."""
    text: dict[pa.DataType, object] = {pa.string(): pd.StringDtype(na_value=float("nan"))}
    kinds = {**text, pa.int64(): pd.Int64Dtype()} if column.null_count else text
    return cast("pd.Series", column.to_pandas(types_mapper=kinds.get))


def require_same_columns(first: Iterable[str], other: Iterable[str], path: Path) -> None:
    """RecordsError unless two files have the same columns, in whatever order."""
    first, other = [*first], [*other]
    odd = sorted({*first} ^ {*other})
    if odd:
        remedy = "give files with the same columns, or read them apart"
        raise RecordsError(f"the files differ in the column {odd[0]!r}", where=str(path), allowed=first, remedy=remedy)
