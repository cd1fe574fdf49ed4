"""Columns: which columns of anybody's frame hold what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Columns:
    """Which columns of a frame hold what.

    Attributes:
        factors: the factor columns, or column -> levels; the first level is the baseline.
        value: the scores.
        run: what tells the training runs of one cell apart: a run id or a seed. None: a row is no run but a summary.
        domain: domain groups.
        shift: severities or variants within a domain group; averaged first.
        block: what runs of different cells share (a seed, a split), if they do.
        status: says `complete`; other runs failed, as do those with missing scores.
        metric: names the metric of a row, where several stand in one column.
        se: the standard error of a score.
        example: the item that was scored, where a row is an item's score and not a mean.
        cluster: what examples have in common (a document, a speaker), where they are not independent.
        phase: says `search` of tuning trials, which are not evidence.
        hpo_trials: tuning trials spent on the cell.
        eval_hash: test data and metric code.
        fold: cross-validation folds, where the runs are those.
        budget: examples, steps or seconds at which a score was measured, where a run has a learning curve.
        across: factors at which the whole design is repeated.
        baseline: baseline levels other than the first.
    """

    factors: Sequence[str] | Mapping[str, Sequence[Any]]
    value: str
    run: str | None = None
    domain: str | None = None
    shift: str | None = None
    block: str | None = None
    status: str | None = None
    metric: str | None = None
    se: str | None = None
    example: str | None = None
    cluster: str | None = None
    phase: str | None = None
    hpo_trials: str | None = None
    eval_hash: str | None = None
    fold: str | None = None
    budget: str | None = None
    across: Sequence[str] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict)

    @property
    def used(self) -> list[str]:
        """Every column named."""
        single = [getattr(self, f.name) for f in fields(self) if f.name not in ("factors", "across", "baseline")]
        return [column for column in [*self.factors, *single] if column is not None]


def looks_like_folds(column: str) -> bool:
    """Whether a column's name says that its values are cross-validation folds."""
    return re.search(r"(^|[_\W])(cv|k?[_-]?folds?)([_\W\d]|ids?$|$)", column.lower()) is not None
