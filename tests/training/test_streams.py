"""Streams: stable, distinct, and all the global generators follow."""

import random

import numpy as np
import pytest
import torch

from ablate.errors import TrialError
from ablate.training.streams import STREAMS, derive_seed, make_generator, replace_streams, seed_globals


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


@pytest.mark.parametrize("varied", STREAMS)
def test_one_stream_varies_and_all_others_stay(varied: str) -> None:
    before = {stream: derive_seed(3, stream) for stream in STREAMS}
    drawn = {stream: torch.rand(4, generator=make_generator(3, stream)) for stream in STREAMS}
    with replace_streams({varied: 7}):
        assert derive_seed(3, varied) == derive_seed(7, varied) != before[varied]
        for stream in STREAMS:
            again = torch.rand(4, generator=make_generator(3, stream))
            assert torch.equal(again, drawn[stream]) == (stream != varied)
    assert {stream: derive_seed(3, stream) for stream in STREAMS} == before


def test_streams_are_given_back_after_an_error_and_nest() -> None:
    own = derive_seed(0, "init")
    with replace_streams({"order": 1}):
        with pytest.raises(ZeroDivisionError), replace_streams({"init": 5}):
            1 / 0  # noqa: B018 - the error is the test
        assert derive_seed(0, "order") == derive_seed(1, "order")
    assert derive_seed(0, "init") == own


@pytest.mark.parametrize(("seeds", "words"), [({"weather": 1}, "allowed: split, init"), ({"init": -1}, "streams.init")])
def test_a_stream_or_seed_that_cannot_be_is_refused(seeds: dict[str, int], words: str) -> None:
    with pytest.raises(TrialError, match=words), replace_streams(seeds):
        pass
