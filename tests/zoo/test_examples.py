"""Digits one by one are the digits of the batches; one picture is jittered as many are."""

from functools import partial
from itertools import islice

import pytest
import torch
from torch.utils.data import TensorDataset

from ablate.zoo.digits import Digits, draw_training_set, jitter, load_digits
from ablate.zoo.examples import DigitExamples, jitter_picture


def test_examples_are_the_rows_that_the_seed_draws() -> None:
    dataset = DigitExamples(2, size=50, validation=10).train_dataloader().dataset
    assert isinstance(dataset, TensorDataset)
    assert all(map(torch.equal, dataset.tensors, draw_training_set(2, 50, 0.3, False, 10)))


def test_held_out_and_test_pictures_are_those_of_the_digits() -> None:
    one, other = DigitExamples(2, validation=10), Digits(2, validation=10)
    assert all(map(torch.equal, one.held_out.tensors, other.held_out.tensors))
    assert one.test_dataloader()["digits"].dataset is other.test_dataloader()["digits"].dataset
    with pytest.raises(ValueError, match="validation is 298"):
        DigitExamples(0, validation=298)


def test_a_picture_is_jittered_as_many_are() -> None:
    pictures = load_digits()[0][:3]
    torch.manual_seed(5)
    single = jitter_picture(pictures[0])
    assert torch.equal(single, jitter(pictures[:1], torch.Generator().manual_seed(5))[0])
    assert len({float(made.sum()) for made in islice(iter(partial(jitter_picture, pictures[1]), None), 4)}) == 4
