"""Documents: JSON and JSON lines as plain values and as frames."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.errors import RecordsError
from ablate.factors import level_name
from ablate.readers.dialects import open_text, peek, require_file

WHOLE = 256 << 20  # bytes of a JSON file, which is read in one piece


def read_json_lines(path: Path) -> Iterable[dict[str, Any]]:
    """The objects of a file with one a line.

    Raises:
        RecordsError: a line is not an object, or the file is no text.
    """
    peek(path)
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _require_object(_parse(line, f"{path}, line {number}"), f"{path}, line {number}")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        RecordsError: it is not JSON, or larger than a file of results is.
    """
    require_file(path)
    with open_text(path) as file:
        content = file.read(WHOLE + 1)
    if len(content) > WHOLE:
        raise RecordsError(f"more than {WHOLE >> 20} MiB of JSON", where=str(path), remedy="use JSON lines")
    return _parse(content, str(path))


def read_json_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file that holds a list of them."""
    value = read_json(path)
    if not isinstance(value, list):
        raise RecordsError("the file holds one value, not a list of rows", where=str(path), allowed=["[{...}, ...]"])
    return [_require_object(row, f"{path}, row {i}") for i, row in enumerate(value)]


def _parse(content: bytes, where: str) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RecordsError(f"this is not JSON: {error!s:.120}", where=where) from error


def _require_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecordsError(f"{value!r:.60} is not an object", where=where, allowed=["{column: value}"])
    return value


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; lists become their JSON text."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = json.dumps(value, default=str) if isinstance(value, list | tuple) else value
    return flat


def frame_of_rows(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A frame of flat or nested mappings: numbers as numbers; where a column holds words, a null is the name `null`."""
    flat = [flatten(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return pd.DataFrame({name: _column_of([row.get(name, ...) for row in flat]) for name in names})


def _column_of(values: list[Any]) -> pd.Series:
    """Values, with Ellipsis for what is not there."""
    kinds = {type(v) for v in values} - {type(None), type(...)}
    if kinds == {int} and all(abs(v) < 2**63 for v in values if isinstance(v, int)):
        gaps = any(v is None or v is ... for v in values)
        plain = [None if v is ... else v for v in values]
        return pd.Series(plain, dtype="Int64" if gaps else "int64")
    if kinds and kinds <= {int, float}:
        return pd.Series([float("nan") if v is None or v is ... else float(v) for v in values], dtype="float64")
    return pd.Series([None if v is ... else level_name(v) for v in values], dtype="str")
