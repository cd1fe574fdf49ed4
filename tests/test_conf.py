"""The shipped config groups: every option composes and trains a step; the study declares what its README says."""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from ablate.plans import plan
from ablate.sweeps import conf_dir

CONF = conf_dir()
OPTIONS = {d.name: sorted(f.stem for f in d.glob("*.yaml")) for d in CONF.iterdir() if d.is_dir() and d.name != "hydra"}
TASK_GROUPS = ("data", "objective", "size", "model", "trainer", "domains")
STUDY = CONF.parent / "studies" / "digits_shift"


def composed(*overrides: str, **settings: Any) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides), **settings)


def study() -> DictConfig:
    with initialize_config_dir(str(STUDY), version_base="1.3"):
        return compose("study", [f"hydra.searchpath=[{CONF}]"], return_hydra_config=True)


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda f: f.relative_to(CONF).as_posix())
def test_every_file_says_first_what_it_is(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
    assert re.fullmatch(r"# [A-Z0-9].+\.", lines[0])


@pytest.mark.parametrize("group", TASK_GROUPS)
def test_every_option_composes(group: str) -> None:
    for option in OPTIONS[group]:
        config = composed(f"{group}={option}")
        OmegaConf.resolve(config)
        assert not OmegaConf.missing_keys(config)
        assert config[group]


@pytest.mark.slow
@pytest.mark.parametrize(
    "override", [f"{g}={o}" for g in TASK_GROUPS for o in OPTIONS[g] if f"{g}={o}" != "trainer=gpu"]
)
def test_every_option_trains_a_step_and_is_tested_everywhere(override: str) -> None:
    config = composed(override)
    from ablate.training import preflight

    rows = preflight(config)
    declared = {place for members in config.domains.values() for place in members}
    places = {r["domain"] if r["shift"] == "none" else f"{r['domain']}/{r['shift']}" for r in rows}
    assert places == declared
    assert {r["metric"] for r in rows} == {"accuracy", "nll"}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS["inference"])
def test_every_way_to_use_a_trained_module_makes_one(option: str) -> None:
    config = composed(f"+inference={option}", "model=early_perceptron")
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from ablate.training.evaluations import list_evaluations
    from ablate.training.parts import build

    model = build(config, "model", LightningModule)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    kept = ModelCheckpoint(save_top_k=-1)
    model.trainer = Trainer(accelerator="cpu", fast_dev_run=1, enable_checkpointing=True, callbacks=[kept], **quiet)
    (evaluation,) = list_evaluations(config)
    made = evaluation.adapt(model)
    assert isinstance(made, LightningModule)
    assert made is not model


def flat_keys(values: Any, prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def keys_of(group: str) -> set[str]:
    found: set[str] = set()
    for option in OPTIONS[group]:
        text = (CONF / group / f"{option}.yaml").read_text()
        package = re.match(r"# @package (\S+)", text)
        values = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        found |= set(flat_keys(values, f"{package[1] if package else group}."))
    return found


def test_no_two_groups_set_the_same_key() -> None:
    base = OmegaConf.to_container(OmegaConf.load(CONF / "base.yaml"), resolve=False)
    base.pop("defaults")
    keys = {group: keys_of(group) for group in OPTIONS} | {"base": set(flat_keys(base, ""))}
    assert all(keys.values())
    for one, other in combinations(keys, 2):
        assert not keys[one] & keys[other], (one, other)


def test_a_size_has_the_parameters_that_its_file_states() -> None:
    from ablate.training.costs import count_parameters
    from ablate.training.parts import build

    found = {}
    for size in OPTIONS["size"]:
        found[size] = count_parameters(build(composed(f"size={size}"), "model"))
        stated = re.search(r"([\d,]+) parameters", (CONF / "size" / f"{size}.yaml").read_text())
        assert stated is not None
        assert found[size] == int(stated[1].replace(",", ""))
    assert found["large"] >= 30 * found["small"]
    assert found["large"] > found["medium"] > found["small"]


@pytest.mark.slow
def test_every_size_trains_for_the_same_number_of_examples() -> None:
    budgets = {
        composed(f"size={size}").trainer.max_steps * composed(f"size={size}").data.batch_size
        for size in OPTIONS["size"]
    }
    assert len(budgets) == 1


def test_the_study_declares_ninety_trials_over_nine_groups() -> None:
    sweeper = OmegaConf.to_container(study().hydra.sweeper, resolve=True)
    params = {factor: levels.split(",") for factor, levels in sweeper["params"].items()}
    for factor, levels in params.items():
        assert set(levels) <= set(OPTIONS[factor])
    made = plan(
        params,
        **{k: sweeper[k] for k in ("metric", "direction", "margin", "seeds", "blocking", "design", "domains")},
        analysis=sweeper["analysis"],
    )
    assert len(made.trials) == 90
    assert len(made.domains) == 9
    assert made.analysis.target == "new_domains"
    assert made.analysis.comparisons
    assert made.margin is not None


def test_presets_of_tuning_and_stopping_are_what_a_plan_takes() -> None:
    for option in OPTIONS["tuning"]:
        declared = OmegaConf.to_container(OmegaConf.load(CONF / "tuning" / f"{option}.yaml"))
        assert isinstance(declared, dict)
        made = plan({"a": [1, 2]}, tuning={**declared, "space": {"lr": [0, 1]}})
        assert made.tuning is not None
        assert made.tuning.sampler == (option if option != "none" else "tpe")
    for option in OPTIONS["stopping"]:
        declared = OmegaConf.to_container(OmegaConf.load(CONF / "stopping" / f"{option}.yaml"))
        assert isinstance(declared, dict)
        assert plan({"a": [1, 2]}, **declared).analysis.stopping == option


def test_presets_that_a_study_does_not_use_leave_its_plan_as_it_was() -> None:
    sweeper = study().hydra.sweeper
    assert (dict(sweeper.tuning), sweeper.max_seeds, sweeper.analysis.stopping) == ({}, None, "fixed")


def test_the_study_runs_as_a_multirun() -> None:
    assert study().hydra.mode.name == "MULTIRUN"
    readme = (STUDY / "README.md").read_text()
    assert [word for word in ("## Question", "## Prediction", "## Verdict") if word not in readme] == []
