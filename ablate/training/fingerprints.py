"""Fingerprints of datasets: one short text for what a dataset holds, the same in every process and on every machine.

Two test sets with the same fingerprint hold the same items in the same order, labels and all.
"""

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

MANY, SAMPLED = 100_000, 10_000  # of more than MANY items, SAMPLED are read
DIGITS = 16

_known: "WeakKeyDictionary[Dataset[Any], str | None]" = WeakKeyDictionary()


def fingerprint(dataset: "Dataset[Any]") -> str | None:
    """The first 16 hexadecimal digits of the SHA-256 of a map-style dataset's items, in their order.

    Tensors of a TensorDataset, or of a Subset of one, are read whole; other datasets item by item. Of more than 100,000
    items 10,000 at even distances are read, with the length; the text then starts with `sampled-`. What is random in
    reading an item is drawn from a fixed seed, and the global generators stay as they were. Kept per dataset object.

    Returns:
        None for a stream, and where an item cannot be read or is of an unknown type.
    """
    try:
        if dataset not in _known:
            _known[dataset] = _read(dataset)
        return _known[dataset]
    except TypeError:  # a dataset that cannot be a weak key is read anew
        return _read(dataset)


def describe_item(item: Any) -> Iterator[bytes]:
    """The bytes that tell one item from another: tensors, arrays, numbers, text, bytes, pictures, nested or not.

    Raises:
        TypeError: a part is of another type.
    """
    if isinstance(item, torch.Tensor):
        yield from describe_item(as_array(item))
    elif isinstance(item, np.ndarray | np.generic):
        if item.dtype.hasobject:
            raise TypeError("an array of objects has no bytes of its own")
        yield f"array {item.dtype.str} {item.shape} ".encode()
        yield np.ascontiguousarray(item).tobytes()
    elif item is None or isinstance(item, bool | int | float | complex):
        yield f"{type(item).__name__} {item!r} ".encode()
    elif isinstance(item, str | bytes):
        content = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item
        yield f"{type(item).__name__} {len(content)} ".encode()
        yield content
    elif isinstance(item, Mapping):
        yield f"mapping {len(item)} ".encode()
        for key in sorted(item, key=repr):
            yield from describe_item(key)
            yield from describe_item(item[key])
    elif isinstance(item, tuple | list):
        yield f"sequence {len(item)} ".encode()
        for part in item:
            yield from describe_item(part)
    elif is_picture(item):
        yield f"picture {item.mode} {item.size} {item.getpalette()} ".encode()
        yield item.tobytes()
    else:
        raise TypeError(f"no bytes are known for a {type(item).__name__}")


def as_array(tensor: torch.Tensor) -> Any:
    """A tensor's values as an array; those of a type that numpy lacks as their bits."""
    plain = tensor.detach().cpu()
    try:
        return plain.numpy()
    except TypeError:  # bfloat16 and the 8-bit floats
        return plain.contiguous().view(torch.uint8).numpy()


def is_picture(item: Any) -> bool:
    """Whether an item is one of Pillow's, which is not imported for the question."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(item, pillow.Image)


@contextmanager
def steady() -> Iterator[None]:
    """Reading in here draws from a fixed seed; afterwards the global generators are where they were."""
    with isolate_rng():
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - for datasets that draw from the global generator
        torch.manual_seed(0)
        yield


def whole_tensors(dataset: "Dataset[Any]") -> tuple[torch.Tensor, ...] | None:
    """The tensors of a TensorDataset, or their rows that a Subset of one chose; None for other datasets."""
    if type(dataset) is TensorDataset:
        return dataset.tensors
    if type(dataset) is Subset and (tensors := whole_tensors(dataset.dataset)) is not None:
        rows = torch.as_tensor(list(dataset.indices), dtype=torch.long)
        return tuple(tensor[rows] for tensor in tensors)
    return None


def _read(dataset: "Dataset[Any]") -> str | None:
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        return None
    size = len(dataset)
    tensors = whole_tensors(dataset)
    sampled = size > MANY and tensors is None
    digest = sha256(f"{size} items ".encode())
    rows = np.linspace(0, size - 1, SAMPLED).round().astype(int).tolist() if sampled else range(size)
    try:
        with steady():
            for item in tensors or (dataset[row] for row in rows):
                for part in describe_item(item):
                    digest.update(part)
    except Exception:  # noqa: BLE001 - a foreign dataset may raise anything; it then has no fingerprint
        return None
    return ("sampled-" if sampled else "") + digest.hexdigest()[:DIGITS]
