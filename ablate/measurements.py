"""Measurements: what a task returned, as checked rows of plain values."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from ablate.carriers import share
from ablate.errors import Diverged, PlanError, TrialError
from ablate.factors import Cell, Phase, is_text, level_name
from ablate.plans import CLEAN, WHOLE, Plan

AT = "@"  # a metric `accuracy@100` is the metric after 100 steps, or another budget
OPTIONAL = ("score_se", "eval_hash", "n_examples")
PLACE = ("domain", "shift", "metric")  # what one value is about
MEASUREMENT = (*PLACE, "value", *OPTIONAL)  # what a row of a task's result may hold


def measurements(
    result: object, plan: Plan, phase: Phase = "confirm", cells: Sequence[Cell] = ()
) -> list[dict[str, Any]]:
    """A task's result as rows: domain group, domain, shift, metric, value, and what else was given.

    Args:
        result: a number (the primary metric; of a search trial the first objective), `{metric: number}`, or rows
            (mappings with `metric`, `value` and optionally `domain`, `shift`, `n_examples`, `score_se`, `eval_hash`).
            Rows of a run that is measured under several levels name the level of each evaluation factor; one that
            does not is about the whole run, and counts for all.
        plan: for the primary metric, the objectives of tuning and the declared domain groups.
        phase: of the trial; one that tunes gives what validation says of the whole run, and no test score.
        cells: those that the run was to be measured in, where the plan has evaluation factors.

    Raises:
        Diverged: NaN or infinite.
        TrialError: not numbers, an undeclared domain, a value given twice, a key that nobody reads, or the primary
            metric (while tuning: an objective) is missing, be it in one of the cells; while tuning, a test score.
    """
    result = _plain(result)
    wanted = [plan.metric]
    if phase == "search" and plan.tuning:
        wanted = [objective.metric for objective in plan.tuning.objectives]
    if isinstance(result, Real):
        rows: list[Mapping[str, Any]] = [{"metric": wanted[0], "value": result}]
    elif isinstance(result, Mapping):
        rows = [{"metric": metric, "value": value} for metric, value in result.items()]
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes) and not hasattr(result, "columns"):
        rows = list(result)
    else:
        raise TrialError(
            f"the task returned a {type(result).__name__}: {result!r:.80}",
            allowed=["a number", "{metric: number}", "rows with metric, value, domain, shift"],
        )
    made = [_measurement(row, plan, phase) for row in rows]
    if phase == "search" or not cells:
        _check(made, plan, wanted, phase, "the task's result")
        return made
    _check_levels(made, plan, cells)
    for cell in cells:
        _check(share({"rows": made}, cell, plan)["rows"], plan, wanted, phase, f"the task's result in cell {cell}")
    return made


def _check_levels(made: Sequence[Mapping[str, Any]], plan: Plan, cells: Sequence[Cell]) -> None:
    """Every row is about a cell that was asked for, and scores say of which level they are."""
    asked = {tuple(level_name(cell[key]) for key in plan.evaluation) for cell in cells}
    for row in made:
        named = tuple(row.get(key) for key in plan.evaluation)
        if row["metric"] == plan.metric and None in named:
            what = f"{plan.metric} does not say of which level of {plan.evaluation[named.index(None)]!r} it is"
            remedy = "measure under every level in `trial.carries` and name it in the row"
            raise TrialError(what, where="the task's result", remedy=remedy)
        if not any(all(a in (None, b) for a, b in zip(named, each, strict=True)) for each in asked):
            what = f"a row about {dict(zip(plan.evaluation, named, strict=True))}, which was not asked for"
            raise TrialError(what, where="the task's result", allowed=["/".join(each) for each in sorted(asked)])


def _check(made: Sequence[Mapping[str, Any]], plan: Plan, wanted: Sequence[str], phase: Phase, where: str) -> None:
    """What rows of one run in one cell must be: each place once, what is wanted there, nothing too much."""
    places = [tuple(row[key] for key in PLACE) for row in made]
    twice = (
        next((place for place in places if places.count(place) > 1), None) if len(set(places)) < len(places) else None
    )
    if twice:
        domain, shift, metric = twice
        raise TrialError(f"{metric} is given twice for domain {domain!r}, shift {shift!r}", where=where)
    metrics = sorted({str(row["metric"]) for row in made})
    for metric in wanted:
        if metric not in metrics:
            what, when = ("primary metric", "tests") if phase == "confirm" else ("objective", "validates")
            raise TrialError(
                f"the {what} {metric!r} was never logged",
                where=where,
                allowed=metrics,
                remedy=f"log it where the task {when}, or declare one of these",
                word=metric,
            )
    if phase == "search" and (plan.metric in metrics or any(row["domain"] != WHOLE for row in made)):
        place = next((row["domain"] for row in made if row["domain"] != WHOLE), WHOLE)
        raise TrialError(
            f"a tuning trial gave a test score: {metrics} on {place!r}",
            where=where,
            allowed=[f"{', '.join(wanted)} on validation data, without a domain"],
            remedy="give validation metrics alone while `trial.phase` is `search`; test sets stay closed",
        )


def name_values(values: Iterable[tuple[int, float]], plan: Plan) -> list[dict[str, Any]]:
    """Intermediate values (step, value) as rows of the metric `<first objective>@<step>`."""
    metric = plan.tuning.objectives[0].metric if plan.tuning else plan.metric
    place = {"domain_group": WHOLE, "domain": WHOLE, "shift": CLEAN}
    return [{**place, "metric": f"{metric}{AT}{step}", "value": value} for step, value in values]


def find_values(rows: Iterable[Mapping[str, Any]], plan: Plan) -> list[tuple[int, float]]:
    """The inverse of `name_values`: what rows hold of intermediate values, by step."""
    before = f"{plan.tuning.objectives[0].metric if plan.tuning else plan.metric}{AT}"
    steps = [(row["metric"].removeprefix(before), row["value"]) for row in rows if row["metric"].startswith(before)]
    return sorted((int(step), value) for step, value in steps)


def _plain(value: object) -> object:
    """A zero-dimensional array or tensor as the number it holds; anything else as it is."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


def _measurement(row: object, plan: Plan, phase: Phase) -> dict[str, Any]:
    where = "the task's result"
    if not isinstance(row, Mapping) or not {"metric", "value"} <= set(row):
        raise TrialError(f"a row without metric and value: {row!r:.120}", where=where)
    known = (*MEASUREMENT, *(plan.evaluation if phase == "confirm" else ()))
    unknown = [key for key in row if key not in known]
    if unknown:
        raise TrialError(f"unknown key {unknown[0]!r} in a row", where=where, allowed=known, word=unknown[0])
    levels = {f.key: level_name(f.level(row[f.key])) for f in plan.factors if f.key in row}
    metric, domain, shift = str(row["metric"]), str(row.get("domain", WHOLE)), str(row.get("shift", CLEAN))
    if not all(map(is_text, (metric, domain, shift))):
        raise TrialError(f"a control character in {metric!r}, {domain!r} or {shift!r}", where=where)
    try:
        group = WHOLE if domain == WHOLE else plan.group_of(domain if shift == CLEAN else f"{domain}/{shift}")
    except PlanError as error:
        remedy = "declare it under `domains`, or do not return it"
        raise TrialError(error.what, where=where, allowed=error.allowed, remedy=remedy, word=domain) from error
    value = _number(row["value"], metric, where)
    extras = _extras({key: _plain(row[key]) for key in OPTIONAL if row.get(key) is not None}, where)
    return {
        "domain_group": group,
        "domain": domain,
        "shift": shift,
        "metric": metric,
        "value": value,
        **extras,
        **levels,
    }


def _extras(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a row says beside its value, as the plain values that a record can hold."""
    extras: dict[str, Any] = {}
    if "score_se" in given:
        extras["score_se"] = _number(given["score_se"], "score_se", where)
        if extras["score_se"] < 0:
            raise TrialError(f"score_se is {given['score_se']}", where=where, allowed=["a number, not negative"])
    if "n_examples" in given:
        count = given["n_examples"]
        if not isinstance(count, Integral) or not 1 <= int(count) < 2**63:
            raise TrialError(f"n_examples is {count!r:.80}", where=where, allowed=["a whole number from 1"])
        extras["n_examples"] = int(count)
    if "eval_hash" in given:
        extras["eval_hash"] = str(given["eval_hash"])
        if not is_text(extras["eval_hash"]):
            raise TrialError(f"a control character in eval_hash {extras['eval_hash']!r:.80}", where=where)
    return extras


def _number(value: object, name: str, where: str) -> float:
    value = _plain(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TrialError(f"{name} is {value!r:.80}", where=where, allowed=["a number"])
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Diverged(f"{name} is {number} (diverged)", where=where, allowed=["a finite number"])
    return number
