"""Sources: records, or anybody's frame, in one shape: runs, their scores, and the plan that judges them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.analyses import Analysis, Comparison
from ablate.errors import RecordsError
from ablate.factors import Cell, Factor, level_name
from ablate.measurements import AT
from ablate.plans import CLEAN, WHOLE, Plan
from ablate.records import Records
from ablate.stats.outcomes import (
    CLEAN_EXAMPLES,
    CLEAN_PART,
    bounds_of,
    end_runs,
    impute,
    tell_diverged,
    tell_missing,
    worst_score,
)
from ablate.stats.searches import read_search

SEARCH = "search"  # the phase of tuning trials
TRIED = "hpo_trials"  # the budget that is no metric of a run


def _no_rows(*columns: str) -> pd.DataFrame:
    return pd.DataFrame({column: np.empty(0) for column in columns})


@dataclass(frozen=True)
class Source:
    """What is analysed.

    Attributes:
        runs: a row per training run: run (its name), cell, block, status (complete, failed or missing), hpo_trials;
            and of records imputed: whether it diverged and has the scores that the plan gives such runs.
        scores: a row per score of a complete run: run and item (rows of `runs` and `items`), value, and where they are
            given se (its standard error), eval_hash, example (what was scored) and cluster (what examples share).
        items: a row per item (a domain, or domain/shift): item, group.
        plan: what judges them; levels as text.
        planned: cell -> number of runs that were to be.
        notes: what a reader must know about how the data were read.
        whole: what belongs to a run as a whole: run, metric, value.
        curves: the metric at several budgets: run, budget, value.
        searched: a row per tuning trial, of records per proposal: cell, value.
        folds: whether the runs of a cell are cross-validation folds, `declared` as such or not.
        summaries: whether there are no runs: a row is a score and its standard error.
        bounds: what diverged runs, which the plan leaves out, could have scored; None where no such rule is about this.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    items: pd.DataFrame
    plan: Plan
    planned: Mapping[Cell, int]
    notes: tuple[str, ...] = ()
    whole: pd.DataFrame = field(default_factory=lambda: _no_rows("run", "metric", "value"))
    curves: pd.DataFrame = field(default_factory=lambda: _no_rows("run", "budget", "value"))
    searched: pd.DataFrame = field(default_factory=lambda: _no_rows("cell", "value"))
    folds: Literal["none", "declared", "undeclared"] = "none"
    summaries: bool = False
    bounds: tuple[float, float] | None = None

    @property
    def imputed(self) -> NDArray[np.bool_]:
        """Per run, whether its scores are not measured but those that the plan gives to a diverged run."""
        none = np.zeros(len(self.runs), bool)
        return self.runs["imputed"].to_numpy(bool) if "imputed" in self.runs else none


def read_records(records: Records, metric: str) -> Source:
    """Records as a source. Rows of tuning trials (phase `search`) are left out and counted in a note.

    Diverged runs count as the plan's rule says, see `ablate.stats.outcomes`. Of a metric `... (clean part)`, a domain
    without such rows counts whole, as none of its examples were found in training data, or not at all, as all were.

    Raises:
        RecordsError: no complete trial has the metric.
    """
    plan, frame = textual(records.plan), records.frame
    keys = [f.key for f in plan.factors]
    phase = frame["phase"] == SEARCH
    search, frame = frame[phase], frame[~phase]
    first = frame.drop_duplicates("trial")
    names = {"run": first["trial"].to_numpy(), "cell": _cells(first, keys)}
    block, tried = first["block"].fillna(first["seed"]), first["hpo_trials"]
    runs = pd.DataFrame({**names, "block": block.to_numpy(), "hpo_trials": tried.to_numpy(float, na_value=np.nan)})
    runs = runs.assign(**end_runs(first, plan, metric))
    place = pd.Series(np.arange(len(runs)), index=runs["run"])
    done = frame[frame["status"] == "complete"]
    rows = _select(done, metric)
    if rows.empty and (len(done) or search.empty):
        known = sorted(done["metric"].dropna().unique())
        raise RecordsError(f"no complete trial has the metric {metric!r}", where="metric", allowed=known, word=metric)
    scores, items = _score(rows, place)
    absent = [group for group in plan.domains if group not in set(items["group"])]
    other = done[(done["domain_group"] == WHOLE) & (done["metric"] != metric)]
    curve = done[done["metric"].str.startswith(metric + AT, na=False)]
    budgets = pd.to_numeric(curve["metric"].str.removeprefix(metric + AT), errors="coerce")
    searched, failed = read_search(search, _cells(search, keys), plan)
    unmeasured = [name for name in plan.budget.equal if name != TRIED and not (other["metric"] == name).any()]
    told = {
        f"{search['trial'].nunique()} tuning trials are not evidence and were left out.": len(search),
        f"declared domain groups without any score: {', '.join(absent)}": absent,
        f"To be equal by the plan, and measured in no run: {', '.join(unmeasured)}.": unmeasured and len(done),
        f"{failed} tuning proposals have no score and count as the worst one seen.": failed,
    }
    notes = [*(note for note, due in told.items() if due), *_tell_clean(rows, done, metric)]
    return Source(
        runs,
        impute(_drop_empty(scores), runs, plan, worst_score(plan, metric)),
        items,
        plan,
        _owed(plan, runs),
        (*notes, *tell_diverged(first, runs, plan, metric), *tell_missing(runs, plan)),
        whole=_by_run(place[other["trial"]], other["value"], metric=other["metric"]),
        curves=_by_run(place[curve["trial"]], curve["value"], budget=budgets).dropna(),
        searched=searched,
        bounds=bounds_of(plan, metric),
    )


def _select(done: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of a metric, on domains where it has such; of a clean part, domains that have none count whole."""
    rows = done[done["metric"] == metric]
    if metric.endswith(CLEAN_PART) and (len(rows) or (done["metric"] == CLEAN_EXAMPLES).any()):
        whole, place = done[done["metric"] == metric.removesuffix(CLEAN_PART)], ["domain", "shift"]
        whole = whole[~_name(whole).isin(_without_clean(done))]
        places = pd.MultiIndex.from_frame(whole[place])
        rows = pd.concat([rows, whole[~places.isin(pd.MultiIndex.from_frame(rows[place]))]])
        order = places.unique().get_indexer(pd.MultiIndex.from_frame(rows[place]))
        rows = rows.iloc[np.argsort(order, kind="stable")]  # domains in the order of the metric itself
    return rows[rows["domain_group"] != WHOLE] if (rows["domain_group"] != WHOLE).any() else rows


def _score(rows: pd.DataFrame, place: "pd.Series[int]") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and items of a source."""
    codes, items = pd.factorize(_name(rows))
    groups = rows["domain_group"].to_numpy()[np.unique(codes, return_index=True)[1]]
    columns = {"value": rows["value"], "se": rows["score_se"], "eval_hash": rows["eval_hash"]}
    scores = pd.DataFrame({"run": place[rows["trial"]].to_numpy(), "item": codes})
    scores = scores.assign(**{name: column.to_numpy() for name, column in columns.items()})
    return scores, pd.DataFrame({"item": items, "group": groups})


def _name(rows: pd.DataFrame) -> "pd.Series[Any]":
    """The item of every row: its domain, and its shift if it has one."""
    return rows["domain"].where(rows["shift"] == CLEAN, rows["domain"] + "/" + rows["shift"])


def _without_clean(done: pd.DataFrame) -> list[str]:
    """The domains of which training data hold every example."""
    counts = done[done["metric"] == CLEAN_EXAMPLES]
    return list(_name(counts[counts["value"] == 0]).unique())


def _tell_clean(rows: pd.DataFrame, done: pd.DataFrame, metric: str) -> Iterator[str]:
    """Of which domains a clean part is judged."""
    if metric.endswith(CLEAN_PART):
        if gone := _without_clean(done):
            yield f"Left out, since training data hold every example of them: {', '.join(gone)}."
        parts = _name(rows[rows["metric"] == metric]).unique()
        rest = _name(rows).nunique() - len(parts)
        cut = f"the clean part of {', '.join(parts)}, and on " if len(parts) else ""
        yield f"Judged on {cut}the whole of {rest} other domains."


def _owed(plan: Plan, runs: pd.DataFrame) -> dict[Cell, int]:
    """Cell -> its runs if all is done: of every seed; or, where seeds are added until decided, those begun."""
    begun = Counter(runs["cell"])
    return {cell: len(plan.seeds) if plan.analysis.stopping == "fixed" else begun[cell] for cell in plan.cells}


def textual(plan: Plan) -> Plan:
    """The same plan with every level as its printed name, as the records have them."""
    comparisons = tuple(make_comparison(c) for c in plan.analysis.comparisons)
    return replace(
        plan,
        factors=tuple(
            Factor(f.key, tuple(map(level_name, f.levels)), baseline=level_name(f.baseline), role=f.role)
            for f in plan.factors
        ),
        cells=tuple(Cell(_names(cell)) for cell in plan.cells),
        analysis=replace(plan.analysis, comparisons=comparisons),
    )


def make_comparison(value: Comparison | Mapping[str, Any]) -> Comparison:
    """A comparison from a value or plain mapping, levels as text."""
    if not isinstance(value, Comparison):
        (value,) = Analysis.from_dict({"comparisons": [value]}).comparisons
    base = None if value.base is None else _names(value.base)
    return replace(value, cell=_names(value.cell), versus=_names(value.versus), base=base)


def _names(levels: Mapping[str, Any]) -> dict[str, Any]:
    return {key: level_name(level) for key, level in levels.items()}


def _cells(frame: pd.DataFrame, keys: list[str]) -> NDArray[np.object_]:
    """The cell of every row."""
    made = [Cell(dict(zip(keys, row, strict=True))) for row in frame[keys].itertuples(index=False, name=None)]
    cells = np.empty(len(made), dtype=object)
    cells[:] = made
    return cells


def _by_run(run: "pd.Series[Any]", value: "pd.Series[Any]", **key: "pd.Series[Any]") -> pd.DataFrame:
    """The mean of a run's values for each of another column's."""
    ((name, column),) = key.items()
    frame = pd.DataFrame({"run": np.asarray(run), name: np.asarray(column), "value": np.asarray(value, float)})
    return frame.groupby(["run", name], sort=False)["value"].mean().reset_index()


def _drop_empty(scores: pd.DataFrame) -> pd.DataFrame:
    """Without the optional columns in which nothing stands."""
    empty = [name for name in ("se", "eval_hash") if name in scores and scores[name].isna().all()]
    return scores.drop(columns=empty)
