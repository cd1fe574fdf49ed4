"""Scores of training items, to filter and to order them by: a higher one is better, more typical, easier.

Each is called with a dataset and the trial's seed and gives a value per item. None sees anything but the training data:
what judges an item was fitted without it.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.errors import TrialError
from ablate.zoo.datasets import Items, Place, make_rng, read_labels, read_matrix, read_parts

Scores = NDArray[np.float64]
BYTES = 256


def rate_by_neighbours(
    dataset: Items, seed: int, neighbours: int = 10, folds: int = 5, content: Place = 0, label: Place = 1
) -> Scores:
    """The share of an item's nearest neighbours in the other folds that carry its label (after Wilson 1972).

    Args:
        dataset: items whose contents are arrays of one shape, with labels.
        seed: the trial's; draws the folds.
        neighbours: how many vote, by Euclidean distance.
        folds: the items are cut into.
        content: the part of an item that is compared.
        label: the part that is its label.

    Raises:
        TrialError: a class has fewer items than there are folds.
    """
    from sklearn.neighbors import KNeighborsClassifier

    return _rate(KNeighborsClassifier(neighbours), dataset, seed, folds, content, label)


def rate_by_model(
    dataset: Items, seed: int, model: Any = None, folds: int = 5, content: Place = 0, label: Place = 1
) -> Scores:
    """The probability that a classifier fitted on the other folds gives an item's label (Northcutt 2021, section 3).

    Args:
        dataset: items whose contents are arrays of one shape, with labels.
        seed: the trial's; draws the folds.
        model: any of scikit-learn's classifiers that gives probabilities; None is a logistic regression.
        folds: the items are cut into.
        content: the part of an item that is classified.
        label: the part that is its label.

    Raises:
        TrialError: a class has fewer items than there are folds.
    """
    from sklearn.linear_model import LogisticRegression

    return _rate(model or LogisticRegression(max_iter=1000), dataset, seed, folds, content, label)


def rate_by_perplexity(
    dataset: Items, seed: int, reference: Items | None = None, folds: int = 5, content: Place = 0
) -> Scores:
    """The mean log2 probability of a text's bytes under a small proxy (as Wenzek 2020, with a bigram model of bytes).

    Minus it is bits per byte, so perplexity is 2 to that. Text that repeats itself scores high, too.

    Args:
        dataset: items whose contents are text, bytes, or sequences of whole numbers below 256.
        seed: the trial's; draws the folds.
        reference: texts known to be good, from which the proxy learns; None: it learns from the other folds.
        folds: the items are cut into, without a reference.
        content: the part of an item that is text.

    Returns:
        At most 0; minus infinity for empty texts.

    Raises:
        TrialError: a content is of another kind.
    """
    texts = [_encode(part) for part in read_parts(dataset, content)]
    if reference is not None:
        table = _tabulate([_encode(part) for part in read_parts(reference, content)])
        return np.array([_rate_text(text, table) for text in texts])
    fold = make_rng(seed, "folds").permutation(len(texts)) % folds
    scores = np.empty(len(texts))
    for number in range(folds):
        table = _tabulate([text for text, its in zip(texts, fold, strict=True) if its != number])
        for row in np.flatnonzero(fold == number):
            scores[row] = _rate_text(texts[row], table)
    return scores


def _rate(model: Any, dataset: Items, seed: int, folds: int, content: Place, label: Place) -> Scores:
    """The out-of-fold probability of each item's label."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    labels = read_labels(dataset, label)
    rare, count = Counter(labels).most_common()[-1] if labels else (None, 0)
    if count < folds:
        raise TrialError(
            f"{count} items are of class {rare!r}, fewer than {folds} folds",
            where="data.changes",
            remedy="take fewer folds, or drop the class first",
        )
    numbers = np.unique(labels, return_inverse=True)[1]
    drawn = int(make_rng(seed, "folds").integers(2**32))
    cut = StratifiedKFold(folds, shuffle=True, random_state=drawn)
    given = cross_val_predict(model, read_matrix(dataset, content), numbers, cv=cut, method="predict_proba")
    scores: Scores = given[np.arange(len(labels)), numbers]
    return scores


def _encode(text: Any) -> NDArray[np.int64]:
    """A text's bytes as numbers."""
    if isinstance(text, str | bytes):
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return np.frombuffer(raw, np.uint8).astype(np.int64)
    codes = np.asarray(text)
    if codes.ndim != 1 or (codes.size and (codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= BYTES)):
        raise TrialError(
            "an item is no text",
            where="data.changes",
            allowed=["text", "bytes", "sequences of whole numbers below 256"],
            remedy="say where the text stands: `content`",
        )
    return codes.astype(np.int64)


def _tabulate(texts: list[NDArray[np.int64]]) -> Scores:
    """log2 P(byte | byte before) as (257, 256), where row 256 has no byte before.

    Bigram counts, backed by one count's worth of the unigram, itself smoothed by one count's worth of the uniform.
    """
    counts = np.zeros((BYTES + 1, BYTES))
    for text in texts:
        counts += np.bincount(_pair(text), minlength=counts.size).reshape(counts.shape)
    single = counts.sum(0)
    unigram = (single + 1 / BYTES) / (single.sum() + 1)
    table: Scores = np.log2((counts + unigram) / (counts.sum(1, keepdims=True) + 1))
    return table


def _pair(text: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each byte with the one before, as a cell of the table."""
    return np.concatenate([[BYTES], text[:-1]]) * BYTES + text


def _rate_text(text: NDArray[np.int64], table: Scores) -> float:
    return float(table.ravel()[_pair(text)].mean()) if len(text) else -np.inf
