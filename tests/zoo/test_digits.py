"""The digits: one fixed test set, noise at its rate, cleaning that sees no truth, streams that cells share."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from ablate.training import run_trial
from ablate.training.streams import derive_seed, make_generator, replace_streams
from ablate.zoo.digits import (
    TEST_SIZE,
    Digits,
    draw_training_set,
    jitter,
    keep_consistent,
    load_digits,
    split_test,
    spoil_labels,
)

DRAW = {"size": 900, "noise": 0.3, "neighbours": 10}


def rows_of(pictures: torch.Tensor) -> list[bytes]:
    return [picture.numpy().tobytes() for picture in pictures]


def test_pictures_are_scaled_to_one() -> None:
    pictures, labels = load_digits()
    assert pictures.shape == (1797, 1, 8, 8)
    assert labels.shape == (1797,)
    assert float(pictures.min()) == 0
    assert float(pictures.max()) == 1


def test_the_test_set_is_apart_from_the_pool_and_stratified() -> None:
    pool, test = split_test()
    pictures, labels = load_digits()
    rest = np.setdiff1d(np.arange(1797), pool)
    assert len(rest) == len(test) == TEST_SIZE
    assert sorted(rows_of(test.tensors[0])) == sorted(rows_of(pictures[rest]))
    share = torch.bincount(test.tensors[1]) / TEST_SIZE - torch.bincount(labels) / 1797
    assert float(share.abs().max()) < 0.002


def test_every_trial_is_tested_on_the_same_set() -> None:
    first, second = (Digits(seed).test_dataloader()["digits"].dataset for seed in (0, 1))
    assert first is second


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_noise_moves_exactly_its_share_to_other_classes(share: float) -> None:
    labels = torch.arange(1000) % 10
    spoilt = spoil_labels(labels, share, seed=1)
    assert int((spoilt != labels).sum()) == round(share * 1000)
    assert set(spoilt.tolist()) <= set(range(10))
    assert torch.equal(spoilt, spoil_labels(labels, share, seed=1))


def test_noise_is_symmetric() -> None:
    moves = (spoil_labels(torch.zeros(90_000, dtype=torch.long), 1.0, seed=2)).bincount(minlength=10)[1:]
    assert moves.sum() == 90_000
    assert float((moves - 10_000).abs().max()) < 4 * 10_000**0.5  # four standard deviations of a count


def test_cleaning_drops_what_its_neighbours_contradict() -> None:
    rng = np.random.default_rng(0)
    labels = torch.arange(60) % 2
    pictures = torch.from_numpy(labels.numpy()[:, None, None, None] * 5.0 + rng.normal(0, 0.1, (60, 1, 2, 2)))
    wrong = [0, 7, 31]
    given = labels.clone()
    given[wrong] = 1 - given[wrong]
    assert np.flatnonzero(~keep_consistent(pictures, given, neighbours=5)).tolist() == wrong


def test_cleaned_is_a_part_of_the_noisy_set_with_fewer_wrong_labels() -> None:
    pictures, truth = load_digits()
    label_of = dict(zip(rows_of(pictures), truth.tolist(), strict=True))
    drawn = [draw_training_set(0, clean=clean, **DRAW) for clean in (False, True)]
    noisy, cleaned = (dict(zip(rows_of(x), y.tolist(), strict=True)) for x, y in drawn)
    wrong = [np.mean([label_of[row] != label for row, label in given.items()]) for given in (noisy, cleaned)]
    assert cleaned.items() <= noisy.items()
    assert len(cleaned) > 500
    assert wrong[0] == pytest.approx(0.3, abs=0.001)
    assert 0 < wrong[1] < 0.1, "it is no oracle, but it is useful"


def test_no_test_picture_is_trained_on() -> None:
    test = set(rows_of(split_test()[1].tensors[0]))
    for seed in (0, 1):
        assert not test & set(rows_of(draw_training_set(seed, clean=False, **DRAW)[0]))


def test_cells_of_one_seed_share_rows_and_order_and_seeds_do_not() -> None:
    def labels(seed: int, augment: bool) -> torch.Tensor:
        data = Digits(seed, augment=augment, batch_size=90)
        return torch.cat([batch[1] for batch in data.train_dataloader()])

    assert torch.equal(labels(0, False), labels(0, True))
    assert not torch.equal(labels(0, False), labels(1, False))


def test_every_epoch_has_each_example_once_in_another_order() -> None:
    loader = Digits(3, batch_size=64).train_dataloader()
    first, second = ([b for batch in loader for b in rows_of(batch[0])] for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second) == sorted(rows_of(draw_training_set(3, clean=False, **DRAW)[0]))


def test_augmentation_changes_pictures_a_little_and_each_time_anew() -> None:
    pictures = load_digits()[0][:200]
    generator = make_generator(0, "augmentation")
    once, twice = jitter(pictures, generator), jitter(pictures, generator)
    assert once.shape == pictures.shape
    assert not torch.equal(once, twice)
    assert 0 < float((once - pictures).abs().mean()) < 0.2
    assert float(once.min()) >= 0
    assert float(once.max()) <= 1
    assert torch.equal(once, jitter(pictures, make_generator(0, "augmentation")))


def test_the_rows_are_the_first_of_the_pool_in_the_seeds_order() -> None:
    rows = np.random.default_rng(derive_seed(4, "split")).permutation(split_test()[0])[:900]
    assert torch.equal(draw_training_set(4, clean=False, **DRAW)[0], load_digits()[0][rows])


def test_what_is_held_out_is_neither_trained_nor_tested_on_and_has_its_true_labels() -> None:
    pictures, truth = load_digits()
    label_of = dict(zip(rows_of(pictures), truth.tolist(), strict=True))
    (loader,) = Digits(2, validation=297).val_dataloader()
    ((held_out, labels),) = loader
    seen = {*rows_of(draw_training_set(2, clean=False, **DRAW)[0]), *rows_of(split_test()[1].tensors[0])}
    assert len(held_out) == 297
    assert not seen & set(rows_of(held_out))
    assert [label_of[row] for row in rows_of(held_out)] == labels.tolist()
    assert rows_of(held_out)[:50] == rows_of(Digits(2, validation=50).held_out.tensors[0])


def test_no_more_can_be_held_out_than_is_left() -> None:
    assert Digits(0).val_dataloader() == []
    with pytest.raises(ValueError, match="validation is 298, but training leaves 297"):
        Digits(0, validation=298)


def test_a_replaced_stream_changes_its_own_draws_alone() -> None:
    plain = draw_training_set(0, clean=False, **DRAW)
    with replace_streams({"label": 1}):
        pictures, labels = draw_training_set(0, clean=False, **DRAW)
    assert torch.equal(pictures, plain[0])
    assert not torch.equal(labels, plain[1])
    with replace_streams({"split": 1}):
        assert not torch.equal(draw_training_set(0, clean=False, **DRAW)[0], pictures)
    assert all(map(torch.equal, draw_training_set(0, clean=False, **DRAW), plain))


def test_validation_changes_nothing_that_is_trained() -> None:
    def trained(validation: int) -> list[object]:
        data = {"_target_": "ablate.zoo.digits.Digits", "seed": 1, "augment": True, "validation": validation}
        model = {"_target_": "ablate.zoo.classifiers.Perceptron", "width": 24, "depth": 1, "learning_rate": 0.008}
        objective = {"_target_": "torch.nn.CrossEntropyLoss"}
        trainer = {"accelerator": "cpu", "max_steps": 15}
        config = {"seed": 1, "data": data, "model": {**model, "objective": objective}, "trainer": trainer}
        return [row for row in run_trial(OmegaConf.create(config)) if row["domain"] != "all"]

    assert trained(0) == trained(100)
