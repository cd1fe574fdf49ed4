"""Generators of synthetic training items: each is called with a dataset, a count and the seed, and gives a dataset."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ablate.errors import TrialError
from ablate.zoo.datasets import Items, Place, get_part, make_rng, read_labels, read_matrix, replace_part


def interpolate(
    dataset: Items, count: int, seed: int, neighbours: int = 5, content: Place = 0, label: Place = 1
) -> "Between":
    """Items between an item and one of its nearest neighbours of the same class (SMOTE: Chawla 2002, section 4.2).

    Args:
        dataset: items whose contents are tensors of one shape, with labels.
        count: how many to make; of an item drawn at random each, so classes keep their shares.
        seed: the trial's.
        neighbours: the nearest ones, by Euclidean distance, of which one is drawn.
        content: the part of an item that is made.
        label: the part that is its label.

    Raises:
        TrialError: a class has a single item.
    """
    from sklearn.neighbors import NearestNeighbors

    given, points = read_labels(dataset, label), read_matrix(dataset, content)
    labels = np.array(given)
    rng = make_rng(seed, "interpolate")
    firsts, places = rng.integers(len(labels), size=count), rng.random(count)
    seconds = np.empty(count, dtype=np.int64)
    for value in sorted(set(given)):
        rows, wanted = np.flatnonzero(labels == value), np.flatnonzero(labels[firsts] == value)
        near = min(neighbours, len(rows) - 1)
        if near < 1:
            raise TrialError(f"class {value!r} has a single item, and no neighbour", where="data.changes")
        found = NearestNeighbors(n_neighbors=near).fit(points[rows]).kneighbors(return_distance=False)
        mine = found[np.searchsorted(rows, firsts[wanted])]
        seconds[wanted] = rows[mine[np.arange(len(wanted)), rng.integers(near, size=len(wanted))]]
    return Between(dataset, firsts, seconds, torch.from_numpy(places), content)


class Between(Dataset[object]):
    """Items whose content lies a given part of the way from one item to another; all else is the first one's.

    Args:
        dataset: where both are from.
        firsts: (n,) rows.
        seconds: (n,) rows.
        places: (n,) in [0, 1]: 0 is the first, 1 the second.
        content: the part of an item that is interpolated.
    """

    def __init__(self, dataset: Items, firsts: object, seconds: object, places: Tensor, content: Place) -> None:
        self.source, self.places, self.content = dataset, places, content
        self.pairs = np.stack([np.asarray(firsts), np.asarray(seconds)], 1).tolist()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> object:
        first, second = (self.source[end] for end in self.pairs[row])
        old, new = (torch.as_tensor(get_part(item, self.content)) for item in (first, second))
        made = torch.lerp(old.double(), new.double(), self.places[row])
        made = made if old.is_floating_point() else made.round()
        return replace_part(first, self.content, made.to(old.dtype))
