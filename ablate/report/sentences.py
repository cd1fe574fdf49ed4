"""Sentences: footnotes, summary and the methods paragraph.

Everything here is a function of effects, records, plan and papers; nothing is computed that they do not hold.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from ablate.factors import level_name
from ablate.plans import Plan
from ablate.records import CLEAN, WHOLE, Records
from ablate.report import wordings
from ablate.report.papers import Papers
from ablate.report.reckonings import accounted
from ablate.report.wordings import counted, listed
from ablate.stats.effects import Effects


def groups(records: Records) -> dict[str, list[str]]:
    """Domain group -> its domains (`name` or `name/shift`), in the plan's order, undeclared ones by name."""
    plan, rows = records.plan, records.complete
    rows = rows[(rows["metric"] == plan.metric) & (rows["domain"] != WHOLE)]
    found: dict[str, list[str]] = {group: list(members) for group, members in plan.domains.items()}
    seen = rows[["domain_group", "domain", "shift"]].drop_duplicates().sort_values(["domain_group", "domain", "shift"])
    for row in seen.to_dict("records"):
        name = row["domain"] if row["shift"] == CLEAN else f"{row['domain']}/{row['shift']}"
        members = found.setdefault(row["domain_group"], [])
        if name not in members:
            members.append(name)
    return found


def footnotes(
    effects: Effects, records: Records | None, shown: pd.DataFrame, papers: Papers | None = None
) -> tuple[str, ...]:
    """What must stand below a table of effects: the effects' own notes, and what the plan and the records add.

    Args:
        effects: for their notes (engine, target, correction, margin, refusals).
        records: for units, seeds, domains and the accounting; left out without them.
        shown: the rows of effects that the table shows.
        papers: for what the accounting cannot read from the records.
    """
    lines = list(effects.notes)
    if "domain" in set(shown["family"]):
        lines.append("Each domain group by itself: intervals and verdicts are about new training runs on it.")
    half = effects.alpha / 2
    if "noninferiority" in set(shown["family"]):
        lines.append(
            f"Non-inferiority: p is one-sided, against a loss of the margin or more, and judged at {half:g}, "
            "so that it agrees with the interval."
        )
    if "retention" in set(shown["family"]):
        lines.append(f"Retained: p is one-sided, against the part that was to be retained, and judged at {half:g}.")
    decided = shown["verdict"].isin(["better", "worse"])
    if (decided & (shown["low"] <= 0) & (shown["high"] >= 0)).any():
        lines.append("Holm's p is stronger than the interval beside it: a decided row may have one that still holds 0.")
    if records is not None:
        account = accounted(records, papers)
        lines = [line for line in lines if line.rstrip(".") not in account]  # the same, with reasons
        lines += [*_plan_notes(effects, records), account]
    return tuple(dict.fromkeys(lines))


def _plan_notes(effects: Effects, records: Records) -> list[str]:
    plan = records.plan
    better = "higher" if plan.direction == "maximize" else "lower"
    shared = "share randomness across cells" if plan.blocking == "seed" else "are independent across cells"
    lines = [
        f"Δ is in units of {plan.metric}; {better} is better.",
        f"{_most(plan, 'seed').capitalize()} per cell ({_span(plan.seeds)}); runs of one seed {shared}.",
    ]
    found = groups(records)
    if found:
        many = [f"{g}: {', '.join(m)}" if m != [g] else g for g, m in found.items()]
        mean = ", each the mean of its members" if any(len(m) > 1 for m in found.values()) else ""
        lines.append(f"Domains ({counted(len(found), 'group')}{mean}): {'; '.join(many)}.")
    rows = records.complete[records.complete["domain"] != WHOLE]
    shifts = rows["domain"].nunique() == 1 and rows["shift"].nunique() > 1
    if shifts and (effects.frame["target"] == "new_domains").any():
        lines.append(f"A new domain of this kind is here a new shift of the same items ({rows['domain'].iloc[0]}).")
    return lines


def _most(plan: Plan, noun: Literal["seed", "trial"]) -> str:
    """How many seeds or trials the plan has; the most that there may be, where they are added until decided."""
    many = counted(len(plan.seeds if noun == "seed" else plan.trials), noun)
    return many if plan.analysis.stopping == "fixed" else f"at most {many}"


def _span(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def question(plan: Plan) -> str:
    """What the study asks, in one sentence."""
    switched = [
        f"{f.key} ({', '.join(level_name(level) for level in (f.baseline, *f.alternatives))})"
        for f in plan.factors
        if f.compared
    ]
    strata = [f.key for f in plan.factors if f.role == "across"]
    apart = f", separately for each {listed(strata)}" if strata else ""
    return f"How does {plan.metric} depend on {listed(switched)}{apart}, and does that hold across domains?"


HEADLINES = ("main", "leave_one_out", "step", "noninferiority")


def summary(effects: Effects, records: Records, papers: Papers | None = None) -> list[tuple[str, str]]:
    """Verdict and sentence of every overall contrast that the design was made for, under the plan's target.

    The other families are counted by verdict (the verdict is then empty). Where the design answers no more than
    simple effects, these are told one by one.
    """
    frame, told = _overall(effects), headlines(effects)
    decimals, sure = wordings.places(frame["se"]), wordings.percent(1 - effects.alpha)
    lines = [
        (str(row["verdict"]), _sentence(row, decimals, sure) + explored(row, papers)) for row in told.to_dict("records")
    ]
    for family, part in frame[~frame["family"].isin(told["family"])].groupby("family", sort=False):
        counts = part["verdict"].value_counts(sort=False)
        said = ", ".join(f"{number} {name}" for name, number in counts.items())
        lines.append(("", f"{wordings.FAMILY_WORDS[str(family)].split(' (')[0]}: {said}."))
    return lines


def headlines(effects: Effects) -> pd.DataFrame:
    """The overall effects that the design was made for, under the plan's target; simple ones where it has no others."""
    frame = _overall(effects)
    told = HEADLINES if frame["family"].isin(HEADLINES[:3]).any() else (*HEADLINES, "simple")
    return frame[frame["family"].isin(told)]


def _overall(effects: Effects) -> pd.DataFrame:
    frame = effects.frame
    return frame[(frame["domain"] == WHOLE) & (frame["target"] == effects.target)]


def _sentence(row: Mapping[Any, Any], decimals: int, sure: str) -> str:
    where = f" ({row['stratum']})" if row["stratum"] else ""
    size = wordings.signed(row["estimate"], decimals)
    if row["refusal"]:
        return f"{wordings.contrast(row)}{where}: {size}, not tested ({row['refusal']}: {row['note']})."
    p = wordings.p_value(row["p_adjusted"])
    test = f"p {p}" if p.startswith("<") else f"p = {p}"
    reach = f"{sure} interval {wordings.interval(row['low'], row['high'], decimals)}"
    said = "; ".join(filter(None, [str(row["verdict"]), wordings.note(row)]))
    return f"{wordings.contrast(row)}{where}: {size} ({reach}, {test}): {said}."


def explored(effect: Mapping[Any, Any], papers: Papers | None) -> str:
    """` Exploratory: ...` for an effect that an amendment touches, to stand behind its sentence."""
    numbers = papers.explores(effect) if papers else ()
    return f" Exploratory: {amended(numbers)} came after results." if numbers else ""


def amended(numbers: Sequence[int]) -> str:
    """`amendment 1`, `amendments 1 and 3`."""
    return f"amendment{'s' if len(numbers) > 1 else ''} {listed(numbers)}"


def methods(effects: Effects, records: Records, papers: Papers | None = None) -> str:
    """The methods paragraph, from plan and effects: what was run and how it was judged."""
    plan = records.plan
    said = [_design_sentence(plan)]
    if plan.excluded:
        said.append(f"{counted(len(plan.excluded), 'cell')} had been excluded by rule beforehand.")
    said += [_lock_sentence(plan, papers), *_tuning_sentences(plan)]
    found = groups(records)
    over = f" on {counted(len(found), 'domain group')} ({listed(found)})" if found else ""
    inner = "; the domains of a group are averaged first, and groups count equally" if found else ""
    better = "higher" if plan.direction == "maximize" else "lower"
    said.append(f"The primary metric is {plan.metric} ({better} is better){over}{inner}.")
    said.append("Effects are linear contrasts of cell means.")
    account = accounted(records, papers)
    said += [note for note in effects.notes if note.rstrip(".") not in account]
    return " ".join([*said, account])


def _lock_sentence(plan: Plan, papers: Papers | None) -> str:
    if not papers or not papers.amendments:
        return f"The plan (hash {plan.hash[:12]}) was locked before the first trial."
    first, last = papers.amendments[0], papers.amendments[-1]
    times = counted(len(papers.amendments), "amendment")
    return (
        f"The first plan (hash {first.before[:12]}) was locked before the first trial; after {times}, the last when "
        f"{counted(last.complete, 'trial')} had been measured, it is that of hash {plan.hash[:12]}."
    )


def _tuning_sentences(plan: Plan) -> list[str]:
    tuning = plan.tuning
    if tuning is None:
        return []
    keys = listed(nuisance.key for nuisance in tuning.space)
    if tuning.scope == "fixed":
        return [f"{keys} were not tuned: one declared setting served all cells."]
    where = "in every cell" if tuning.scope == "per_cell" else "in the baseline cell alone, for all cells,"
    by = listed(objective.metric for objective in tuning.objectives)
    pruned = "" if tuning.pruner == "none" else f", pruned by {tuning.pruner}"
    return [
        f"{keys} were tuned {where} by {counted(tuning.trials, 'proposal')} ({tuning.sampler}{pruned}) each, on "
        f"{by} and {counted(len(tuning.seeds), 'seed')} of their own; the selected settings were run anew."
    ]


def _design_sentence(plan: Plan) -> str:
    switched = [
        f"{f.key} ({', '.join(map(level_name, f.levels))}; baseline {level_name(f.baseline)})" for f in plan.factors
    ]
    design = plan.design.rpartition(".")[2].replace("_", " ")
    return (
        f"We varied {listed(switched)} in a {design} design of {counted(len(plan.cells), 'cell')}, each run with "
        f"{_most(plan, 'seed')} ({_span(plan.seeds)}): {_most(plan, 'trial')}."
    )
