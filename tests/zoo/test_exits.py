"""Early exits: every example has the answer of the first head that is sure of it, and no layer is computed in vain."""

import pytest
import torch

from ablate.zoo.exits import EarlyPerceptron

PICTURES, LABELS = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(50) % 10


def make(depth: int = 3) -> EarlyPerceptron:
    torch.manual_seed(0)
    return EarlyPerceptron(torch.nn.CrossEntropyLoss(), 32, depth, 0.01).eval()


@pytest.mark.parametrize("above", [None, 0.0, 0.12, 0.13, 0.15, 0.999])
def test_an_example_takes_the_first_answer_that_is_sure(above: float | None) -> None:
    model = make()
    model.net.above = above
    answers = [answer.detach() for answer in model.net.answer_everywhere(PICTURES)]
    expected = []
    for example in range(len(PICTURES)):
        for answer in answers:
            chosen = answer[example]
            if above is not None and float(chosen.softmax(-1).max()) > above:
                break
        expected.append(chosen)
    torch.testing.assert_close(model(PICTURES).detach(), torch.stack(expected))


def test_no_layer_is_computed_for_examples_that_have_left() -> None:
    model, seen = make(), []
    for layer in model.net.hidden:
        layer.register_forward_hook(lambda _, args, output: seen.append(len(output)))
    model.net.above = 0.0
    model(PICTURES)
    assert seen == [50]
    model.net.above = 0.13
    seen.clear()
    model(PICTURES)
    assert seen[0] == 50 > seen[1] > 0


def test_all_heads_are_trained() -> None:
    model = make()
    loss = model.training_step((PICTURES, LABELS), 0)
    plain = [torch.nn.functional.cross_entropy(answer, LABELS) for answer in model.net.answer_everywhere(PICTURES)]
    torch.testing.assert_close(loss, torch.stack(plain).mean())
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
