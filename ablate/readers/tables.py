"""Tables: files of rows, in whatever format, as one frame."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ablate.errors import RecordsError
from ablate.readers.columns import as_text
from ablate.readers.dialects import peek
from ablate.readers.documents import frame_of_rows, read_json_lines, read_json_rows
from ablate.readers.parquets import read_parquet
from ablate.readers.readings import require_column
from ablate.readers.texts import read_texts, require_same_columns

TEXTS = (".csv", ".tsv", ".tab", ".txt")
LINES = (".jsonl", ".ndjson")
SUFFIXES = (*TEXTS, *LINES, ".json", ".parquet")


def suffix_of(path: Path) -> str:
    """The suffix that says what a file is, without `.gz`."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def read_tables(paths: Sequence[Path], text: Iterable[str] = ()) -> pd.DataFrame:
    """Files of one format as one frame; of several files, the column `file` says which a row is from.

    Whole numbers are int64 (Int64 with gaps), other numbers float64, correctly rounded. A column with anything else
    in it, or with whole numbers that print otherwise (`007`, beyond 64 bits), stays text: `null`, `NA`, `true` and
    `1.0` beside a word are names. Only the empty field is missing. White space around a field is dropped.

    Args:
        paths: the files.
        text: columns that stay text as written, whatever they hold: factors with levels such as `1e-4`.

    Raises:
        RecordsError: a file is not a table (binary, ragged, one column, no header, not UTF-8), too large, or has
            other columns than the first.
    """
    kinds = {suffix_of(path) for path in paths}
    unknown = sorted(kinds - set(SUFFIXES))
    if unknown:
        path = next(path for path in paths if suffix_of(path) in unknown)
        peek(path)  # says what it is, if it is no text at all
        raise RecordsError(f"unknown suffix {unknown[0]!r}", where=str(path), allowed=SUFFIXES, word=unknown[0])
    if kinds <= set(TEXTS):
        frame, counts = read_texts(paths, frozenset(text))
    elif kinds & set(TEXTS):
        raise RecordsError("files of several formats in one table", allowed=sorted(kinds), remedy="convert to one")
    else:
        frame, counts = _concatenate(paths, [_read_frame(path) for path in paths])
    frame = _drop_index(frame)
    if len(paths) > 1:
        names = pd.Series(np.repeat(name_files(paths), counts), index=frame.index, dtype="str")
        frame["file" if "file" not in frame else "source_file"] = names
    for column in text:
        require_column(frame, column, where=", ".join(map(str, paths)))
        frame[column] = as_text(frame[column])
    if frame.empty:
        raise RecordsError("there are no rows", where=", ".join(map(str, paths)))
    return frame


def name_files(paths: Sequence[Path]) -> list[str]:
    """What tells paths apart: each without the folder that all have in common."""
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(common).as_posix() for path in paths]


def _read_frame(path: Path) -> pd.DataFrame:
    kind = suffix_of(path)
    if kind == ".parquet":
        return read_parquet(path)
    return frame_of_rows(read_json_lines(path) if kind in LINES else read_json_rows(path))


def _concatenate(paths: Sequence[Path], frames: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, list[int]]:
    for path, other in zip(paths, frames, strict=True):
        require_same_columns(frames[0].columns, other.columns, path)
    frame = pd.concat(frames, ignore_index=True)
    for column in frame.columns[frame.dtypes == "object"]:  # numbers in one file, words in another
        frame[column] = as_text(frame[column])
    return frame, [len(f) for f in frames]


def _drop_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without the row numbers that pandas and R write as a nameless first column."""
    if "" not in frame.columns:
        return frame
    index = frame[""]
    steps = index.diff().iloc[1:] == 1 if pd.api.types.is_integer_dtype(index) and index.notna().all() else [False]
    if np.all(steps) and index.iloc[0] in (0, 1):
        return frame.drop(columns="")
    return frame.rename(columns={"": "unnamed"})
