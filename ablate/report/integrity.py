"""Integrity: what shows that a study was locked, obeyed and audited, and where it was not, in sentences and tables."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ablate.accounts import ACCOUNT_FILE
from ablate.amendments import Amendment, explain
from ablate.plans import Plan
from ablate.records import Records
from ablate.report import sentences, wordings
from ablate.report.budgets import NAMES, find_unequal
from ablate.report.papers import CONTAMINATION_FILE, Papers
from ablate.report.reckonings import breaches
from ablate.report.tables import Entry, Row, Table
from ablate.report.wordings import counted, listed
from ablate.stats.effects import Effects
from ablate.stats.outcomes import CLEAN_PART

_DIFF = 12  # lines of an amendment that are shown
_LEVELS = ("exact", "normalised", "near")


@dataclass(frozen=True)
class Finding:
    """One sentence on a study's integrity.

    Attributes:
        topic: what it is about.
        text: the sentence.
        state: `held`, `broken`, or `told` where there is nothing to hold.
        details: lines below it.
    """

    topic: str
    text: str
    state: Literal["held", "broken", "told"] = "told"
    details: tuple[str, ...] = ()


def find_integrity(records: Records, papers: Papers) -> list[Finding]:
    """What is known of a study's integrity; nothing where its folder holds no papers."""
    if not papers.stamp and records.plan.tuning is None:
        return []
    return [
        _find_lock(records.plan, papers),
        *_find_amendments(papers),
        *_find_seal(records.plan, papers),
        *_find_breaches(records, papers),
        _find_budgets(records),
        *_find_contamination(papers),
        *_find_looks(papers),
    ]


def _find_lock(plan: Plan, papers: Papers) -> Finding:
    code = str(plan.provenance.get("commit") or "")
    dirty = ", with changes that were not committed" if plan.provenance.get("dirty") else ""
    packages = ", ".join(f"{name} {version}" for name, version in plan.provenance.get("packages", {}).items())
    begun = min((launch.started for launch in papers.account.launches if launch.started), default="")
    parts = [f"Plan {plan.hash[:12]} is locked: its hash matches"]
    parts += [f"the first attempt began {begun[:16].replace('T', ' ')} UTC"] if begun else []
    parts += [f"code at commit {code[:12]}{dirty}"] if code else []
    commits = Counter(launch.commit for launch in papers.account.launches if launch.commit)
    if len(commits) > 1:
        each = (f"{commit} ({counted(number, 'attempt')})" for commit, number in commits.most_common())
        parts.append(f"attempts ran at commits {', '.join(each)}")
    data = plan.provenance.get("data", {})
    parts += [f"training data of {counted(len(data), 'cell')} fingerprinted"] if data else []
    return Finding("Lock", "; ".join(parts) + ".", "held", (f"Packages: {packages}.",) if packages else ())


def _find_amendments(papers: Papers) -> Iterator[Finding]:
    scopes = {scope.number: scope for scope in papers.scopes}
    for each in papers.amendments:
        when, said = each.time[:16].replace("T", " "), explain(each, scopes.get(each.number))
        text = f"{when} UTC, {each.before[:8]} → {each.after[:8]}: “{each.why}”. Exploratory since: {said}."
        yield Finding(f"Amendment {each.number}", text, "told", _diff_lines(each))


def _diff_lines(amendment: Amendment) -> tuple[str, ...]:
    more = len(amendment.diff) - _DIFF
    return (*(f"{line:.200}" for line in amendment.diff[:_DIFF]), *([f"and {more} more"] if more > 0 else []))


def _find_seal(plan: Plan, papers: Papers) -> Iterator[Finding]:
    read = papers.account.readings
    if not papers.account or not (plan.tuning or any(read.values())):
        return
    told = f"Test sets were read {read['confirm']} times by trials that report"
    if not plan.tuned_cells:
        yield Finding("Seal", f"{told}; nothing was tuned.")
        return
    if not any(read.values()):
        text = "No reading of a test set was told, by trials that tune or report: the task does not tell of them."
        yield Finding("Seal", text)
        return
    text = f"Readings of test sets during tuning: {read['search']}. {told}."
    yield Finding("Seal", text, "broken" if read["search"] else "held")


def _find_breaches(records: Records, papers: Papers) -> Iterator[Finding]:
    lines = tuple(breaches(records, papers))
    if not papers.account:
        text = f"There is no {ACCOUNT_FILE}: nothing tells which runs were launched and are not in the records."
        yield Finding("Account", text, "broken", lines)
        return
    launched = len(papers.account.launches)
    if lines:
        yield Finding("Account", f"Of {launched} attempts, not all is in order:", "broken", lines)
        return
    text = f"{launched} attempts: no duplicates, no foreign records, none missing from the records."
    yield Finding("Account", text, "held")


def _find_budgets(records: Records) -> Finding:
    unequal, equal = find_unequal(records), [NAMES[name] for name in records.plan.budget.equal]
    if not unequal:
        return Finding("Budgets", f"Equal in all cells, as declared: {listed(equal)}.", "held")
    lines = tuple(f"{cell}: {', '.join(NAMES[name] for name in names)}" for cell, names in unequal.items())
    text = f"{counted(len(unequal), 'cell')} spent other than the baseline; what compares them is refused (R09)."
    return Finding("Budgets", text, "broken", lines)


def _find_contamination(papers: Papers) -> Iterator[Finding]:
    if not papers.contamination:
        text = f"There is no {CONTAMINATION_FILE}: nobody has looked for test items in training data."
        yield Finding("Contamination", text)
    else:
        hit = {name: len(found["near"]) for name, found in papers.contamination.items() if found["near"]}
        many = counted(len(papers.contamination), "domain")
        if not hit:
            yield Finding("Contamination", f"No test item of {many} was found in training data.", "held")
        else:
            said = ", ".join(f"{name} {number}" for name, number in hit.items())
            text = f"Test items found in training data, in {len(hit)} of {many}: {said}."
            yield Finding("Contamination", text, "broken")


def _find_looks(papers: Papers) -> Iterator[Finding]:
    for number, look in enumerate(papers.course.taken if papers.course else (), 1):
        going = f"{counted(len(look.open), 'cell')} got more" if look.open else "no cell got more"
        yield Finding(f"Look {number}", f"After {counted(look.seeds, 'seed')}: {going}.", "told", look.lines)


def contamination_table(papers: Papers) -> Table | None:
    """Per domain, how many of its test items are in some cell's training data; None where nobody looked."""
    if not papers.contamination:
        return None
    rows: list[Row] = []
    for name, found in papers.contamination.items():
        items = int(found["items"])
        shares = [Entry(f"{len(found[level])} ({_share(len(found[level]), items)})") for level in _LEVELS]
        rows.append((Entry(name), Entry(str(items)), *shares, Entry(str(found.get("skipped") or wordings.MISSING))))
    notes = (
        "Exact: the same bytes. Normalised: the same but for case, punctuation, space or scale. Near: almost the same, "
        "or a copy that was changed; each holds the one before.",
    )
    head = ("Domain", "Items", *(level.capitalize() for level in _LEVELS), "Skipped")
    return Table("Test items in training data", head, tuple(rows), notes, "lrrrrl")


def _share(number: int, of: int) -> str:
    return wordings.percent(round(number / of, 4)) if of else wordings.MISSING


def clean_table(effects: Effects, records: Records) -> Table | None:
    """The overall effects on all test items beside those on the items that are in no training data; None without."""
    metric = f"{records.plan.metric}{CLEAN_PART}"
    if not (records.complete["metric"] == metric).any():
        return None
    from ablate.stats.attribution import attribute

    clean = attribute(records, metric=metric)
    whole, part = _headlines(effects), _headlines(clean)
    places = wordings.places(effects.frame["se"])
    rows = tuple(_clean_row(whole[key], part[key], places) for key in whole if key in part)
    head = ("Contrast", "Δ, all items", "interval", "verdict", "Δ, clean part", "interval", "verdict")
    said = "Clean part: without the test items that are in training data; other domains count whole."
    notes = (said, *(note for note in clean.notes if note not in effects.notes))
    return Table(f"Effects on {records.plan.metric} without contaminated items", head, rows, notes, "lrrlrrl")


def _headlines(effects: Effects) -> dict[tuple[str, ...], dict[Any, Any]]:
    """The overall effects that the summary tells one by one, by contrast."""
    rows = sentences.headlines(effects).to_dict("records")
    return {tuple(str(row[c]) for c in ("stratum", "family", "factor", "level", "versus")): row for row in rows}


def _clean_row(whole: Mapping[Any, Any], clean: Mapping[Any, Any], places: int) -> Row:
    entries = [Entry(" ".join(filter(None, [str(whole["stratum"]), wordings.contrast(whole)])))]
    for each in (whole, clean):
        trials, verdict = tuple(each["trials"]), str(each["refusal"] or each["verdict"])
        size = wordings.signed(each["estimate"], places)
        reach = wordings.interval(each["low"], each["high"], places)
        shown = "refused" if each["refusal"] else verdict
        entries += [Entry(size, trials), Entry(reach, trials), Entry(verdict, trials, shown)]
    return tuple(entries)
