"""Misprints change what they say, as often as they say, byte for byte, and the same for every trial."""

import numpy as np
import pytest

from ablate.errors import TrialError
from ablate.zoo.misprints import ROWS, change_case, flatten_layout, mistype, transpose
from ablate.zoo.texts import Windows

TEXT = b"The quick brown fox\njumps over the lazy dog, twice:\t\xc3\xa9 (and a 3rd time) \r\n \xe2\x82\xac 12 "
WINDOWS = Windows([TEXT[shift:] + TEXT[:shift] for shift in range(0, len(TEXT), 2)] * 20)
LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def codes(windows: Windows) -> np.ndarray:
    return np.frombuffer(b"".join(windows.windows), np.uint8).reshape(len(windows), -1)


def is_letter(values: np.ndarray) -> np.ndarray:
    return np.isin(values, np.frombuffer(LETTERS, np.uint8))


@pytest.mark.parametrize("change", [mistype, transpose, change_case, flatten_layout], ids=lambda f: f.__name__)
def test_nothing_is_changed_at_nought_and_the_same_every_time(change):
    assert change(WINDOWS, 0.0).windows == WINDOWS.windows
    assert change(WINDOWS, 0.3).windows == change(WINDOWS, 0.3).windows != WINDOWS.windows
    assert (codes(change(WINDOWS, 1.0)) >= 128).tolist() == (codes(WINDOWS) >= 128).tolist()
    with pytest.raises(TrialError, match="0 to 1"):
        change(WINDOWS, 1.1)


@pytest.mark.parametrize("change", [mistype, change_case], ids=lambda f: f.__name__)
def test_the_stated_share_of_letters_is_changed(change):
    before, after = codes(WINDOWS), codes(change(WINDOWS, 0.1))
    letters = is_letter(before)
    assert (before[~letters] == after[~letters]).all()
    assert float((before != after)[letters].mean()) == pytest.approx(0.1, abs=0.01)


def test_a_typo_is_a_neighbour_on_the_keyboard():
    before, after = codes(WINDOWS), codes(mistype(WINDOWS, 1.0))
    for was, now in {*zip(before[is_letter(before)].tolist(), after[is_letter(before)].tolist(), strict=True)}:
        one, other = chr(was), chr(now)
        assert one.isupper() == other.isupper()
        (row,) = (row for row in ROWS if one.lower() in row)
        assert abs(row.index(one.lower()) - row.index(other.lower())) == 1


def test_transposed_pairs_of_letters_change_places():
    before, after = codes(WINDOWS), codes(transpose(WINDOWS, 1.0))
    width = before.shape[1] // 2 * 2
    was, now = (part[:, :width].reshape(len(part), -1, 2) for part in (before, after))
    pairs = is_letter(was).all(2)
    assert (now[pairs] == was[pairs][:, ::-1]).all()
    assert (now[~pairs] == was[~pairs]).all()
    some = codes(transpose(WINDOWS, 0.2))[:, :width].reshape(now.shape)
    differ = was[..., 0] != was[..., 1]
    assert float((some != was).any(2)[pairs & differ].mean()) == pytest.approx(0.2, abs=0.02)


def test_cases_are_exchanged_and_layout_becomes_blanks():
    text = WINDOWS.windows[0].decode()
    assert change_case(WINDOWS, 1.0).windows[0].decode() == text.swapcase().replace("É", "é")
    flat = text.replace("\n", " ").replace("\t", " ").replace("\r", " ")
    assert flatten_layout(WINDOWS).windows[0].decode() == flat
