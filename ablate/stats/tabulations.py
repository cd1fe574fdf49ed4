"""Tabulations: the scores of some runs as a table of runs × items, and arranged as cells × runs × domain groups."""

from dataclasses import dataclass
from math import nan
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.errors import RecordsError
from ablate.factors import digest
from ablate.stats.crossed import Array
from ablate.stats.refusals import IDENTICAL_RUNS, MISSING_DOMAINS, PSEUDO_REPLICATES, Refusal
from ablate.stats.sources import Source

Crossing = Literal["crossed", "nested", "partial"]


@dataclass(frozen=True, eq=False)
class Tabulation:
    """The scores of some runs: runs × items, and as means over the items of each domain group."""

    runs: NDArray[np.int_]  # rows of Source.runs
    names: NDArray[np.object_]
    items: NDArray[np.object_]
    groups: tuple[str, ...]
    group_of: NDArray[np.int_]
    by_item: Array
    by_group: Array
    doubled: NDArray[np.bool_]
    scores: pd.DataFrame  # of these runs; run and item are places in this table

    @classmethod
    def of(cls, source: Source, complete: NDArray[np.int_]) -> "Tabulation":
        """The table of the runs at these places; groups as the plan names them, then as they appear."""
        place = np.full(len(source.runs), -1)
        place[complete] = np.arange(len(complete))
        row = place[source.scores["run"].to_numpy(int)]
        scores = source.scores[row >= 0].assign(run=row[row >= 0])
        codes, found = pd.factorize(scores["item"])
        scores = scores.assign(item=codes)
        group_names = source.items["group"].to_numpy(object)[found.astype(int)]
        seen = list(dict.fromkeys(group_names))
        groups = [*[g for g in source.plan.domains if g in seen], *[g for g in seen if g not in source.plan.domains]]
        group_of = np.array([groups.index(g) for g in group_names], int)
        shape = (len(complete), len(found))
        flat = scores["run"].to_numpy(int) * max(shape[1], 1) + codes
        n = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
        total = np.bincount(flat, scores["value"], minlength=shape[0] * shape[1]).reshape(shape)
        with np.errstate(invalid="ignore"):
            by_item = np.where(n > 0, total / n, nan)
        if "example" in scores:
            twice = scores.duplicated(["run", "item", "example"])
            doubled = np.asarray(np.bincount(scores["run"][twice].to_numpy(int), minlength=shape[0]) > 0)
        else:
            doubled = np.asarray((n > 1).any(1))
        columns = [group_of == g for g in range(len(groups))]
        by_group = np.stack([_mean_of(by_item[:, c]) for c in columns], 1) if groups else np.zeros((shape[0], 0))
        names = source.runs["run"].to_numpy(object)[complete]
        items = source.items["item"].to_numpy(object)[found.astype(int)]
        return cls(complete, names, items, tuple(groups), group_of, by_item, by_group, doubled, scores)

    def problems(self, mine: NDArray[np.int_], cell: str) -> dict[Refusal, str]:
        """What is wrong with the runs at these places, which are those of one cell."""
        doubled = "; ".join(str(self.names[i]) for i in mine if self.doubled[i])
        found = {
            PSEUDO_REPLICATES: doubled,
            MISSING_DOMAINS: self._gaps(mine),
            IDENTICAL_RUNS: self._identical(mine, cell),
        }
        return {refusal: text for refusal, text in found.items() if text}

    def _gaps(self, mine: NDArray[np.int_]) -> str:
        """Runs with some items of a domain group and not others: their mean is of something else."""
        lacking = np.isnan(self.by_item[mine]) & ~np.isnan(self.by_group[mine])[:, self.group_of]
        return "; ".join(
            f"{self.names[mine[i]]} lacks {', '.join(map(str, self.items[lacking[i]]))}"
            for i in np.flatnonzero(lacking.any(1))
        )

    def _identical(self, mine: NDArray[np.int_], cell: str) -> str:
        """Whether all runs of a cell have the same scores; some of them, see `ablate.stats.duplicates`."""
        scores = self.by_item[mine]
        if len(scores) < 2 or np.isnan(scores).any() or np.ptp(scores, axis=0).max() > 1e-12 * np.abs(scores).max():
            return ""
        return f"all {len(scores)} runs of {cell}"

    def hashes(self, place: NDArray[np.int_], n_cells: int) -> tuple[dict[int, set[str]], ...]:
        """Per cell, item -> its `eval_hash`; several, where its runs differ."""
        found: list[dict[int, set[str]]] = [{} for _ in range(n_cells)]
        if "eval_hash" in self.scores:
            rows = self.scores[self.scores["eval_hash"].notna()]
            if "example" in rows:  # every example has its own; all of a run's together are its test data
                kinds = rows.drop_duplicates(["run", "item", "eval_hash"]).sort_values("eval_hash")
                together = kinds.groupby(["run", "item"])["eval_hash"].agg(lambda k: digest([str(v) for v in k])[:12])
                rows = together.reset_index()
            rows = rows.assign(cell=place[rows["run"].to_numpy(int)]).drop_duplicates(["cell", "item", "eval_hash"])
            for cell, item, kind in zip(rows["cell"], rows["item"], rows["eval_hash"], strict=True):
                found[cell].setdefault(item, set()).add(str(kind))
        return tuple(found)

    def errors(self, place: NDArray[np.int_], n_cells: int) -> Array | None:
        """Cells × groups, the standard error of a run's score: root mean square over runs, summed over items."""
        if "se" not in self.scores or self.scores["se"].isna().any():
            return None
        shape = (n_cells, len(self.items))
        flat = place[self.scores["run"].to_numpy(int)] * shape[1] + self.scores["item"].to_numpy(int)
        n = np.bincount(flat, minlength=shape[0] * shape[1])
        with np.errstate(invalid="ignore"):
            square = (np.bincount(flat, self.scores["se"] ** 2, minlength=len(n)) / n).reshape(shape)
        parts = [square[:, self.group_of == g] for g in range(len(self.groups))]
        # items of one group share their examples: their errors are taken as equal, never as independent
        return np.sqrt(np.stack([_mean_of(part) for part in parts], 1))


def arrange(
    source: Source, table: Tabulation, complete: NDArray[np.int_], place: NDArray[np.int_], n_cells: int, blocked: bool
) -> tuple[Array, NDArray[np.int_], Crossing]:
    """Scores and owners as `Layout` has them, and how runs and domain groups cross."""
    present = ~np.isnan(table.by_group)
    per_run = present.sum(1)
    n_groups = present.shape[1]
    crossing: Crossing = "partial"
    if (per_run == n_groups).all():
        crossing = "crossed"
    elif n_groups > 1 and (per_run == 1).all():
        crossing = "nested"
    cell = place[complete]
    column: NDArray[Any]
    lane = present.argmax(1) if crossing == "nested" else np.zeros(len(complete), int)
    if blocked:
        named = source.runs["block"].iloc[complete]
        codes, blocks = pd.factorize(named.map(str) if named.dtype == object else named, sort=True)
        column, width = np.asarray(codes, int), len(blocks)
        twice = pd.DataFrame({"cell": cell, "column": column, "lane": lane}).duplicated().to_numpy()
        if twice.any():
            named = source.runs["cell"].iloc[complete[twice.argmax()]]
            remedy = "name another block, or none"
            raise RecordsError(f"two runs of the cell {named} in one block", where="block", remedy=remedy)
    else:
        column = pd.DataFrame({"cell": cell, "lane": lane}).groupby(["cell", "lane"]).cumcount().to_numpy(int)
        width = int(column.max()) + 1 if len(column) else 0
    scores = np.full((n_cells, width, n_groups), nan)
    owners = np.full(scores.shape, -1)
    run, group = np.nonzero(present)
    scores[cell[run], column[run], group] = table.by_group[run, group]
    owners[cell[run], column[run], group] = complete[run]
    return scores, owners, crossing


def _mean_of(table: Array) -> Array:
    """Row means over what is there; NaN where nothing is."""
    there = ~np.isnan(table)
    n = there.sum(1)
    with np.errstate(invalid="ignore"):
        return np.where(n > 0, np.where(there, table, 0.0).sum(1) / n, nan)
