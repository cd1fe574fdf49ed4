"""Streams of randomness: named, independent, all derived from a trial's one seed and from nothing else.

No stream depends on the cell, so cells of one seed share split, order and augmentation: common random numbers.
"""

import random

import numpy as np
import torch

# A stream's place here is part of its seed: append only.
STREAMS = ("split", "init", "order", "augmentation", "label")


def derive_seed(seed: int, stream: str) -> int:
    """The seed of one stream, a whole number below 2^63 (numpy's SeedSequence, spawn key = the stream's place).

    Args:
        seed: the trial's seed.
        stream: one of `STREAMS`.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream),))
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
