"""Frames: anybody's long table of scores as a source."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.analyses import Analysis
from ablate.designs import cumulative, full_factorial, leave_one_out, one_at_a_time
from ablate.errors import RecordsError
from ablate.factors import Cell, Factor, level_name
from ablate.plans import WHOLE, Plan
from ablate.stats.columns import Columns, looks_like_folds
from ablate.stats.sources import SEARCH, Source

SILENT = "silent"  # the status of a run that has rows, and none of the metric judged
SUMMARY = "summary"  # the run of a cell that has no runs, only a score and its standard error per domain


def read_frame(frame: pd.DataFrame, columns: Columns, *, metric: str, analysis: Analysis, **declared: Any) -> Source:
    """Any long table as a source. A run with a missing or infinite score counts as failed.

    Args:
        frame: a row per score.
        columns: which columns hold what.
        metric: the metric judged.
        analysis: how it is judged.
        declared: direction and margin of the plan.

    Raises:
        RecordsError: a column is not there, a level is missing, or the block of a run is unknown.
        PlanError: a declared level or baseline is not in the data.
    """
    for column in columns.used:
        if column not in frame:
            raise RecordsError(f"no column {column!r}", where="attribute", allowed=map(str, frame), word=column)
    if frame.empty:
        raise RecordsError("the table has no rows", where="attribute", remedy="give a row for every score")
    frame = frame.reset_index(drop=True)
    names = list(columns.factors)
    levels = {key: _level_codes(frame[key]) for key in names}
    factors = _factors(levels, columns)
    cell_of, cells = _cell_codes(levels, factors)
    kept, others = _split_metrics(frame, columns, metric)
    ids, run_of, first, note = _identify(frame, cell_of, cells, columns)
    shared = columns.block or columns.fold  # folds are the same split in every cell
    block = frame[shared].to_numpy()[first] if shared else np.full(len(first), np.nan)
    plan = Plan(
        name="frame",
        factors=factors,
        cells=tuple(cells),
        seeds=(0,),
        design=_design(factors, cells),
        blocking="seed" if shared else "none",
        metric=metric,
        analysis=analysis,
        **declared,
    )
    searched = _says(frame, columns.phase, SEARCH) if columns.phase else np.zeros(len(frame), bool)
    final, curves = _split_budgets(frame, columns, run_of, kept & ~searched)
    scores, items = _scores(frame, columns, run_of)
    if columns.run is None and columns.fold is None and not (scores["se"][final] > 0).all():
        remedy = "leave such rows out, or name the column of the runs"
        raise RecordsError("a standard error is not a positive number", where=columns.se, remedy=remedy)
    unsound = ~np.isfinite(scores["value"].to_numpy()) & final
    if columns.status:
        unsound |= ~_says(frame, columns.status, "complete") & ~searched
    status = _end(len(ids), run_of, unsound, searched, kept)
    runs = pd.DataFrame(
        {
            "run": ids,
            "cell": _objects(cells, cell_of[first]),
            "block": block,
            "status": status,
            "hpo_trials": _numbers(frame, columns.hpo_trials)[first] if columns.hpo_trials else np.nan,
        }
    )
    tuning = searched & kept
    return Source(
        runs,
        scores[final & (status[run_of] == "complete")].reset_index(drop=True),
        items,
        plan,
        _planned(runs, cells, columns.block is not None and columns.fold is None),
        (*note, *_count_left(status, metric), *_compare_budgets(frame, columns, run_of, final)),
        whole=_whole(frame, columns, run_of, others, plan.analysis.costs),
        curves=curves,
        searched=pd.DataFrame(
            {"cell": _objects(cells, cell_of[tuning]), "value": _numbers(frame, columns.value)[tuning]}
        ),
        folds=_folds(columns),
        summaries=columns.run is None and columns.fold is None,
    )


def _end(
    count: int,
    run_of: NDArray[np.int_],
    unsound: NDArray[np.bool_],
    searched: NDArray[np.bool_],
    kept: NDArray[np.bool_],
) -> NDArray[np.object_]:
    """The status of every run, from its rows: those without a score, of tuning, and of the metric judged."""
    status = np.full(count, "complete", dtype=object)
    status[np.unique(run_of[unsound])] = "failed"
    status[~_among(run_of[~searched], count)] = SEARCH
    status[~_among(run_of[kept], count) & (status == "complete")] = SILENT
    return status


def _planned(runs: pd.DataFrame, cells: list[Cell], blocked: bool) -> dict[Cell, int]:
    """How many runs of a cell were to be: one per block, or as many as there are."""
    if blocked:
        return dict.fromkeys(cells, int(runs["block"].nunique()))
    counts = runs["cell"][~runs["status"].isin([SEARCH, SILENT])].value_counts()
    return {cell: int(counts.get(cell, 0)) for cell in cells}


def _numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where there is none."""
    try:
        return pd.to_numeric(frame[column]).to_numpy(float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        remedy = "name another column, or leave the rows out whose entry is no number"
        raise RecordsError(f"what is no number: {error}", where=column, remedy=remedy) from error


def _says(frame: pd.DataFrame, column: str, word: str) -> NDArray[np.bool_]:
    """Whether a column says a word; a missing entry does not."""
    return np.asarray((frame[column] == word).to_numpy(bool, na_value=False))


def _among(runs: NDArray[np.int_], count: int) -> NDArray[np.bool_]:
    """Per run, whether it is one of these."""
    found = np.zeros(count, bool)
    found[runs] = True
    return found


def _count_left(status: NDArray[np.object_], metric: str) -> Iterator[str]:
    """What was left out, and why."""
    searched, silent = int((status == SEARCH).sum()), int((status == SILENT).sum())
    if searched:
        yield f"{searched} tuning trials are not evidence and were left out."
    if silent:
        yield f"{silent} runs have no row of {metric} and were left out."


def _objects(cells: list[Cell], codes: NDArray[np.int_]) -> NDArray[np.object_]:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array[codes]


def _level_codes(column: "pd.Series[Any]") -> tuple[NDArray[np.int_], list[str]]:
    """Per row the place of its level, and the levels' names in order of appearance; equal names are one level."""
    if column.dtype == object and bool in set(map(type, column)):  # 1 and True are equal, but two levels
        column = column.map(level_name, na_action="ignore")
    codes, found = pd.factorize(column)
    if (codes < 0).any():
        raise RecordsError("a level is missing", where=str(column.name), remedy="give every row its level")
    names = [level_name(level.item() if hasattr(level, "item") else level) for level in found]
    distinct = list(dict.fromkeys(names))
    place = {name: i for i, name in enumerate(distinct)}
    return np.array([place[name] for name in names], int)[codes] if names else codes, distinct


def _factors(levels: Mapping[str, tuple[NDArray[np.int_], list[str]]], columns: Columns) -> tuple[Factor, ...]:
    made = []
    for key in columns.factors:
        found = levels[key][1]
        if isinstance(columns.factors, Mapping):
            declared = [level_name(level) for level in columns.factors[key]]
            strange = [level for level in found if level not in declared]
            if strange:
                raise RecordsError(f"levels that were not declared: {', '.join(strange)}", where=key, allowed=declared)
            found = declared
        baseline = level_name(columns.baseline[key]) if key in columns.baseline else found[0]
        role = "across" if key in columns.across else "factor"
        made.append(Factor(str(key), tuple(found), baseline=baseline, role=role))  # type: ignore[arg-type]
    for name, keys in (("baseline", columns.baseline), ("across", columns.across)):
        for key in keys:
            if key not in columns.factors:
                raise RecordsError(f"{key!r} is not a factor", where=name, allowed=columns.factors, word=key)
    return tuple(made)


def _cell_codes(
    levels: Mapping[str, tuple[NDArray[np.int_], list[str]]], factors: Sequence[Factor]
) -> tuple[NDArray[np.int_], list[Cell]]:
    """Per row the place of its cell, and the cells that occur, in the order of the full design, baseline first."""
    code = np.zeros(len(next(iter(levels.values()))[0]), int)
    for f in factors:
        order = [f.baseline, *f.alternatives]
        place = np.array([order.index(name) for name in levels[f.key][1]], int)
        code = code * len(order) + place[levels[f.key][0]]
    found, cell_of = np.unique(code, return_inverse=True)
    cells = []
    for number in found:
        chosen = []
        for f in reversed(factors):
            number, place_of_level = divmod(int(number), len(f.levels))
            chosen.append((f.key, [f.baseline, *f.alternatives][place_of_level]))
        cells.append(Cell(dict(reversed(chosen))))
    return cell_of, cells


def _identify(
    frame: pd.DataFrame, cell_of: NDArray[np.int_], cells: list[Cell], columns: Columns
) -> tuple[list[str], NDArray[np.int_], NDArray[np.int_], tuple[str, ...]]:
    """Names of the runs, per row the place of its run, the first row of each, and a note.

    A seed that recurs in another cell is another training.
    """
    if columns.run is None and columns.fold is None:
        run_of, distinct = pd.factorize(cell_of)
        names = [f"{cells[c]} {SUMMARY}" for c in distinct]
        return names, run_of, np.unique(run_of, return_index=True)[1], ()
    codes, found = _run_codes(frame, columns)
    if (codes < 0).any():
        remedy = "give every row the id of its run"
        raise RecordsError("a row belongs to no run", where=columns.run or columns.fold, remedy=remedy)
    pairs = codes.astype(np.int64) * len(cells) + cell_of
    run_of, distinct = pd.factorize(pairs)
    first = np.unique(run_of, return_index=True)[1]
    owner, place = distinct // len(cells), distinct % len(cells)
    recur = len(distinct) > len(found)
    note: tuple[str, ...] = ()
    if recur:
        names = [
            f"{cells[c]} {columns.run or columns.fold}={found[i]}" for i, c in zip(map(int, owner), place, strict=True)
        ]
        if not columns.block and columns.run:
            note = (
                f"values of `{columns.run}` recur across cells and were taken as different trainings; where equal "
                f'ones share randomness, say `block="{columns.run}"`',
            )
    else:
        names = [str(found[int(i)]) for i in owner]
    if columns.block:
        blocks = pd.factorize(frame[columns.block])[0]
        if (blocks < 0).any():
            remedy = "give every run its block, or none at all"
            raise RecordsError("a run has no block", where=columns.block, remedy=remedy)
        changing = blocks != blocks[first][run_of]
        if changing.any():
            raise RecordsError(f"run {names[run_of[changing.argmax()]]} is in several blocks", where=columns.block)
    return names, run_of, first, note


def _run_codes(frame: pd.DataFrame, columns: Columns) -> tuple[NDArray[np.int_], list[Any]]:
    """Per row the place of its run's id, and the ids. A fold is a run of its own in every domain: a data set."""
    if columns.fold is None:
        codes, found = pd.factorize(frame[columns.run])
        return codes, list(found)
    parts = [frame[c].map(str) for c in (columns.run, columns.domain, columns.fold) if c]
    codes, found = pd.factorize(pd.Series(list(map("/".join, zip(*parts, strict=True)))))
    return codes, list(found)


def _split_metrics(
    frame: pd.DataFrame, columns: Columns, metric: str
) -> tuple[NDArray[np.bool_], "pd.Series[Any] | None"]:
    """The rows of the metric judged, and the names of the rows' metrics, if a column names them."""
    if columns.metric is None:
        return np.ones(len(frame), bool), None
    named = frame[columns.metric].map(str)
    kept = (named == metric).to_numpy()
    if not kept.any():
        known = sorted(named.unique())
        raise RecordsError(f"no row has the metric {metric!r}", where="metric", allowed=known, word=metric)
    return kept, named


def _split_budgets(
    frame: pd.DataFrame, columns: Columns, run_of: NDArray[np.int_], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    """Of a run's scores at several budgets those at its largest are judged; all of them are its learning curve."""
    if columns.budget is None:
        return kept, pd.DataFrame({"run": [], "budget": [], "value": []})
    budget = pd.to_numeric(frame[columns.budget], errors="coerce").to_numpy(float)
    if not (budget[kept] > 0).all():
        raise RecordsError("a budget is not a positive number", where=columns.budget, remedy="examples, steps, seconds")
    rows = pd.DataFrame({"run": run_of, "budget": budget, "value": _numbers(frame, columns.value)})[kept]
    curves = rows.groupby(["run", "budget"])["value"].mean().reset_index()
    largest = pd.Series(budget).where(kept).groupby(run_of).transform("max").to_numpy()
    return kept & (budget == largest), curves


def _compare_budgets(
    frame: pd.DataFrame, columns: Columns, run_of: NDArray[np.int_], final: NDArray[np.bool_]
) -> Iterator[str]:
    """What a reader must know where runs ended at different budgets."""
    if columns.budget is not None:
        last = pd.to_numeric(frame[columns.budget], errors="coerce")[final].groupby(run_of[final]).first()
        if last.nunique() > 1:
            yield f"runs were judged at the last budget of each, which is between {last.min():g} and {last.max():g}"


def _scores(frame: pd.DataFrame, columns: Columns, run_of: NDArray[np.int_]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per row of the frame, as `Source.scores` has them, and the items."""
    domain, domains = _text_codes(frame[columns.domain]) if columns.domain else (np.zeros(len(frame), int), [WHOLE])
    item, names, groups = domain, domains, domains
    if columns.shift:
        shift, shifts = _text_codes(frame[columns.shift])
        item, pairs = pd.factorize(domain * len(shifts) + shift)
        groups = [domains[p // len(shifts)] for p in pairs]
        names = [f"{group}/{shifts[p % len(shifts)]}" for group, p in zip(groups, pairs, strict=True)]
    scores = pd.DataFrame({"run": run_of, "item": item, "value": _numbers(frame, columns.value)})
    if columns.se:
        scores["se"] = _numbers(frame, columns.se)
    if columns.eval_hash:
        scores["eval_hash"] = frame[columns.eval_hash].to_numpy()
    for name in ("example", "cluster"):
        column = getattr(columns, name)
        if column:
            scores[name] = pd.factorize(frame[column])[0]
    return scores, pd.DataFrame({"item": names, "group": groups})


def _text_codes(column: "pd.Series[Any]") -> tuple[NDArray[np.int_], list[str]]:
    codes, found = pd.factorize(column)
    if (codes < 0).any():
        raise RecordsError("a row has no domain", where=str(column.name), remedy="name the domain of every score")
    return codes, [str(name) for name in found]


def _whole(
    frame: pd.DataFrame,
    columns: Columns,
    run_of: NDArray[np.int_],
    metrics: "pd.Series[Any] | None",
    costs: Sequence[str],
) -> pd.DataFrame:
    """The costs of every run: columns of the frame, or other metrics of the column of values."""
    parts = []
    for cost in costs:
        if cost in frame:
            values = pd.to_numeric(frame[cost], errors="coerce").to_numpy(float)
            rows = np.isfinite(values)
        elif metrics is not None and (metrics == cost).any():
            values, rows = _numbers(frame, columns.value), (metrics == cost).to_numpy()
        else:
            known = [*map(str, frame), *([] if metrics is None else sorted(metrics.unique()))]
            raise RecordsError(f"no cost {cost!r}", where="analysis.costs", allowed=known, word=cost)
        parts.append(pd.DataFrame({"run": run_of[rows], "metric": cost, "value": values[rows]}))
    if not parts:
        return pd.DataFrame({"run": [], "metric": [], "value": []})
    return pd.concat(parts).groupby(["run", "metric"], sort=False)["value"].mean().reset_index()


def _design(factors: Sequence[Factor], cells: Sequence[Cell]) -> str:
    compared = [f for f in factors if f.compared]
    inner = {Cell({f.key: cell[f.key] for f in compared}) for cell in cells}
    if len(inner) == prod(len(f.levels) for f in compared):
        return full_factorial.__name__
    return next((d.__name__ for d in (one_at_a_time, cumulative, leave_one_out) if inner == set(d(compared))), "frame")


def _folds(columns: Columns) -> Literal["none", "declared", "undeclared"]:
    if columns.fold:
        return "declared"
    named = [column for column in (columns.run, columns.block) if column]
    return "undeclared" if any(map(looks_like_folds, named)) else "none"
