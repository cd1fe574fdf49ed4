"""A classifier that may leave early: a perceptron with an answer after every hidden layer."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from ablate.zoo.classifiers import Perceptron


class Exits(nn.Module):
    """Hidden layers, each with a head of its own (Teerapittayanon 2016, section III; Huang 2018).

    Args:
        sizes: values per example, then the units of every hidden layer.
        classes: how many.

    Attributes:
        above: the probability of the likeliest class above which an example takes a head's answer and goes no
            further; None: every example goes to the last head.
    """

    def __init__(self, sizes: list[int], classes: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes))
        self.heads = nn.ModuleList(nn.Linear(size, classes) for size in sizes[1:])
        self.above: float | None = None

    def answer_everywhere(self, pictures: Tensor) -> list[Tensor]:
        """The logits (n, classes) of every head, the last one's last."""
        states, answers = pictures.flatten(1), []
        for hidden, head in zip(self.hidden, self.heads, strict=True):
            states = hidden(states)
            answers.append(head(states))
        return answers

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (n, classes), each example's from the first head that is sure enough of it."""
        states = pictures.flatten(1)
        found: Tensor | None = None
        left = torch.arange(len(states), device=states.device)
        for place, (hidden, head) in enumerate(zip(self.hidden, self.heads, strict=True)):
            states = hidden(states)
            last = place == len(self.heads) - 1
            if not last and self.above is None:
                continue
            logits = head(states)
            found = logits.new_empty(len(pictures), logits.shape[1]) if found is None else found
            sure = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
            if not last and self.above is not None:
                sure = logits.softmax(-1).amax(-1) > self.above
            found[left[sure]] = logits[sure]
            left, states = left[~sure], states[~sure]
            if not len(left):
                break
        assert found is not None  # there is a last head
        return found


class EarlyPerceptron(Perceptron):
    """A perceptron whose every hidden layer has a head; trained by the mean of their objectives.

    When tested it leaves where `net.above` says: `ablate.zoo.inference.Switched(**{"net.above": 0.9})`. Logs what
    `Perceptron` logs.
    """

    def __init__(
        self,
        objective: Callable[[Tensor, Tensor], Tensor],
        width: int,
        depth: int,
        learning_rate: float,
        inputs: int = 64,
        classes: int = 10,
    ) -> None:
        super().__init__(objective, width, depth, learning_rate, inputs, classes)
        self.net: Exits = Exits([inputs, *[width] * depth], classes)  # type: ignore[assignment] # in place of layers

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The mean of the heads' objectives on a batch."""
        pictures, labels = batch
        losses = [self.objective(logits, labels) for logits in self.net.answer_everywhere(pictures)]
        return torch.stack(losses).mean()
