"""Looking further ahead: each loss is that of the labels so far behind; one ahead is next-token prediction."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from ablate.errors import TrialError
from ablate.zoo.continuations import MultiToken
from tests.zoo.nets import Averages, Constant, generator, pictures, sentences


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Averages()


def test_one_ahead_is_next_token_prediction(net):
    tokens, following = sentences()
    found = MultiToken(8, ahead=1).loss(net, (tokens, following), generator())
    torch.testing.assert_close(found, cross_entropy(net(tokens).flatten(0, 1), following.flatten()))


def test_further_heads_begin_as_the_networks_own_on_later_labels(net):
    tokens, following = sentences()
    logits = net(tokens)
    expected = cross_entropy(logits.flatten(0, 1), following.flatten())
    for distance in (1, 2):
        expected += 0.5 * cross_entropy(logits[:, :-distance].flatten(0, 1), following[:, distance:].flatten())
    found = MultiToken(8, ahead=3, weight=0.5).loss(net, (tokens, following), generator())
    torch.testing.assert_close(found, expected)


def test_the_sequences_end_is_no_label(net):
    short = tuple(part[:, :2] for part in sentences())
    one, other = (MultiToken(8, ahead=ahead).loss(net, short, generator()) for ahead in (2, 6))
    assert torch.equal(one, other)


def test_every_head_and_the_network_learn(net):
    objective = MultiToken(8, ahead=3)
    objective.loss(net, sentences(), generator()).backward()
    for parameter in [*objective.parameters(), *net.parameters()]:
        assert parameter.grad.abs().sum() > 0


def test_a_cycle_is_learnt_ahead(net):
    """Tokens that follow each other in a circle: all later ones can be known."""
    tokens = torch.stack([(torch.arange(8) + start) % 5 for start in range(5)])
    first = tokens[:, :1], tokens[:, 1:2]
    batch = tuple(torch.cat([one, tokens[:, 2:5] if place else tokens[:, 1:4]], 1) for place, one in enumerate(first))
    objective = MultiToken(8, ahead=3)
    optimizer = torch.optim.Adam([*net.parameters(), *objective.parameters()], 0.05)
    for _ in range(80):
        optimizer.zero_grad()
        loss = objective.loss(net, batch, generator())
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


def test_what_cannot_be_is_refused(net):
    with pytest.raises(TrialError, match="ahead is 0"):
        MultiToken(8, ahead=0)
    with pytest.raises(TrialError, match="needs `features`"):
        MultiToken(8).loss(Constant(0.0), sentences(), generator())
    with pytest.raises(TrialError, match="labels have 1 dimensions"):
        MultiToken(8).loss(net, pictures(), generator())
