"""Attribution: from scores to judged effects, every declared question answered, corrected and judged."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypedDict, Unpack, get_args

import pandas as pd

from ablate.analyses import Analysis, Comparison, Correction, Engine, Family, Gatekeeping, Target, require_margin
from ablate.errors import PlanError, require_keys, require_one_of
from ablate.records import Records
from ablate.stats import equivalence
from ablate.stats.columns import Columns
from ablate.stats.effects import COLUMNS, Effects
from ablate.stats.engines import Test
from ablate.stats.footnotes import write_notes
from ablate.stats.frames import read_frame
from ablate.stats.projections import suggest
from ablate.stats.sources import Source, make_comparison, read_records
from ablate.stats.verdicts import judge_questions


class FrameOptions(TypedDict, total=False):
    """The columns of a frame: see `ablate.stats.columns.Columns`. Records name their own."""

    factors: Sequence[str] | Mapping[str, Sequence[Any]] | None
    run: str | None
    value: str | None
    domain: str | None
    shift: str | None
    block: str | None
    status: str | None
    metrics: str | None
    se: str | None
    example: str | None
    cluster: str | None
    phase: str | None
    hpo_trials: str | None
    eval_hash: str | None
    fold: str | None
    budget: str | None
    across: Sequence[str] | None
    baseline: Mapping[str, Any] | None


class PlanOptions(TypedDict, total=False):
    """What a plan declares: see `ablate.plans.Plan` and `ablate.analyses.Analysis`."""

    metric: str | None
    direction: Literal["maximize", "minimize"] | None
    margin: float | None
    target: Target | None
    alpha: float | None
    families: Sequence[Family] | None
    correction: Correction | None
    variances: Literal["welch", "pooled"] | None
    comparisons: Sequence[Comparison | Mapping[str, Any]] | None
    engine: Engine | None
    gatekeeping: Gatekeeping | None
    looks: Sequence[int] | None
    spending: Literal["obrien_fleming", "pocock"] | None
    clean: str | None
    costs: Sequence[str] | None
    threshold: float | None
    sampler: str | None


class Options(FrameOptions, PlanOptions, total=False):
    """Every option of `attribute`."""


COLUMN_OPTIONS = tuple(FrameOptions.__annotations__)
DECLARED = ("metric", "direction", "margin")


def attribute(
    data: Records | pd.DataFrame,
    *,
    test: Test = "t",
    bounds: tuple[float, float] | None = None,
    rng: int = 0,
    **options: Unpack[Options],
) -> Effects:
    """Which switch caused how much: every declared question with estimate, interval, corrected test and verdict.

    The unit of replication is the training run, never its scores on domains. Contrasts are judged for two targets:
    new runs on these domains, and new domains of this kind as well. The engine follows from the data's design.

    Args:
        data: records, whose plan declares everything; or a frame with a row per score.
        test: `t`, or `sign_flip`: an exact permutation test of the per-block contrasts, for these domains only.
        bounds: the lowest and highest possible value of the metric, for the worst case where trials failed.
        rng: seed of what is resampled (Pareto fronts, tuning curves, max-t).
        options: (frame) which columns hold what: `factors`, `value` and `run`, and as there are `domain`, `shift`,
            `block`, `status`, `metrics` (a column that names the metric of a row), `se`, `example`, `cluster`,
            `phase`, `hpo_trials`, `eval_hash`, `fold`, `budget`, `across`, `baseline`: see
            `ablate.stats.columns.Columns`. Without `run`, a row with `se` is a summary. And what the plan declares, or
            would: `metric`, `direction`, `margin`, and the settings of `ablate.analyses.Analysis` (`target`, `alpha`,
            `families`, `correction`, `variances`, `comparisons`, `engine`, `gatekeeping`, `looks`, `spending`,
            `clean`, `costs`, `threshold`, `sampler`). Given with records they override the plan, and the notes say so.

    Raises:
        PlanError: an option that does not exist or does not fit.
        RecordsError: the data lack a column, a level or the metric.
    """
    require_keys(options, [*COLUMN_OPTIONS, *PlanOptions.__annotations__], "attribute")
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    require_one_of(test, get_args(Test), "test")
    require_one_of(given.get("direction"), (None, "maximize", "minimize"), "direction")
    require_margin(given.get("margin"), "margin")
    declared = {key: given[key] for key in DECLARED if key in given}
    columns = {key: given[key] for key in COLUMN_OPTIONS if key in given}
    analysis = {key: _settle(key, given[key]) for key in given if key not in (*DECLARED, *COLUMN_OPTIONS)}
    if isinstance(data, Records):
        if columns:
            raise PlanError(
                f"{', '.join(columns)}: records name their own columns",
                where="attribute",
                remedy="leave these out, or give the frame: `attribute(records.complete, ...)`",
            )
        source = _override(read_records(data, declared.get("metric", data.plan.metric)), declared, analysis)
    else:
        source = _read(data, columns, declared, analysis)
    return judge_source(source, test, bounds, rng)


def judge_source(source: Source, test: Test = "t", bounds: tuple[float, float] | None = None, rng: int = 0) -> Effects:
    """The effects of a source: all questions, corrected within their families, judged, with what would decide them."""
    plan, analysis = source.plan, source.plan.analysis
    if test == "sign_flip" and not plan.blocked:
        raise PlanError(
            "sign flips need blocks", where="test", remedy="name the block that cells share, or use the t test"
        )
    if test == "sign_flip" and analysis.correction in ("dunnett", "max_t"):
        raise PlanError("a max-t correction is for t", where="test", remedy="use `correction: holm`")
    if test == "sign_flip" and analysis.stopping == "e_process":
        raise PlanError("an e-process is of t statistics", where="test", remedy="use the t test")
    families = plan.families if analysis.families else sorted(plan.families, key=lambda family: family == "domain")
    layouts, results = judge_questions(source, families, test, bounds, rng)
    results = [replace(r, note=equivalence.join(r.note, suggest(r, plan.direction, plan))) for r in results]
    rows = [result.row(plan.metric, equivalence.statistic(result, plan.direction)) for result in results]
    single = analysis.target == "these_domains" and any(result.target == "new_items" for result in results)
    target: Target = "new_items" if single else analysis.target  # all that one run per cell can say
    notes = write_notes(source, layouts, results, test, target)
    return Effects(pd.DataFrame(rows, columns=list(COLUMNS)), notes, target, analysis.alpha)


def _settle(key: str, value: Any) -> Any:
    """A setting of the analysis from what may be a list of plain values."""
    if key == "comparisons":
        return tuple(make_comparison(c) for c in value)
    if key in ("families", "looks", "costs"):
        return (value,) if isinstance(value, str | int) else tuple(value)
    return value


def _read(
    data: pd.DataFrame, columns: Mapping[str, Any], declared: Mapping[str, Any], analysis: Mapping[str, Any]
) -> Source:
    runs = ("run",) if not {"fold", "se"} & set(columns) else ()
    for name in ("factors", *runs, "value"):
        if name not in columns:
            raise PlanError(f"`{name}` is not named", where="attribute", allowed=map(str, data))
    factors = list(columns["factors"])
    if len(set(factors)) < len(factors):
        raise PlanError(f"a factor stands twice: {factors}", where="factors", remedy="name each once")
    if set(factors) <= set(columns.get("across", ())):
        raise PlanError("every factor is in `across`: nothing is compared", where="across", remedy="leave one out")
    renamed = {("metric" if key == "metrics" else key): value for key, value in columns.items()}
    declared = {"metric": columns["value"], "direction": "maximize", **declared}
    return read_frame(data, Columns(**renamed), analysis=Analysis(**analysis), **declared)


def _override(source: Source, declared: Mapping[str, Any], analysis: Mapping[str, Any]) -> Source:
    plan = source.plan
    changed = [f"{k} {v!r}" for k, v in declared.items() if getattr(plan, k) != v]
    changed += [f"{k} {v!r}" for k, v in analysis.items() if getattr(plan.analysis, k) != v]
    note = (f"Not as the plan declares: {', '.join(changed)}.",) if changed else ()
    known = {f.name: getattr(plan.analysis, f.name) for f in fields(plan.analysis)}
    new = replace(plan, **declared, analysis=Analysis(**{**known, **analysis}))
    return replace(source, plan=new, notes=(*source.notes, *note))
