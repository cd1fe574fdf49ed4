"""Reckonings: how every trial ended, and how a study differs from its plan, in words and states.

A trial that is planned ends in one state: a status of the records, `not needed` (what it would tell was decided at a
look) or `not run`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from ablate.accounts import Launch, sign
from ablate.carriers import find_carrier, list_levels, name_levels
from ablate.factors import Cell
from ablate.plans import Plan
from ablate.records import CLEAN, WHOLE, Records
from ablate.report.papers import Papers
from ablate.report.settings import misfits
from ablate.report.wordings import counted, listed
from ablate.stats.outcomes import CLEAN_EXAMPLES

NOT_RUN, NOT_NEEDED = "not run", "not needed"


def confirmed(records: Records) -> pd.DataFrame:
    """The rows of the trials that report."""
    return records.frame[records.frame["phase"] == "confirm"]


def cell_trials(plan: Plan) -> dict[Cell, tuple[str, ...]]:
    """Trial ids of every cell by seed; `plan.trials` itself is shuffled."""
    found: dict[Cell, list[str]] = {cell: [] for cell in plan.cells}
    for trial in sorted(plan.trials, key=lambda t: plan.seeds.index(t.seed)):
        found[trial.cell].append(trial.id)
    return {cell: tuple(ids) for cell, ids in found.items()}


def find_states(records: Records, papers: Papers | None = None) -> dict[str, str]:
    """Planned trial id -> its state, by cell and seed."""
    known = dict(zip(records.frame["trial"], records.frame["status"], strict=True))
    spared = papers.spared if papers and _has_ended(records, papers) else frozenset()
    return {
        i: str(known.get(i, NOT_NEEDED if i in spared else NOT_RUN))
        for ids in cell_trials(records.plan).values()
        for i in ids
    }


def _has_ended(records: Records, papers: Papers) -> bool:
    """Whether every trial that was to be run up to the last look has an outcome: else more may yet be needed."""
    rule, frame = records.plan.divergence, confirmed(records)
    foreseen = {"complete"} | ({"diverged"} if rule and rule.treatment in ("worst", "exclude") else set())
    ended = {*frame["trial"][frame["status"].isin(foreseen)]}
    return papers.course is not None and all(trial.id in ended for trial in papers.course.trials)


def find_reasons(records: Records) -> dict[str, str]:
    """Trial id -> why it has no complete attempt, in a line."""
    rows = records.failures.drop_duplicates("trial")
    return {str(i): short_reason(why) for i, why in zip(rows["trial"], rows["reason"], strict=True)}


def find_superseded(plan: Plan, papers: Papers) -> dict[str, int]:
    """Trial id -> number of the amendment that took it out of the plan; 0 if no plan of the study ever had it."""
    plans = [*(amendment.former for amendment in papers.amendments), plan]
    last = {trial.id: k for k, each in enumerate(plans, 1) for trial in (*each.trials, *each.search_trials())}
    return {trial: last.get(trial, 0) for trial in papers.account.superseded(plan)}


def accounted(records: Records, papers: Papers | None = None) -> str:
    """`17 of 18 cells complete, 89 of 90 trials complete, 1 failed: ValueError: ... (1×).`"""
    plan, states, reasons = records.plan, find_states(records, papers), find_reasons(records)
    cells = cell_trials(plan).values()
    whole = sum(all(states[i] in ("complete", NOT_NEEDED) for i in ids) for ids in cells)
    counts = Counter(states.values())
    parts = [f"{whole} of {len(plan.cells)} cells complete", f"{counts['complete']} of {len(states)} trials complete"]
    for state in sorted({*counts} - {"complete", NOT_RUN, NOT_NEEDED}):
        said = _count_reasons(reasons[i] for i in states if states[i] == state)
        parts.append(f"{counts[state]} {state}{_treated(plan, state)}" + (f": {said}" if said else ""))
    parts += [f"{counts[state]} {state}" for state in (NOT_NEEDED, NOT_RUN) if counts[state]]
    parts += [*_tuning_account(records), *(_papers_account(plan, papers) if papers else [])]
    return ", ".join(parts) + "."


def _tuning_account(records: Records) -> Iterator[str]:
    tried = records.frame[records.frame["phase"] == "search"].drop_duplicates("trial")
    if len(tried):
        counts = Counter(tried["status"])
        rest = [f"{counts[state]} {state}" for state in sorted(counts) if state != "complete"]
        yield " and ".join([f"{counts['complete']} of {len(tried)} tuning trials complete", *rest])


def _papers_account(plan: Plan, papers: Papers) -> Iterator[str]:
    for number, count in sorted(Counter(find_superseded(plan, papers).values()).items()):
        yield f"{count} superseded by amendment {number}" if number else f"{count} of no plan of the study"
    if twins := {trial for twin in papers.account.duplicates() for trial in twin.trials}:
        yield f"{len(twins)} duplicates"


def _treated(plan: Plan, state: str) -> str:
    """How the plan treats a diverged run."""
    rule = plan.divergence
    if state != "diverged" or rule is None:
        return ""
    words = {"fail": "counted as failed", "exclude": "left out, with bounds", "retry": f"after {rule.retries} retries"}
    return f" ({words.get(rule.treatment, f'counted as {rule.value}')}, as declared)"


def _count_reasons(reasons: Iterable[str]) -> str:
    counts = Counter(filter(None, reasons))
    return "; ".join(f"{why} ({counts[why]}×)" for why in sorted(counts))


def short_reason(reason: Any, width: int = 160) -> str:
    """The last line of a reason (of a traceback: the exception), cut to `width` characters."""
    if reason is None or pd.isna(reason):
        return ""
    lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    return text if len(text) <= width else text[: width - 1] + "…"


def deviations(records: Records, papers: Papers | None = None) -> list[str]:
    """How the study differs from its plan, a sentence each; empty if it does not."""
    plan, frame, states = records.plan, confirmed(records), find_states(records, papers)
    lines = []
    lost = sorted(i for i, state in states.items() if state not in ("complete", NOT_RUN, NOT_NEEDED))
    if lost:
        lines.append(f"{counted(len(lost), 'trial')} without a complete run: {', '.join(lost)}.")
    owed = sum(state == NOT_RUN for state in states.values())
    if owed:
        lines.append(f"{counted(owed, 'planned trial')} not run yet.")
    strange = sorted(set(frame["trial"]) - set(states))
    if strange:
        lines.append(f"{counted(len(strange), 'trial')} that the plan does not hold: {', '.join(strange)}.")
    again = {*frame["trial"][frame["attempt"].fillna(1) > 1], *(_find_repeated(states, papers) if papers else ())}
    if again:
        lines.append(f"{counted(len(again), 'trial')} needed more than one attempt: {', '.join(sorted(again))}.")
    machines = sorted(set(frame["hardware"].dropna()))
    if len(machines) > 1:
        lines.append(f"Trials ran on different hardware ({'; '.join(machines)}): costs are not comparable across it.")
    scored = frame[(frame["status"] == "complete") & (frame["metric"] == plan.metric)]
    sizes = scored.groupby("trial").size()
    if sizes.nunique() > 1:
        short = sorted(sizes.index[sizes < sizes.max()])
        lines.append(f"{counted(len(short), 'trial')} not measured on every domain: {', '.join(map(str, short))}.")
    return [*lines, *(breaches(records, papers) if papers else [])]


def breaches(records: Records, papers: Papers) -> Iterator[str]:
    """What the account and the records say against each other, and what no study should have, a sentence each."""
    account, plan = papers.account, records.plan
    if account.readings["search"]:
        read = sorted({launch.trial for launch in account.launches if launch.phase == "search" and launch.readings})
        number = counted(account.readings["search"], "time")
        yield f"Test sets were read {number} during tuning, by {counted(len(read), 'trial')}: {', '.join(read)}."
    for twin in account.duplicates():
        what = "are one run, copied: scores and seconds agree" if twin.copied else "measured the same, digit for digit"
        yield f"Duplicates: trials {listed(twin.trials)} {what}."
    owned = {each.hash[:16] for each in (plan, *(amendment.former for amendment in papers.amendments))}
    strange = Counter(launch.plan for launch in account.launches if launch.plan and launch.plan not in owned)
    for plan_hash, count in sorted(strange.items()):
        yield f"{counted(count, 'attempt')} launched under a plan ({plan_hash[:8]}) that no amendment tells of."
    for launch in account.foreign:
        yield f"Foreign record in trial {launch.trial}, attempt {launch.attempt}: {launch.foreign}."
    for amendment in papers.amendments:
        found = papers.measured_before(amendment)
        if found > amendment.complete:
            said = f"Amendment {amendment.number} says that {counted(amendment.complete, 'trial')} had been measured"
            yield f"{said} by then; the account has {found}."
    if account:
        yield from _conflicts(plan, records, account.of_trial)
        yield from _find_reruns(plan, account.of_trial)
    yield from misfits(records, papers.selection)
    yield from _find_regrouped(records)
    if not papers.amendments:
        yield from _find_unaudited(records, papers.contamination)
        yield from _find_ungranted(records, papers)


def _conflicts(plan: Plan, records: Records, launched: Mapping[str, tuple[Launch, ...]]) -> Iterator[str]:
    """Trials of which the records tell otherwise than the attempts."""
    planned = {trial.id for trial in (*plan.trials, *plan.search_trials())}
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    frame = records.frame[["trial", "status", "domain", "shift", "metric", "eval_hash", "value", "n_examples"]]
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        told[row["trial"]].append({str(key): value for key, value in row.items()})
    hidden = sorted(i for i in planned & launched.keys() if i not in told and _ended(launched[i]))
    if hidden:
        how = _count_reasons(launched[i][-1].status for i in hidden)
        yield f"{counted(len(hidden), 'trial')} launched, and not in the records ({how}): {', '.join(hidden)}."
    carrier_of = {trial.id: find_carrier(plan, trial).id for trial in plan.trials} if plan.evaluation else {}
    unknown = sorted(i for i in told if carrier_of.get(i, i) not in launched)
    if unknown:
        yield f"{counted(len(unknown), 'trial')} in the records, of which no attempt is known: {', '.join(unknown)}."
    measured: dict[str, list[dict[str, Any]]] = defaultdict(list)  # by a carrier, in all of its cells
    for trial in plan.trials if plan.evaluation else ():
        measured[carrier_of[trial.id]] += name_levels(told.get(trial.id, ()), list_levels(plan, trial.cell))
    altered = []
    for i in sorted(told.keys() & launched.keys()):
        complete = {launch.signature for launch in launched[i] if launch.status == "complete"}
        if told[i][0]["status"] == "complete" and sign(measured.get(i, told[i])) not in complete:
            altered.append(i)
    if altered:
        yield f"{counted(len(altered), 'trial')} with other scores than were measured: {', '.join(altered)}."


def _find_repeated(trials: Iterable[str], papers: Papers) -> list[str]:
    """The trials of which more than one attempt ended, also where the earlier ones were deleted."""
    launched = papers.account.of_trial
    return [i for i in trials if sum(launch.status != "running" for launch in launched.get(i, ())) > 1]


def _find_reruns(plan: Plan, launched: Mapping[str, tuple[Launch, ...]]) -> Iterator[str]:
    """Trials that had an outcome and were run again for another."""
    again, diverged = [], []
    cap = plan.divergence.retries if plan.divergence else 0
    for i in sorted(trial.id for trial in plan.trials):
        complete = [launch for launch in launched.get(i, ()) if launch.status == "complete"]
        seeds = [launch.seed for launch in launched.get(i, ()) if launch.status == "diverged"]
        if len({launch.signature for launch in complete}) > 1:
            again.append(i)
        elif complete and (len(seeds) > cap or complete[0].seed in seeds):
            diverged.append(i)
    if again:
        yield f"{counted(len(again), 'trial')} run again, with other scores than before: {', '.join(again)}."
    if diverged:
        yield f"{counted(len(diverged), 'trial')} diverged, and run again until complete: {', '.join(diverged)}."


def _find_regrouped(records: Records) -> Iterator[str]:
    """Domains that stand in another group than the plan's."""
    rows = records.frame[["domain", "shift", "domain_group"]].dropna().drop_duplicates()
    wrong = []
    for row in rows[rows["domain"] != WHOLE].to_dict("records"):
        name = row["domain"] if row["shift"] == CLEAN else f"{row['domain']}/{row['shift']}"
        known = not records.plan.domains or any(name in group for group in records.plan.domains.values())
        if not known or records.plan.group_of(name) != row["domain_group"]:
            wrong.append(f"{name} in {row['domain_group']}")
    if wrong:
        yield f"Domains in other groups than the plan's: {', '.join(sorted(wrong))}."


def _find_ungranted(records: Records, papers: Papers) -> Iterator[str]:
    """Trials that were run though no look had asked for them."""
    if papers.course is not None and papers.course.taken:
        wanted = {trial.id for trial in papers.course.trials}
        done = confirmed(records)
        if extra := sorted({*done["trial"][done["status"] == "complete"]} - wanted):
            yield f"{counted(len(extra), 'trial')} run that no look had asked for: {', '.join(extra)}."


def _find_unaudited(records: Records, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Domains of which trials left out more test items than the audit has found in training data."""
    rows, less = records.complete[records.complete["metric"] == CLEAN_EXAMPLES], set()
    for row in rows[["domain", "shift", "value"]].drop_duplicates().to_dict("records"):
        name = row["domain"] if row["shift"] == CLEAN else f"{row['domain']}/{row['shift']}"
        domain = found.get(name)
        if domain is None or row["value"] < domain["items"] - len(domain["near"]):
            less.add(name)
    if less:
        yield f"Trials left out contaminated items of which the audit does not tell: {', '.join(sorted(less))}."


def _ended(launches: Iterable[Launch]) -> bool:
    return any(launch.status != "running" for launch in launches)
