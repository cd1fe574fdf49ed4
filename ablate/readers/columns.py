"""Columns: what a field says as a level's name or as a score, and wide tables made long."""

from collections.abc import Sequence

import pandas as pd

from ablate.errors import RecordsError
from ablate.factors import level_name
from ablate.readers.readings import require_column

MISSING = frozenset(["", "na", "n/a", "nan", "null", "none", "-", "--", "?"])
_UNTAKEN = "\0"  # the name of no column; an arm may be called as the scores are


def unpivot(
    frame: pd.DataFrame, arms: Sequence[str], keys: Sequence[str], name: str = "arm", value: str = "value"
) -> pd.DataFrame:
    """A wide table (a column per arm, or per metric) as a long one: `keys`, then `name`, then `value`, a row a score.

    Raises:
        RecordsError: a column is not there, is both an arm and a key, or a new column would hide a key.
    """
    where = "unpivot"
    for column in (*arms, *keys):
        require_column(frame, column, where)
    both = sorted({*arms} & {*keys})
    if both or not arms:
        raise RecordsError(f"{both[0]!r} is both an arm and a key" if both else "no arms are named", where=where)
    hidden = sorted({name, value} & {*keys})
    if hidden or name == value:
        raise RecordsError(f"there is a column {(hidden or [name])[0]!r} already", where=where, remedy="name another")
    scores = frame[list(arms)].apply(as_numbers)
    long = frame[list(keys)].join(scores).melt(list(keys), list(arms), var_name=name, value_name=_UNTAKEN)
    return long.rename(columns={_UNTAKEN: value}).astype({name: "str"})


def as_numbers(column: pd.Series) -> pd.Series:
    """Scores as float64; the usual words for a missing one (`NA`, `null`, `-`) are NaN.

    Raises:
        RecordsError: a field is something else.
    """
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype("float64")
    words = column.astype("str").str.strip()
    missing = column.isna() | words.str.lower().isin(MISSING)
    numbers = pd.to_numeric(words.where(~missing), errors="coerce").astype("float64")
    bad = words[numbers.isna() & ~missing]
    if len(bad):
        raise RecordsError(
            f"{bad.iloc[0]!r:.60} is not a number",
            where=f"column {column.name!r}, row {bad.index[0]}",
            remedy="name the column of scores, or mend the field",
        )
    return numbers


def as_text(column: pd.Series) -> pd.Series:
    """Level names of a column: text as it is, other values as `level_name` prints them; what is missing stays so."""
    if isinstance(column.dtype, pd.StringDtype):
        return column
    codes, levels = pd.factorize(column)
    names = pd.array([level_name(level) for level in levels], dtype="str")
    taken = names.take(codes, allow_fill=True)
    return pd.Series(taken, index=column.index, name=column.name)
