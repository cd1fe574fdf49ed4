"""Footnotes: the sentences that every rendering of effects must carry."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ablate.analyses import DECIDING, Target
from ablate.stats.contrasts import JOIN
from ablate.stats.engines import REASONS
from ablate.stats.inquiries import RUN_TARGETS, declare_process
from ablate.stats.layouts import Layout
from ablate.stats.results import Result
from ablate.stats.sources import Source

TARGETS = {
    "these_domains": "these domains (new training runs, the same domains)",
    "new_domains": "new domains of this kind (new training runs and new domains)",
    "new_items": "new examples of these domains (these trained models, no new training)",
}
TITLES = {
    "crossed": "crossed, closed form",
    "nested": "nested, closed form",
    "mixed": "mixed model, REML",
    "summaries": "summaries, random-effects meta-analysis",
    "examples": "per-example scores",
}
CORRECTIONS = {
    "dunnett": "Dunnett's max-t for simple effects on these domains",
    "tukey": "Tukey for all pairs on these domains",
    "max_t": "max-t of the contrasts' own correlations on these domains",
    "mcb": "Hsu's comparisons with the best (one-sided: one may name a best cell that a two-sided test leaves open)",
    "benjamini_hochberg": "Benjamini-Hochberg (a screen: false discoveries are a share, intervals are of each alone)",
}


def write_notes(
    source: Source, layouts: Sequence[Layout], results: Sequence[Result], test: str, target: Target
) -> tuple[str, ...]:
    """Engine and why, target, correction, margin, completeness, what was refused and what to do about it."""
    notes = [*_engines(source, layouts, results, test), _target(target), *_corrections(source, results)]
    notes += [_margin(source), *_sequence(source, results), *_screening(source)]
    notes += [*_averages(source), *_completeness(source, layouts), *_sums(results), *_caution(source, results)]
    notes += [*source.notes, *_refusals(results)]
    return tuple(notes)


def _engines(source: Source, layouts: Sequence[Layout], results: Sequence[Result], test: str) -> Iterator[str]:
    """Every engine that was used, and why; the first says what is common."""
    used = {r.method.partition(",")[0] for r in results if r.contrast.refusal is None and r.pivot is not None}
    names = [name for name in REASONS if REASONS[name][0] in used] or ["crossed"]
    for name in names:
        code, title = REASONS[name][0].partition(" ")[0], TITLES[name]
        reason = REASONS[name][1]
        if name == "crossed":
            domains = sorted({len(layout.groups) for layout in layouts})
            many = f"every run was measured on all {' or '.join(map(str, domains))} domain groups"
            alone = "each run has one score" + " in its domain group" * (domains != [1])
            reason = alone if domains == [1] or layouts[0].crossing == "nested" else many
        form = f"; {_form(source, test, name)}" if name in ("crossed", "nested", "mixed") else ""
        unit = " The unit of replication is the training run." if form else ""
        yield f"Engine {code} ({title}): {reason}{form}.{unit}"


def _form(source: Source, test: str, engine: str) -> str:
    pooled = source.plan.analysis.variances == "pooled" and engine != "nested"
    how = "t tests" if test == "t" else "sign flips of per-seed contrasts for these domains, t tests for new domains"
    how = "e-processes of t" if source.plan.analysis.stopping == "e_process" else how
    if source.folds == "declared":
        return f"runs are cross-validation folds, whose shared training data the standard errors allow for; {how}"
    if source.plan.blocked:
        form = "runs of one seed share randomness, so contrasts are taken within seeds"
        return f"{form}{', with one residual variance for all cells (pooled)' if pooled else ''}; {how}"
    return f"runs are independent, with {'one pooled variance' if pooled else 'a variance per cell (Welch)'}; {how}"


def _target(primary: Target) -> str:
    """What verdicts are about; beside one training run per cell there is nothing else to say."""
    lead = f"Primary target: {TARGETS[primary]}."
    if primary == "new_items":
        return f"{lead} Claims about new training runs need several per cell (R01)."
    other = next(t for t in RUN_TARGETS if t != primary)
    return f"{lead} Given beside it: {TARGETS[other]}. Each verdict is about its row's target."


def _corrections(source: Source, results: Sequence[Result]) -> Iterator[str]:
    alpha = source.plan.analysis.alpha
    sizes = {r.family[0]: r.family_size for r in results if r.family_size}
    families = ", ".join(f"{family} {m}" for family, m in sizes.items())
    used = {r.correction for r in results}
    what = ", ".join([*(text for name, text in CORRECTIONS.items() if name in used), "Holm elsewhere"])
    what = "Holm" if what == "Holm elsewhere" else what
    if sizes:
        yield (
            f"Corrected by {what}, within each family, stratum and target, at {alpha:g}; tests per family: {families}. "
            "Intervals are simultaneous over the family (max-t for Dunnett, Bonferroni level otherwise); verdicts "
            "follow the adjusted p, and Holm's may be decided where the interval just crosses zero or the margin."
        )
    if source.plan.analysis.gatekeeping != "none":
        tested = dict.fromkeys(r.family[0] for r in results if r.family_size and r.simultaneous)
        yield (
            f"Gates ({source.plan.analysis.gatekeeping}): families are tested in the order {', '.join(tested)}, so "
            f"that {alpha:g} is the error rate of all of them together."
        )


def _screening(source: Source) -> Iterator[str]:
    if source.plan.screens:
        yield (
            f"The design ({source.plan.design}) holds a part of the cells on purpose: main effects are those of least "
            "squares if interactions are nil, interactions if those of three and more factors are; the rest is R10."
        )


def _sequence(source: Source, results: Sequence[Result]) -> Iterator[str]:
    plan, analysis = source.plan, source.plan.analysis
    if analysis.stopping == "e_process":
        yield (
            f"A look after every seed from {plan.looks[0]} on: p and intervals for these domains are those of the t "
            f"e-process (prior variance {declare_process(plan).g:.3g}), and hold however one stops."
        )
    elif analysis.looks:
        rule = {"obrien_fleming": "O'Brien and Fleming", "pocock": "Pocock"}[analysis.spending]
        yield (
            f"Looks at {', '.join(map(str, analysis.looks))} seeds spend the error rate as {rule} would (Lan-DeMets); "
            "p and intervals hold over all looks."
        )
    if analysis.stopping != "fixed":
        yield _stops(source, results)


def _stops(source: Source, results: Sequence[Result]) -> str:
    """At how many seeds the contrasts that seeds are added for have stopped."""
    plan, futility = source.plan, source.plan.analysis.futility
    asked = [r for r in results if (r.target, r.domain) == (plan.analysis.target, "all") and r.refusal is None]
    counts = Counter(r.n_seeds for r in asked if r.contrast.family in DECIDING)
    stops = ", ".join(f"{counts[n]} at {n}" for n in sorted(counts)) or "none"
    ends = f" and has a chance of {futility:g} or more to be decided" if futility else ""
    return (
        f"Seeds are added until decided, {len(plan.seeds)} at most: a cell gets more while a contrast that weighs it "
        f"is undecided{ends}. Contrasts by their seeds: {stops}. What an earlier look has decided stays decided, "
        "though the interval of the last one may cross the line."
    )


def _margin(source: Source) -> str:
    plan = source.plan
    if plan.margin is None:
        return "No margin was declared, so that no effect can be called equivalent: undecided does not mean equal."
    return (
        f"Equivalent: the truth is within ±{plan.margin:g} {plan.metric} by two one-sided tests at "
        f"{plan.analysis.alpha / 2:g} each, corrected by Holm."
    )


def _averages(source: Source) -> Iterator[str]:
    found = source.items.iloc[source.scores["item"].unique().astype(int)]
    sizes = found.groupby("group", sort=False)["item"].nunique()
    several = ", ".join(f"{group} ({n})" for group, n in sizes.items() if n > 1)
    if several:
        yield f"Averaged first within their domain group: {several}."


def _completeness(source: Source, layouts: Sequence[Layout]) -> Iterator[str]:
    planned, complete, failed = (
        int(sum(getattr(layout, name).sum() for layout in layouts)) for name in ("planned", "complete", "failed")
    )
    if complete < planned:
        yield f"{complete} of {planned} trials complete" + (f", {failed} failed." if failed else ".")


def _sums(results: Sequence[Result]) -> Iterator[str]:
    """Leave-one-out contributions beside the total gain, which they are not shares of."""
    for stratum, target in dict.fromkeys((r.stratum, r.target) for r in results):
        rows = [
            r
            for r in results
            if (r.stratum, r.target, r.domain, r.contrast.family) == (stratum, target, "all", "leave_one_out")
        ]
        totals = [r for r in rows if JOIN in r.contrast.factor]
        if not totals or target != "these_domains":
            continue
        off = dict(zip(totals[0].contrast.factor.split(JOIN), totals[0].contrast.versus.split(JOIN), strict=True))
        single = [r.estimate for r in rows if off.get(r.contrast.factor) == r.contrast.versus]
        where = f" at {stratum}" if stratum else ""
        yield (
            f"Leave-one-out contributions{where} sum to {sum(single):.4g} beside a total gain of "
            f"{totals[0].estimate:.4g}: they are not shares of it."
        )


def _caution(source: Source, results: Sequence[Result]) -> Iterator[str]:
    """The limit of the cautious degrees of freedom, as simulated: few blocks beside very many domains."""
    tested = [r for r in results if r.target == "new_domains" and r.refusal is None]
    if source.plan.blocked and any(r.n_seeds <= 6 and r.n_domains > 20 for r in tested):
        yield (
            "Few seeds beside many domains: where both vary, tests for new domains within seeds are somewhat too bold "
            "(simulated family-wise error of 17 tests at 50 domains: .09 with 3 seeds, .07 with 5)."
        )


def _refusals(results: Sequence[Result]) -> Iterator[str]:
    refused = [r.refusal for r in results if r.refusal is not None]
    for code in sorted({r.code for r in refused}):
        same = [r for r in refused if r.code == code]
        yield f"{code} ({len(same)} rows): {same[0].sentence}. To do: {same[0].remedy}."
