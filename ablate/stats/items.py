"""Items: scores of single examples as cubes of cells × runs × examples, and what one run of each cell says of them."""

import numpy as np
from numpy.typing import NDArray

from ablate.errors import RecordsError
from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Array
from ablate.stats.engines import REASONS, Finding
from ablate.stats.examples import DISCORDANT, MANY, compare_items
from ablate.stats.layouts import Layout
from ablate.stats.pivots import Student
from ablate.stats.refusals import FEW_ITEMS, IDENTICAL_RUNS, MISSING_DOMAINS
from ablate.stats.sources import Source

Codes = NDArray[np.int_]


def cube_of(source: Source, group: str, runs: Codes) -> tuple[Codes, Array] | None:
    """Scores of some runs on the examples of a domain group, averaged over its severities.

    Args:
        source: with a column `example`.
        group: the domain group.
        runs: cells × runs, rows of `Source.runs`.

    Returns:
        The examples, and cells × runs × examples; None where a run lacks an example that another has, or there are
        fewer than two.
    """
    scores, items = source.scores, source.items
    place = np.full(len(source.runs), -1)
    place[runs.ravel()] = np.arange(runs.size)
    at = place[scores["run"].to_numpy(int)]
    keep = (at >= 0) & (items["group"].to_numpy() == group)[scores["item"].to_numpy(int)]
    keys, example = np.unique(scores["example"].to_numpy(int)[keep], return_inverse=True)
    flat = at[keep] * len(keys) + example
    n = np.bincount(flat, minlength=runs.size * len(keys))
    if len(keys) < 2 or not n.all():
        return None
    total = np.bincount(flat, scores["value"].to_numpy(float)[keep], minlength=len(n))
    return keys, (total / n).reshape(*runs.shape, len(keys))


def clusters_of(source: Source, keys: Codes) -> Codes:
    """What each of these examples belongs to: its cluster, or itself."""
    if "cluster" not in source.scores:
        return keys
    known = source.scores.drop_duplicates("example").set_index("example")["cluster"]
    return known.reindex(keys).to_numpy(int)


def single_runs(source: Source, layout: Layout, contrast: Contrast) -> bool:
    """Whether every cell of a contrast has one run, and its single examples."""
    used = layout.weigh(contrast.weights) != 0
    return "example" in source.scores and bool((layout.complete[used] == 1).all()) and layout.crossing == "crossed"


def judge_models(source: Source, layout: Layout, contrast: Contrast) -> Finding:
    """Engine E5: one trained model per cell, compared on the same examples; about new examples, not new training runs.

    Domain groups count equally. Examples of one cluster, and one example in several groups, vary together. Few that are
    right or wrong have an exact test, where groups have as many independent ones each, or none.
    """
    weights = layout.weigh(contrast.weights)
    used = weights != 0
    runs, name = layout.owners[used].max((1, 2))[:, None], REASONS["examples"][0]
    cubes = [cube_of(source, group, runs) for group in layout.groups]
    if any(cube is None for cube in cubes):
        return Finding(None, None, MISSING_DOMAINS.about("the models were not scored on the same examples"), name)
    found = [cube for cube in cubes if cube is not None]
    units = [clusters_of(source, keys) for keys, _ in found]
    shares = [np.maximum(sign * weights[used], 0.0) for sign in (1, -1)]
    sides = [[share @ cube[:, 0] for share in shares] for _, cube in found]
    few = _few_of_two_values(sides)
    alike = len({len(own) for own in units}) == 1 and len(np.unique(np.concatenate(units))) == sum(map(len, units))
    if len(found) > 1 and few and not alike:
        return Finding(None, None, FEW_ITEMS.about("the domain groups share examples or differ in number"), name)
    if len(found) == 1 or few:  # as many independent examples in every group: all of them together count alike
        one, two = (np.concatenate(arm) for arm in zip(*sides, strict=True))
        own = np.concatenate(units)
        try:
            compared = compare_items(one, two, own if len(np.unique(own)) < len(own) else None)
        except RecordsError as error:
            same = np.ptp(one - two) == 0
            return Finding(None, None, (IDENTICAL_RUNS if same else FEW_ITEMS).about(error.what), name)
        return Finding(compared.pivot, None, None, compared.method.replace("E5", name, 1))
    pivot = _average([one - two for one, two in sides], units)
    if not pivot.se > 0:
        return Finding(
            None, None, IDENTICAL_RUNS.about("the models' scores differ by the same amount everywhere"), name
        )
    n = sum(map(len, units))
    return Finding(pivot, None, None, f"{name}, differences of {n} examples in {len(found)} domain groups")


def _few_of_two_values(sides: list[list[Array]]) -> bool:
    """Whether both arms are right or wrong everywhere, on so few examples that nothing but exact tests is used."""
    one, two = (np.concatenate(arm) for arm in zip(*sides, strict=True))
    if len(np.unique(np.concatenate([one, two]))) > 2:
        return False
    return bool(len(one) < MANY or np.count_nonzero(one - two) < DISCORDANT)


def _average(differences: list[Array], units: list[Codes]) -> Student:
    """The mean over domain groups of mean differences, with the variance of its independent units.

    A unit's deviations from its groups' means are added up before they are squared, and stretched by n/(n - 1) of each
    group; degrees of freedom are those of the smallest group, which is cautious.
    """
    codes = np.unique(np.concatenate(units), return_inverse=True)[1]
    counts = [len(np.unique(own)) for own in units]
    deviations = [
        (values - values.mean()) * np.sqrt(n / max(n - 1, 1)) / len(values) / len(units)
        for values, n in zip(differences, counts, strict=True)
    ]
    summed = np.bincount(codes, np.concatenate(deviations))
    estimate = float(np.mean([values.mean() for values in differences]))
    return Student(estimate, float(np.sqrt((summed**2).sum())), min(counts) - 1.0)
