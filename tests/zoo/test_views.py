"""Two views: what they agree on costs nothing; near features of one class cost least."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from ablate.errors import TrialError
from ablate.zoo.digits import jitter
from ablate.zoo.networks import MultilayerPerceptron
from ablate.zoo.objectives import UNLABELLED
from ablate.zoo.views import Consistency, SupervisedContrast, contrast
from tests.zoo.nets import Constant, generator, pictures


def same(inputs, generator):
    return inputs


@pytest.fixture
def net():
    torch.manual_seed(0)
    return MultilayerPerceptron(16, 1)


def test_views_that_are_the_same_agree(net):
    inputs, labels = pictures()
    found = Consistency(same, weight=7.0).loss(net, (inputs, labels), generator())
    torch.testing.assert_close(found, cross_entropy(net(inputs), labels))


def test_without_weight_consistency_is_the_objective_on_one_view(net):
    inputs, labels = pictures()
    found = Consistency(jitter, weight=0.0).loss(net, (inputs, labels), generator())
    torch.testing.assert_close(found, cross_entropy(net(jitter(inputs, generator())), labels))


def test_disagreement_by_hand():
    """Probabilities (0.9, 0.1) and (0.5, 0.5): the squares of 0.4 twice, their mean 0.16."""
    given = iter([torch.tensor([[0.9, 0.1]]).log(), torch.zeros(1, 2)])
    net = nn.Module()
    net.forward = lambda inputs: next(given)
    found = Consistency(same, weight=2.0).loss(net, (torch.zeros(1, 1), torch.tensor([0])), generator())
    assert found.item() == pytest.approx(-math.log(0.9) + 2 * 0.16, rel=1e-5)


def test_the_unlabelled_teach_consistency_and_nothing_else(net):
    inputs, labels = pictures()
    half = labels.clone()
    half[6:] = UNLABELLED
    objective = Consistency(jitter)
    drawn = generator()
    one, other = (net(jitter(inputs, drawn)) for _ in range(2))
    apart = (one.softmax(1) - other.softmax(1)).square().mean()
    found = objective.loss(net, (inputs, half), generator())
    torch.testing.assert_close(found, cross_entropy(one[:6], labels[:6]) + apart)
    none = objective.loss(net, (inputs, torch.full_like(labels, UNLABELLED)), generator())
    torch.testing.assert_close(none, apart)


def test_contrast_pair_by_pair():
    """Khosla 2020, equation 2, written out."""
    features, labels = torch.randn(6, 3, generator=generator()), torch.tensor([0, 1, 0, 1, 0, 2])
    units, losses = normalize(features), []
    for i in range(5):  # the sixth has nobody of its class
        others = [a for a in range(6) if a != i]
        alike = [p for p in others if labels[p] == labels[i]]
        total = sum(torch.exp(units[i] @ units[a] / 0.5) for a in others)
        losses.append(-sum(torch.log(torch.exp(units[i] @ units[p] / 0.5) / total) for p in alike) / len(alike))
    torch.testing.assert_close(contrast(features, labels, 0.5), sum(losses) / 5)


def test_contrast_is_least_where_classes_are_points_apart():
    """Two classes of two, opposite: the one alike has cosine 1, the two others -1."""
    features, labels = torch.tensor([[2.0, 0], [1, 0], [-1, 0], [-3, 0]]), torch.tensor([0, 0, 1, 1])
    expected = math.log(1 + 2 * math.exp(-2 / 0.5))
    assert contrast(features, labels, 0.5).item() == pytest.approx(expected, rel=1e-5)
    assert contrast(features, labels.flip(0)[[0, 2, 1, 3]], 0.5) > expected


def test_neither_order_nor_length_nor_the_unlabelled_classes_change_contrast():
    features, labels = torch.randn(8, 3, generator=generator()), torch.tensor([0, 1, 0, 1, 2, 2, -100, -100])
    expected, order = contrast(features, labels, 0.1), torch.randperm(8, generator=generator())
    torch.testing.assert_close(contrast(features[order] * 5, labels[order], 0.1), expected)
    assert contrast(features[6:], labels[6:], 0.1).item() == 0
    lone = features.clone().requires_grad_()
    contrast(lone, torch.arange(8), 0.1).backward()
    assert torch.equal(lone.grad, torch.zeros_like(lone))


def test_without_weight_the_contrast_is_the_objective_on_both_views(net):
    inputs, labels = pictures()
    found = SupervisedContrast(jitter, weight=0.0).loss(net, (inputs, labels), generator())
    drawn = generator()
    both = torch.cat([jitter(inputs, drawn), jitter(inputs, drawn)])
    torch.testing.assert_close(found, cross_entropy(net(both), labels.repeat(2)))


def test_contrast_draws_classes_together(net):
    inputs, labels = pictures()
    optimizer, objective = torch.optim.Adam(net.parameters(), 0.01), SupervisedContrast(same, weight=1.0)
    before = contrast(net.features(inputs), labels, 0.1).item()
    for _ in range(20):
        optimizer.zero_grad()
        objective.loss(net, (inputs, labels), generator()).backward()
        optimizer.step()
    assert contrast(net.features(inputs), labels, 0.1).item() < before - 1


def test_a_network_without_features_is_refused():
    with pytest.raises(TrialError, match="needs `features` of the network, which Constant does not have"):
        SupervisedContrast(same).loss(Constant(0.0, 1.0), pictures(), generator())
