"""The perceptron's network without its training."""

import pytest
import torch

from ablate.zoo.classifiers import Perceptron
from ablate.zoo.networks import MultilayerPerceptron
from tests.zoo.nets import pictures


@pytest.mark.parametrize(("width", "depth"), [(24, 1), (16, 3), (5, 0)])
def test_one_seed_gives_the_perceptrons_weights(width, depth):
    torch.manual_seed(3)
    one = Perceptron(torch.nn.CrossEntropyLoss(), width, depth, 0.01)
    torch.manual_seed(3)
    other, inputs = MultilayerPerceptron(width, depth), pictures()[0]
    assert torch.equal(other(inputs), one(inputs))
    assert torch.equal(other.head(other.features(inputs)), one(inputs))
    assert other.features(inputs).shape == (12, width if depth else 64)
