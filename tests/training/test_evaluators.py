"""Evaluators measure a trained module beside the test dataloaders: rows, readings, single examples."""

from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import LightningModule
from omegaconf import OmegaConf
from pyarrow import parquet

from ablate.errors import TrialError
from ablate.signals import readings
from ablate.training import preflight, run_trial, validate_trial
from ablate.training.evaluators import ITEMS

from .configs import measured, trial_config


def ask(module: LightningModule, few: bool) -> list[dict[str, Any]]:
    """Asks a module the sum of its weights; twice, or once where few answers are enough."""
    size = float(sum(p.detach().double().sum() for p in module.parameters()))
    asked = range(1 if few else 2)
    items = [{"domain": "asked", "shift": "none", "example": n, "metric": "sum", "value": size} for n in asked]
    return [{"domain": "asked", "metric": "sum", "value": size, "n_examples": len(items)}, *items]


def ask_nobody(module: LightningModule, few: bool) -> list[dict[str, Any]]:
    return [{"metric": "sum", "value": 1.0}]


def config(function: str = "ask", **changes: Any) -> Any:
    asked = {"_target_": f"{__name__}.{function}", "_partial_": True}
    return OmegaConf.merge(trial_config(), {"evaluators": {"asking": asked}, **changes})


def asked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["domain"] == "asked"]


def test_its_rows_stand_beside_those_of_the_test_dataloaders(attempt: Path) -> None:
    rows = run_trial(config())
    (own,) = asked(rows)
    HydraConfig.instance().cfg = None  # as a trial by hand, without a folder: the whole test all the same
    assert asked(run_trial(config())) == [own]
    assert own["n_examples"] == 2
    assert [row for row in measured(rows) if row["domain"] != "asked"] == measured(run_trial(trial_config()))
    assert readings(attempt)["asked"] == 1
    items = parquet.read_table(attempt / ITEMS).to_pylist()
    assert [(item["example"], item["value"]) for item in items] == [(0, own["value"]), (1, own["value"])]


def test_every_way_to_use_the_module_is_evaluated_and_the_first_ones_examples_kept(attempt: Path) -> None:
    half = {"_target_": "ablate.zoo.inference.Cast", "dtype": "bfloat16"}
    ways = [{"levels": {"use": "plain"}, "config": {}}, {"levels": {"use": "half"}, "config": {"inference": half}}]
    plain, rounded = asked(run_trial(config(evaluations=ways)))
    assert (plain["use"], rounded["use"]) == ("plain", "half")
    assert plain["value"] != rounded["value"]
    assert readings(attempt)["asked"] == 2
    assert parquet.read_table(attempt / ITEMS)["value"].to_pylist() == [plain["value"]] * 2


def test_a_preflight_asks_little_and_a_search_nothing(attempt: Path) -> None:
    evaluators = config().evaluators
    judged = OmegaConf.merge(trial_config("Validated", "Judged"), {"evaluators": evaluators})
    (row,) = asked(preflight(config()))
    assert row["n_examples"] == 1
    assert not asked(validate_trial(judged))
    assert "asked" not in readings(attempt)
    assert not (attempt / ITEMS).exists()


def test_what_cannot_be_an_evaluator_is_named() -> None:
    with pytest.raises(TrialError, match="a dict cannot be called"):
        run_trial(config(evaluators={"asking": {"_target_": "builtins.dict", "_partial_": False}}))
    with pytest.raises(TrialError, match=r"without a domain(?s:.*)evaluators\.asking"):
        run_trial(config("ask_nobody"))
