"""Audits: planted copies of test items are found in training data of any form, in their domain and nowhere else."""

import time
from importlib import import_module
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from ablate.training import audits
from ablate.training.audits import audit, clean_part
from ablate.zoo.digits import split_test

COPIED = [7, 27, 47]
INVERTED = {"_target_": "audited.Invert"}


def audited(data: str, domains: Any = None, **more: Any) -> DictConfig:
    return OmegaConf.create({"seed": 0, "data": {"_target_": f"audited.{data}"}, "domains": domains, **more})


def nothing(items: int, skipped: str | None = None) -> dict[str, Any]:
    return {"items": items, "exact": [], "normalised": [], "near": [], "skipped": skipped}


@pytest.mark.parametrize(
    ("data", "levels"), [("Leaky", 3), ("Brighter", 2), ("Noisier", 1), ("Streaming", 3)], ids=lambda value: str(value)
)
def test_the_twentieth_part_of_a_domain_in_the_training_data_is_found(data: str, levels: int) -> None:
    found = audit(audited(data))
    names = ["near", "normalised", "exact"]
    expected = {name: COPIED if place < levels else [] for place, name in enumerate(names)}
    assert found["leaked"] == {"items": 60, **expected, "skipped": None}
    assert found["home"] == nothing(40)


def test_a_stream_is_no_test_set_whose_items_have_numbers() -> None:
    assert audit(audited("Streaming"))["stream"] == nothing(0, audits.STREAM)


def test_a_shifted_domain_is_contaminated_by_copies_of_what_it_was_made_from() -> None:
    found = audit(audited("Leaky", {"d": {"leaked": None, "leaked/inverted": INVERTED, "home/inverted": INVERTED}}))
    assert found["leaked/inverted"] == {**nothing(60), "near": COPIED}
    assert (found["leaked"]["exact"], found["home/inverted"]["near"]) == (COPIED, [])


def test_loaders_over_one_dataset_are_compared_by_the_rows_they_draw() -> None:
    found = audit(audited("OnePool"))
    both = [27, 28, 29]
    assert found["sampled"] == {"items": 23, "exact": both, "normalised": both, "near": both, "skipped": None}
    assert found["cut"]["exact"] == [0, 1, 2]


def test_texts_are_compared_and_what_cannot_be_is_said() -> None:
    found = audit(audited("Sayings"))
    assert found["far"] == {"items": 2, "exact": [], "normalised": [1], "near": [1], "skipped": None}
    assert found["mixed"] == nothing(2, "test item 1 is no text")


def test_the_generators_are_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    audit(audited("Leaky"))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_more_than_a_million_items_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "MOST", 81)  # the first copy is the 81st
    assert audit(audited("Leaky"))["leaked"]["exact"] == COPIED[:1]


def test_the_clean_part_is_the_rest_in_its_order() -> None:
    leaked = import_module("audited").Leaky.leaked
    part = clean_part(leaked, COPIED)
    assert [int(label) for _, label in part] == [n for n in range(60) if n not in COPIED]


@pytest.mark.parametrize("labels", ["noisy", "cleaned"])
def test_the_digits_are_trained_on_none_of_their_test_pictures(labels: str) -> None:
    shifts = {
        f"digits/rotated{n}": {"_target_": "ablate.zoo.shifts.rotate", "_partial_": True, "degrees": n}
        for n in (10, 20)
    }
    data = {"_target_": "ablate.zoo.digits.Digits", "seed": 3, "labels": labels}
    config = OmegaConf.create({"seed": 3, "data": data, "domains": {"clean": ["digits"], "rotated": shifts}})
    audit(config)
    start = time.perf_counter()
    found = audit(config)
    assert time.perf_counter() - start < 1
    assert [*found] == ["digits", "digits/rotated10", "digits/rotated20"]
    for row in found.values():
        assert "under 16 × 16" in row.pop("skipped")
        assert row == {"items": 600, "exact": [], "normalised": [], "near": []}


def test_a_copy_among_the_digits_is_found_all_the_same() -> None:
    found = audits.find_overlaps([split_test()[1].tensors[0][11].numpy() / 2], [audits._prepare(split_test()[1])])[0]
    assert (found.exact, found.normalised) == ((), (11,))
