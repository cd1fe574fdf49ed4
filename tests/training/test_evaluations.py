"""Evaluations: one training, measured under each level; what training reads is no level."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from ablate.errors import TrialError
from ablate.training import evaluations, preflight, run_trial
from ablate.training.energies import Counter, Meter
from ablate.training.evaluations import list_evaluations, measure_energy

from .configs import measured, trial_config

INT8 = {"_target_": "ablate.zoo.inference.quantise", "_partial_": True}
OTHER = {"_target_": "levels.invert", "_partial_": True}
HALF = {"_target_": "ablate.zoo.inference.Cast", "dtype": "bfloat16"}
USES = ("latency_p50_ms", "latency_p95_ms", "size_mb")


def evaluate(**levels: Any) -> list[dict[str, Any]]:
    """What `jobs` tells a trial: its own level, `plain`, and those named."""
    told: list[dict[str, Any]] = [{"levels": {"use": "plain"}, "config": {}}]
    return told + [{"levels": {"use": name}, "config": {"inference": node}} for name, node in levels.items()]


def config(evaluations: Any = None, **arguments: Any) -> Any:
    made = trial_config(**arguments)
    return OmegaConf.merge(made, {"evaluations": evaluations}) if evaluations else made


def of_level(rows: list[dict[str, Any]], level: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "use"} for row in rows if row.get("use") == level]


def test_one_training_is_measured_under_every_level() -> None:
    rows = run_trial(config(evaluate(other=OTHER, int8=INT8, half=HALF)))
    plain = run_trial(config())
    assert measured(of_level(rows, "plain")) == measured(plain)
    assert measured(of_level(rows, "other")) != measured(plain)
    for level in ("other", "int8", "half"):
        own, kept = measured(of_level(rows, level)), measured(plain)
        assert [(r["domain"], r["shift"], r["metric"]) for r in own] == [
            (r["domain"], r["shift"], r["metric"]) for r in kept
        ]
        assert {r["metric"] for r in of_level(rows, level) if r["domain"] == "all"} == set(USES)
    whole = [row["metric"] for row in rows if "use" not in row]
    assert len(whole) == len(set(whole))
    assert {"train_steps", "train_seconds", "params", "train_flops"} <= set(whole)
    assert not {*whole} & {*USES}


def test_a_trial_may_be_used_in_another_way_without_any_study() -> None:
    made = config()
    made.inference = INT8
    rows = run_trial(made)
    assert measured(rows) == measured(of_level(run_trial(config(evaluate(int8=INT8))), "int8"))


def test_every_level_reads_the_test_sets_and_each_reading_is_noted(attempt: Path) -> None:
    run_trial(config(evaluate(half=HALF)))
    assert len((attempt / "readings.jsonl").read_text().splitlines()) == 2 * 2


def test_a_level_that_cannot_work_is_found_before_anything_is_trained() -> None:
    with pytest.raises(TrialError, match="has no 'beams' to switch"):
        preflight(config(evaluate(beam={"_target_": "ablate.zoo.inference.Switched", "beams": 4})))
    with pytest.raises(TrialError, match="it gave a str"):
        preflight(config(evaluate(text={"_target_": "builtins.repr", "_partial_": True})))
    with pytest.raises(TrialError, match="cannot be called"):
        preflight(config(evaluate(text={"_target_": "builtins.dict"})))


def test_a_level_may_not_change_what_training_reads() -> None:
    told = [*evaluate(), {"levels": {"use": "other"}, "config": {"model": {"_target_": "stranger.Corners"}}}]
    with pytest.raises(TrialError, match="use=other changes 'model', which training reads"):
        list(list_evaluations(config(told)))


def test_a_levels_config_keeps_what_it_refers_to() -> None:
    made = config(evaluate(half={**HALF, "dtype": "${kind}"}))
    made.kind = "float16"
    (_, half) = list_evaluations(made)
    assert half.config.inference.dtype == "float16"
    assert "evaluations" not in half.config


def test_energy_is_that_of_one_example(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    model = torch.nn.Linear(2, 2)
    model.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(evaluations, "ENERGY_SECONDS", 0.01)
    counter = Counter("cpu", lambda: 12.0 * len(calls))
    found = measure_energy(model, torch.ones(4, 2), 4, Meter([counter]))
    assert found == {"use_energy_cpu_j": pytest.approx(3.0)}
    assert len(calls) > 1
    assert measure_energy(model, torch.ones(4, 2), 4, Meter([])) == {}
    assert measure_energy(model, torch.ones(4, 3), 4, Meter([counter])) == {}
