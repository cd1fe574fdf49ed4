"""Parts: what a `_target_` becomes, and what is said when it cannot."""

from fractions import Fraction

import pytest
from omegaconf import OmegaConf

from ablate.errors import TrialError
from ablate.training.parts import build


def test_lists_and_mappings_arrive_as_pythons_own() -> None:
    made = build(OmegaConf.create({"x": {"sizes": [1, 2], "inner": {"a": {"_target_": "fractions.Fraction"}}}}), "x")
    assert type(made["sizes"]) is list
    assert made["inner"]["a"] == Fraction(0)


def test_interpolations_reach_the_rest_of_the_config() -> None:
    config = OmegaConf.create({"n": 3, "x": {"_target_": "fractions.Fraction", "numerator": "${n}"}})
    assert build(config, "x") == 3


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (None, ["the config has no 'x'", "add it"]),
        ({"_target_": "fractions.Fractoin"}, ["Fractoin", "x._target_ = fractions.Fractoin", "dotted path"]),
        ({"_target_": "no_such_package.Thing"}, ["no_such_package", "x._target_"]),
        ({"_target_": "fractions.Fraction", "wrong": 1}, ["unexpected keyword argument 'wrong'", "x._target_"]),
        ({"_target_": "fractions.Fraction", "numerator": "${gone}"}, ["gone", "x._target_"]),
    ],
)
def test_what_cannot_be_built_is_named_with_its_key(node: object, words: list[str]) -> None:
    with pytest.raises(TrialError) as refused:
        build(OmegaConf.create({"x": node}), "x")
    assert all(word in str(refused.value) for word in words)


def test_a_part_of_another_kind_is_refused() -> None:
    with pytest.raises(TrialError, match="'x' is a Fraction") as refused:
        build(OmegaConf.create({"x": {"_target_": "fractions.Fraction"}}), "x", dict)
    assert "allowed: dict" in str(refused.value)
