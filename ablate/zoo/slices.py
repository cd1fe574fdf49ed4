"""Slices: test sets of a kind of input, with what should happen there: dataset -> dataset, for the config's `domains`.

What one expects: on ambiguous and underspecified inputs, that a model declines or is unsure (`abstain`, `calibrate` of
`ablate.zoo.evaluations`); on biased ones, that it does as well where a shortcut misleads as where it leads; on rare
ones, that it does not do much worse than on frequent ones.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from ablate.errors import TrialError
from ablate.zoo.datasets import (
    Items,
    Mapped,
    Place,
    choose,
    count_items,
    make_rng,
    read_labels,
    read_parts,
    replace_part,
)

SEED = 20  # of every random slice

Tercile = Literal["rare", "middle", "frequent"]


class Altered(Mapped):
    """Items whose content has been exchanged.

    Args:
        dataset: map-style.
        contents: a new one for each.
        content: the part of an item that it is.
    """

    def __init__(self, dataset: Items, contents: Sequence[Any] | Tensor, content: Place) -> None:
        super().__init__(dataset)
        self._contents, self._content = contents, content

    def change(self, item: Any, row: int) -> Any:
        """The item with its new content."""
        return replace_part(item, self._content, self._contents[row])


def take_group(dataset: Items, group: Place, values: Any) -> Subset[Any]:
    """The items of a group: those whose part `group` is the value, or one of the values.

    Raises:
        TrialError: there are none.
    """
    wanted = list(values) if isinstance(values, list | tuple) else [values]
    found = read_labels(dataset, group)
    return _choose(dataset, [row for row, value in enumerate(found) if value in wanted], f"{group} in {wanted}")


def take_tercile(
    dataset: Items,
    part: Tercile,
    reference: Items,
    by: Literal["class", "length"] = "class",
    content: Place = 0,
    label: Place = 1,
) -> Subset[Any]:
    """The items of a third of the classes, or lengths, by how often training has them: the long tail, or the head.

    Classes (or lengths) that stand in the reference or the test set are ranked by their number in the reference, of
    equals the smaller value first, and cut in three as evenly as may be, the rarer third the larger.

    Args:
        dataset: the test set.
        part: which third.
        reference: training data, the same for all trials: `ablate.zoo.datasets.open_training_set` with a fixed seed.
        by: `class`, or `length` of the content: words of a text, else its first dimension.
        content: the part of an item that has a length.
        label: the part of an item that is its class.

    Raises:
        TrialError: there is no such part, or no item is of it.
    """
    for name, given, kind in (("part", part, Tercile), ("by", by, Literal["class", "length"])):
        if given not in get_args(kind):
            what = f"unknown {name} {given!r}"
            raise TrialError(what, where=f"domains: {name}", allowed=get_args(kind), word=str(given))
    trained, tested = (
        read_labels(items, label) if by == "class" else list(map(_measure, read_parts(items, content)))
        for items in (reference, dataset)
    )
    counts = Counter(trained)
    ranked = sorted({*trained, *tested}, key=lambda value: (counts[value], value))
    wanted = set(np.array_split(np.arange(len(ranked)), 3)[get_args(Tercile).index(part)].tolist())
    chosen = {value for place, value in enumerate(ranked) if place in wanted}
    return _choose(dataset, [row for row, value in enumerate(tested) if value in chosen], f"the {part} third by {by}")


def blend(dataset: Items, weight: float = 0.5, content: Place = 0, label: Place = 1) -> Altered:
    """Ambiguous: every content mixed with one of another class, drawn once; at .5 neither label is the right one.

    Args:
        dataset: contents as tensors of one shape, with labels of two classes at least.
        weight: of the other content. The label stays that of the first.
        content: the part of an item that is mixed.
        label: its class.

    Raises:
        TrialError: there is one class alone, or contents are no tensors of one shape.
    """
    labels, contents = np.array(read_labels(dataset, label)), _stack(dataset, content)
    if len(set(labels.tolist())) < 2:
        raise TrialError("items of one class cannot be ambiguous", where="domains", allowed=["two classes or more"])
    rng = np.random.default_rng(SEED)
    others = [int(rng.choice(np.flatnonzero(labels != its))) for its in labels]
    return Altered(dataset, torch.lerp(contents, contents[others], weight), content)


def truncate(dataset: Items, share: float, content: Place = 0) -> Altered:
    """Underspecified: only the first share of a text's words, or of the columns of an array; the others are 0.

    Raises:
        TrialError: the share is not in 0..1, or a content is neither text nor tensor.
    """
    if not 0 <= share <= 1:
        raise TrialError(f"the share is {share}", where="domains: share", allowed=["0 to 1"])
    return Altered(dataset, [_cut(part, share) for part in read_parts(dataset, content)], content)


def stamp(
    dataset: Items, seed: int | None = None, *, agree: float, size: int = 1, content: Place = 0, label: Place = 1
) -> Altered:
    """Biased: a bright mark at the upper edge, whose place tells the class; for a share of the items the right one.

    In training (as a change, `ablate.zoo.datamodules.Changed`) with a high share it is a shortcut; the test sets with
    `agree: 1` and `agree: 0` then show what a model does where it leads, and where it misleads.

    Args:
        dataset: pictures (..., height, width) as tensors, with labels 0, 1, ...
        seed: the trial's, in training: draws which items have a wrong mark, and which one; None: they are fixed.
        agree: the share with the mark of their own class, rounded to whole items.
        size: pixels a side of a mark; marks stand side by side, and in further rows where the picture is too narrow.
        content: the part of an item that is its picture.
        label: its class.

    Raises:
        TrialError: the share is not in 0..1, labels are no such numbers, or the marks do not fit.
    """
    labels, pictures = np.array(read_labels(dataset, label)), _stack(dataset, content).clone()
    classes = int(labels.max()) + 1 if labels.dtype.kind in "iu" and len(labels) and labels.min() >= 0 else 0
    rows, columns = (side // size for side in pictures.shape[-2:]) if pictures.ndim > 2 else (0, 0)
    if not 0 <= agree <= 1 or classes < 2 or classes > rows * columns:
        raise TrialError(
            f"{classes} marks of {size} pixels with agree {agree} cannot stand on {tuple(pictures.shape[1:])}",
            where="stamp",
            allowed=["agree from 0 to 1", "labels 0, 1, ...", "pictures with room for all marks"],
        )
    rng = np.random.default_rng(SEED) if seed is None else make_rng(seed, "stamp")
    wrong = rng.permutation(len(labels))[: len(labels) - round(agree * len(labels))]
    marks = labels.copy()
    marks[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    brightest = pictures.max()
    for item, mark in enumerate(marks.tolist()):
        top, left = (size * place for place in divmod(mark, columns))
        pictures[item, ..., top : top + size, left : left + size] = brightest
    return Altered(dataset, pictures, content)


def _choose(dataset: Items, rows: list[int], what: str) -> Subset[Any]:
    if not rows:
        raise TrialError(f"of {count_items(dataset)} items none is of the slice: {what}", where="domains")
    return choose(dataset, rows)


def _measure(content: Any) -> int:
    return len(content.split()) if isinstance(content, str) else len(content)


def _stack(dataset: Items, content: Place) -> Tensor:
    """Contents as one tensor of real numbers."""
    parts = read_parts(dataset, content)
    if not all(isinstance(part, Tensor) and part.shape == parts[0].shape for part in parts) or not parts:
        raise TrialError(
            "contents are no tensors of one shape", where="domains", remedy="use a slice made for such items"
        )
    stacked = torch.stack(parts)
    return stacked if stacked.is_floating_point() else stacked.float()


def _cut(part: Any, share: float) -> Any:
    if isinstance(part, str):
        words = part.split()
        return " ".join(words[: round(share * len(words))])
    if not isinstance(part, Tensor) or not part.ndim:
        raise TrialError(f"a {type(part).__name__} cannot be truncated", where="domains", allowed=["text", "tensors"])
    cut = part.clone()
    cut[..., round(share * part.shape[-1]) :] = 0
    return cut
