"""Evaluations: by hand, and against torchmetrics."""

import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torchmetrics.classification import MulticlassCalibrationError

from ablate.errors import TrialError
from ablate.training.answers import Answers
from ablate.training.parts import build
from ablate.zoo import attacks, corruptions, evaluations, slices
from ablate.zoo.evaluations import (
    abstain,
    calibrate,
    compare_groups,
    count_refusals,
    match_exactly,
    select,
)


def sure(confidences: list[float], right: list[int]) -> Answers:
    """Answers of two classes: class 0 with these probabilities, which is right or not."""
    p = torch.tensor(confidences, dtype=torch.double)
    return Answers(torch.stack([p.log(), (1 - p).log()], 1), 1 - torch.tensor(right), {})


def draw(seed: int, n: int = 60, classes: int = 4) -> Answers:
    made = torch.Generator().manual_seed(seed)
    return Answers(2 * torch.randn(n, classes, generator=made), torch.randint(classes, (n,), generator=made), {})


def mean(value: Any) -> float:
    return float(value.mean()) if isinstance(value, torch.Tensor) else value


def test_calibration_by_hand() -> None:
    found = calibrate(sure([0.8, 0.8, 0.8, 0.8, 0.6, 0.6], [1, 1, 1, 0, 1, 1]), bins=5)
    assert found["ece"] == pytest.approx(4 / 6 * 0.05 + 2 / 6 * 0.4)  # |.75 - .8|, |1 - .6|
    assert found["brier"].tolist() == pytest.approx([2 * d**2 for d in (0.2, 0.2, 0.2, 0.8, 0.4, 0.4)])


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_calibration_is_that_of_torchmetrics(seed: int, bins: int) -> None:
    answers = draw(seed)
    oracle = MulticlassCalibrationError(4, n_bins=bins)
    assert calibrate(answers, bins)["ece"] == pytest.approx(float(oracle(answers.outputs, answers.labels)), abs=1e-5)


def test_the_risk_at_a_coverage_by_hand() -> None:
    answers = sure([0.9, 0.95, 0.7, 0.8, 0.6], [1, 1, 0, 1, 0])
    assert [select(answers, c)["selective_risk"] for c in (0.2, 0.6, 0.8, 1.0)] == [0, 0, 0.25, pytest.approx(0.4)]


def test_answers_of_equal_confidence_share_the_last_places() -> None:
    answers = sure([0.9, 0.7, 0.7, 0.7, 0.7], [1, 1, 0, 0, 0])
    assert select(answers, 0.6)["selective_risk"] == pytest.approx(2 * 0.75 / 3)


@given(st.integers(0, 10**6), st.integers(1, 10), st.randoms())
def test_the_risk_does_not_depend_on_the_order_and_ends_at_the_error(seed: int, tenths: int, shuffler: Any) -> None:
    answers = draw(seed, n=30)
    order = list(range(30))
    shuffler.shuffle(order)
    other = Answers(answers.outputs[order], answers.labels[order], {})
    assert select(answers, tenths / 10)["selective_risk"] == pytest.approx(select(other, tenths / 10)["selective_risk"])
    error = (answers.outputs.argmax(1) != answers.labels).double().mean()
    assert select(answers, 1.0)["selective_risk"] == pytest.approx(float(error))


def test_who_is_unsure_declines() -> None:
    found = abstain(sure([0.9, 0.95, 0.55, 0.8, 0.6], [1, 0, 0, 1, 0]), confidence=0.75)
    assert found["abstention"].tolist() == [0, 0, 1, 0, 1]
    assert found["answered_risk"] == pytest.approx(1 / 3)
    assert set(abstain(sure([0.6], [1]), confidence=0.9)) == {"abstention"}, "nothing is answered, and nothing wrong"


def test_the_worst_group_is_found_by_any_part() -> None:
    answers = sure([0.9] * 6, [1, 1, 1, 0, 1, 0])
    parts: dict[int | str, Any] = {1: answers.labels, "where": ["a", "a", "a", "b", "b", "b"]}
    answers = Answers(answers.outputs, answers.labels, parts)
    found = compare_groups(answers, "where")
    assert (found["worst_group_accuracy"], found["group_gap"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert compare_groups(answers, 1)["worst_group_accuracy"] == 0, "of class 1 nothing is right"
    with pytest.raises(TrialError, match="no part 'wher'"):
        compare_groups(answers, "wher")


def test_sequences_match_as_a_whole() -> None:
    labels = torch.tensor([[3, 2, 1, 0], [3, 1, 0, 0], [2, 2, 1, 0]])
    spoilt = labels.clone()
    spoilt[0, 3], spoilt[2, 1] = 4, 4
    logits = torch.nn.functional.one_hot(spoilt, 5).double()
    assert match_exactly(Answers(logits, labels, {}), ignore=0)["exact_match"].tolist() == [1, 1, 0]
    assert match_exactly(Answers(logits, labels, {}))["exact_match"].tolist() == [0, 1, 0]
    written = Answers(spoilt, labels, {})
    assert match_exactly(written, ignore=0)["exact_match"].tolist() == [0, 1, 0], "it wrote one too many"
    ragged = Answers([torch.tensor([3, 2, 1]), torch.tensor([3]), torch.tensor([2, 2, 1, 0, 0])], labels, {})
    assert match_exactly(ragged, ignore=0)["exact_match"].tolist() == [1, 0, 1]
    assert mean(match_exactly(Answers(["Turn left ", "stop"], ["Turn left", "Stop"], {}))["exact_match"]) == 0.5


@pytest.mark.parametrize("expected", [True, False])
def test_refusals_are_found_by_their_patterns(expected: bool) -> None:
    texts = ["I'm sorry, but I cannot help with that.", "Sure: first, ...", "i CANNOT help", "No."]
    found = count_refusals(Answers(texts, [""] * 4, {}), [r"\bI cannot\b", "^I'm sorry"], expected)
    assert found["refused"].tolist() == [1, 0, 1, 0]
    assert mean(found["as_expected"]) == 0.5
    assert found["as_expected"].tolist() == [float(refused == expected) for refused in (1, 0, 1, 0)]


@pytest.mark.parametrize(
    ("scorer", "options", "word"),
    [
        (calibrate, {}, "a list of 2"),
        (select, {"coverage": 0.0}, "coverage is 0"),
        (count_refusals, {"patterns": ["("]}, "no regular expression"),
        (count_refusals, {"patterns": []}, "by patterns"),
    ],
)
def test_what_cannot_be_scored_is_refused(scorer: Any, options: dict[str, Any], word: str) -> None:
    with pytest.raises(TrialError, match=word):
        scorer(Answers(["a", "b"], ["a", "b"], {}), **options)


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(TrialError, match="float32"):
        calibrate(Answers(torch.zeros(2, 3), torch.zeros(2), {}))
    assert math.isfinite(calibrate(Answers(torch.zeros(2, 3), torch.tensor([0, 1]), {}))["ece"])


# --- its page --------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_page_tells_of_every_part() -> None:
    for module in (attacks, corruptions, evaluations, slices):
        for name, part in inspect.getmembers(module, inspect.isfunction):
            if part.__module__ == module.__name__ and not name.startswith("_"):
                shown = name if module is evaluations else f"{module.__name__.rpartition('.')[2]}.{name}"
                assert f"| `{shown}` |" in PAGE, shown


def test_its_configs_can_be_built_but_for_the_parts_that_are_the_readers_own() -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for members in OmegaConf.create(block).values():
            for node in members.values() if "_target_" not in members else [members]:
                if node is not None:
                    plain = {key: value for key, value in node.items() if key not in ("of", "reference")}
                    assert callable(build(OmegaConf.create({"part": plain}), "part"))
