"""Losses against their formulas and limits; what an objective asks for and is not given is said."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from ablate.errors import TrialError
from ablate.zoo.classifiers import Perceptron
from ablate.zoo.mixtures import MixUp
from ablate.zoo.networks import MultilayerPerceptron
from ablate.zoo.objectives import UNLABELLED, FocalLoss, ZLoss, find_loss, require_parts
from ablate.zoo.teachers import Distillation
from ablate.zoo.views import Consistency, SupervisedContrast
from tests.zoo.nets import Averages, generator, pictures, sentences

LOGITS = torch.randn(9, 4, generator=generator())
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, UNLABELLED, 3])
KNOWN = LABELS != UNLABELLED
LOSSES = {
    "focal": FocalLoss(1.5),
    "z_loss": ZLoss(0.1),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.1),
}


@pytest.mark.parametrize("limit", [FocalLoss(0.0), ZLoss(0.0)], ids=["focal", "z_loss"])
def test_at_nought_a_loss_is_cross_entropy(limit):
    torch.testing.assert_close(limit(LOGITS, LABELS), cross_entropy(LOGITS, LABELS))


def test_focal_loss_by_hand():
    """Probabilities 0.8 and 0.4 of the labels: (0.2² · -ln 0.8 + 0.6² · -ln 0.4) / 2."""
    logits = torch.tensor([[0.8, 0.2], [0.6, 0.4]]).log()
    expected = (0.04 * 0.2231436 + 0.36 * 0.9162907) / 2
    assert FocalLoss(2.0)(logits, torch.tensor([0, 1])).item() == pytest.approx(expected, rel=1e-5)


def test_z_loss_by_hand():
    """Two classes of logit 3: Z = 2 e³."""
    logits = torch.full((1, 2), 3.0)
    expected = 0.6931472 + 0.5 * (3 + 0.6931472) ** 2
    assert ZLoss(0.5)(logits, torch.tensor([1])).item() == pytest.approx(expected, rel=1e-6)


def test_z_loss_keeps_the_objective_that_it_is_given():
    smoothed = LOSSES["smoothed"]
    assert torch.equal(ZLoss(0.0, smoothed)(LOGITS, LABELS), smoothed(LOGITS, LABELS))


@given(shift=st.floats(-5, 5))
def test_the_normaliser_is_all_that_a_shift_of_the_logits_changes(shift):
    moved = LOGITS + shift
    torch.testing.assert_close(FocalLoss()(moved, LABELS), FocalLoss()(LOGITS, LABELS), rtol=1e-3, atol=1e-5)
    gained = ZLoss(1.0)(moved, LABELS) - ZLoss(1.0)(LOGITS, LABELS)
    expected = (2 * shift * LOGITS.logsumexp(1) + shift**2)[KNOWN].mean()
    torch.testing.assert_close(gained, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_neither_order_nor_unlabelled_examples_change_a_loss(name):
    loss, order = LOSSES[name], torch.randperm(9, generator=generator())
    expected = loss(LOGITS, LABELS)
    torch.testing.assert_close(loss(LOGITS[order], LABELS[order]), expected)
    torch.testing.assert_close(loss(LOGITS[KNOWN], LABELS[KNOWN]), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certain_and_hopeless_examples_have_a_finite_slope(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    FocalLoss(gamma)(logits, torch.tensor([0, 0])).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] < 0


def test_a_language_model_has_an_example_at_every_position():
    torch.manual_seed(0)
    net, (tokens, following) = Averages(), sentences()
    expected = cross_entropy(net(tokens).reshape(-1, 5), following.reshape(-1))
    torch.testing.assert_close(find_loss(nn.CrossEntropyLoss(), net, (tokens, following), generator()), expected)


def test_an_objective_with_a_method_loss_gets_network_batch_and_generator():
    class Anybodys:
        def loss(self, network, batch, generator):
            return network, batch, generator

    given = nn.Linear(1, 1), pictures(), generator()
    assert find_loss(Anybodys(), *given) == given


def test_a_module_that_gives_logits_alone_is_told_what_to_do():
    with pytest.raises(TrialError, match=r"MixUp needs the network and the batch(.|\n)*model=learner"):
        Perceptron(MixUp(), 8, 1, 0.01).training_step(pictures(), 0)


def test_what_a_network_does_not_offer_is_named():
    with pytest.raises(TrialError, match="needs `features` of the network, which Linear does not have"):
        require_parts(nn.Linear(1, 1), "features", "head")


@pytest.mark.parametrize("make", [lambda: FocalLoss(-1.0), lambda: ZLoss(-0.1)], ids=["gamma", "weight"])
def test_a_negative_option_is_refused(make):
    with pytest.raises(TrialError, match="0 or more"):
        make()


def same(inputs, generator):
    return inputs


@pytest.mark.parametrize(
    "make",
    [lambda: Consistency(same), lambda: SupervisedContrast(same), lambda: Distillation(MultilayerPerceptron(9, 1))],
    ids=["consistency", "contrast", "distillation"],
)
def test_the_order_of_a_batch_changes_no_loss(make):
    torch.manual_seed(0)
    net, (inputs, labels) = MultilayerPerceptron(8, 1), pictures()
    order, objective = torch.randperm(len(labels), generator=generator()), make()
    expected = find_loss(objective, net, (inputs, labels), generator())
    torch.testing.assert_close(find_loss(objective, net, (inputs[order], labels[order]), generator()), expected)
