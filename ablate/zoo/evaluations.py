"""Evaluations: scorers of what a trained module answers, for the config's `scores`; see `ablate.training.answers`.

Each is called with the answers to one test set and gives metrics; a tensor has a value per example, whose mean is the
metric. torchmetrics has them where it can.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_calibration_error

from ablate.errors import TrialError
from ablate.training.answers import Answers, Column

Metrics = dict[str, float | Tensor]


def calibrate(answers: Answers, bins: int = 15) -> Metrics:
    """How far confidence is from being right: `ece` and `brier`; lower is better.

    `ece` is the expected calibration error (Guo 2017, equation 3) over equal bins of the confidence, by torchmetrics.
    It depends on the bins and falls with the size of the test set. `brier` (Brier 1950) is the squared distance of the
    probabilities from the right answer, summed over classes, 0 to 2; it also rewards being sure where one is right.

    Args:
        answers: logits (n, classes) and labels (n,).
        bins: of the confidence.

    Raises:
        TrialError: answers are of another form.
    """
    probabilities, labels = _read_logits(answers)
    right = nn.functional.one_hot(labels, probabilities.shape[1])
    error = multiclass_calibration_error(probabilities, labels, probabilities.shape[1], n_bins=bins, norm="l1")
    return {"ece": float(error), "brier": (probabilities - right).square().sum(1)}


def select(answers: Answers, coverage: float = 0.8) -> Metrics:
    """`selective_risk`: the share of errors among the most confident answers, of which so many are given.

    The risk at a coverage (Geifman and El-Yaniv 2017, section 2): what a model errs that declines the rest. Confidence
    is the probability of the likeliest class; answers of equal confidence share the last places.

    Args:
        answers: logits (n, classes) and labels (n,).
        coverage: the share of the examples that is answered, rounded up to whole examples.

    Raises:
        TrialError: the coverage is not in (0, 1], or answers are of another form.
    """
    if not 0 < coverage <= 1:
        raise TrialError(f"coverage is {coverage}", where="scores: coverage", allowed=["above 0, up to 1"])
    probabilities, labels = _read_logits(answers)
    confidence, given = probabilities.max(1)
    wrong = (given != labels).double()
    wanted = math.ceil(coverage * len(labels) - 1e-9)  # 0.7 * 10 is a little above 7
    last = confidence.sort(descending=True).values[wanted - 1]
    sure, tied = confidence > last, confidence == last
    errors = wrong[sure].sum() + wrong[tied].mean() * (wanted - sure.sum())
    return {"selective_risk": float(errors / wanted)}


def abstain(answers: Answers, confidence: float = 0.5) -> Metrics:
    """What happens where a model declines whenever it is less confident than this.

    `abstention` is the share it declines: on ambiguous or underspecified inputs more is better, elsewhere less.
    `answered_risk` is the share of errors among what it answers; absent where it answers nothing.

    Args:
        answers: logits (n, classes) and labels (n,).
        confidence: the least probability of the likeliest class at which it answers.

    Raises:
        TrialError: answers are of another form.
    """
    probabilities, labels = _read_logits(answers)
    sure, given = probabilities.max(1)
    answered = sure >= confidence
    metrics: Metrics = {"abstention": (~answered).double()}
    if answered.any():
        metrics["answered_risk"] = float((given != labels)[answered].double().mean())
    return metrics


def compare_groups(answers: Answers, group: int | str = 2) -> Metrics:
    """`worst_group_accuracy` (Sagawa 2020, section 2.1) and `group_gap`: the best group's accuracy less the worst's.

    The worst of many small groups is low by chance alone: compare arms on the same groups, and mind their sizes.

    Args:
        answers: logits (n, classes) and labels (n,).
        group: the part of an example that says which group it is of; 1, the label, makes it the worst class.

    Raises:
        TrialError: examples have no such part, or answers are of another form.
    """
    probabilities, labels = _read_logits(answers)
    if group not in answers.parts:
        known = list(map(str, answers.parts))
        raise TrialError(f"examples have no part {group!r}", where="scores: group", allowed=known, word=str(group))
    right = (probabilities.argmax(1) == labels).double()
    groups = [part.item() if isinstance(part, Tensor) else part for part in answers.parts[group]]
    accuracies = [float(right[torch.tensor([its == name for its in groups])].mean()) for name in dict.fromkeys(groups)]
    return {"worst_group_accuracy": min(accuracies), "group_gap": max(accuracies) - min(accuracies)}


def match_exactly(answers: Answers, ignore: int | None = None) -> Metrics:
    """`exact_match`: the share of sequences whose every element is right and none too many.

    Args:
        answers: texts, which are compared without outer white space; tokens (n, steps); or logits (n, steps, classes)
            of a module that sees the true beginning; and labels (n, steps).
        ignore: what stands behind the end of a shorter sequence. Logits at places with this label do not count; tokens
            must be this there, too.
    """
    rows = zip(answers.outputs, answers.labels, strict=True)
    return {"exact_match": torch.tensor([_match(given, wanted, ignore) for given, wanted in rows]).double()}


def count_refusals(answers: Answers, patterns: Sequence[str], expected: bool = True) -> Metrics:
    """`refused`: the share of texts that match a pattern; `as_expected`: that of texts that refuse just if they should.

    Patterns see words, not meaning: a refusal in other words counts as an answer, and a text that quotes one as a
    refusal. Read a sample by hand before believing the number.

    Args:
        answers: texts.
        patterns: regular expressions, searched for anywhere and in either case.
        expected: whether the texts should be refusals: true for harmful instructions, false for harmless ones.

    Raises:
        TrialError: a pattern is none, there are none, or answers are no texts.
    """
    try:
        known = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    except re.error as error:
        raise TrialError(f"{error.pattern!r} is no regular expression: {error}", where="scores: patterns") from error
    texts = answers.outputs
    if not known or isinstance(texts, Tensor) or not all(isinstance(text, str) for text in texts):
        raise TrialError(
            "refusals are looked for in texts, by patterns", where="scores", allowed=["outputs: [...] of texts"]
        )
    refused = torch.tensor([any(pattern.search(text) for pattern in known) for text in texts])
    return {"refused": refused.double(), "as_expected": (refused == expected).double()}


def _read_logits(answers: Answers) -> tuple[Tensor, Tensor]:
    """Probabilities (n, classes) in double precision, and labels (n,)."""
    logits, labels = answers.outputs, answers.labels
    shaped = isinstance(logits, Tensor) and isinstance(labels, Tensor) and logits.ndim == 2 and labels.ndim == 1
    if not shaped or not logits.is_floating_point() or not len(labels) or labels.is_floating_point():  # type: ignore[union-attr]
        raise TrialError(
            f"answers are {_describe(logits)}, labels {_describe(labels)}",
            where="scores",
            allowed=["logits (n, classes) and labels (n,), whole numbers"],
            remedy="use another scorer for such answers, or say by `of` which domains it is for",
        )
    return logits.double().softmax(1), labels.long()  # type: ignore[union-attr]


def _describe(column: Column) -> str:
    return f"{column.dtype} {tuple(column.shape)}" if isinstance(column, Tensor) else f"a list of {len(column)}"


def _match(given: Any, wanted: Any, ignore: int | None) -> bool:
    """Whether one output is the one wanted."""
    if isinstance(given, str) or isinstance(wanted, str):
        return isinstance(given, str) and isinstance(wanted, str) and given.strip() == wanted.strip()
    if given.ndim > wanted.ndim:  # logits
        counts = torch.ones_like(wanted, dtype=torch.bool) if ignore is None else wanted != ignore
        return len(given) == len(wanted) and bool((given.argmax(-1) == wanted)[counts].all())
    if ignore is not None and given.ndim:
        steps = max(len(given), len(wanted))
        given, wanted = (nn.functional.pad(part, (0, steps - len(part)), value=ignore) for part in (given, wanted))
    return bool(torch.equal(given.long(), wanted.long()))
