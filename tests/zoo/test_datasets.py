"""Rows are followed back through any changes; items keep their shape; what is opened is a trial's own split."""

from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split

from ablate.errors import TrialError
from ablate.training.streams import seed_globals
from ablate.zoo.datasets import (
    Augmented,
    Mapped,
    Ordered,
    Relabelled,
    choose,
    contains,
    count_items,
    get_part,
    make_rng,
    open_test_set,
    open_training_set,
    read_labels,
    read_matrix,
    read_parts,
    replace_part,
    trace_rows,
)

ROOT = TensorDataset(torch.arange(20.0), torch.arange(20) % 4)


class Halves(LightningDataModule):
    """Splits anew in every setup, from the global generator."""

    def setup(self, stage: str) -> None:
        self.one, self.other = random_split(ROOT, [10, 10])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.one, 4, shuffle=True)

    def test_dataloader(self) -> dict[str, DataLoader[Any]]:
        return {"home": DataLoader(self.other, 4), "home/far": DataLoader(ROOT, 4)}


class Stream(IterableDataset[int]):
    """Has no rows."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@given(st.data())
def test_rows_are_traced_through_any_changes(data: st.DataObject) -> None:
    """An item's content is its row in the root, so that the trace can be read off; other items have content -1."""
    made: Dataset[Any] = ROOT
    for _ in range(data.draw(st.integers(0, 4))):
        kind = data.draw(st.sampled_from(["choose", "order", "add", "repeat", "label"]))
        rows = data.draw(st.lists(st.integers(0, count_items(made) - 1), min_size=1, max_size=30))
        if kind in ("choose", "order"):
            made = choose(made, rows) if kind == "choose" else Ordered(made, rows)
        elif kind == "label":
            made = Relabelled(made, {0: 9}, 1)
        else:
            strange = TensorDataset(-torch.ones(2), torch.zeros(2, dtype=torch.long))
            made = ConcatDataset([made, strange if kind == "add" else choose(made, rows)])
    contents = [int(content) for content, _ in (made[row] for row in range(count_items(made)))]
    assert trace_rows(made, ROOT).tolist() == contents


def test_rows_of_an_unknown_dataset_are_from_nowhere() -> None:
    class Strange(Dataset[Any]):
        def __len__(self) -> int:
            return 3

    assert trace_rows(Strange(), ROOT).tolist() == [-1, -1, -1]
    inner = Subset(ROOT, [3, 1])
    assert trace_rows(Subset(inner, [1]), inner).tolist() == [1]


def test_a_kind_is_found_wherever_it_is() -> None:
    augmented = Augmented(Ordered(ROOT, [1, 2]), torch.neg, 0)
    made = ConcatDataset([ROOT, choose(augmented, [0])])
    assert contains(made, Augmented)
    assert contains(made, Ordered)
    assert not contains(choose(Mapped(ROOT), [0]), Ordered)


@pytest.mark.parametrize("dataset", [Stream(), Dataset()], ids=["stream", "no length"])
def test_what_has_no_rows_is_refused(dataset: Dataset[Any]) -> None:
    with pytest.raises(TrialError, match="has no rows to choose from"):
        count_items(dataset)


Pair = namedtuple("Pair", "content label")


@pytest.mark.parametrize(
    ("item", "place", "expected"),
    [
        (("a", 1), 1, ("a", 9)),
        (["a", 1], 0, [9, 1]),
        (Pair("a", 1), 1, Pair("a", 9)),
        ({"text": "a", "label": 1}, "label", {"text": "a", "label": 9}),
        ("a", 0, 9),
    ],
    ids=["tuple", "list", "named", "mapping", "bare"],
)
def test_a_part_is_replaced_and_the_item_keeps_its_type(item: Any, place: Any, expected: Any) -> None:
    made = replace_part(item, place, 9)
    assert made == expected
    assert type(made) is type(expected)
    assert get_part(made, place) == 9


def test_a_part_that_is_not_there_is_refused_with_those_that_are() -> None:
    for item, place, allowed in (({"text": "a"}, 0, ("text",)), ("a", 1, ("0",)), ((1, 2), "text", ("0", "1"))):
        with pytest.raises(TrialError, match="no part") as caught:
            get_part(item, place)
        assert caught.value.allowed == allowed


def test_new_labels_have_the_old_ones_type() -> None:
    made = Relabelled(ROOT, {2: 0}, 1)
    assert made[2][1].dtype == torch.long
    assert read_labels(made, 1) == [0, 1, 0, *(row % 4 for row in range(3, 20))]
    assert Relabelled([("a", "cat")], {0: "dog"}, 1)[0] == ("a", "dog")  # type: ignore[arg-type]


def test_labels_and_matrices_that_are_none_are_refused() -> None:
    with pytest.raises(TrialError, match="not single values"):
        read_labels(TensorDataset(torch.zeros(2), torch.zeros(2, 3)), 1)
    with pytest.raises(TrialError, match="no arrays of one shape"):
        read_matrix([np.zeros(2), np.zeros(3)], 0)  # type: ignore[arg-type]
    with pytest.raises(TrialError, match="no arrays of one shape"):
        read_matrix(["text"], 0)  # type: ignore[arg-type]
    assert read_matrix(TensorDataset(torch.ones(2, 1, 3, 3)), 0).shape == (2, 9)


def test_reading_leaves_the_generators_alone_and_is_steady() -> None:
    noisy = Augmented(ROOT, lambda content: content + torch.rand(()), 0)
    torch.manual_seed(1)
    first, after = read_parts(noisy, 0), torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after
    assert read_parts(noisy, 0) == first


def test_a_set_is_opened_with_the_split_of_the_seed_and_the_generators_stay() -> None:
    seed_globals(3, "split")
    data = Halves()
    data.setup("fit")
    torch.manual_seed(1)
    opened = open_training_set(Halves(), 3)
    held = open_test_set(Halves(), 3, "home")
    drawn = torch.rand(1)
    assert opened.indices == data.one.indices  # type: ignore[attr-defined]
    assert held.indices == data.other.indices  # type: ignore[attr-defined]
    assert open_training_set(Halves(), 4).indices != data.one.indices  # type: ignore[attr-defined]
    torch.manual_seed(1)
    assert torch.rand(1) == drawn
    assert open_test_set(Halves(), 3, "home/far") is ROOT
    with pytest.raises(TrialError, match="'hone' is not a test dataloader") as caught:
        open_test_set(Halves(), 3, "hone")
    assert caught.value.allowed == ("home", "home/far")


def test_purposes_seeds_and_streams_draw_apart() -> None:
    drawn = [make_rng(*which).integers(2**62) for which in ((0, "a"), (0, "b"), (1, "a"), (0, "a", "label"))]
    assert len(set(drawn)) == 4
    assert make_rng(0, "a").integers(2**62) == drawn[0]
