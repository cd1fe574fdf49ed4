"""Contamination: planted copies are found at their level and number, and hardly anything else is."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits, load_wine

from ablate.contamination import Index, Overlap, find_overlap, normalise_text, tell_kind
from ablate.errors import PlanError

WORDS = 15


def draw_texts(n: int, seed: int) -> list[str]:
    """Sentences of 15 words of one small language, whose common words recur in every other sentence."""
    language = np.random.default_rng(0)
    words = ["".join(chr(97 + c) for c in language.integers(0, 26, language.integers(2, 10))) for _ in range(3000)]
    shares = 1 / np.arange(1, len(words) + 1)
    rng = np.random.default_rng(seed)
    return [" ".join(words[i] for i in rng.choice(3000, WORDS, p=shares / shares.sum())) for _ in range(n)]


def draw_pictures(n: int, seed: int, side: int = 24) -> list[Any]:
    """Smooth random fields as 8-bit grey pictures, each over its full range."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=(side, side)), 2) for _ in range(n)]
    return [np.round(255 * (f - f.min()) / np.ptp(f)).astype(np.uint8) for f in fields]


TEXTS, OTHER_TEXTS = draw_texts(60, 1), draw_texts(200, 2)
PICTURES, OTHER_PICTURES = draw_pictures(40, 1), draw_pictures(100, 2)
TEXT_INDEX, PICTURE_INDEX = Index(TEXTS), Index(PICTURES)


def replace_words(text: str, count: int, seed: int) -> str:
    rng, words = np.random.default_rng(seed), text.split()
    for place in rng.choice(len(words), count, replace=False):
        words[place] = "qwertyu"
    return " ".join(words)


def save_lossy(picture: Any, quality: int = 60) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return Image.open(file)


# --- text -------------------------------------------------------------------------------------------------------------


def test_each_copy_is_found_at_its_level_with_its_number() -> None:
    train = [*OTHER_TEXTS, TEXTS[7], f"  “{TEXTS[3].upper()}” !\n", replace_words(TEXTS[9], 1, 0)]
    assert TEXT_INDEX.find(train) == Overlap(60, (7,), (3, 7), (3, 7, 9))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Don't  panic!", "don’t panic"),
        ("ﬁne ＡＢＣ²", "fine abc2"),
        ("STRASSE\t(straße)", "strasse, strasse"),
        ("a\u00a0b\u200bc", "a b c"),
    ],
)
def test_texts_that_differ_in_form_alone_have_one_normal_form(text: str, same: str) -> None:
    assert normalise_text(text) == normalise_text(same)


@pytest.mark.parametrize(("text", "other"), [("x < 3", "x > 3"), ("कि", "का"), ("café", "cafe"), ("a b", "ab")])
def test_what_carries_meaning_is_kept(text: str, other: str) -> None:
    assert normalise_text(text) != normalise_text(other)


@given(st.text())
def test_normalising_again_changes_nothing(text: str) -> None:
    assert normalise_text(normalise_text(text)) == normalise_text(text)


def test_texts_of_signs_alone_are_not_all_one() -> None:
    assert find_overlap(["?!"], ["...", "?!", ""]).near == (1,)


def test_bytes_are_text() -> None:
    assert find_overlap([TEXTS[2].encode(), TEXTS[4].upper().encode()], TEXTS, near=False).normalised == (2, 4)


def test_rows_of_tokens_are_text_whatever_their_number_type() -> None:
    test = np.random.default_rng(0).integers(0, 500, (20, 60))
    edited = test[5].copy()
    edited[30] = 501
    shifted = test[6] + 1  # other tokens altogether
    found = find_overlap([test[4].astype(np.int32), edited, shifted, test[8]], test)
    assert found == Overlap(20, (8,), (4, 8), (4, 5, 8))


def test_near_texts_are_those_at_the_threshold_by_brute_force() -> None:
    def grams(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(len(text) - 4)}

    train = [replace_words(text, 1 + i % 3, i) for i, text in enumerate(TEXTS)]
    similar = [len(grams(a) & grams(b)) / len(grams(a) | grams(b)) for a, b in zip(train, TEXTS, strict=True)]
    expected = {i for i, value in enumerate(similar) if value >= 0.7}
    assert 10 < len(expected) < 50
    assert expected - {*TEXT_INDEX.find(train).near} == set()
    assert {*TEXT_INDEX.find(train).near} - expected == set()
    strict = find_overlap(train, TEXTS, threshold=1.0)
    assert strict.near == strict.normalised == ()


def test_unrelated_texts_are_not_flagged() -> None:
    assert TEXT_INDEX.find(OTHER_TEXTS) == Overlap(60, (), (), ())


# --- pictures ---------------------------------------------------------------------------------------------------------

COPIES = {
    "as floats": (lambda p: p / np.float32(255), True),
    "with a channel": (lambda p: p[None] / 255, True),
    "brighter": (lambda p: p / 255 * 0.6 + 0.3, True),
    "darker, in 8 bits": (lambda p: np.round(p * 0.6).astype(np.uint8), False),
    "noisy": (lambda p: (p + np.random.default_rng(0).normal(0, 4, p.shape)).clip(0, 255).astype(np.uint8), False),
    "lossy": (save_lossy, False),
    "twice the size": (lambda p: Image.fromarray(p).resize((48, 48)), False),
    "in colour": (lambda p: Image.fromarray(p).convert("RGB"), False),
}


@pytest.mark.parametrize("name", COPIES)
def test_changed_copies_of_pictures_are_found(name: str) -> None:
    change, normalised = COPIES[name]
    found = PICTURE_INDEX.find([*OTHER_PICTURES, *map(change, PICTURES[10:20])])
    assert found.exact == ()
    assert found.normalised == (tuple(range(10, 20)) if normalised else ())
    assert found.near == tuple(range(10, 20))


def test_pictures_in_colour_are_the_same_in_any_layout() -> None:
    last = np.stack([np.stack(draw_pictures(3, seed), -1) for seed in range(5)])
    found = find_overlap(last.transpose(0, 3, 1, 2)[:2], last)
    assert found == Overlap(5, (), (0, 1), (0, 1))
    swapped = last[:, :, :, ::-1][:2]
    assert find_overlap(swapped, last, near=False).normalised == (), "red is not blue"


def test_pictures_with_palettes_are_compared_by_their_colours() -> None:
    plain = Image.fromarray(np.stack(draw_pictures(3, 3), -1)).quantize(16)
    assert find_overlap([plain.convert("RGB")], [plain], near=False).exact == (0,)


def test_unrelated_pictures_are_not_flagged_and_blank_ones_are_not_one() -> None:
    assert PICTURE_INDEX.find(OTHER_PICTURES) == Overlap(40, (), (), ())
    blank = [np.full((20, 20), value) for value in (0.0, 0.5, 1.0)]
    assert find_overlap(blank[:1], blank).near == (0,)


def test_pictures_with_holes_are_compared() -> None:
    holed = [np.where(p > 200, np.nan, p / 255) for p in PICTURES[:3]]
    assert find_overlap(holed[:1], holed).near == (0,)


def test_small_pictures_have_no_near_level_because_different_ones_would_be_near() -> None:
    """By perceptual hashes alone every seventh of the 8 × 8 digits looks like another one; no two are copies."""
    digits = load_digits().images / 16
    found = find_overlap(digits[:1197], digits[1197:])
    assert (found.exact, found.normalised, found.near) == ((), (), ())
    assert found.skipped is not None
    assert "under 16 × 16" in found.skipped
    grown = [np.asarray(Image.fromarray(p).resize((16, 16), Image.Resampling.NEAREST)) for p in digits]
    assert len(find_overlap(grown[:1197], grown[1197:], threshold=0.5).near) > 600 / 10


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_rows_of_numbers_are_compared_to_six_digits() -> None:
    wine = load_wine().data
    single = wine[10:13].astype(np.float32)
    off = wine[20:23] * (1 + 1e-4)
    found = find_overlap([*wine[:2], *single, *off], wine)
    assert found.exact == (0, 1)
    assert found.normalised == found.near == (0, 1, 10, 11, 12)
    assert "no near level" in str(found.skipped)
    assert find_overlap(wine[:89], wine[89:]).normalised == (), "no two wines are the same"


def test_zeros_and_what_is_no_number_are_values_too() -> None:
    rows = np.array([[0.0, np.nan, 1.0], [np.inf, 2.0, 3.0], [1e-300, 0.0, 5.0]])
    assert find_overlap(rows * np.array([-1, 1, 1]), rows[:1]).normalised == (0,)
    assert find_overlap(rows, rows).exact == (0, 1, 2)


# --- identities -------------------------------------------------------------------------------------------------------


@given(st.permutations(range(12)), st.integers(0, 12))
def test_order_and_repetition_do_not_matter_and_fewer_items_hit_no_more(order: list[int], kept: int) -> None:
    train = [*TEXTS[:3], *(text.title() for text in TEXTS[3:6]), *(replace_words(t, 1, 1) for t in TEXTS[6:12])]
    whole, part = TEXT_INDEX.find(train), TEXT_INDEX.find([train[i] for i in order[:kept]])
    assert TEXT_INDEX.find([train[i] for i in [*order, *order]]) == whole
    for level in ("exact", "normalised", "near"):
        assert {*getattr(part, level)} <= {*getattr(whole, level)}
    assert {*part.exact} <= {*part.normalised} <= {*part.near}


@pytest.mark.parametrize(
    "items", [TEXTS[:5], PICTURES[:5], list(load_wine().data[:5])], ids=["texts", "pictures", "rows"]
)
def test_a_set_is_in_itself_and_an_empty_one_in_none(items: list[Any]) -> None:
    assert find_overlap(items, items).exact == (0, 1, 2, 3, 4)
    assert find_overlap([], items).near == ()
    assert find_overlap(items, []) == Overlap(0, (), (), ())


def test_items_of_another_kind_are_passed_over() -> None:
    mixed = [1, None, {"a": 1}, [1, [2, 3]], object(), PICTURES[0], "text", np.eye(3, dtype=int)]
    assert PICTURE_INDEX.find(mixed).exact == (0,)
    assert TEXT_INDEX.find(mixed).near == ()


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ("a", "text"),
        (b"a", "text"),
        (np.arange(4), "text"),
        (np.zeros((1, 8, 8)), "image"),
        (Image.new("RGB", (3, 3)), "image"),
        (np.zeros(4), "array"),
        (np.zeros((5, 8, 8)), "array"),
        (np.zeros((8, 8), int), "array"),
        (3.0, "array"),
    ],
    ids=["str", "bytes", "tokens", "plane", "colour", "row", "stack", "whole numbers", "number"],
)
def test_kinds_are_told_by_type_and_shape(item: Any, kind: str) -> None:
    assert tell_kind(item) == kind


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "sound"}, ["unknown kind of items 'sound'", "text"]),
        ({"threshold": 0}, ["threshold is 0", "up to 1"]),
        ({"kind": "image"}, ["test item 0 is no image"]),
    ],
    ids=["kind", "threshold", "item"],
)
def test_what_cannot_be_compared_is_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(PlanError) as refused:
        find_overlap(TEXTS, TEXTS, **options)
    assert all(word in str(refused.value) for word in words)
