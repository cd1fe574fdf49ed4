"""Slices: the items they should hold, changed as they say."""

from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import TensorDataset

from ablate.errors import TrialError
from ablate.sweeps import conf_dir
from ablate.training.parts import build
from ablate.zoo.digits import split_test
from ablate.zoo.slices import blend, stamp, take_group, take_tercile, truncate


class Texts(list[Any]):
    """Texts with labels, as a list is one."""


def labelled(labels: list[int]) -> TensorDataset:
    made = torch.Generator().manual_seed(1)
    return TensorDataset(torch.rand(len(labels), 1, 6, 6, generator=made), torch.tensor(labels))


def labels_of(dataset: Any) -> list[int]:
    return [int(dataset[row][1]) for row in range(len(dataset))]


TRAINED = [0] * 9 + [1] * 2 + [2] * 5 + [3] * 1 + [4] * 7 + [5] * 3  # rarest first: 9 (unseen), 3, 1, 5, 2, 4, 0


@pytest.mark.parametrize(("part", "classes"), [("rare", {9, 3, 1}), ("middle", {5, 2}), ("frequent", {4, 0})])
def test_terciles_are_those_of_the_training_data(part: Any, classes: set[int]) -> None:
    test = labelled([0, 1, 2, 3, 4, 5, 9, 3, 0])
    found = take_tercile(test, part, labelled(TRAINED))
    assert set(labels_of(found)) == classes
    assert found.indices == [row for row, its in enumerate(labels_of(test)) if its in classes]


def test_terciles_share_out_every_item() -> None:
    test = labelled(list(np.random.default_rng(0).integers(0, 10, 50)))
    parts = [take_tercile(test, part, labelled(TRAINED)).indices for part in ("rare", "middle", "frequent")]
    assert sorted(row for rows in parts for row in rows) == list(range(50))


def test_lengths_of_texts_are_counted_in_words() -> None:
    reference: Any = Texts([("a b", 0)] * 3 + [("a b c", 0)] * 2 + [("a", 0)])
    test: Any = Texts([("x", 1), ("x y z", 1), ("x y", 1), ("z", 1)])
    found = {part: take_tercile(test, part, reference, by="length").indices for part in ("rare", "middle", "frequent")}
    assert found == {"rare": [0, 3], "middle": [1], "frequent": [2]}


def test_a_group_is_taken_by_any_part() -> None:
    test: Any = Texts([{"text": "a", "kind": "plain"}, {"text": "b", "kind": "odd"}, {"text": "c", "kind": "even"}])
    assert take_group(test, "kind", "odd").indices == [1]
    assert take_group(test, "kind", ["odd", "even"]).indices == [1, 2]
    with pytest.raises(TrialError, match="none is of the slice"):
        take_group(test, "kind", "strange")


def test_what_is_blended_is_of_two_classes() -> None:
    test = labelled([0, 1, 2, 2, 0])
    made, pictures = blend(test), test.tensors[0]
    assert labels_of(made) == labels_of(test)
    for row in range(5):
        other = 2 * made[row][0] - pictures[row]
        (found,) = (n for n in range(5) if torch.allclose(other, pictures[n], atol=1e-6))
        assert test.tensors[1][found] != test.tensors[1][row]
    assert torch.equal(blend(test)[3][0], made[3][0]), "the same each time"


def test_what_is_truncated_says_less() -> None:
    test: Any = Texts([("one two three four", 1)])
    assert truncate(test, 0.5)[0] == ("one two", 1)
    picture = truncate(labelled([0]), 1 / 3)[0][0]
    assert torch.equal(picture[..., :2], labelled([0])[0][0][..., :2])
    assert not picture[..., 2:].any()


@pytest.mark.parametrize("agree", [0.0, 0.25, 1.0])
def test_marks_tell_the_class_of_so_many(agree: float) -> None:
    test = labelled([0, 1, 2, 3] * 5)
    made = stamp(test, agree=agree)
    bright = float(test.tensors[0].max())
    said = []
    for row in range(20):
        changed = (made[row][0] != test.tensors[0][row]).nonzero()
        assert len(changed) <= 1
        assert changed[:, 1].sum() == 0, "at the upper edge"
        (place,) = {int(column) for *_, column in changed.tolist()} or {int(test.tensors[0][row][0, 0].argmax())}
        assert float(made[row][0][0, 0, place]) == bright
        said.append(place)
    assert sum(a == b for a, b in zip(said, labels_of(test), strict=True)) == agree * 20
    assert float(test.tensors[0].max()) == bright


def test_marks_in_training_are_of_the_trial_and_those_tested_are_not() -> None:
    test = labelled([0, 1, 2, 3] * 5)

    def marks(*seed: int) -> torch.Tensor:
        made = stamp(test, *seed, agree=0.5)
        return torch.stack([made[row][0] for row in range(20)])

    assert torch.equal(marks(), marks())
    assert torch.equal(marks(1), marks(1))
    assert not torch.equal(marks(1), marks(2))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: take_tercile(labelled([0]), "rarest", labelled([0])), "did you mean 'rare'"),  # type: ignore[arg-type]
        (lambda: take_tercile(labelled([0]), "middle", labelled([0])), "none is of the slice"),
        (lambda: blend(labelled([1, 1])), "cannot be ambiguous"),
        (lambda: blend(Texts([("a", 0), ("b", 1)])), "no tensors of one shape"),  # type: ignore[arg-type]
        (lambda: truncate(labelled([0]), 1.5), "share is 1.5"),
        (lambda: stamp(labelled([0, 36]), agree=1.0), "37 marks of 1 pixels"),
    ],
    ids=["tercile", "empty", "one class", "texts", "share", "marks"],
)
def test_what_makes_no_slice_is_refused(make: Any, word: str) -> None:
    with pytest.raises(TrialError, match=word):
        make()


def test_the_shipped_slices_are_made_of_the_digits() -> None:
    groups: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / "domains" / "digits_slices.yaml"))
    test = split_test()[1]
    for members in groups.values():
        for name, node in members.items():
            if node:
                made = build(OmegaConf.create({name: node}), name)(test)
                assert 0 < len(made) <= len(test)
                assert made[0][0].shape == test[0][0].shape
