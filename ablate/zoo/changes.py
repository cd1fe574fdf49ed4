"""Changes of training data: each a factor of its own, for the training set of any datamodule.

A change is called with a dataset and the trial's seed and gives a dataset; in a config it is a `_target_` with
`_partial_: true`. It draws from the stream `data` (wrong labels: `label`) and from nothing else, so the same seed
changes the same rows, in every process. `ablate.zoo.datamodules.Changed` trains on what a list of them makes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from lightning.pytorch import LightningDataModule
from torch.utils.data import ConcatDataset, Subset

from ablate.contamination import Index, Kind
from ablate.errors import TrialError
from ablate.zoo.datasets import (
    Augmented,
    Items,
    Ordered,
    Place,
    Relabelled,
    choose,
    count_items,
    make_rng,
    open_test_set,
    read_labels,
    read_parts,
)
from ablate.zoo.scores import Scores

Score = Callable[[Items, int], Scores]
Generator = Callable[[Items, int, int], Items]


def subset(dataset: Items, seed: int, *, size: int | None = None, share: float | None = None) -> Subset[Any]:
    """Rows at random, in their order: of one seed, those of a smaller subset are among those of a larger one.

    Args:
        dataset: map-style.
        seed: the trial's.
        size: how many rows, or
        share: what part of them, rounded to whole rows.

    Raises:
        TrialError: both or neither are given, or there are fewer rows.
    """
    count = _count(count_items(dataset), size, share, "subset")
    return choose(dataset, sorted(_shuffle(dataset, seed, "subset")[:count]))


def mislabel(
    dataset: Items,
    seed: int,
    *,
    share: float,
    kind: Literal["symmetric", "asymmetric"] = "symmetric",
    transitions: Mapping[Any, Any] | None = None,
    label: Place = 1,
) -> Relabelled:
    """Label noise: a share of the labels, rounded to whole rows, is wrong; of one seed, more of the same rows for more.

    Args:
        dataset: items with labels.
        seed: the trial's; the stream `label` draws.
        share: of the rows; asymmetric, of those whose class has a transition.
        kind: `symmetric`: any other class with equal probability; `asymmetric`: the class that resembles it (Patrini
            2017, section 6).
        transitions: class -> the class that it is taken for; None: the next one, the last for the first.
        label: the part of an item that is its label.

    Raises:
        TrialError: the share is not in 0..1, there is one class alone, or a transition leads to no other class.
    """
    labels = read_labels(dataset, label)
    classes = sorted(set(labels))
    _check(kind in get_args(Literal["symmetric", "asymmetric"]), f"mislabel.kind is {kind!r}", "symmetric, asymmetric")
    _check(len(classes) > 1, f"mislabel needs two classes, of which there are {len(classes)}", "two or more")
    moves = dict(zip(classes, [*classes[1:], classes[0]], strict=True)) if transitions is None else dict(transitions)
    wrong = next((f"{old!r}: {new!r}" for old, new in moves.items() if old == new or {old, new} - set(classes)), None)
    _check(wrong is None, f"mislabel.transitions has {wrong}", f"a class -> another, of {classes}")
    rows = [row for row, its in enumerate(labels) if kind == "symmetric" or its in moves]
    rng = make_rng(seed, kind, "label")
    chosen = rng.permutation(rows)[: _count(len(rows), None, share, "mislabel")].astype(int).tolist()
    if kind == "asymmetric":
        return Relabelled(dataset, {row: moves[labels[row]] for row in chosen}, label)
    steps = rng.integers(1, len(classes), len(rows)).tolist()  # for all, so that more noise leaves those of less
    place = {name: number for number, name in enumerate(classes)}
    spoilt = {
        row: classes[(place[labels[row]] + step) % len(classes)] for row, step in zip(chosen, steps, strict=False)
    }
    return Relabelled(dataset, spoilt, label)


def duplicate(dataset: Items, seed: int, *, share: float, times: int = 1) -> ConcatDataset[Any]:
    """A share of the rows stands `times` further times, behind the others: what de-duplication has to find."""
    _check(times >= 1, f"duplicate.times is {times}", "1 or more")
    chosen = sorted(_shuffle(dataset, seed, "duplicate")[: _count(count_items(dataset), None, share, "duplicate")])
    return ConcatDataset([dataset, choose(dataset, chosen * times)])


def deduplicate(
    dataset: Items,
    seed: int,
    *,
    level: Literal["exact", "normalised", "near"] = "exact",
    threshold: float | None = None,
    kind: Kind = "auto",
    content: Place = 0,
) -> Subset[Any]:
    """Drop every row that repeats an earlier one that is kept, whatever its label.

    Args:
        dataset: map-style.
        seed: of no use here.
        level: `exact`: the same bytes; `normalised`: text after NFKC, case folding and without punctuation, pictures
            whatever their brightness and contrast; `near`: text whose 5-grams overlap, pictures that look alike.
        threshold: least similarity of a near repetition; see `ablate.contamination.find_overlap`.
        kind: of the content: `text`, `image`, `array`, or by the first item.
        content: the part of an item that is compared.

    Raises:
        TrialError: near repetitions cannot be told for such items (pictures below 16 pixels, arrays).
        StudyError: near copies are asked for without the extra `contamination`.
    """
    _check(level in ("exact", "normalised", "near"), f"deduplicate.level is {level!r}", "exact, normalised, near")
    contents = read_parts(dataset, content)
    index = Index(contents, kind, near=level == "near", threshold=threshold)
    _check(level != "near" or not index.skipped, f"no near level: {index.skipped}", "exact, normalised")
    kept: set[int] = set()
    for row, item in enumerate(contents):
        if kept.isdisjoint(getattr(index.find([item]), level)):
            kept.add(row)
    return choose(dataset, sorted(kept))


def filter_quality(dataset: Items, seed: int, *, score: Score, keep: float) -> Subset[Any]:
    """Keep the share of the rows that scores highest, in their order; equals are told apart by lot.

    Args:
        dataset: map-style.
        seed: the trial's.
        score: (dataset, seed) -> a value per item; higher is better. `ablate.zoo.scores` has some.
        keep: what part of the rows stays, rounded to whole rows.

    Raises:
        TrialError: the share is not in 0..1, or a score is missing.
    """
    best = _rank(dataset, seed, score)[: _count(count_items(dataset), None, keep, "filter_quality")]
    return choose(dataset, sorted(best))


def balance(dataset: Items, seed: int, *, how: Literal["under", "over"], label: Place = 1) -> Subset[Any]:
    """Every class as often: all as the rarest, rows dropped at random; or all as the commonest, rows repeated evenly.

    Args:
        dataset: items with labels.
        seed: the trial's.
        how: `under` drops, `over` repeats; repetitions stand behind the others.
        label: the part of an item that is its label.
    """
    _check(how in ("under", "over"), f"balance.how is {how!r}", "under, over")
    labels = np.array(read_labels(dataset, label))
    shuffled = np.array(_shuffle(dataset, seed, "balance"))
    classes = [shuffled[labels[shuffled] == value].tolist() for value in np.unique(labels)]
    sizes = [len(rows) for rows in classes]
    wanted = min(sizes) if how == "under" else max(sizes)
    if how == "under":
        return choose(dataset, sorted(row for rows in classes for row in rows[:wanted]))
    return choose(
        dataset, [*range(len(labels)), *(row for rows in classes for row in _cycle(rows, wanted)[len(rows) :])]
    )


def mix(
    dataset: Items, seed: int, *, sources: Sequence[Items], weights: Sequence[float], size: int | None = None
) -> ConcatDataset[Any]:
    """A mixture of sources by weight: each gives its share of the rows, at random, and again where it has too few.

    Args:
        dataset: the first source.
        seed: the trial's; of one seed, a source that gives more gives those rows and more.
        sources: the further datasets; `ablate.zoo.datasets.open_training_set` opens that of a datamodule.
        weights: of the first source and the others, from 0; their sum does not matter.
        size: rows of the mixture; None: as many as the first source has.

    Raises:
        TrialError: there is not a weight per source, or a weight is negative, or all are 0, or a source is empty.
    """
    parts = [dataset, *sources]
    shares = np.asarray(weights, dtype=float)
    _check(
        shares.shape == (len(parts),), f"mix has {len(parts)} sources and {len(shares)} weights", "a weight per source"
    )
    _check(bool((shares >= 0).all()) and shares.sum() > 0, f"mix.weights are {list(weights)}", "from 0, not all 0")
    exact = shares / shares.sum() * (count_items(dataset) if size is None else size)
    counts = np.floor(exact).astype(int)
    rest = round(exact.sum()) - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1  # the largest remainders
    chosen = []
    for number, (part, count) in enumerate(zip(parts, counts.tolist(), strict=True)):
        _check(count == 0 or count_items(part) > 0, f"source {number} of mix is empty", "sources with rows")
        chosen.append(choose(part, sorted(_cycle(_shuffle(part, seed, f"mix {number}"), count))))
    return ConcatDataset(chosen)


def order(
    dataset: Items, seed: int, *, by: Score | Literal["shuffled"] = "shuffled", hardest_first: bool = False
) -> Ordered:
    """The rows in one order, the same in every epoch: a curriculum (Bengio 2009), or the shuffled one it compares with.

    Args:
        dataset: map-style; changes that come later keep the order, and put what they add at the end.
        seed: the trial's.
        by: (dataset, seed) -> a value per item, of which the highest, the easiest, come first; or `shuffled`.
        hardest_first: turn the order by score about.
    """
    if isinstance(by, str):
        _check(by == "shuffled", f"order.by is {by!r}", "shuffled, or a score")
        return Ordered(dataset, _shuffle(dataset, seed, "order"))
    rows = _rank(dataset, seed, by)
    return Ordered(dataset, rows[::-1] if hardest_first else rows)


def augment(dataset: Items, seed: int, *, transform: Callable[[Any], Any], content: Place = 0) -> Augmented:
    """Every item's content transformed anew each time it is read.

    Args:
        dataset: map-style.
        seed: of no use here: `ablate.zoo.datamodules.Changed` seeds each reading, by row and epoch.
        transform: content -> content; it draws from the global generators of torch, numpy or Python, as most do.
        content: the part of an item that is transformed.
    """
    return Augmented(dataset, transform, content)


def add_synthetic(dataset: Items, seed: int, *, generator: Generator, count: int) -> ConcatDataset[Any]:
    """Made items behind the real ones.

    Args:
        dataset: what the generator learns from.
        seed: the trial's.
        generator: (dataset, count, seed) -> a dataset of that many; `ablate.zoo.generators` has one.
        count: how many to add.

    Raises:
        TrialError: the generator gives another number of them.
    """
    made = generator(dataset, count, seed)
    _check(count_items(made) == count, f"the generator of add_synthetic gave {count_items(made)} items", f"{count}")
    return ConcatDataset([dataset, made])


def contaminate(
    dataset: Items, seed: int, *, data: LightningDataModule, domain: str, share: float, draw: int = 0
) -> ConcatDataset[Any]:
    """Test items put into training on purpose, to see what contamination does and whether it is detected.

    Args:
        dataset: map-style.
        seed: the trial's, for the split; it does not choose: all trials leak the same items, so that the others stay
            a clean part of the test set.
        data: a datamodule with the test set: the base once more. Its test set is read while training.
        domain: the test set's name.
        share: what part of its items is trained on, labels and all.
        draw: the seed that chooses them; of one, those of a smaller share are among those of a larger one.
    """
    test = open_test_set(data, seed, domain)
    count = _count(count_items(test), None, share, "contaminate")
    chosen = np.random.default_rng(draw).permutation(count_items(test))[:count]
    return ConcatDataset([dataset, choose(test, sorted(chosen))])


def _count(rows: int, size: int | None, share: float | None, name: str) -> int:
    """How many of the rows a size or a share means."""
    _check((size is None) != (share is None), f"{name} has a size and a share, or neither", "one of the two")
    if size is None:
        _check(0 <= (share or 0.0) <= 1, f"the share of {name} is {share}", "0 to 1")
        return round((share or 0.0) * rows)
    _check(0 <= size <= rows, f"the size of {name} is {size}", f"0 to {rows}, the rows there are")
    return size


def _check(fine: bool, what: str, allowed: str) -> None:
    if not fine:
        raise TrialError(what, where="data.changes", allowed=[allowed])


def _shuffle(dataset: Items, seed: int, purpose: str) -> list[int]:
    """All rows in the order in which a purpose takes them."""
    rows: list[int] = make_rng(seed, purpose).permutation(count_items(dataset)).tolist()
    return rows


def _cycle(rows: list[int], count: int) -> list[int]:
    """The first so many of the rows, over and over."""
    return (rows * -(-count // len(rows)))[:count] if rows else []


def _rank(dataset: Items, seed: int, score: Score) -> list[int]:
    """Rows from the highest score to the lowest; equals are told apart by lot."""
    scores = np.asarray(score(dataset, seed), dtype=float)
    rows = count_items(dataset)
    _check(scores.shape == (rows,) and not np.isnan(scores).any(), "a score is missing", f"a number per item, {rows}")
    ranked: list[int] = np.lexsort((make_rng(seed, "ties").random(rows), -scores)).tolist()
    return ranked
