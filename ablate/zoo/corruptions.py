"""Corruptions of texts: dataset -> dataset, the same texts changed in one way at a stated severity.

What is random is drawn from a fixed seed, by row: all trials see the same texts, and a higher share hits the places
that a lower one hits, and others. Labels and other parts stay.
"""

import re
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from ablate.errors import TrialError
from ablate.zoo.datasets import Items, Mapped, Place, get_part, replace_part

SEED = 20  # of every random corruption
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # of one layout; letters beside each other are struck for one another

Case = Literal["swap", "upper", "lower"]


class Corrupted(Mapped):
    """Items whose text is another.

    Args:
        dataset: map-style, with texts.
        change: text, generator -> text.
        content: the part of an item that is its text.
    """

    def __init__(self, dataset: Items, change: Callable[[str, np.random.Generator], str], content: Place) -> None:
        super().__init__(dataset)
        self._change, self._content = change, content

    def change(self, item: Any, row: int) -> Any:
        """The item with its text changed.

        Raises:
            TrialError: that part is no text.
        """
        text = get_part(item, self._content)
        if not isinstance(text, str):
            raise TrialError(
                f"an item's part {self._content!r} is a {type(text).__name__}, no text",
                where="domains",
                remedy="say by `content` where the text stands, or corrupt texts before they become tokens",
            )
        return replace_part(item, self._content, self._change(text, np.random.default_rng([SEED, row])))


def misspell(dataset: Items, share: float, content: Place = 0) -> Corrupted:
    """Typing errors: this share of the letters is dropped, doubled, swapped with the next, or a neighbouring key's.

    Raises:
        TrialError: the share is not in 0..1.
    """
    _require_share(share)

    def change(text: str, rng: np.random.Generator) -> str:
        struck, kinds, sides = rng.random(len(text)) < share, rng.integers(4, size=len(text)), rng.random(len(text))
        typed, place = "", 0
        while place < len(text):
            letter, beside = text[place], text[place + 1 : place + 2]
            swapped = struck[place] and letter.isalpha() and kinds[place] == 0
            if swapped:
                typed += beside + letter
            elif struck[place] and letter.isalpha():
                typed += ("", letter * 2, _slip(letter, sides[place]))[kinds[place] - 1]
            else:
                typed += letter
            place += 2 if swapped else 1
        return typed

    return Corrupted(dataset, change, content)


def change_case(dataset: Items, share: float = 1.0, to: Case = "swap", content: Place = 0) -> Corrupted:
    """This share of the letters is in the other case, or in upper or lower case.

    Raises:
        TrialError: the share is not in 0..1, or there is no such case.
    """
    _require_share(share)
    if to not in get_args(Case):
        raise TrialError(f"unknown case {to!r}", where="domains: to", allowed=get_args(Case), word=to)
    turn: Callable[[str], str] = {"swap": str.swapcase, "upper": str.upper, "lower": str.lower}[to]

    def change(text: str, rng: np.random.Generator) -> str:
        chosen = rng.random(len(text)) < share
        return "".join(turn(c) if hit else c for c, hit in zip(text, chosen, strict=True))

    return Corrupted(dataset, change, content)


def drop_words(dataset: Items, share: float, content: Place = 0) -> Corrupted:
    """Each word is dropped with this probability; one stays at least.

    Raises:
        TrialError: the share is not in 0..1.
    """
    _require_share(share)

    def change(text: str, rng: np.random.Generator) -> str:
        words = text.split()
        draws = rng.random(len(words))
        kept = [word for word, draw in zip(words, draws, strict=True) if draw >= share]
        return " ".join(kept or [words[int(draws.argmax())]]) if words else text

    return Corrupted(dataset, change, content)


def change_spaces(dataset: Items, share: float, content: Place = 0) -> Corrupted:
    """Each gap between words is closed, tripled, a tab or a line break with this probability; nothing else changes.

    Raises:
        TrialError: the share is not in 0..1.
    """
    _require_share(share)

    def change(text: str, rng: np.random.Generator) -> str:
        parts = re.split(r"(\s+)", text)
        draws, kinds = rng.random(len(parts)), rng.integers(4, size=len(parts))
        return "".join(
            ("", "   ", "\t", "\n")[kind] if place % 2 and draw < share else part
            for place, (part, draw, kind) in enumerate(zip(parts, draws, kinds, strict=True))
        )

    return Corrupted(dataset, change, content)


def _slip(letter: str, side: float) -> str:
    """The key beside a letter, on the side that a draw says; the letter itself where the layout has none."""
    row = next((row for row in KEYS if letter.lower() in row), None)
    if row is None:
        return letter
    place = row.index(letter.lower()) + (1 if side < 0.5 else -1)
    beside = row[place] if 0 <= place < len(row) else row[1 if place < 0 else -2]
    return beside.upper() if letter.isupper() else beside


def _require_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise TrialError(f"the share is {share}", where="domains: share", allowed=["0 to 1"])
