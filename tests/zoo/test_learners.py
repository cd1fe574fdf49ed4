"""One module for every objective: with cross-entropy, the perceptron; what is drawn comes from the trial's seed."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import LightningDataModule, Trainer
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ablate.sweeps import conf_dir
from ablate.training import preflight
from ablate.training.costs import count_step_flops
from ablate.training.parts import build
from ablate.training.streams import replace_streams
from ablate.zoo.classifiers import Perceptron
from ablate.zoo.learners import Learner
from ablate.zoo.mixtures import MixUp
from ablate.zoo.networks import MultilayerPerceptron
from ablate.zoo.objectives import UNLABELLED
from ablate.zoo.teachers import Distillation, Preference
from tests.zoo.nets import Averages, load_pairs, pictures, sentences

CONF = conf_dir()
FILES = sorted([*CONF.glob("objective/*.yaml"), *CONF.glob("objective/batch/*.yaml")])
OBJECTIVES = [file.relative_to(CONF / "objective").with_suffix("").as_posix() for file in FILES]
LANGUAGE = ["batch/multi_token", "batch/preference"]
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    **dict.fromkeys(["logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"], False),
}
pytestmark = pytest.mark.filterwarnings(
    *(f"ignore:.*{words}" for words in ("LeafSpec", "many workers", "logging interval", "val_dataloader"))
)


class Sentences(LightningDataModule):
    """Random tokens, or pairs of answers in them, as a domain of their own."""

    def __init__(self, pairs: bool = False) -> None:
        super().__init__()
        self.pairs = pairs

    def train_dataloader(self) -> DataLoader[Any]:
        return load_pairs() if self.pairs else DataLoader(TensorDataset(*sentences()), 3)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def learner(objective: Any = None, seed: int = 0) -> Learner:
    torch.manual_seed(0)
    return Learner(MultilayerPerceptron(8, 1), objective or nn.CrossEntropyLoss(), 0.01, 10, seed=seed)


def test_with_cross_entropy_it_is_the_perceptron():
    loader = DataLoader(TensorDataset(*pictures()), 4)
    torch.manual_seed(0)
    one, other = Perceptron(nn.CrossEntropyLoss(), 8, 1, 0.01), learner()
    scores = []
    for model in (one, other):
        trainer = Trainer(max_epochs=3, **QUIET)
        trainer.fit(model, loader)
        scores.append([trainer.validate(model, loader, verbose=False), trainer.test(model, loader, verbose=False)])
    assert scores[0] == scores[1]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_what_the_objective_draws_comes_from_the_trials_seed():
    def losses(seed: int) -> list[float]:
        model = learner(MixUp(1.0), seed)
        return [model.training_step(pictures(), 0).item() for _ in range(2)]

    torch.manual_seed(1)
    first = losses(0)
    torch.manual_seed(2)
    assert losses(0) == first
    assert losses(1) != first
    assert first[0] != first[1]
    with replace_streams({"augmentation": 1}):
        assert losses(0) == losses(1)
    with replace_streams({"order": 1}):
        assert losses(0) == first


def test_counting_operations_draws_nothing():
    one, other = learner(MixUp(1.0)), learner(MixUp(1.0))
    assert count_step_flops(one, pictures())
    assert torch.equal(one.training_step(pictures(), 0), other.training_step(pictures(), 0))


def test_a_teachers_forward_pass_is_counted():
    """Forward twice and backward once: the first layer's inputs have no slope."""
    alone, taught = (count_step_flops(learner(o), pictures()) for o in (None, Distillation(MultilayerPerceptron(8, 1))))
    forward = 2 * 12 * (64 * 8 + 8 * 10)
    assert alone is not None
    assert taught == alone + forward


def test_a_language_models_scores_are_those_of_its_labels():
    torch.manual_seed(0)
    model = Learner(Averages(), nn.CrossEntropyLoss(), 0.01, 5, seed=0)
    tokens, following = sentences()
    following = following.clone()
    following[0] = UNLABELLED
    following[1, 3:] = UNLABELLED
    loader = DataLoader(TensorDataset(tokens, following), 2)
    (found,) = Trainer(**QUIET).test(model, loader, verbose=False)
    known, logits = following != UNLABELLED, model(tokens).detach()
    assert found == pytest.approx(
        {
            "accuracy": (logits.argmax(-1) == following)[known].float().mean().item(),
            "nll": nn.functional.cross_entropy(logits[known], following[known]).item(),
        }
    )


def test_pairs_are_scored_by_what_is_preferred():
    torch.manual_seed(0)
    model = Learner(Averages(), Preference(beta=1.0), 0.05, 5, seed=0)
    trainer = Trainer(max_epochs=20, **QUIET)
    (before,) = trainer.validate(model, load_pairs(), verbose=False)
    trainer.fit(model, load_pairs())
    (after,) = trainer.validate(model, load_pairs(), verbose=False)
    assert set(after) == {"val_accuracy", "val_nll", "val_preferred"}
    assert before["val_preferred"] < after["val_preferred"] == 1


def test_rates_are_those_of_the_scaling_and_no_others():
    def scaling(network: nn.Module) -> dict[str, float]:
        return {"head.weight": 0.5}

    torch.manual_seed(0)
    model = Learner(MultilayerPerceptron(8, 1), nn.CrossEntropyLoss(), 0.1, 10, 0, torch.optim.SGD, scaling)
    before = deepcopy(model)
    optimiser = model.configure_optimizers()
    assert isinstance(optimiser, torch.optim.SGD)
    model.training_step(pictures(), 0).backward()
    optimiser.step()
    for (name, old), new in zip(before.named_parameters(), model.parameters(), strict=True):
        rate = 0.05 if name == "network.head.weight" else 0.1
        torch.testing.assert_close(new, old - rate * new.grad)


# --- conf/ -----------------------------------------------------------------------------------------------------------


def teacher(tmp_path: Any) -> str:
    torch.save(MultilayerPerceptron(512, 3).state_dict(), tmp_path / "teacher.ckpt")
    return f"objective.checkpoint={tmp_path / 'teacher.ckpt'}"


def test_objectives_of_one_seed_begin_with_the_same_weights(tmp_path):
    found = []
    for objective in OBJECTIVES:
        config = OmegaConf.load(CONF / "model" / "learner.yaml")
        extra = [teacher(tmp_path)] if objective.endswith("distillation") else []
        declared = OmegaConf.load(CONF / "objective" / f"{objective}.yaml")
        size = {"width": 8, "depth": 1, "learning_rate": 0.01}
        config = OmegaConf.create({"seed": 0, "size": size, "objective": declared, "model": config})
        config.merge_with_dotlist(extra)
        torch.manual_seed(0)
        found.append(build(config, "model").network.state_dict())
    assert len(found) > 10
    assert all(torch.equal(one[name], found[0][name]) for one in found for name in found[0])


@pytest.mark.slow
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name not in LANGUAGE])
@pytest.mark.parametrize("model", ["learner", "scaled"])
def test_every_objective_trains_a_step_in_a_learner(tmp_path, objective, model):
    extra = [teacher(tmp_path)] if objective.endswith("distillation") else []
    rows = preflight(composed(f"objective={objective}", f"model={model}", "size=small", *extra))
    assert {row["metric"] for row in rows} == {"accuracy", "nll"}


@pytest.mark.parametrize("objective", [*LANGUAGE, "cross_entropy", "z_loss"])
def test_every_objective_of_language_models_trains_a_step(objective):
    pairs = objective.endswith("preference")
    model = {"_target_": f"{Learner.__module__}.Learner", "learning_rate": 0.01, "classes": 5, "seed": 0}
    config = OmegaConf.create(
        {
            "seed": 0,
            "size": {"width": 8},
            "objective": OmegaConf.load(CONF / "objective" / f"{objective}.yaml"),
            "model": {**model, "network": {"_target_": "tests.zoo.nets.Averages"}, "objective": "${objective}"},
            "data": {"_target_": f"{__name__}.Sentences", "pairs": pairs},
            "trainer": {"accelerator": "cpu"},
        }
    )
    metrics = {row["metric"] for row in preflight(config)}
    assert metrics == {"accuracy", "nll", *(["preferred"] if pairs else [])}
