"""Domains: test loaders by name, own shifts of them, made once, and what is said of unknown ones."""

from importlib import import_module
from typing import Any

import pytest
import torch

from ablate.errors import TrialError
from ablate.training.domains import Domain, list_domains

from .configs import MOVED, trial_config


def listed(data: Any, domains: Any = None) -> list[Domain]:
    return list(list_domains(trial_config(domains=domains), data))


def places(domains: list[Domain]) -> list[str]:
    return [f"{d.name}/{d.shift}" for d in domains]


def inputs(domain: Domain) -> torch.Tensor:
    return torch.cat([batch[0] for batch in domain.loader])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("Points", ["home/none", "home/far"]),
        ("OneLoader", ["test/none"]),
        ("ListOfLoaders", ["test_0/none", "test_1/none"]),
    ],
)
def test_test_loaders_are_domains_by_name(data: str, expected: list[str]) -> None:
    assert places(listed(getattr(import_module("stranger"), data)())) == expected


def test_declared_domains_are_taken_in_their_order_and_no_others() -> None:
    points = import_module("stranger").Points()
    declared = {"moved": {"home/moved": MOVED}, "far": {"home/far": None}}
    assert places(listed(points, declared)) == ["home/moved", "home/far"]


def test_a_shift_changes_the_loader_that_it_is_of() -> None:
    points = import_module("stranger").Points()
    plain, near, far = listed(
        points, {"a": {"home": None}, "b": {"home/moved": MOVED, "away/moved": {**MOVED, "of": "home/far"}}}
    )
    step = torch.tensor([5.0, 0.0])
    assert torch.equal(inputs(near), inputs(plain) + step)
    assert torch.equal(inputs(far), points.away.tensors[0] + step)
    assert far.loader.batch_sampler.batch_size == 16


def test_a_shift_is_made_once_per_test_set_and_definition() -> None:
    stranger = import_module("stranger")
    points, declared = stranger.Points(), {"m": {"home/moved": MOVED, "home/more": {**MOVED, "by": 9.0}}}
    stranger.made.clear()
    first, again = listed(points, declared), listed(points, declared)
    assert stranger.made == [5.0, 9.0]
    assert [d.loader.dataset for d in first] == [d.loader.dataset for d in again]
    listed(stranger.Points(), declared)
    assert stranger.made == [5.0, 9.0] * 2, "another test set is shifted for itself"


@pytest.mark.parametrize("declared", [{"clean": {"hom": None}}, {"moved": {"hom/moved": MOVED}}])
def test_an_unknown_domain_lists_those_there_are(declared: dict[str, Any]) -> None:
    with pytest.raises(TrialError) as refused:
        listed(import_module("stranger").Points(), declared)
    text = str(refused.value)
    assert "'hom' is not a test dataloader" in text
    assert f"domains.{next(iter(declared))}" in text
    assert "allowed: home, home/far" in text
    assert "did you mean 'home'?" in text


def test_a_function_without_partial_is_refused_with_its_place() -> None:
    broken = {"_target_": "stranger.focal", "gamma": 2.0}
    with pytest.raises(TrialError, match=r"domains\.m\.home/q"):
        listed(import_module("stranger").Points(), {"m": {"home/q": broken}})


def test_a_loader_with_a_batch_sampler_can_be_shifted() -> None:
    sampled = import_module("stranger").BatchSampled()
    plain, moved = listed(sampled, {"a": {"home": None}, "m": {"home/moved": MOVED}})
    assert torch.equal(inputs(moved), inputs(plain) + torch.tensor([5.0, 0.0]))


@pytest.mark.parametrize("declared", [{"clean": ["home"]}, ["home", "home/far"]])
def test_domains_may_be_lists_of_names(declared: Any) -> None:
    assert places(listed(import_module("stranger").Points(), declared))[0] == "home/none"


def test_empty_domains_mean_every_test_loader() -> None:
    assert places(listed(import_module("stranger").Points(), {})) == ["home/none", "home/far"]
