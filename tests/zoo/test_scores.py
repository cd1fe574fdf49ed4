"""Scores tell planted bad items from good ones, without having seen the item; perplexity against a plain spelling."""

from collections import Counter
from functools import partial
from math import log2
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from ablate.errors import TrialError
from ablate.zoo.scores import rate_by_model, rate_by_neighbours, rate_by_perplexity

WRONG = [0, 7, 31]


def clouds() -> TensorDataset:
    """Two clouds far apart, with three labels wrong."""
    labels = torch.arange(60) % 2
    points = labels[:, None] * 5.0 + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    labels[WRONG] = 1 - labels[WRONG]
    return TensorDataset(points, labels)


@pytest.mark.parametrize(
    "rate", [partial(rate_by_neighbours, neighbours=5), rate_by_model], ids=["neighbours", "model"]
)
def test_wrong_labels_score_lowest_and_one_seed_gives_one_score(rate: Any) -> None:
    scores = rate(clouds(), 0)
    assert sorted(np.argsort(scores)[:3].tolist()) == WRONG
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.max() > 0.9
    assert np.array_equal(scores, rate(clouds(), 0))
    assert not np.array_equal(scores, rate(clouds(), 1))


def test_neighbours_vote_with_equal_weight() -> None:
    scores = rate_by_neighbours(clouds(), 0, neighbours=5)
    assert set(np.round(scores * 5, 9)) <= set(range(6))
    right = np.setdiff1d(np.arange(60), WRONG)
    assert scores[right].mean() > 0.9
    assert scores[WRONG].max() < 0.5


def test_a_class_rarer_than_the_folds_is_refused() -> None:
    rare = TensorDataset(torch.rand(20, 2), torch.tensor([0] * 17 + [1] * 3))
    with pytest.raises(TrialError, match="3 items are of class 1, fewer than 5 folds"):
        rate_by_neighbours(rare, 0, neighbours=2)
    assert len(rate_by_neighbours(rare, 0, neighbours=2, folds=3)) == 20


def spell_out(text: bytes, learned: list[bytes]) -> float:
    """Mean log2 probability: bigram counts plus one count of a unigram that has one count of the uniform."""
    single, before, pairs = Counter(), Counter(), Counter()  # type: ignore[var-annotated]
    for other in learned:
        for last, byte in zip([None, *other], other, strict=False):
            single[byte] += 1
            before[last] += 1
            pairs[last, byte] += 1
    total = 0.0
    for last, byte in zip([None, *text], text, strict=False):
        unigram = (single[byte] + 1 / 256) / (single.total() + 1)
        total += log2((pairs[last, byte] + unigram) / (before[last] + 1))
    return total / len(text)


def test_perplexity_is_that_of_a_bigram_model_spelt_out() -> None:
    learned = [b"the cat sat", b"on the mat", b""]
    scores = rate_by_perplexity(["the hat", b"zzz", torch.tensor([116, 104])], 0, reference=learned)  # type: ignore[arg-type]
    assert scores == pytest.approx([spell_out(text, learned) for text in (b"the hat", b"zzz", b"th")])
    assert scores[0] > scores[1]


def test_without_a_reference_no_text_is_judged_by_itself() -> None:
    """Each text is all of one letter, its own: other folds never hold it, so it is as improbable as any byte unseen."""
    texts = [bytes([65 + number]) * 8 for number in range(20)]
    scores = rate_by_perplexity(texts, 3, folds=20)  # type: ignore[arg-type]
    assert scores == pytest.approx([spell_out(text, [t for t in texts if t != text]) for text in texts])
    assert scores.max() < -7


def test_rubbish_among_prose_scores_lowest_and_empty_texts_below_it() -> None:
    rng = np.random.default_rng(0)
    prose = [
        ("label", f"what was measured in run {number} is written beside its record, and kept") for number in range(30)
    ]
    noise = [("label", rng.integers(0, 256, 60).astype(np.uint8)) for _ in range(3)]
    scores = rate_by_perplexity([*prose, *noise, ("label", "")], 0, content=1)  # type: ignore[arg-type]
    assert set(np.argsort(scores)[:4].tolist()) == {30, 31, 32, 33}
    assert scores[33] == -np.inf


@pytest.mark.parametrize(
    "item", [np.zeros((2, 2)), np.array([0.5]), [256], [-1]], ids=["matrix", "float", "big", "low"]
)
def test_what_is_no_text_is_refused(item: Any) -> None:
    with pytest.raises(TrialError, match="an item is no text"):
        rate_by_perplexity([(item, 0)], 0)  # type: ignore[arg-type]
