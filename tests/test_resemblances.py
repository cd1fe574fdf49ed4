"""Resemblances: hashes miss nothing that is near enough, and a missing library is named with its extra."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate import resemblances
from ablate.errors import StudyError
from ablate.resemblances import BITS, Pictures, Texts, cut_grams


@given(st.lists(st.integers(0, 3), max_size=30))
def test_grams_are_as_many_as_distinct_windows(codes: list[int]) -> None:
    width = min(5, len(codes))
    windows = {tuple(codes[i : i + width]) for i in range(len(codes) - width + 1)}
    assert len(cut_grams(np.array(codes, np.uint32))) == len(windows)


def test_grams_of_a_part_are_among_those_of_the_whole() -> None:
    codes = np.random.default_rng(0).integers(0, 1000, 200)
    assert {*cut_grams(codes[50:90])} < {*cut_grams(codes)}


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=BITS))
def test_hashes_within_the_allowed_bits_share_a_band(value: int, flipped: set[int]) -> None:
    other = value ^ sum(1 << bit for bit in flipped)
    bands = {*resemblances._cut_bands(value)}
    assert bands & {*resemblances._cut_bands(other)}


@pytest.mark.parametrize(
    ("library", "maker"), [("datasketch", Texts), ("imagehash", Pictures)], ids=["texts", "pictures"]
)
def test_a_missing_library_is_named_with_its_extra(library: str, maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(StudyError, match=r"ablate-studies\[contamination\]"):
        maker([np.zeros((20, 20))], 0.5)
