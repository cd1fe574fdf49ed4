"""Corrections for several tests at once: a layer that takes results and returns results.

The interval beside an adjusted p is the simultaneous one: at the Bonferroni level 1 - alpha/m beside Holm (which is
uniformly more powerful, so that an adjusted p just below alpha may stand beside an interval that just holds zero),
and the max-t interval beside Dunnett.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from ablate.analyses import Analysis
from ablate.stats.crossed import Components
from ablate.stats.gates import pass_gates
from ablate.stats.maxima import correlate, max_t, tukey_level, tukey_p
from ablate.stats.pivots import Student
from ablate.stats.results import ONE_SIDED, Result
from ablate.stats.sequential import Spending


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p-values (Holm 1979); a missing p counts as a test that did not reject, and stays missing.

    The figures of statsmodels' `multipletests`, which collects garbage at every call: 45 ms against 20 µs.
    """
    values = np.asarray(p, float)
    order = np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")
    steps = (len(values) - np.arange(len(values))) * np.nan_to_num(values[order], nan=1.0)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return np.where(np.isnan(values), nan, adjusted)


def dunnett_p(t: float, loadings: ArrayLike, df: float) -> float:
    """Probability that the largest |t| of several comparisons with one control exceeds |t|, if none differs.

    Args:
        t: the observed statistic.
        loadings: per comparison sqrt(n_i / (n_0 + n_i)), n_0 being the runs of the control; the correlation
            of two comparisons is the product of their loadings.
        df: degrees of freedom of the pooled variance.

    Source: Dunnett 1955, JASA 50, 1096-1121; integrated over the control's mean and the pooled standard deviation.
    """
    values, counts = np.unique(np.round(np.asarray(loadings, float), 12), return_counts=True)
    nodes, node_weights = np.polynomial.legendre.leggauss(160)
    z, z_weights = 8.5 * nodes, 8.5 * node_weights * stats.norm.pdf(8.5 * nodes)
    low, high = np.log(stats.chi2.ppf(1e-14, df)), np.log(stats.chi2.isf(1e-14, df))
    log_square = low + (high - low) * (nodes + 1) / 2
    square = np.exp(log_square)
    s_weights = node_weights * (high - low) / 2 * stats.chi2.pdf(square, df) * square
    reach = abs(t) * np.sqrt(square / df)[:, None]
    log_inside = np.zeros((len(nodes), len(nodes)))
    for loading, count in zip(values, counts, strict=True):
        rest = np.sqrt(1 - loading**2)
        outside = special.ndtr((loading * z - reach) / rest) + special.ndtr((-loading * z - reach) / rest)
        log_inside += count * np.log1p(-np.minimum(outside, 1 - 1e-16))
    return float(np.clip(s_weights @ -np.expm1(log_inside) @ z_weights, 0.0, 1.0))


def dunnett_level(alpha: float, loadings: ArrayLike, df: float) -> float:
    """The confidence level of each interval such that all hold together with probability 1 - alpha."""
    loadings = np.asarray(loadings, float)
    alone, bonferroni = (float(stats.t.isf(alpha / 2 / m, df)) for m in (1, len(loadings)))
    if len(loadings) == 1:
        return 1 - alpha
    critical = optimize.brentq(lambda t: dunnett_p(t, loadings, df) - alpha, alone, bonferroni, xtol=1e-10)
    return float(1 - 2 * stats.t.sf(critical, df))


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """P-values adjusted for the false discovery rate (Benjamini and Hochberg 1995); a missing one stays missing."""
    values = np.asarray(p, float)
    order = np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")
    m = len(values)
    steps = m / np.arange(1, m + 1) * np.nan_to_num(values[order], nan=1.0)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(steps[::-1])[::-1])
    return np.where(np.isnan(values), nan, adjusted)


def correct(
    results: Sequence[Result], analysis: Analysis, rng: int = 0, earlier: Sequence[Sequence[Result]] = ()
) -> list[Result]:
    """The same results, each corrected within its family, stratum and target, and for looks; then passed the gates.

    The family's size counts every question that the plan can answer, refused by the data or not. Max-t corrections are
    used where the joint distribution is known: Dunnett's and Tukey's (family `pairs`) with pooled variances on these
    domains, `max_t` on these domains too. Every other family gets Holm.

    Where seeds are added until decided, every p is valid at whatever look its own contrast stopped, for the rule is
    met by chance alpha at most at any look, whoever chooses it. Holm asks nothing else of p-values: his error rate
    holds although contrasts stop at different looks, each after a look at all the others.

    Args:
        results: what was found.
        analysis: how it is corrected.
        rng: seed of what is simulated (max-t).
        earlier: the same questions at the looks before. The smallest p so far counts: what the rule has decided at a
            look stays decided, and alpha over all looks is just the chance that it ever does so wrongly. A difference
            counts while the estimate is still on its side.
    """
    results = [_allow_for_looks(result, analysis) for result in results]
    for past in earlier:
        results = _remember(results, [_allow_for_looks(result, analysis) for result in past])
    corrected = [r if r.answerable and not r.simultaneous else replace(r, level_ci=nan) for r in results]
    families: dict[tuple[str, str, str], list[int]] = {}
    for i, result in enumerate(results):
        if result.answerable and result.simultaneous:
            families.setdefault(result.family, []).append(i)
    for places in families.values():
        for i, result in zip(places, _within([results[i] for i in places], analysis, rng), strict=True):
            corrected[i] = result
    if analysis.gatekeeping != "none":
        corrected = _hold_equivalence(corrected, list(families.values()))
    return pass_gates(corrected, list(families.values()), analysis)


def _remember(results: list[Result], past: Sequence[Result]) -> list[Result]:
    """The results with the smaller p of now and of an earlier look."""

    def question(r: Result) -> tuple[str, ...]:
        return *r.family, r.domain, r.contrast.factor, r.contrast.level, r.contrast.versus

    before = {question(r): r for r in past if r.refusal is None}
    held = []
    for r in results:
        then = before.get(question(r))
        if then is not None and r.refusal is None:
            aside = r.contrast.family not in ONE_SIDED and (then.estimate > then.null) != (r.estimate > r.null)
            p = r.p if aside else float(np.fmin(r.p, then.p))
            r = replace(r, p=p, p_equivalence=float(np.fmin(r.p_equivalence, then.p_equivalence)))
        held.append(r)
    return held


def _hold_equivalence(results: list[Result], chain: Sequence[Sequence[int]]) -> list[Result]:
    """Claims of equivalence corrected by Holm over all families of a stratum and target together."""
    held, roads = list(results), dict[tuple[str, str], list[int]]()
    for places in chain:
        roads.setdefault(results[places[0]].family[1:], []).extend(places)
    for places in roads.values():
        for i, p in zip(places, holm([results[i].p_equivalence for i in places]), strict=True):
            held[i] = replace(held[i], p_equivalence_adjusted=float(p))
    return held


def _within(members: list[Result], analysis: Analysis, rng: int) -> list[Result]:
    """One family, corrected by what fits it."""
    (family, _, target), alpha = members[0].family, analysis.alpha
    judged = [r for r in members if r.refusal is None]
    closed = all(isinstance(r.pivot, Student) and isinstance(r.components, Components) for r in judged)
    if closed and target == "these_domains" and not analysis.looks:  # E1: the joint distribution is known
        if analysis.correction == "dunnett" and family == "simple":
            return _by_dunnett(members, alpha)
        if family == "pairs" and analysis.variances == "pooled":
            return _by_tukey(members, alpha)
        alike = family not in ONE_SIDED and len({r.domain for r in judged}) == 1
        if analysis.correction == "max_t" and alike and all(r.spread for r in judged):
            return _by_max_t(members, analysis, rng)
    if analysis.correction == "benjamini_hochberg":
        return _by_discoveries(members, alpha)
    return _by_holm(members, analysis)


def _allow_for_looks(result: Result, analysis: Analysis) -> Result:
    """The result with p-values that hold at every look of the plan's schedule."""
    if analysis.stopping == "e_process" or result.refusal is not None or result.n_seeds not in analysis.looks:
        return result
    spending, look = spend(analysis), analysis.looks.index(result.n_seeds)
    one_sided = result.contrast.family in ONE_SIDED

    def repeat(p: float, halved: bool) -> float:
        if not halved:
            return spending.repeated_p(p, look)
        return spending.repeated_p(2 * p, look) / 2 if 2 * p < 1 else p

    return replace(result, p=repeat(result.p, one_sided), p_equivalence=repeat(result.p_equivalence, True))


def spend(analysis: Analysis) -> Spending:
    """How the plan's looks spend its alpha."""
    return Spending(analysis.spending, analysis.alpha, analysis.looks)


def confidence_level(analysis: Analysis, seeds: int, tests: int) -> float:
    """The confidence level of one interval, such that those of all tests, and of all looks, hold together."""
    if analysis.stopping != "e_process" and seeds in analysis.looks:
        return spend(analysis).interval_level(analysis.looks.index(seeds), tests)
    return 1 - analysis.alpha / tests


def _by_holm(members: Sequence[Result], analysis: Analysis) -> list[Result]:
    adjusted = zip(holm([r.p for r in members]), holm([r.p_equivalence for r in members]), strict=True)
    return [
        replace(
            r,
            p_adjusted=float(p),
            p_equivalence_adjusted=float(equivalence),
            level_ci=confidence_level(analysis, r.n_seeds, len(members)),
            family_size=len(members),
            correction="holm" if len(members) > 1 else "none",
        )
        for r, (p, equivalence) in zip(members, adjusted, strict=True)
    ]


def _by_discoveries(members: Sequence[Result], alpha: float) -> list[Result]:
    """A screen: p-values for the false discovery rate beside intervals of each effect alone."""
    adjusted = benjamini_hochberg([r.p for r in members])
    equivalences = benjamini_hochberg([r.p_equivalence for r in members])
    return [
        replace(
            r,
            p_adjusted=float(p),
            p_equivalence_adjusted=float(equivalence),
            level_ci=1 - alpha,
            family_size=len(members),
            correction="benjamini_hochberg",
        )
        for r, p, equivalence in zip(members, adjusted, equivalences, strict=True)
    ]


def _by_dunnett(members: Sequence[Result], alpha: float) -> list[Result]:
    judged = [r.pivot for r in members if isinstance(r.pivot, Student)]
    if not judged:
        return _by_bonferroni(members, alpha)
    df, loadings = judged[0].df, [r.loading for r in members]
    return _by_maximum(
        members, alpha, "dunnett", dunnett_level(alpha, loadings, df), lambda r, t: dunnett_p(t, loadings, df)
    )


def _by_tukey(members: Sequence[Result], alpha: float) -> list[Result]:
    judged = [r.pivot for r in members if isinstance(r.pivot, Student)]
    if not judged:
        return _by_bonferroni(members, alpha)
    cells, df = round((1 + sqrt(1 + 8 * len(members))) / 2), judged[0].df
    return _by_maximum(members, alpha, "tukey", tukey_level(alpha, cells, df), lambda r, t: tukey_p(t, cells, df))


def _by_max_t(members: Sequence[Result], analysis: Analysis, rng: int) -> list[Result]:
    """From the contrasts' own correlations, over the ones that have a test; the refused ones are Bonferroni's share."""
    alpha, judged = analysis.alpha, [r for r in members if r.refusal is None]
    if not judged:
        return _by_bonferroni(members, alpha)
    cells = sorted({cell for r in judged for cell in r.contrast.weights}, key=str)
    weights = np.array([[r.contrast.weights.get(cell, 0.0) for cell in cells] for r in judged])
    spread = {cell: variance for r in judged for cell, variance in r.spread.items()}
    correlation = correlate(weights, [spread[cell] for cell in cells])
    df = np.array([r.pivot.df if isinstance(r.pivot, Student) else nan for r in judged])
    share = alpha * len(judged) / len(members)
    joint = max_t(correlation, df[0] if analysis.variances == "pooled" else df, rng)
    level = joint.level(share)
    adjusted = {id(r): min(1.0, joint.exceeds(r.p) * alpha / share) for r in judged}
    return _by_maximum(members, alpha, "max_t", level, lambda r, t: adjusted[id(r)])


def _by_bonferroni(members: Sequence[Result], alpha: float) -> list[Result]:
    return _by_holm(members, Analysis(alpha=alpha))


def _by_maximum(
    members: Sequence[Result], alpha: float, name: str, level: float, adjust: Callable[[Result, float], float]
) -> list[Result]:
    """P-values and intervals from the distribution of the largest t; equivalence stays with Holm."""
    held = zip(members, _by_bonferroni(members, alpha), strict=True)
    return [
        replace(
            done,
            p_adjusted=adjust(r, r.pivot.statistic()) if isinstance(r.pivot, Student) and r.refusal is None else nan,
            level_ci=level,
            correction=name if len(members) > 1 else "none",
        )
        for r, done in held
    ]
