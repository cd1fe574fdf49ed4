"""Schedules: what a plan says beside its cells: tuning, looks after which cells stop, diverged runs, equal budgets."""

from collections.abc import Iterator, Mapping
from typing import Any

from ablate.factors import Trial, level_name
from ablate.plans import Plan
from ablate.safeguards import Budget
from ablate.tunings import LIMITS


def owed_search_trials(plan: Plan) -> Iterator[Trial]:
    """The tuning trials that are run where no pruner stops any."""
    for trial in plan.search_trials():
        if plan.tuning and trial.proposal is not None and trial.proposal < plan.tuning.trials:
            yield trial


def outline_schedule(plan: Plan) -> dict[str, Any]:
    """Stopping, tuning and safeguards as plain values; of tuning also the cells searched and the runs in all."""
    rule = {"rule": plan.analysis.stopping, "looks": list(plan.looks), "futility": plan.analysis.futility}
    tuning = None
    if plan.tuning is not None:
        runs = sum(1 for _ in owed_search_trials(plan))
        tuning = {**plan.tuning.to_dict(), "cells": len(plan.tuned_cells), "runs": runs}
    divergence = None if plan.divergence is None else plan.divergence.to_dict()
    return {"stopping": rule, "tuning": tuning, "divergence": divergence, "budget": plan.budget.to_dict()}


def describe_schedule(found: Mapping[str, Any]) -> Iterator[str]:
    """An outline in lines; none where all seeds are run with nothing tuned and nothing declared."""
    stopping, tuning = found["stopping"], found["tuning"]
    if stopping["rule"] != "fixed":
        looks = ", ".join(map(str, stopping["looks"]))
        futile = stopping["futility"]
        futility = "" if futile is None else f"; futile below a conditional power of {futile:g}"
        yield f"stopping:  {stopping['rule']}, looks after {looks} seeds{futility}"
    if tuning is not None:
        ranges = [
            f"{n['key']} {n['low']:g} to {n['high']:g}" + " (log)" * n["log"] + " (whole)" * n["integer"]
            for n in tuning["space"]
        ]
        yield f"tuning:    {', '.join(ranges)}"
        yield from (f"    {line}" for line in _describe_search(tuning))
    if found["divergence"] is not None:
        yield f"diverged:  {_describe_divergence(found['divergence'])}"
    if found["budget"] != Budget().to_dict():
        equal, tolerance = found["budget"]["equal"], found["budget"]["tolerance"]
        yield f"budget:    compared arms share {', '.join(equal) or 'nothing'}" + f", within {tolerance:.1%}" * bool(
            tolerance
        )


def _describe_divergence(rule: Mapping[str, Any]) -> str:
    above = "" if rule["above"] is None else f", or a training loss above {rule['above']:g}"
    done = {
        "fail": "the run has failed",
        "worst": f"the run counts with {rule['value']}",
        "exclude": f"the run is left out, and effects are bounded by scores in {rule['bounds']}",
        "retry": f"the run has a replacement with a seed of its own, at most {rule['retries']} times",
    }
    return f"what is not finite{above}: {done[rule['treatment']]}"


def _describe_search(tuning: Mapping[str, Any]) -> Iterator[str]:
    if tuning["scope"] == "fixed":
        yield f"fixed at {', '.join(f'{key}={level_name(value)}' for key, value in tuning['setting'].items())}"
        return
    goals = ", ".join(f"{o['metric']} ({o['direction']})" for o in tuning["objectives"])
    within = f", the second within {tuning['tolerance']:g} of the best first" if len(tuning["objectives"]) > 1 else ""
    yield f"{tuning['sampler']} on {goals}{within}; pruner {tuning['pruner']}"
    where = "the baseline, inherited by all" if tuning["scope"] == "inherited" else f"each of {tuning['cells']} cells"
    seeds = ", ".join(map(str, tuning["seeds"]))
    limits = [f"{tuning[name]:g} {name}" for name in LIMITS if tuning.get(name) is not None]
    at_most = f", each at most {' and '.join(limits)}" if limits else ""
    yield f"{tuning['trials']} proposals in {where}, tuning seeds {seeds}: {tuning['runs']} runs in all{at_most}"
