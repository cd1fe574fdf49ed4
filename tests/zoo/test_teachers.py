"""Teachers and references: their limits, their slopes, and that they stay as they are."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ablate.errors import TrialError
from ablate.zoo.learners import Learner
from ablate.zoo.networks import MultilayerPerceptron
from ablate.zoo.objectives import UNLABELLED
from ablate.zoo.teachers import Distillation, Preference, load_weights, score_answers
from tests.zoo.nets import Averages, Constant, generator, load_pairs, pictures, sentences


def perceptron(seed: int, width: int = 8) -> MultilayerPerceptron:
    torch.manual_seed(seed)
    return MultilayerPerceptron(width, 1)


def pairs() -> list[torch.Tensor]:
    return next(iter(load_pairs()))


# --- distillation ----------------------------------------------------------------------------------------------------


def test_without_weight_distillation_is_cross_entropy():
    net, batch = perceptron(0), pictures()
    found = Distillation(perceptron(1), weight=0.0).loss(net, batch, generator())
    torch.testing.assert_close(found, cross_entropy(net(batch[0]), batch[1]))


def test_distillation_by_hand():
    """Logits ln 4 and 0 against a teacher's ln 16 and 0, at T = 2: probabilities (2/3, 1/3) and (4/5, 1/5)."""
    net, teacher = Constant(math.log(4), 0.0), Constant(math.log(16), 0.0)
    apart = 0.8 * math.log(0.8 / (2 / 3)) + 0.2 * math.log(0.2 / (1 / 3))
    found = Distillation(teacher, temperature=2.0, weight=0.25).loss(
        net, (torch.zeros(3, 1), torch.zeros(3).long()), generator()
    )
    assert found.item() == pytest.approx(0.75 * -math.log(0.8) + 0.25 * 4 * apart, rel=1e-5)


def test_the_teacher_itself_has_nothing_left_to_learn():
    net, batch = perceptron(0), pictures()
    loss = Distillation(deepcopy(net), weight=1.0).loss(net, batch, generator())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert all(torch.allclose(p.grad, torch.zeros_like(p), atol=1e-6) for p in net.parameters())


def test_a_language_model_is_taught_where_there_are_labels():
    torch.manual_seed(0)
    net, teacher, (tokens, following) = Averages(), Averages(), sentences()
    objective, short = Distillation(teacher, weight=1.0), following.clone()
    short[:, 4:] = UNLABELLED
    expected = objective.loss(net, (tokens[:, :4], following[:, :4]), generator())
    torch.testing.assert_close(objective.loss(net, (tokens, short), generator()), expected)


def test_the_teacher_is_neither_trained_nor_counted_nor_saved():
    teacher = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    objective = Distillation(teacher)
    assert list(objective.parameters()) == []
    assert "teacher" not in str(objective.state_dict())
    net, batch = perceptron(0), pictures()
    assert torch.equal(objective.loss(net, batch, generator()), objective.loss(net, batch, generator()))
    objective.loss(net, batch, generator()).backward()
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("options", [{"weight": 1.5}, {"temperature": 0.0}])
def test_what_distillation_cannot_be_is_refused(options):
    with pytest.raises(TrialError, match="objective"):
        Distillation(perceptron(0), **options)


# --- checkpoints -----------------------------------------------------------------------------------------------------


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("form", ["state_dict", "learner", "whole"])
def test_weights_come_from_any_kind_of_checkpoint(tmp_path, form):
    trained = perceptron(1)
    learner = Learner(trained, nn.CrossEntropyLoss(), 0.01, 10, seed=0)
    saved = {
        "state_dict": trained.state_dict(),
        "learner": {"state_dict": learner.state_dict(), "global_step": 3},
        "whole": {"state_dict": learner.state_dict()},
    }
    torch.save(saved[form], tmp_path / "it.ckpt")
    fresh = perceptron(2)
    teacher = Learner(fresh, nn.CrossEntropyLoss(), 0.01, 10, seed=0) if form == "whole" else fresh
    objective = Distillation(teacher, tmp_path / "it.ckpt", weight=1.0)
    assert same_weights(fresh, trained)
    assert objective.loss(trained, pictures(), generator()).item() == pytest.approx(0, abs=1e-6)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    torch.save(perceptron(0, width=9).state_dict(), tmp_path / "other.ckpt")
    torch.save({"state_dict": perceptron(0).state_dict(), "object": perceptron(0)}, tmp_path / "object.ckpt")
    (tmp_path / "torn.ckpt").write_bytes((tmp_path / "other.ckpt").read_bytes()[:900])
    (tmp_path / "empty.ckpt").touch()
    said = {
        "none": "there is no checkpoint .*none.ckpt",
        "other": "other.ckpt.* not of this MultilayerPerceptron(.|\n)*size mismatch",
        **dict.fromkeys(["object", "torn", "empty"], "broken or holds objects"),
    }
    for name, message in said.items():
        with pytest.raises(TrialError, match=message):
            load_weights(perceptron(0), tmp_path / f"{name}.ckpt")


# --- preferences -----------------------------------------------------------------------------------------------------


def test_at_the_reference_the_loss_is_that_of_a_coin():
    torch.manual_seed(0)
    loss = Preference(beta=0.3).loss(Averages(), pairs(), generator())
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


def test_preference_by_hand():
    """One choice of two, odds 3 against the reference's 1: the gain is 2 · (ln 3/4 - ln 1/4) - 0 = 2 ln 3, beta 2."""
    net, reference = Constant(math.log(3), 0.0), Constant(0.0, 0.0)
    one = torch.zeros(4, 1)
    batch = one, torch.zeros(4).long(), one, torch.ones(4).long()
    found = Preference(beta=2.0, reference=reference).loss(net, batch, generator())
    assert found.item() == pytest.approx(-math.log(1 / (1 + 3**-2)), rel=1e-5)


def test_a_step_makes_the_chosen_likelier_and_the_rejected_less_likely():
    torch.manual_seed(0)
    net, batch = Averages(), pairs()
    objective = Preference(beta=1.0)
    logits = {}

    class Watched(nn.Module):
        def forward(self, inputs):
            logits.setdefault(id(inputs), net(inputs).requires_grad_())
            logits[id(inputs)].retain_grad()
            return logits[id(inputs)]

    objective._held = (deepcopy(net),)
    objective.loss(Watched(), batch, generator()).backward()
    for place, sign in ((0, -1), (2, 1)):  # the loss falls with the chosen labels' logits and grows with the others'
        inputs, labels = batch[place : place + 2]
        slopes = logits[id(inputs)].grad.gather(-1, labels[..., None])
        assert (sign * slopes > 0).all()


def test_the_reference_is_the_network_before_its_first_step():
    torch.manual_seed(0)
    net, batch = Averages(), pairs()
    begun, objective = deepcopy(net), Preference()
    for _ in range(2):
        objective.loss(net, batch, generator()).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= 0.1 * parameter.grad
    expected = Preference(reference=begun).loss(net, batch, generator())
    torch.testing.assert_close(objective.loss(net, batch, generator()), expected)
    assert expected.item() < math.log(2)


def test_the_answers_alone_are_scored():
    torch.manual_seed(0)
    net, (tokens, following) = Averages(), sentences()
    answer = following.clone()
    answer[:, :3] = UNLABELLED
    found = net(tokens).log_softmax(-1)
    for row in range(len(tokens)):
        by_hand = sum(found[row, step, following[row, step]].item() for step in range(3, 7))
        assert score_answers(net, tokens, answer)[row].item() == pytest.approx(by_hand, rel=1e-5)


def test_pairs_are_interchangeable_and_answers_are_not():
    torch.manual_seed(0)
    net, batch = Averages(), pairs()
    objective = Preference(reference=Averages())
    one = objective.loss(net, batch, generator())
    torch.testing.assert_close(objective.loss(net, [part.flip(0) for part in batch], generator()), one)
    swapped = objective.loss(net, [*batch[2:], *batch[:2]], generator())
    assert not torch.allclose(swapped, one)


def test_what_preference_cannot_be_is_refused(tmp_path):
    with pytest.raises(TrialError, match="beta is 0"):
        Preference(beta=0)
    with pytest.raises(TrialError, match="a checkpoint and no reference"):
        Preference(checkpoint=tmp_path)
    with pytest.raises(TrialError, match="a batch has 2 parts"):
        Preference().loss(Averages(), sentences(), generator())
