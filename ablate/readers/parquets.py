"""Parquet files as frames of whole numbers, numbers and text."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from ablate.errors import RecordsError
from ablate.readers.columns import as_text
from ablate.readers.dialects import LIMIT, require_file
from ablate.readers.texts import to_pandas


def read_parquet(path: Path) -> pd.DataFrame:
    """A Parquet file; nested columns are joined by dots, dictionaries and booleans become text.

    Raises:
        RecordsError: no Parquet file, too large unpacked, a name twice, or a column of lists, bytes or foreign types.
    """
    require_file(path)
    try:
        with pa.parquet.ParquetFile(path) as file:
            meta = file.metadata
            size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            if max(size, 4 * meta.num_rows * meta.num_columns) > LIMIT:
                raise RecordsError(f"more than {LIMIT >> 30} GiB unpacked", where=str(path), remedy="keep the scores")
            table = file.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise RecordsError(f"this is no Parquet file: {error!s:.120}", where=str(path)) from error
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    twice = [name for name in table.column_names if table.column_names.count(name) > 1]
    if twice:
        raise RecordsError(f"two columns are named {twice[0]!r}", where=str(path), remedy="give each its own name")
    columns = zip(table.column_names, table.columns, strict=True)
    return pd.DataFrame({name: _plain(column, f"{path}, {name}") for name, column in columns})


def _plain(column: pa.ChunkedArray, where: str) -> pd.Series:
    """A Parquet column as whole numbers, numbers or text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_integer(kind):
        return to_pandas(column.cast(pa.int64()) if kind != pa.uint64() else column)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return to_pandas(column.cast(pa.float64()))
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or isinstance(kind, pa.BaseExtensionType):
        raise RecordsError(f"a column of type {kind}", where=where, remedy="keep columns of numbers and text")
    if pa.types.is_boolean(kind):
        return as_text(column.to_pandas().astype("object"))
    return to_pandas(column.cast(pa.string()))
