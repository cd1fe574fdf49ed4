"""Made items lie between two real neighbours of one class; their classes are drawn as the data have them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from ablate.errors import TrialError
from ablate.training.fingerprints import fingerprint
from ablate.zoo.generators import Between, interpolate

LINES = TensorDataset(torch.stack([torch.arange(40.0), torch.arange(40) % 2 * 100.0], 1), torch.arange(40) % 2)


def test_made_items_lie_between_neighbours_of_one_class() -> None:
    made = interpolate(LINES, 500, seed=0, neighbours=2)
    for (x, y), label in (made[row] for row in range(len(made))):
        assert y == 100 * label, "on the line of its class"
        assert 0 <= x <= 39
    ends = np.array(made.pairs)
    assert (np.abs(ends[:, 0] - ends[:, 1]) <= 4).all(), "the two nearest on either side are at most two steps away"
    assert (ends[:, 0] != ends[:, 1]).all()
    firsts = np.bincount(ends[:, 0] % 2)
    assert abs(firsts[0] - 250) < 4 * (500 / 4) ** 0.5


def test_one_seed_makes_one_set() -> None:
    first, again, other = (fingerprint(interpolate(LINES, 20, seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert first is not None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_contents_keep_their_type(dtype: Any) -> None:
    pair = TensorDataset(torch.tensor([[0], [200]], dtype=dtype), torch.tensor([3, 4]))
    content, label = Between(pair, [0], [1], torch.tensor([0.27], dtype=torch.double), 0)[0]  # type: ignore[misc]
    assert content.dtype == dtype
    assert content.item() == 54
    assert label == 3


def test_a_class_with_one_item_has_no_neighbour() -> None:
    with pytest.raises(TrialError, match="class 1 has a single item"):
        interpolate(TensorDataset(torch.rand(5, 2), torch.tensor([0, 0, 0, 0, 1])), 100, seed=0)
