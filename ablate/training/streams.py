"""Streams of randomness: named, independent, all derived from a trial's one seed and from nothing else.

No stream depends on the cell, so cells of one seed share split, order and augmentation: common random numbers.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ablate.errors import TrialError

# A stream's place here is part of its seed: append only.
STREAMS = ("split", "init", "order", "augmentation", "label", "data", "attack")

# Seeds that stand in for the trial's, stream by stream, while `replace_streams` is open.
_replaced: dict[str, int] = {}


def derive_seed(seed: int, stream: str) -> int:
    """The seed of one stream, a whole number below 2^63 (numpy's SeedSequence, spawn key = the stream's place).

    Args:
        seed: the trial's seed; `replace_streams` may put another in its place.
        stream: one of `STREAMS`.
    """
    sequence = np.random.SeedSequence(_replaced.get(stream, seed), spawn_key=(STREAMS.index(stream),))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def make_generator(seed: int, stream: str) -> torch.Generator:
    """A torch generator that draws one stream."""
    return torch.Generator().manual_seed(derive_seed(seed, stream))


def seed_globals(seed: int, stream: str) -> None:
    """Let everything that draws from the global generators (random, numpy, torch) draw from one stream."""
    value = derive_seed(seed, stream)
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 - for code that is not ours and uses the global generator
    torch.manual_seed(value)


@contextmanager
def replace_streams(seeds: Mapping[str, Any] | None) -> Iterator[None]:
    """Derive single streams from seeds of their own, everywhere in this process, until the block ends.

    So one source of randomness varies while the others stay as the trial's seed has them.

    Args:
        seeds: stream -> seed; the others follow the trial's seed.

    Raises:
        TrialError: a stream that there is not, or a seed that is no whole number from 0.
    """
    for stream, seed in (seeds or {}).items():
        if stream not in STREAMS:
            raise TrialError(f"unknown stream {stream!r}", where="streams", allowed=STREAMS, word=stream)
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise TrialError(f"the seed is {seed!r}", where=f"streams.{stream}", allowed=["a whole number from 0"])
    before = dict(_replaced)
    _replaced.update(seeds or {})
    try:
        yield
    finally:
        _replaced.clear()
        _replaced.update(before)
