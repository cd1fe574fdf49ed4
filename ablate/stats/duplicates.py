"""Duplicates: runs with the same scores, bit for bit: a copied log, or a factor or seed that reached nothing.

Coarse scores (right or wrong, tenths) agree by chance, so it is asked how many pairs would. A copied log shows in the
seconds too, where those were measured: two runs that took different times were two runs, whatever they scored.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.factors import Cell
from ablate.stats.sources import Source

Codes = NDArray[np.int64]

COINCIDENCE = 6  # scores on which two runs must agree before they are called the same run, if others agree too
SURE = 0.001  # pairs of runs that would agree by chance, below which runs are one
SECONDS = "train_seconds"  # what no two runs share to the last digit


@dataclass(frozen=True)
class Twins:
    """Runs with the same scores at the same places.

    Attributes:
        runs: their numbers.
        size: on how many scores they agree.
        expected: pairs of runs of the whole table that would agree on so many by chance; 0 if all scores are one.
    """

    runs: tuple[int, ...]
    size: int
    expected: float


@dataclass(frozen=True)
class Likeness:
    """The twins of a table, and how alike its scores are anyhow.

    Attributes:
        twins: groups of runs, in the order of their numbers.
        agree: how often two scores of one place agree by chance.
        fine: whether at no place two scores agree but those of twins.
        varied: whether most scores differ from all others.
    """

    twins: tuple[Twins, ...]
    agree: float
    fine: bool
    varied: bool


def find_twins(run: Codes, place: Codes, value: NDArray[np.float64]) -> Likeness:
    """Groups of runs with the same scores, from a row per score: numbers of run and place, and finite values."""
    order = np.argsort(run, kind="stable")
    run, place, value = run[order], place[order], value[order] + 0.0  # -0 is 0
    starts = np.flatnonzero(np.diff(run, prepend=-1))
    if not len(starts):
        return Likeness((), 0.0, True, True)
    marks = _mix(place.astype(np.uint64), value.view(np.uint64))
    sums = np.add.reduceat(marks, starts)  # wraps: a sum of hashes does not depend on the order of rows
    sizes = np.diff(starts, append=len(run))
    table = pd.DataFrame({"sum": sums, "size": sizes, "run": run[starts]})
    pairs = table[table.duplicated(["sum", "size"], keep=False)].sort_values(["sum", "size", "run"])
    if pairs.empty:
        return Likeness((), 0.0, True, True)
    values = np.unique(value, return_counts=True)[1]
    agree = 1.0 if len(values) == 1 else _agree(values, marks, place)
    many = len(table) * (len(table) - 1) / 2
    groups = [
        Twins(tuple(own["run"].tolist()), int(own["size"].iloc[0]), many * agree ** int(own["size"].iloc[0]))
        for _, own in pairs.groupby(["sum", "size"])
    ]
    groups = [replace(twins, expected=0.0) for twins in groups] if len(values) == 1 else groups
    groups.sort(key=lambda twins: twins.runs)
    copies = pairs.duplicated(["sum", "size"]).to_numpy()
    spare = int(pairs["size"].to_numpy()[copies].sum())  # scores of twins beside the first of each group
    fine = len(np.unique(marks)) == len(marks) - spare
    return Likeness(tuple(groups), agree, fine, len(values) > len(run) / 2)


def _agree(values: Codes, marks: NDArray[np.uint64], place: Codes) -> float:
    """How often two scores agree by chance: in the whole table or, if that is more, of one place.

    Items that are hard, or easy, for every run make runs agree more often than the scores of the table do. The mean
    over places is geometric, so that its power is the chance for all of them; places with fewer than five runs say
    little of it and are left out.
    """
    whole = (values * (values - 1.0)).sum() / max(values.sum() * (values.sum() - 1.0), 1.0)
    first, counts = np.unique(marks, return_index=True, return_counts=True)[1:]
    runs = np.bincount(place).astype(np.float64)
    ties = np.bincount(place[first], counts * (counts - 1.0), minlength=len(runs))
    many = runs >= 5
    rates = np.maximum(ties[many], 2.0) / (runs[many] * (runs[many] - 1.0))
    return float(max(whole, np.exp(np.log(rates).mean()) if many.any() else 0.0))


def _mix(place: NDArray[np.uint64], bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A 64-bit hash of pairs (the finaliser of SplitMix64, twice)."""
    made = bits
    for salt in (place * np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)):
        made = made ^ salt
        made = (made ^ (made >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        made = (made ^ (made >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        made = made ^ (made >> np.uint64(31))
    return made


@dataclass(frozen=True)
class Duplicates:
    """What is wrong with whole cells because runs are not runs of their own.

    Attributes:
        copies: cell -> which of its runs stand twice, there or elsewhere; nothing should be made of the cell.
        alike: pairs of cells that are the same run by run, and which runs: neither is evidence against the other.
    """

    copies: dict[Cell, str]
    alike: dict[tuple[Cell, Cell], str]

    @classmethod
    def of(cls, source: Source) -> "Duplicates":
        """The duplicates among the complete runs of a source; the scores that diverged runs were given do not count."""
        complete = (source.runs["status"] == "complete").to_numpy(bool) & ~source.imputed
        rows = source.scores[complete[source.scores["run"].to_numpy(int)]]
        if source.summaries or rows.empty:
            return cls({}, {})
        place = rows["item"].to_numpy(np.int64)
        if "example" in rows:
            place = place * (int(rows["example"].max()) + 1) + rows["example"].to_numpy(np.int64)
        if keys := source.plan.evaluation:  # levels of one run may well score the same: each is a place of its own
            levels = pd.factorize(source.runs["cell"].map(lambda cell: tuple(cell[key] for key in keys)))[0]
            place = place * (levels.max() + 1) + levels[rows["run"].to_numpy(int)]
        values = rows["value"].to_numpy(np.float64)
        found = find_twins(rows["run"].to_numpy(np.int64), pd.factorize(place)[0].astype(np.int64), values)
        if not found.twins:
            return cls({}, {})
        seconds = _measure(source, complete)
        alike = _pair_cells(source, found, complete)
        copies: dict[Cell, list[str]] = {}
        for runs, timed in _copied(source, found, seconds):
            cells = list(dict.fromkeys(source.runs["cell"].iloc[list(runs)]))
            if timed or len(cells) == 1 or not any(pair in alike for pair in permutations(cells, 2)):
                text = " = ".join(f"{source.runs['run'].iloc[run]} ({source.runs['cell'].iloc[run]})" for run in runs)
                for cell in cells:
                    copies.setdefault(cell, []).append(text)
        return cls({cell: "; ".join(texts) for cell, texts in copies.items()}, alike)


def _measure(source: Source, complete: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The seconds that every run trained for; NaN where they are not known, or say nothing since many share them."""
    rows = source.whole[source.whole["metric"] == SECONDS]
    seconds = np.full(len(complete), np.nan)
    seconds[rows["run"].to_numpy(int)] = rows["value"].to_numpy(float)
    seconds[~complete] = np.nan
    trained = [source.plan.carriers[cell] == cell for cell in source.runs["cell"]]
    known = seconds[~np.isnan(seconds) & np.array(trained, bool)]
    return seconds if len(np.unique(known)) > len(known) / 2 else np.full(len(complete), np.nan)


def _copied(source: Source, found: Likeness, seconds: NDArray[np.float64]) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Groups of runs of which all but one are copies, and whether their seconds say so."""
    cells = pd.factorize(source.runs["cell"])[0]
    for twins in found.twins:
        runs = pd.Series(twins.runs)
        timed = [tuple(own) for _, own in runs.groupby(seconds[runs]) if len(own) > 1]
        yield from ((own, True) for own in timed)
        if timed or twins.expected >= SURE or not (twins.size >= COINCIDENCE or found.fine):
            continue
        unknown = runs[np.isnan(seconds[runs])]
        groups = [unknown] if len(unknown) > 1 else [own for _, own in runs.groupby(cells[runs])]
        yield from ((tuple(own), False) for own in groups if len(own) > 1)


def _pair_cells(source: Source, found: Likeness, complete: NDArray[np.bool_]) -> dict[tuple[Cell, Cell], str]:
    """Pairs of cells of which every run has its twin in the other, of the same block where there are blocks."""
    number = {cell: i for i, cell in enumerate(source.plan.cells)}
    cell = np.array([number[found] for found in source.runs["cell"]], int)
    n_runs = np.bincount(cell[complete], minlength=len(number))
    block = source.runs["block"].to_numpy(object) if source.plan.blocked else np.zeros(len(cell), int)
    matched: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for twins in found.twins:
        runs = sorted(twins.runs, key=lambda run: cell[run])
        for one, other in combinations(runs, 2) if len(set(cell[runs])) == len(runs) else ():
            if block[one] == block[other]:
                matched.setdefault((cell[one], cell[other]), []).append((one, other, twins.size))
    alike = {}
    for (first, second), pairs in matched.items():
        chance = found.agree ** sum(size for _, _, size in pairs)
        if len(pairs) == n_runs[first] == n_runs[second] > 1 and (chance < SURE or found.fine):
            cells = source.plan.cells[first], source.plan.cells[second]
            names = (" = ".join(source.runs["run"].iloc[list(pair[:2])].map(str)) for pair in pairs[:2])
            hint = "the factor may never have reached the model"
            alike[cells] = f"every run of {cells[0]} is one of {cells[1]} ({', '.join(names)}, ...), {hint}"
    return alike
