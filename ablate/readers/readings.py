"""Readings: other people's results as one tidy frame, and what each of its columns is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.errors import RecordsError

# What a column can be. `factors` names several; every other role names one column.
ROLES = (
    "factors",
    "run",
    "domain",
    "shift",
    "block",
    "status",
    "metric",
    "value",
    "se",
    "example",
    "cluster",
    "folds",
    "hpo_trials",
    "eval_hash",
    "phase",
    "budget",
)

# Why a row has, or has not, a final score.
COMPLETE, FAILED, LOST, PRUNED, RUNNING = "complete", "failed", "lost", "pruned", "running"


@dataclass(frozen=True, eq=False)
class Reading:
    """What one source of results says.

    Attributes:
        frame: a row per score. Level names are text as they were written; scores are float64.
        columns: role (of `ROLES`) -> column, for `factors` a list of columns. Only what the format itself makes
            certain; `guess` looks for the rest.
        notes: sentences, what was read and what was assumed.
        sources: where it was read from.
        directions: metric -> `minimize` or `maximize`, where the source says so.

    Raises:
        RecordsError: no rows, a role nobody knows, or a role's column is not in the frame.
    """

    frame: pd.DataFrame
    columns: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    directions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = ", ".join(self.sources) or "the table"
        if self.frame.empty:
            raise RecordsError("there are no rows of results", where=where)
        check_roles(self.frame, self.columns, where)


def check_roles(frame: pd.DataFrame, roles: Mapping[str, Any], where: str) -> None:
    """RecordsError unless every role is known and its columns stand in the frame, none of them for two roles."""
    seen: dict[str, str] = {}
    for role, named in roles.items():
        if role not in ROLES:
            raise RecordsError(f"there is no role {role!r}", where=where, allowed=ROLES, word=role)
        for column in columns_of(role, named):
            require_column(frame, column, where=f"{where}, {role}")
            if {seen.setdefault(column, role), role} not in ({role}, {"run", "folds"}, {"run", "block"}):
                raise RecordsError(f"the column {column!r} is both {seen[column]} and {role}", where=where)


def columns_of(role: str, named: Any) -> list[str]:
    """The columns that a role names, as a list."""
    if role != "factors":
        return [named]
    return [named] if isinstance(named, str) else list(named)


def require_column(frame: pd.DataFrame, column: object, where: str) -> None:
    """RecordsError with the columns there are, unless `column` is one of them."""
    if column not in frame.columns:
        raise RecordsError(f"there is no column {column!r}", where=where, allowed=frame.columns, word=column)


def list_files(root: Path, suffix: str | tuple[str, ...], limit: int = 100_000) -> list[Path]:
    """Regular files under a folder whose names end so, sorted; linked folders are not followed."""
    found: list[Path] = []
    for count, (folder, _, names) in enumerate(os.walk(root)):
        if count > limit:
            raise RecordsError(f"more than {limit:,} folders", where=str(root), remedy="name the folder of one study")
        found += [path for name in names if name.endswith(suffix) and (path := Path(folder, name)).is_file()]
    return sorted(found)
