"""The perceptron: its size as stated, its objective as given."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from ablate.training.costs import count_parameters
from ablate.zoo.classifiers import Perceptron

PICTURES, LABELS = torch.rand(7, 1, 8, 8), torch.arange(7)


@pytest.mark.parametrize(("width", "depth"), [(24, 1), (128, 2), (5, 0)])
def test_width_and_depth_are_the_hidden_layers(width: int, depth: int) -> None:
    model = Perceptron(torch.nn.CrossEntropyLoss(), width, depth, 0.01)
    sizes = [64, *[width] * depth, 10]
    assert count_parameters(model) == sum(sizes[i] * sizes[i + 1] + sizes[i + 1] for i in range(len(sizes) - 1))
    assert model(PICTURES).shape == (7, 10)


def test_it_is_trained_with_the_objective_that_it_is_given() -> None:
    smoothed = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    model = Perceptron(smoothed, 8, 1, 0.01)
    loss = model.training_step((PICTURES, LABELS), 0)
    assert torch.equal(loss, smoothed(model(PICTURES), LABELS))
    assert loss.requires_grad


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*many workers")
def test_validation_and_test_measure_the_same_under_names_of_their_own() -> None:
    model = Perceptron(torch.nn.CrossEntropyLoss(label_smoothing=0.5), 8, 1, 0.01)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    batches = [(PICTURES[:4], LABELS[:4]), (PICTURES[4:], LABELS[4:])]
    loader = DataLoader(batches, batch_size=None)
    (validated,), (tested,) = (run(model, loader, verbose=False) for run in (trainer.validate, trainer.test))
    logits = model(PICTURES).detach()
    expected = {
        "accuracy": float((logits.argmax(1) == LABELS).float().mean()),
        "nll": float(torch.nn.functional.cross_entropy(logits, LABELS)),
    }
    assert tested == pytest.approx(expected)
    assert validated == {f"val_{name}": value for name, value in tested.items()}
