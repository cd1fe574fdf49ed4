"""Shifts, as `conf/domains/digits_shift.yaml` states them: deterministic, true to shape, stronger as they say."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import TensorDataset

from ablate.sweeps import conf_dir
from ablate.training.parts import build
from ablate.zoo import shifts
from ablate.zoo.digits import load_digits, split_test

GROUPS: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(conf_dir() / "domains" / "digits_shift.yaml"))
SHIFTS = {name: node for members in GROUPS.values() for name, node in members.items() if node}


def severity(node: dict[str, Any]) -> float:
    """How far a shift's one setting is from leaving pictures as they are."""
    (key, value), *_ = [(k, v) for k, v in node.items() if not k.startswith("_")]
    return abs(math.log(value)) if key == "factor" else abs(value)


@cache
def shifted(name: str) -> TensorDataset:
    return build(OmegaConf.create({"shift": SHIFTS[name]}), "shift")(split_test()[1])


def distance(name: str) -> float:
    return float((shifted(name).tensors[0] - split_test()[1].tensors[0]).abs().mean())


def directed() -> list[tuple[str, ...]]:
    """The shifts of every group in order of severity; growing apart from shrinking, thick apart from thin."""
    ordered = []
    for members in GROUPS.values():
        sides: dict[object, list[str]] = {}
        for name, node in members.items():
            if node:
                value = node.get("strength", node.get("factor", 0.5) - 1)
                sides.setdefault((node["_target_"], value > 0), []).append(name)
        ordered += [tuple(sorted(side, key=lambda n: severity(SHIFTS[n]))) for side in sides.values()]
    return [side for side in ordered if len(side) > 1]


def test_there_are_eight_corruptions_of_at_least_two_severities_beside_the_clean_set() -> None:
    corruptions = {group: members for group, members in GROUPS.items() if group != "clean"}
    assert GROUPS["clean"] == {"digits": None}
    assert len(corruptions) >= 8
    assert all(len(members) >= 2 for members in corruptions.values())


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_keeps_labels_shape_and_range_and_leaves_the_test_set_alone(name: str) -> None:
    test = split_test()[1]
    before = test.tensors[0].clone()
    made = shifted(name)
    assert torch.equal(test.tensors[0], before)
    assert torch.equal(made.tensors[1], test.tensors[1])
    assert made.tensors[0].shape == before.shape
    assert made.tensors[0].dtype == before.dtype
    assert 0 <= float(made.tensors[0].min()) <= float(made.tensors[0].max()) <= 1
    assert distance(name) > 0.003


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_is_the_same_wherever_the_global_generators_stand(name: str) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - it must not matter
    again = build(OmegaConf.create({"shift": SHIFTS[name]}), "shift")(split_test()[1])
    assert torch.equal(again.tensors[0], shifted(name).tensors[0])


@pytest.mark.parametrize("names", directed(), ids=lambda names: names[0])
def test_pictures_move_further_away_with_severity(names: tuple[str, ...]) -> None:
    distances = [distance(name) for name in names]
    assert distances == sorted(distances)
    assert distances[-1] > 1.1 * distances[0]


def test_planted_pictures_change_as_the_shifts_say() -> None:
    dot = torch.zeros(1, 1, 5, 5)
    dot[0, 0, 2, 2] = 1.0
    one = TensorDataset(dot, torch.tensor([3]))

    def pixels(made: TensorDataset) -> torch.Tensor:
        return made.tensors[0][0, 0]

    cross = torch.zeros(5, 5)
    cross[2, 1:4] = cross[1:4, 2] = 1.0
    assert torch.equal(pixels(shifts.change_stroke(one, 1.0)), cross)
    assert torch.equal(pixels(shifts.change_stroke(one, -1.0)), torch.zeros(5, 5))
    assert torch.allclose(pixels(shifts.lower_contrast(one, 0.5)), 0.5 * dot[0, 0] + 0.5 / 25)
    bar = torch.zeros(5, 5)
    bar[2, 2:] = 1.0
    turned = shifts.rotate(TensorDataset(bar.expand(2, 1, 5, 5), torch.tensor([0, 1])), 90).tensors[0][:, 0]
    assert torch.allclose(turned[0], torch.rot90(bar, 1), atol=1e-6)
    assert torch.allclose(turned[1], torch.rot90(bar, -1), atol=1e-6), "every second picture the other way"
    assert torch.allclose(pixels(shifts.rescale(one, 1.0)), dot[0, 0])
    assert float(pixels(shifts.blur(one, 0.5)).sum()) == pytest.approx(1, abs=0.01)
    assert int((pixels(shifts.occlude(TensorDataset(torch.ones(1, 1, 5, 5), torch.tensor([0])), 2)) == 0).sum()) == 4


def test_a_trained_model_loses_with_severity() -> None:
    from sklearn.linear_model import LogisticRegression

    pool, test = split_test()
    pictures, labels = load_digits()
    model = LogisticRegression(max_iter=200).fit(pictures[pool].flatten(1).numpy(), labels[pool].numpy())

    def accuracy(dataset: TensorDataset) -> float:
        return float(model.score(dataset.tensors[0].flatten(1).numpy(), dataset.tensors[1].numpy()))

    assert accuracy(test) > 0.93
    for names in directed():
        scores = [accuracy(shifted(name)) for name in names]
        assert scores[-1] < scores[0] <= accuracy(test) + 0.005, names
