"""Shifts of windows of bytes: dataset -> dataset, all changed in one way, byte for byte, at a stated severity.

Each takes a dataset of `bytes` of one length and gives one of the same. What is random in a shift is drawn from the
seed in its definition, never from a trial's: all trials see the same texts. Only letters and white space of ASCII are
changed, so what was UTF-8 stays it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ablate.errors import TrialError
from ablate.zoo.texts import Windows

Texts = Dataset[bytes]
SEED = 20  # of every random shift
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # of an American keyboard


def mistype(dataset: Texts, share: float) -> Windows:
    """A share of the letters becomes the letter to its left or right on the keyboard, in the same case."""
    codes, rng = _open(dataset, share)
    neighbours = np.arange(256)[:, None].repeat(2, 1)
    for row in ROWS:
        for case in (row, row.upper()):
            keys = np.frombuffer(case.encode(), np.uint8)
            neighbours[keys, 0], neighbours[keys[1:], 1] = np.roll(keys, -1), keys[:-1]
            neighbours[keys[-1], 0], neighbours[keys[0], 1] = keys[-2], keys[1]  # at the ends there is one
    changed = neighbours[codes, rng.integers(0, 2, codes.shape)]
    return _close(np.where(rng.random(codes.shape) < share, changed, codes))


def transpose(dataset: Texts, share: float) -> Windows:
    """A share of the pairs of letters that stand side by side, each letter in one pair, change places."""
    codes, rng = _open(dataset, share)
    letters, swapped = _is_letter(codes), codes.copy()
    drawn = rng.random(codes.shape) < share
    for place in range(0, codes.shape[1] - 1, 2):
        pairs = drawn[:, place] & letters[:, place] & letters[:, place + 1]
        swapped[pairs, place], swapped[pairs, place + 1] = codes[pairs, place + 1], codes[pairs, place]
    return _close(swapped)


def change_case(dataset: Texts, share: float) -> Windows:
    """A share of the letters is written small where it was a capital, and the other way round."""
    codes, rng = _open(dataset, share)
    return _close(np.where(_is_letter(codes) & (rng.random(codes.shape) < share), codes ^ 0x20, codes))


def flatten_layout(dataset: Texts, share: float = 1.0) -> Windows:
    """A share of the line breaks and tabs becomes blanks."""
    codes, rng = _open(dataset, share)
    layout = np.isin(codes, np.frombuffer(b"\t\n\r\v\f", np.uint8))
    return _close(np.where(layout & (rng.random(codes.shape) < share), ord(" "), codes))


def _open(dataset: Any, share: float) -> tuple[NDArray[np.uint8], np.random.Generator]:
    """All windows (n, bytes), and what a shift draws from."""
    if not 0 <= share <= 1:
        raise TrialError(f"the share of a misprint is {share}", where="domains", allowed=["0 to 1"])
    windows = [dataset[row] for row in range(len(dataset))]
    codes = np.frombuffer(b"".join(windows), np.uint8).reshape(len(windows), -1)
    return codes, np.random.default_rng(SEED)


def _close(codes: NDArray[Any]) -> Windows:
    return Windows([row.tobytes() for row in codes.astype(np.uint8)])


def _is_letter(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    small = codes | 0x20
    letters: NDArray[np.bool_] = (codes < 128) & (small >= ord("a")) & (small <= ord("z"))
    return letters
