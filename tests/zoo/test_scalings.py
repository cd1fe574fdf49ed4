"""The maximal update parametrisation: at the base it changes nothing; away from it, activations and rates stay."""

from functools import partial

import pytest
import torch
from torch import nn

from ablate.errors import TrialError
from ablate.zoo.digits import draw_training_set
from ablate.zoo.learners import Learner
from ablate.zoo.networks import MultilayerPerceptron
from ablate.zoo.scalings import MaximalUpdate
from tests.zoo.nets import Averages

BASE, DEPTH = 32, 2
make = partial(MultilayerPerceptron, depth=DEPTH)


def made(width: int, seed: int, rate: float, scaled: bool) -> Learner:
    torch.manual_seed(seed)
    scaling = MaximalUpdate(make(BASE)) if scaled else None
    torch.manual_seed(seed)
    return Learner(make(width), nn.CrossEntropyLoss(), rate, 10, seed, torch.optim.Adam, scaling)


def train(learner: Learner, steps: int, seed: int = 0) -> float:
    """The mean loss of the last tenth of the steps on batches of clean digits."""
    inputs, labels = draw_training_set(seed, 512, 0.0, False, 10)
    optimiser, losses = learner.configure_optimizers(), []
    for step in range(steps):
        rows = torch.arange(64 * step, 64 * (step + 1)) % 512
        optimiser.zero_grad()
        loss = learner.training_step((inputs[rows], labels[rows]), 0)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return sum(losses[-steps // 10 :]) / len(losses[-steps // 10 :])


def test_at_the_width_of_the_base_nothing_changes():
    network = make(BASE)
    before = [p.clone() for p in network.parameters()]
    assert MaximalUpdate(make(BASE))(network) == {}
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_four_times_as_wide_by_the_table():
    """Yang 2021, table 3, with Adam: rates of hidden and output layers by 1/4, output weights by 1/2 besides."""
    network = make(4 * BASE)
    before = {name: p.clone() for name, p in network.named_parameters()}
    rates = MaximalUpdate(make(BASE))(network)
    assert rates == {"body.3.weight": 0.25, "head.weight": 0.25}
    # torch draws a bias by 1/√inputs: where inputs are four times as many, twice that is as at the base
    factors = {"body.3.bias": 2.0, "head.bias": 2.0, "head.weight": 0.5}
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name] * factors.get(name, 1.0)), name


def test_embeddings_and_normalisations_keep_their_rate():
    class Net(Averages):
        def __init__(self, width):
            super().__init__(width)
            self.norm, self.positions = nn.LayerNorm(width), nn.Parameter(torch.ones(7, width))

    network = Net(16)
    assert MaximalUpdate(Net(8))(network) == {"head.weight": 0.5}
    assert torch.equal(network.positions, torch.ones(7, 16))
    assert torch.equal(network.norm.weight, torch.ones(16))


def read_layers(learner: Learner, inputs: torch.Tensor) -> list[torch.Tensor]:
    """What every linear layer gives."""
    seen: list[torch.Tensor] = []
    layers = [layer for layer in learner.network.modules() if isinstance(layer, nn.Linear)]
    handles = [layer.register_forward_hook(lambda layer, given, found: seen.append(found)) for layer in layers]
    with torch.no_grad():
        learner(inputs)
    for handle in handles:
        handle.remove()
    return seen


def scale_of_change(width: int, scaled: bool) -> torch.Tensor:
    """Root mean square by which the activations of every layer change over five steps, the mean over seeds."""
    inputs = draw_training_set(0, 512, 0.0, False, 10)[0][:64]
    changes = []
    for seed in range(2):
        learner = made(width, seed, 0.003, scaled)
        before = read_layers(learner, inputs)
        train(learner, 5)
        after = read_layers(learner, inputs)
        changes.append(torch.stack([(b - a).square().mean().sqrt() for a, b in zip(before, after, strict=True)]))
    return torch.stack(changes).mean(0)


def test_activations_move_as_far_at_every_width():
    """The coordinate check (Yang 2021, appendix D.1): slopes of log change over log width, layer by layer."""
    widths = torch.tensor([32.0, 96, 288])
    slopes = {}
    for scaled in (True, False):
        changes = torch.stack([scale_of_change(int(width), scaled) for width in widths]).log()
        steps = (widths.log() - widths.log().mean())[:, None]
        slopes[scaled] = (steps * changes).sum(0) / steps.square().sum()
    assert slopes[True].abs().max() < 0.15
    assert slopes[False][1:].min() > 0.4, "without it, wider layers move further: what the check must be able to see"


@pytest.mark.slow
def test_the_best_rate_is_that_of_the_base_at_every_width():
    rates = [2.0**power for power in range(-11, -2)]
    best = {}
    for scaled in (True, False):
        for width in (32, 512):
            losses = [sum(train(made(width, seed, rate, scaled), 60, seed) for seed in range(2)) for rate in rates]
            best[scaled, width] = losses.index(min(losses))
    assert abs(best[True, 32] - best[True, 512]) <= 1
    assert best[False, 32] - best[False, 512] >= 2


def test_what_there_is_no_rule_for_is_refused():
    class Recurrent(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.reader = nn.LSTM(4, width)

    class Tied(Averages):
        def __init__(self, width):
            super().__init__(width)
            self.head.weight = self.table.weight

    class Bare(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.matrix = nn.Parameter(torch.zeros(width, width))

    for kind, said in ((Recurrent, "reader is a LSTM"), (Tied, "head shares the weights of table"), (Bare, "'matrix'")):
        with pytest.raises(TrialError, match=said):
            MaximalUpdate(kind(8))(kind(16))
    with pytest.raises(TrialError, match="the base of the scaling has other parameters"):
        MaximalUpdate(MultilayerPerceptron(8, 1))(make(16))
