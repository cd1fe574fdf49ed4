"""Mixed examples are mixed in the shares in which their losses are."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from ablate.errors import TrialError
from ablate.zoo.mixtures import CutMix, MixUp, draw_share
from ablate.zoo.networks import MultilayerPerceptron
from tests.zoo.nets import generator, pictures, sentences


class Recorder(torch.nn.Module):
    """A linear network that keeps what it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = MultilayerPerceptron(8, 0)

    def forward(self, inputs):
        self.seen = inputs
        return self.net(inputs)


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_nothing_mixed_is_cross_entropy(kind):
    net, (inputs, labels) = Recorder(), pictures()
    torch.testing.assert_close(kind(0.0).loss(net, (inputs, labels), generator()), cross_entropy(net(inputs), labels))


def test_with_alpha_towards_nought_mixup_tends_to_cross_entropy():
    net, batch = Recorder(), pictures()
    expected = cross_entropy(net(batch[0]), batch[1])
    for seed in range(5):  # the share is 0 or 1: the batch or its permutation
        torch.testing.assert_close(MixUp(1e-4).loss(net, batch, generator(seed)), expected)


def test_mixup_is_the_mixture_of_the_paper():
    """One-hot labels mixed like the inputs: cross-entropy with probabilities."""
    net, (inputs, labels) = Recorder(), pictures()
    loss = MixUp(1.0).loss(net, (inputs, labels), generator(3))
    drawn = generator(3)
    share, others = draw_share(1.0, drawn), torch.randperm(len(labels), generator=drawn)
    assert 0.05 < share < 0.95
    torch.testing.assert_close(net.seen, share * inputs + (1 - share) * inputs[others])
    hot = torch.eye(10)[labels]
    torch.testing.assert_close(loss, cross_entropy(net(net.seen), share * hot + (1 - share) * hot[others]))


@pytest.mark.parametrize("seed", range(6))
def test_cutmix_pastes_a_box_and_counts_its_pixels(seed):
    net, (inputs, labels) = Recorder(), pictures()
    loss = CutMix(1.0).loss(net, (inputs, labels), generator(seed))
    drawn = generator(seed)
    draw_share(1.0, drawn)
    others = torch.randperm(len(labels), generator=drawn)
    own = net.seen == inputs
    assert (own | (net.seen == inputs[others])).all()
    moved = others != torch.arange(len(labels))
    places = ~own[moved].all(0)[0]
    rows, columns = places.any(1), places.any(0)
    assert torch.equal(places, rows[:, None] & columns), "a box, the same in every picture"
    share = 1 - places.float().mean()
    logits = net(net.seen)
    expected = share * cross_entropy(logits, labels) + (1 - share) * cross_entropy(logits, labels[others])
    torch.testing.assert_close(loss, expected)


def test_the_share_is_drawn_from_beta():
    drawn = generator()
    shares = torch.tensor([draw_share(0.5, drawn) for _ in range(4000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(0.125, abs=0.01)  # 1 / (4 (2 alpha + 1))


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_the_generator_alone_decides(kind):
    net, batch = Recorder(), pictures()
    torch.manual_seed(1)
    one = kind(1.0).loss(net, batch, generator(4))
    torch.manual_seed(2)
    assert torch.equal(kind(1.0).loss(net, batch, generator(4)), one)
    assert not torch.equal(kind(1.0).loss(net, batch, generator(5)), one)


def test_tokens_are_not_mixed():
    with pytest.raises(TrialError, match="MixUp mixes inputs, and these are whole numbers"):
        MixUp().loss(Recorder(), sentences(), generator())


def test_a_negative_alpha_is_refused():
    with pytest.raises(TrialError, match="alpha is -1"):
        CutMix(-1)
