"""Audits: planted copies of test items are found in training data of any form, in their domain and nowhere else."""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from ablate import signals
from ablate.errors import TrialError
from ablate.training import audits, run_trial
from ablate.training.audits import audit, clean_domains, clean_part, fingerprint_training
from ablate.training.domains import Domain
from ablate.zoo.digits import split_test

from .configs import MOVED, measured
from .configs import trial_config as make_config

PART = " (clean part)"
COPIED = [7, 27, 47]
INVERTED = {"_target_": "audited.Invert"}


def trial_config(data: str = "Points", *, contaminated: Any = None, domains: Any = None) -> DictConfig:
    """Of one epoch."""
    config = make_config(data, domains=domains, trainer={"max_epochs": 1})
    return OmegaConf.merge(config, {"contaminated": contaminated}) if contaminated is not None else config


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


def test_without_the_extra_the_near_level_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    found = audit(audited("Sayings"))["far"]
    assert (found["normalised"], found["near"]) == ([1], [1])
    assert "datasketch, which is not installed" in found["skipped"]


def test_a_test_set_is_read_once_in_a_process() -> None:
    assert audits._prepare(split_test()[1]) is audits._prepare(split_test()[1])


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


THREE = [39, 3, 20]


def test_a_trial_measures_the_clean_part_as_if_the_rest_had_never_been_there(attempt: Path) -> None:
    rows = run_trial(trial_config(contaminated={"home": THREE}))
    clean = [{**row, "metric": row["metric"].removesuffix(PART)} for row in rows if row["metric"].endswith(PART)]
    without = trial_config()
    without.data._target_ = "audited.WithoutThree"
    assert clean == measured(run_trial(without))
    assert {row["n_examples"] for row in clean} == {37}
    assert signals.readings(attempt) == {"home": 2, "home/far": 1}, "once by either trial, and never by a part"
    whole = [row for row in rows if not row["metric"].endswith(PART) and row["metric"] != "clean examples"]
    assert measured(whole) == measured(run_trial(trial_config()))


@pytest.mark.parametrize("data", ["Points", "BatchSampled"])
def test_a_shifted_domain_has_a_clean_part_of_its_own(data: str) -> None:
    domains = {"d": {"home": None, "home/moved": MOVED}}
    rows = run_trial(trial_config(data, domains=domains, contaminated={"home/moved": THREE}))
    assert {(row["shift"], row["n_examples"]) for row in rows if row["metric"].endswith(PART)} == {("moved", 37)}


@pytest.mark.parametrize("items", [[], [41], range(40)], ids=["none", "of no item", "all"])
def test_where_nothing_or_all_is_contaminated_there_is_no_clean_part(items: Any) -> None:
    rows = run_trial(trial_config(contaminated={"home": [*items]}))
    assert not [row for row in rows if row["metric"].endswith(PART)]
    left = [row["value"] for row in rows if row["metric"] == "clean examples"]
    assert left == ([0.0] if len(items) == 40 else [])


def test_a_clean_part_of_no_domain_is_refused() -> None:
    with pytest.raises(TrialError, match="unknown domain 'hom'") as refused:
        run_trial(trial_config(contaminated={"hom": [1]}))
    assert "did you mean 'home'" in str(refused.value)
    loader = DataLoader(import_module("audited").Stream(TensorDataset(torch.zeros(3))), batch_size=None)
    with pytest.raises(TrialError, match="no clean part: a stream"):
        list(clean_domains([Domain("home", "none", loader, 0)], {"home": [1]}))


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


def test_training_data_have_a_fingerprint_that_opens_no_test_set() -> None:
    made = fingerprint_training(make_config("Validated"))
    assert len(made["train"]) == 16
    assert made == fingerprint_training(make_config("Points", seed=1))  # the same points
    assert made != fingerprint_training(make_config({"_target_": "Points", "n": 65}))


def test_a_file_of_audits_names_what_is_contaminated(tmp_path: Path) -> None:
    overlap = {"items": 60, "exact": [7], "normalised": [7], "near": [7, 9], "skipped": None}
    path = tmp_path / "contamination.json"
    path.write_text(json.dumps({"leaked": overlap, "home": {**overlap, "near": []}}))
    assert audits.read_contaminated(str(path)) == {"leaked": [7, 9]}
    assert audits.read_contaminated(None) == {}
    strata = {"home [split=a]": overlap, "home [split=b]": {**overlap, "near": [3]}}
    path.write_text(json.dumps(strata))
    assert audits.read_contaminated(f"{path}#split=b") == {"home": [3]}
    assert audits.read_contaminated({"home": [1]}) == {"home": [1]}
