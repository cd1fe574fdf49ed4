"""Streams: stable, distinct, and all the global generators follow."""

import random

import numpy as np
import pytest
import torch

from ablate.training.streams import STREAMS, derive_seed, make_generator, seed_globals


@pytest.mark.parametrize("seed", [0, 1, 4_000_000_000])
def test_a_stream_is_the_child_that_numpy_would_spawn_in_its_place(seed: int) -> None:
    children = np.random.SeedSequence(seed).spawn(len(STREAMS))
    spawned = [int(child.generate_state(1, np.uint64)[0]) >> 1 for child in children]
    assert [derive_seed(seed, stream) for stream in STREAMS] == spawned


def test_no_two_streams_of_many_seeds_coincide() -> None:
    seeds = [derive_seed(seed, stream) for seed in range(200) for stream in STREAMS]
    assert len(set(seeds)) == len(seeds)


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(ValueError):
        derive_seed(0, "weather")


def test_every_global_generator_starts_at_the_stream() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002 - what is tested

    seed_globals(3, "init")
    first = draw()
    seed_globals(3, "order")
    other = draw()
    seed_globals(3, "init")
    assert draw() == first
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_a_generator_draws_its_stream_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn = [torch.rand(3, generator=make_generator(1, "order")) for _ in range(2)]
    assert torch.equal(*drawn)
    assert torch.equal(torch.rand(3), expected)
