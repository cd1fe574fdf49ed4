"""Amendments: changes of a locked plan, with time, reason and difference, and which effects they make exploratory.

What a study was before its n-th amendment is kept whole in `former/n/`: plan, records and what else was derived from
them. `amendments.json` is a chain: each link holds the hashes of the plans before and after it, and of the link
before, so that one that was edited or is missing is found.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ablate.courses import COURSE_FILE
from ablate.drifts import differences, drift
from ablate.errors import PlanError, StudyError
from ablate.factors import digest
from ablate.files import write_whole
from ablate.plans import PLAN_FILE, Plan
from ablate.records import Records
from ablate.tunings import TUNING_FILE, Selection

AMENDMENTS_FILE = "amendments.json"
FORMER = "former"  # folder of the plans before each amendment, and of what was derived from them
PROVEN = ("packages", "sources", "data")
_RECORDS = "records.csv"
_AUDIT = "contamination.json"
_MEASURED = ("complete", "diverged")
_MARGIN_FREE = (
    *("better", "worse", "best", "no better", "cheaper", "costlier", "differs", "varies", "described", "refused"),
)
# What is declared about all effects at once: changed after results were seen, it makes all of them exploratory.
_ALL = (
    *("metric", "direction", "seeds", "analysis", "domains", "exclude", "blocking", "divergence", "budget", "tuning"),
    *("design", "options", "conditional"),
)


@dataclass(frozen=True)
class Amendment:
    """One change of a locked plan.

    Attributes:
        number: 1 for the first.
        time: when it was made, UTC.
        why: the reason given.
        before: hash of the plan that it changed.
        after: hash of the plan that it made; the same where only code, packages or data changed.
        diff: what it changed, a line each.
        complete: how many trials that report had been measured by then, diverged ones too.
        former: the plan before it.
    """

    number: int
    time: str
    why: str
    before: str
    after: str
    diff: tuple[str, ...]
    complete: int
    former: Plan = field(compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        names = ("number", "time", "why", "before", "after", "complete")
        return {**{name: getattr(self, name) for name in names}, "diff": list(self.diff)}


@dataclass(frozen=True)
class Scope:
    """What an amendment touches, having been made after results were seen.

    Attributes:
        number: of the amendment.
        everything: whether every effect is.
        margin: whether the verdicts that rest on the margin are.
        families: that the plan did not have before.
        trials: ids of the trials of cells that it added, or whose config it changed.
    """

    number: int
    everything: bool = False
    margin: bool = False
    families: frozenset[str] = frozenset()
    trials: frozenset[str] = frozenset()

    def holds(self, effect: Mapping[Any, Any]) -> bool:
        """Whether an effect (a row of `Effects.frame`) is touched."""
        rests = self.margin and str(effect["verdict"]) not in _MARGIN_FREE
        added = effect["family"] in self.families or not self.trials.isdisjoint(effect["trials"])
        return self.everything or rests or added


def read_amendments(folder: Path) -> tuple[Amendment, ...]:
    """The amendments of a study's plan, the first first; none where there is no `amendments.json`.

    Raises:
        StudyError: a link of the chain is missing, damaged or edited, or does not lead to the locked plan.
    """
    path = folder / AMENDMENTS_FILE
    if not path.is_file():
        if (folder / FORMER).is_dir():
            raise _broken(path, "the plan was amended, but there is no account of it")
        return ()
    try:
        links = json.loads(path.read_text(encoding="utf-8"))
        made = [_read_link(link, folder) for link in links]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(path, f"they cannot be read: {error!r}") from error
    plans = [*(each.former for each in made), Plan.read(folder)]
    for number, (link, each) in enumerate(zip(links, made, strict=True), 1):
        before, after = plans[number - 1], plans[number]
        chained = links[number - 2]["hash"] if number > 1 else ""
        if link["hash"] != _hash_link(each, chained) or each.number != number:
            raise _broken(path, f"amendment {number} was edited, or one before it is missing")
        if (each.before, each.after) != (before.hash, after.hash):
            raise _broken(path, f"amendment {number} does not lead from the plan before it to the one after it")
    return tuple(made)


def compare(before: Plan, after: Plan) -> list[str]:
    """What differs between two plans, in what is declared and in what it runs on, a line each."""
    lines = drift(before, after)
    for kind in PROVEN:
        old, new = before.provenance.get(kind, {}), after.provenance.get(kind, {})
        lines += [f"{kind}: {line}" for line in differences(old, new)]
    return lines


def amend(folder: Path, plan: Plan, why: str, outcomes: Mapping[str, Mapping[str, Any]]) -> Amendment:
    """Put a plan in the place of the one that is locked in a study's folder, and say so.

    Trials that both plans have keep their outcomes. Looks are taken anew from them, and so are settings if the
    search that they were selected from is no longer the plan's.

    Args:
        folder: the study's.
        plan: the new one, with the provenance that is to hold from now on.
        why: the reason.
        outcomes: trial id -> outcome, as far as the study is.

    Raises:
        PlanError: no reason, or nothing that differs.
        StudyError: the plan is another study's, or the amendments before this one are broken.
    """
    locked, earlier = Plan.read(folder), read_amendments(folder)
    if not why.strip():
        raise PlanError("no reason is given", where="--why", remedy="say why the plan has to change")
    if plan.name != locked.name:
        remedy = "a study keeps its name; give another one a folder of its own"
        raise StudyError(
            f"the plan is of {plan.name!r}, the folder of {locked.name!r}", where=str(folder), remedy=remedy
        )
    lines = compare(locked, plan)
    if not lines:
        raise PlanError("the plan would not change", where=str(folder / PLAN_FILE), remedy="there is nothing to amend")
    reported = {trial.id for trial in locked.trials}
    complete = sum(outcomes[i]["status"] in _MEASURED for i in reported & outcomes.keys())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = Amendment(len(earlier) + 1, now, why.strip(), locked.hash, plan.hash, tuple(lines), complete, locked)
    _keep(folder, folder / FORMER / str(made.number), outcomes, locked)
    _carry_over(folder, locked, plan, outcomes)
    links, chained = [], ""
    for each in (*earlier, made):
        chained = _hash_link(each, chained)
        links.append({**each.to_dict(), "hash": chained})
    write_whole(folder / AMENDMENTS_FILE, json.dumps(links, indent=1, ensure_ascii=False) + "\n")
    plan.write(folder)
    return made


def find_scopes(plan: Plan, amendments: tuple[Amendment, ...]) -> tuple[Scope, ...]:
    """What the amendments made exploratory, those made before anything was measured being left out.

    - What is declared about all effects (metric, direction, seeds, analysis, domains, exclusions, blocking, design,
      divergence, budgets, tuning, a baseline, a factor, a cell taken out) touches every effect; so does code or data.
    - The margin touches the verdicts that rest on it: all but better, worse and those of other scales; where seeds are
      added until decided it decided about these too, and touches every effect.
    - Added cells, and cells whose config changed, touch the effects in which they take part; every effect where cells
      share a variance or a false discovery rate. Families that come with them touch themselves; every effect where
      families share an error rate, or one is gone.
    - Packages touch none: they are reported as a deviation.
    """
    plans = [*(amendment.former for amendment in amendments), plan]
    pairs = zip(amendments, plans[:-1], plans[1:], strict=True)
    scopes = [_scope(each.number, old, new, plan) for each, old, new in pairs if each.complete]
    return tuple(each for each in scopes if each.everything or each.margin or each.families or each.trials)


def _scope(number: int, old: Plan, new: Plan, plan: Plan) -> Scope:
    before, after = old.to_dict(), new.to_dict()
    everything = any(before.get(name) != after.get(name) for name in _ALL)
    families = frozenset[str](new.families) - {*old.families}
    everything |= not set(old.families) <= set(new.families) or (bool(families) and new.analysis.gatekeeping != "none")
    everything |= any(old.provenance.get(kind, {}) != new.provenance.get(kind, {}) for kind in ("sources", "data"))
    heads = [{(f.key, str(f.baseline), f.role) for f in each.factors} for each in (old, new)]
    everything |= heads[0] != heads[1] or not set(old.cells) <= set(new.cells)
    ids = {(trial.cell, trial.seed): trial.id for trial in old.trials}
    changed = {trial.cell for trial in new.trials if ids.get((trial.cell, trial.seed)) != trial.id}
    shared = new.analysis.variances == "pooled" or new.analysis.correction == "benjamini_hochberg"
    everything |= bool(changed) and shared
    margin = old.margin != new.margin
    everything |= margin and new.analysis.stopping != "fixed"
    touched = frozenset(trial.id for trial in plan.trials if trial.cell in changed)
    return Scope(number, everything, margin, families, touched)


def explain(made: Amendment, scope: Scope | None) -> str:
    """What an amendment makes exploratory, in words."""
    if not made.complete:
        return "nothing, since nothing had been measured"
    trials = f"{made.complete} trial{'s' if made.complete > 1 else ''} had been measured"
    if scope is None:
        return f"nothing that is judged, though {trials}"
    parts = {
        "every effect": scope.everything,
        "verdicts that rest on the margin": scope.margin and not scope.everything,
        "effects of the cells that were added or changed": bool(scope.trials) and not scope.everything,
        f"the families {', '.join(sorted(scope.families))}": bool(scope.families) and not scope.everything,
    }
    return f"{' and '.join(part for part, holds in parts.items() if holds)}, since {trials}"


def _read_link(link: Mapping[str, Any], folder: Path) -> Amendment:
    former = Plan.read(folder / FORMER / str(link["number"]))
    values = {key: value for key, value in link.items() if key != "hash"}
    return Amendment(**{**values, "diff": tuple(values["diff"])}, former=former)


def _hash_link(amendment: Amendment, chained: str) -> str:
    return digest([chained, amendment.to_dict()])


def _broken(path: Path, what: str) -> StudyError:
    remedy = f"restore it, {PLAN_FILE} and {FORMER}/ from version control"
    return StudyError(f"the amendments do not hold: {what}", where=str(path), remedy=remedy)


def _keep(folder: Path, home: Path, outcomes: Mapping[str, Mapping[str, Any]], locked: Plan) -> None:
    """Keep what the study was: its plan, its records, and what is bound to them."""
    home.mkdir(parents=True, exist_ok=True)
    write_whole(home / PLAN_FILE, (folder / PLAN_FILE).read_bytes())
    for name in (TUNING_FILE, COURSE_FILE, _AUDIT):
        if (folder / name).is_file():
            write_whole(home / name, (folder / name).read_bytes())
    if outcomes:
        Records.of(locked, outcomes).write(home / _RECORDS)


def _carry_over(folder: Path, locked: Plan, plan: Plan, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
    """Leave in the study's folder what the new plan can use."""
    if outcomes:
        aside = Records.of(plan, outcomes).write(folder / ".records.tmp.csv")
        aside.replace(folder / _RECORDS)
    (folder / COURSE_FILE).unlink(missing_ok=True)  # looks are taken again under the new plan
    try:
        kept = Selection.read(folder, plan) if plan.tuned_cells else None
    except StudyError:  # of cells, configs or tuning that the plan no longer has
        kept = None
    if kept is None:
        (folder / TUNING_FILE).unlink(missing_ok=True)
    ids = {trial.id for trial in locked.trials}
    data = locked.provenance.get("data", {}) != plan.provenance.get("data", {})
    if data or any(trial.id not in ids for trial in plan.trials):
        (folder / _AUDIT).unlink(missing_ok=True)
