"""Networks without a training of their own, for `ablate.zoo.learners.Learner`."""

from itertools import pairwise

from torch import Tensor, nn


class MultilayerPerceptron(nn.Module):
    """The network of `ablate.zoo.classifiers.Perceptron`, from one seed with the same weights.

    Args:
        width: units of every hidden layer.
        depth: hidden layers.
        inputs: values per picture.
        classes: how many.
    """

    def __init__(self, width: int, depth: int, inputs: int = 64, classes: int = 10) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth]
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.body, self.head = nn.Sequential(nn.Flatten(), *hidden), nn.Linear(sizes[-1], classes)

    def features(self, pictures: Tensor) -> Tensor:
        """What the last layer reads, (n, width), of pictures (n, ...)."""
        features: Tensor = self.body(pictures)
        return features

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (n, classes) of pictures (n, ...)."""
        logits: Tensor = self.head(self.features(pictures))
        return logits
