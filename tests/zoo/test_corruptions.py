"""Corruptions of texts: deterministic, as severe as stated, and nothing else is touched."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from ablate.errors import TrialError
from ablate.zoo.corruptions import change_case, change_spaces, drop_words, misspell


class Texts(Dataset[Any]):
    """Texts with labels, by key."""

    def __init__(self, *texts: Any) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> Any:
        return {"text": self.texts[row], "label": row}


PROSE = "The quick brown fox jumps over the lazy dog, again and again, until it is tired.\tThen it sleeps."
KINDS = [misspell, change_case, drop_words, change_spaces]


def corrupt(kind: Any, share: float, *texts: str, **options: Any) -> list[str]:
    made = kind(Texts(*texts), share=share, content="text", **options)
    assert [made[row]["label"] for row in range(len(made))] == list(range(len(texts)))
    return [made[row]["text"] for row in range(len(made))]


def count_edits(one: str, other: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        before, row[0] = row[0], place
        for at, its in enumerate(other, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (letter != its))
    return row[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_corruption_is_the_same_each_time_differs_by_row_and_grows(kind: Any) -> None:
    np.random.seed(3)  # noqa: NPY002 - it must not matter
    long = " ".join([PROSE] * 2)
    light, heavy = corrupt(kind, 0.1, long, long), corrupt(kind, 0.6, long, long)
    assert light == corrupt(kind, 0.1, long, long)
    assert light[0] != light[1]
    assert 0 < count_edits(light[0], long) < count_edits(heavy[0], long) / 2
    assert corrupt(kind, 0.0, "one two") == ["one two"]


@given(st.text(max_size=40), st.floats(0, 1))
def test_spaces_change_and_nothing_else(text: str, share: float) -> None:
    assert "".join(corrupt(change_spaces, share, text)[0].split()) == "".join(text.split())


@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=12), st.floats(0, 1), st.floats(0, 1))
def test_fewer_words_stay_where_more_are_dropped(words: list[str], one: float, other: float) -> None:
    numbered = " ".join(f"{word}{place}" for place, word in enumerate(words))
    few, many = (corrupt(drop_words, share, numbered)[0].split() for share in (max(one, other), min(one, other)))
    assert len(few) >= 1
    assert set(few) <= set(many) <= set(numbered.split())
    assert few == [word for word in numbered.split() if word in few], "in their order"


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=60), st.floats(0, 1))
def test_cases_swap_back(text: str, share: float) -> None:
    assert corrupt(change_case, share, text)[0].lower() == text
    assert corrupt(change_case, 1.0, text, to="upper")[0] == text.upper()


def test_as_many_letters_are_struck_as_stated_and_marks_are_left_alone() -> None:
    text = "e" * 20_000
    typed = corrupt(misspell, 0.2, text)[0]
    neighbours = sum(letter in "wr" for letter in typed)
    assert neighbours + typed.count("e") == len(typed)
    assert neighbours / len(text) == pytest.approx(0.2 / 4, abs=0.01), "a quarter of the errors, either key beside it"
    assert len(typed) == pytest.approx(len(text), rel=0.02), "as many are doubled as are dropped"
    assert corrupt(misspell, 1.0, "1, 2; 3!") == ["1, 2; 3!"]


@given(st.text("ab", min_size=2, max_size=30), st.floats(0, 1))
def test_errors_of_the_keyboard_stay_on_it(text: str, share: float) -> None:
    assert set(corrupt(misspell, share, text.upper())[0]) <= set("ABSVN")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_text_or_no_share_is_refused(kind: Any) -> None:
    with pytest.raises(TrialError, match="no text"):
        kind(Texts(7), share=0.5, content="text")[0]
    with pytest.raises(TrialError, match=r"share is 1\.5"):
        kind(Texts("a"), share=1.5)


def test_a_case_that_there_is_not_is_refused() -> None:
    with pytest.raises(TrialError, match="did you mean 'upper'"):
        change_case(Texts("a"), to="uper")  # type: ignore[arg-type]
