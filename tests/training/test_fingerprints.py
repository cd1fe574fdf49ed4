"""Fingerprints: equal for equal items, different for any change, the same in every process; absent for streams."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from ablate.training import fingerprints
from ablate.training.fingerprints import describe_item, fingerprint


class Listed(Dataset[Any]):
    """A dataset of given items, which counts its readings."""

    def __init__(self, items: Any) -> None:
        self.items, self.read = items, 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        self.read += 1
        return self.items[row]


class Unsure(Listed):
    """Adds noise from every global generator."""

    def __getitem__(self, row: int) -> Any:
        return self.items[row], random.random(), float(np.random.random()), torch.rand(())  # noqa: NPY002


class Stream(IterableDataset[int]):
    """Three numbers."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def pictures(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_the_same_items_have_the_same_fingerprint_and_any_change_another() -> None:
    x, y = pictures(), torch.arange(6)
    first = fingerprint(TensorDataset(x, y))
    assert first is not None
    assert len(first) == 16
    assert int(first, 16) >= 0
    assert fingerprint(TensorDataset(x.clone(), y.clone())) == first
    nudged = x.clone()
    nudged[3, 0, 2, 1] = torch.nextafter(nudged[3, 0, 2, 1], torch.tensor(2.0))
    changed = [
        TensorDataset(nudged, y),
        TensorDataset(x, y.flip(0)),
        TensorDataset(x.flip(0), y.flip(0)),
        TensorDataset(x[:5], y[:5]),
        TensorDataset(x.double(), y),
        TensorDataset(x.reshape(6, 4, 4), y),
        TensorDataset(x),
    ]
    assert len({first, *(fingerprint(dataset) for dataset in changed)}) == 8


def test_a_part_of_tensors_is_the_dataset_of_these_rows() -> None:
    whole = TensorDataset(pictures(), torch.arange(6))
    rows = [4, 1, 1]
    expected = fingerprint(TensorDataset(*(tensor[rows] for tensor in whole.tensors)))
    assert fingerprint(Subset(whole, rows)) == expected
    assert fingerprint(Subset(Subset(whole, [0, 4, 1]), [1, 2, 2])) == expected


ITEMS = {
    "tensor": torch.arange(3.0),
    "moved tensor": torch.arange(1.0, 4.0),
    "half": torch.arange(3).bfloat16(),
    "array": np.arange(3),
    "number": 1,
    "fraction": 1.0,
    "truth": True,
    "text": "a",
    "bytes": b"a",
    "nothing": None,
    "pair": ("a", "b"),
    "longer text": ("ab", ""),
    "nest": (("a",), "b"),
    "mapping": {"a": 1, "b": (2, torch.zeros(2))},
    "picture": Image.new("L", (2, 2), 7),
    "darker": Image.new("L", (2, 2), 6),
    "wide": Image.new("L", (4, 1), 7),
}


def test_no_two_items_of_different_content_are_described_alike() -> None:
    assert len({b"".join(describe_item(item)) for item in ITEMS.values()}) == len(ITEMS)
    assert len({fingerprint(Listed([item])) for item in ITEMS.values()} - {None}) == len(ITEMS)


def test_a_tensor_is_described_as_its_array_and_a_mapping_without_regard_to_order() -> None:
    def bytes_of(item: Any) -> bytes:
        return b"".join(describe_item(item))

    assert bytes_of(torch.eye(2)) == bytes_of(np.eye(2, dtype=np.float32))
    assert bytes_of({"a": 1, "b": 2}) == bytes_of({"b": 2, "a": 1})


@pytest.mark.parametrize("items", [[object()], [np.array([object()])], [1, {"a": object()}]], ids=["a", "b", "c"])
def test_what_cannot_be_read_has_no_fingerprint(items: Any) -> None:
    assert fingerprint(Listed(items)) is None


def test_a_stream_and_a_dataset_that_fails_have_none() -> None:
    class Broken(Listed):
        def __getitem__(self, row: int) -> Any:
            raise OSError("the disk is gone")

    assert fingerprint(Stream()) is None
    assert fingerprint(Broken([1, 2])) is None


def test_a_dataset_is_read_once() -> None:
    dataset = Listed([1, 2, 3])
    assert fingerprint(dataset) == fingerprint(dataset)
    assert dataset.read == 3


def test_a_dataset_that_cannot_be_a_key_is_read_all_the_same() -> None:
    class Equal(Listed):
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal) and self.items == other.items

    assert fingerprint(Equal([1, 2])) == fingerprint(Listed([1, 2]))


def test_what_is_random_is_drawn_from_a_fixed_seed_and_the_generators_are_left_alone() -> None:
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate()
    first = fingerprint(Unsure([1, 2]))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    torch.manual_seed(6)
    assert fingerprint(Unsure([1, 2])) == first


def test_of_many_items_a_sample_is_read_with_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "MANY", 100)
    monkeypatch.setattr(fingerprints, "SAMPLED", 11)
    many = Listed(list(range(101)))
    found = fingerprint(many)
    assert found is not None
    assert found.startswith("sampled-")
    assert many.read == 11
    seen = Listed([*range(100), -1])
    unseen = Listed([0, -1, *range(2, 101)])
    assert fingerprint(seen) != found, "the last item is in the sample"
    assert fingerprint(unseen) == found, "the second is not: a sample proves less, and says so"
    assert fingerprint(Listed(list(range(111)))) != found
    assert not str(fingerprint(TensorDataset(torch.arange(101)))).startswith("sampled-")


def test_nothing_but_the_content_counts_so_that_every_process_finds_the_same() -> None:
    x, y = np.arange(12, dtype="<f4").reshape(3, 4), np.arange(3)
    content = [b"3 items ", b"array <f4 (3, 4) ", x.tobytes(), b"array <i8 (3,) ", y.tobytes()]
    expected = hashlib.sha256(b"".join(content)).hexdigest()[:16]
    assert fingerprint(TensorDataset(torch.from_numpy(x), torch.from_numpy(y))) == expected
