"""Footnotes: the sentences that every rendering of effects must carry."""

from collections.abc import Iterator, Sequence

from ablate.stats.contrasts import JOIN
from ablate.stats.layouts import Layout
from ablate.stats.results import Result
from ablate.stats.sources import Source

TARGETS = {
    "these_domains": "these domains (new training runs, the same domains)",
    "new_domains": "new domains of this kind (new training runs and new domains)",
}


def write_notes(source: Source, layouts: Sequence[Layout], results: Sequence[Result], test: str) -> tuple[str, ...]:
    """Engine and why, target, correction, margin, completeness, what was refused and what to do about it."""
    notes = [_engine(source, layouts, test), _target(source), *_corrections(source, results), _margin(source)]
    notes += [*_averages(source), *_completeness(source, layouts), *_sums(results), *_caution(source, results)]
    notes += [*source.notes, *_refusals(results)]
    return tuple(notes)


def _engine(source: Source, layouts: Sequence[Layout], test: str) -> str:
    domains = sorted({len(layout.groups) for layout in layouts})
    n = " or ".join(map(str, domains))
    runs = "each run has one score" if domains == [1] else f"every run was measured on all {n} domain groups"
    pooled = source.plan.analysis.variances == "pooled"
    if source.plan.blocking == "seed":
        form = "runs of one seed share randomness, so contrasts are taken within seeds"
        form += ", with one residual variance for all cells (pooled)" if pooled else ""
    else:
        form = f"runs are independent, with {'one pooled variance' if pooled else 'a variance per cell (Welch)'}"
    how = "t tests" if test == "t" else "sign flips of per-seed contrasts for these domains, t tests for new domains"
    return f"Engine E1 (crossed, closed form): {runs}; {form}; {how}. The unit of replication is the training run."


def _target(source: Source) -> str:
    primary = source.plan.analysis.target
    other = next(t for t in TARGETS if t != primary)
    beside = f"Given beside it: {TARGETS[other]}"
    return f"Primary target: {TARGETS[primary]}. {beside}. Each verdict is about its row's target."


def _corrections(source: Source, results: Sequence[Result]) -> Iterator[str]:
    alpha = source.plan.analysis.alpha
    sizes = {r.family[0]: r.family_size for r in results if r.family_size}
    families = ", ".join(f"{family} {m}" for family, m in sizes.items())
    dunnett = any(r.correction == "dunnett" for r in results)
    what = "Dunnett's max-t for simple effects on these domains, Holm elsewhere" if dunnett else "Holm"
    if sizes:
        yield (
            f"Corrected by {what}, within each family, stratum and target, at {alpha:g}; tests per family: {families}. "
            "Intervals are simultaneous over the family (max-t for Dunnett, Bonferroni level otherwise); verdicts "
            "follow the adjusted p, and Holm's may be decided where the interval just crosses zero or the margin."
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
    sizes = source.scores.groupby("group", sort=False)["item"].nunique()
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
    """Satterthwaite's limit, as simulated: a run effect of two degrees of freedom or four beside many domains."""
    tested = [r for r in results if r.target == "new_domains" and r.refusal is None]
    if source.plan.blocking == "seed" and any(r.n_seeds <= 5 and r.n_domains > 10 for r in tested):
        yield (
            "Few seeds beside many domains: where both vary, tests for new domains within seeds are somewhat too bold "
            "(simulated family-wise error of 17 tests at 20 domains: .07 with 5 seeds, .11 with 3, .04 with 10)."
        )


def _refusals(results: Sequence[Result]) -> Iterator[str]:
    refused = [r.refusal for r in results if r.refusal is not None]
    for code in sorted({r.code for r in refused}):
        same = [r for r in refused if r.code == code]
        yield f"{code} ({len(same)} rows): {same[0].sentence}. To do: {same[0].remedy}."
