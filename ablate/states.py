"""How far a study is: what `ablate status` prints."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.amendments import read_amendments
from ablate.carriers import find_carrier
from ablate.courses import Course, unneeded
from ablate.engine import read_outcomes
from ablate.factors import Trial
from ablate.plans import Plan
from ablate.runs import STARTED, Runs
from ablate.tunings import TUNING_FILE

ORDER = ("complete", "failed", "diverged", "pruned", "lost", "preempted")


def print_status(folder: Path) -> None:
    """Print how far a study is: trials by state, tuning apart, what is open, and why others did not complete."""
    plan, runs = Plan.read(folder), Runs(folder)
    outcomes = read_outcomes(folder, plan, runs)
    for line in (*_tuning_lines(folder, plan, outcomes), *_trial_lines(folder, plan, outcomes)):
        print(line)
    amended = len(read_amendments(folder))
    if amended:
        print(f"amended: {'once' if amended == 1 else f'{amended} times'}, the plan is now {plan.hash[:8]}")
    print(f"driver: {find_driver(folder)}")
    tried = [*plan.trials, *(trial for trial in plan.search_trials() if (runs.root / trial.id).is_dir())]
    for trial in tried:
        print(*_open_lines(trial, runs, outcomes), sep="", end="")
    for trial in [*plan.trials, *plan.search_trials()]:
        outcome = outcomes.get(trial.id)
        if outcome and outcome["status"] not in ("complete", "pruned"):
            log = runs.folder_of(find_carrier(plan, trial).id, outcome["attempt"])
            print(f"  {outcome['status']}: {_name(trial)}: {outcome['reason']}")
            print(f"    {log}" if log.is_dir() else "    (of a run that is not in this folder)")


def _trial_lines(folder: Path, plan: Plan, outcomes: Mapping[str, Any]) -> Iterator[str]:
    course = Course.read(folder, plan)
    counts = _count(plan.trials, outcomes)
    stands = ("complete", "diverged") if plan.divergence else ("complete",)
    ended = all(outcomes.get(trial.id, {}).get("status") in stands for trial in course.trials)
    spared = sum(trial.id not in outcomes for trial in unneeded(course)) if ended else 0
    left = len(plan.trials) - sum(counts.values()) - spared
    said = [*_spell(counts), *([f"{spared} not needed"] if spared else []), f"{left} left"]
    yield f"{plan.name}: {', '.join(said)} of {len(plan.trials)} trials"
    if course.taken:
        last = course.taken[-1]
        going = "the last" if course.over else f"{len(last.open)} of {len(plan.cells)} cells get more"
        yield f"looks: {len(course.taken)} of at most {len(plan.looks)}, after {last.seeds} seeds; {going}"


def _tuning_lines(folder: Path, plan: Plan, outcomes: Mapping[str, Any]) -> Iterator[str]:
    if plan.tuned_cells:
        counts = _count(plan.search_trials(), outcomes)
        frozen = "settings are selected" if (folder / TUNING_FILE).is_file() else "settings are not selected yet"
        yield f"tuning: {', '.join([*_spell(counts), f'{sum(counts.values())} tried'])}; {frozen}"


def _count(trials: Iterable[Trial], outcomes: Mapping[str, Any]) -> Counter[str]:
    return Counter(outcomes[trial.id]["status"] for trial in trials if trial.id in outcomes)


def _spell(counts: Mapping[str, int]) -> list[str]:
    return [f"{counts[state]} {state}" for state in ORDER if counts.get(state)]


def _name(trial: Trial) -> str:
    proposal = "" if trial.proposal is None else f" proposal={trial.proposal}"
    return f"{trial.cell}{proposal} seed={trial.seed}"


def _open_lines(trial: Trial, runs: Runs, outcomes: Mapping[str, Any]) -> Iterator[str]:
    """The line of a trial that runs now, or did when its driver went away."""
    if outcomes.get(trial.id, {}).get("status") == "complete":
        return
    for attempt in runs.attempts(trial.id)[-1:]:
        number = attempt["attempt"]
        if attempt["status"] == "running" and (runs.folder_of(trial.id, number) / STARTED).is_file():
            yield f"  open: {_name(trial)} ({trial.id}, attempt {number})\n"


def find_driver(folder: Path) -> str:
    """Who is running the study now; `none` if nobody is."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    path = folder / "runs" / "driver.lock"
    if not path.is_file():
        return "none"
    with path.open("r", encoding="utf-8") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError:
            try:
                holder = json.loads(file.read())
                return f"process {holder['pid']} on {holder['host']}"
            except (ValueError, KeyError):
                return "running"
    return "none"
