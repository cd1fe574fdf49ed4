"""Domains: test loaders by name, own shifts of them, made once, and what is said of unknown ones."""

from importlib import import_module
from typing import Any

import pytest
import torch

from ablate.errors import TrialError
from ablate.training import audit, run_trial
from ablate.training.domains import Domain, list_domains
from ablate.training.streams import make_generator

from .configs import MOVED, measured, scores, trial_config

ATTACKED = {"_target_": "stranger.push", "_partial_": True, "by": 2.0}


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


@pytest.mark.parametrize(("data", "size"), [("Points", 16), ("BatchSampled", 16)])
def test_a_shift_may_take_a_part_of_the_test_set(data: str, size: int) -> None:
    some = {"_target_": "torch.utils.data.Subset", "_partial_": True, "indices": [*range(20, 38), 3]}
    plain, part = listed(getattr(import_module("stranger"), data)(), {"a": {"home": None}, "p": {"home/part": some}})
    assert torch.equal(inputs(part), inputs(plain)[some["indices"]])
    assert [len(batch[0]) for batch in part.loader] == [size, 19 - size]


@pytest.mark.parametrize("declared", [{"clean": ["home"]}, ["home", "home/far"]])
def test_domains_may_be_lists_of_names(declared: Any) -> None:
    assert places(listed(import_module("stranger").Points(), declared))[0] == "home/none"


def test_empty_domains_mean_every_test_loader() -> None:
    assert places(listed(import_module("stranger").Points(), {})) == ["home/none", "home/far"]


# --- attacks ---------------------------------------------------------------------------------------------------------


def test_a_shift_that_asks_for_the_module_gets_each_batch_as_the_module_would() -> None:
    stranger = import_module("stranger")
    declared = {
        "clean": {"home": None},
        "pushed": {"home/pushed": ATTACKED, "away/pushed": {**ATTACKED, "of": "home/far"}},
    }
    stranger.pushed.clear()
    rows = measured(run_trial(trial_config(domains=declared)))
    means = scores(rows, "mean_input")
    drawn = torch.rand((), generator=make_generator(0, "attack"))
    assert stranger.pushed[0] == (16, float(drawn)), "its first draw is that of the stream"
    assert [size for size, _ in stranger.pushed] == [16, 16, 8, 16, 8]
    assert stranger.pushed[3] == stranger.pushed[0], "every pass begins the stream anew"
    assert means["home/pushed"] == pytest.approx(means["home/none"] + 2.0, abs=1e-5)
    hashes = {(r["domain"], r["shift"]): r["eval_hash"] for r in rows}
    assert hashes[("home", "pushed")] == hashes[("home", "none")], "the items that it starts from"


def test_a_shift_that_has_its_model_already_is_an_ordinary_one() -> None:
    bound = {"_target_": "stranger.with_a_model", "_partial_": True, "model": "small"}
    (domain,) = listed(import_module("stranger").Points(), {"m": {"home/m": bound}})
    assert domain.attack is None
    assert len(domain.loader.dataset) == 40


@pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`")
@pytest.mark.parametrize(("data", "model"), [("ScalesOnDevice", "Corners"), ("Points", "HalvesOnDevice")])
def test_an_attack_comes_after_the_hooks_of_whoever_has_them(data: str, model: str) -> None:
    declared = {"clean": {"home": None}, "pushed": {"home/pushed": ATTACKED}}
    means = scores(run_trial(trial_config(data, model, domains=declared)), "mean_input")
    assert means["home/pushed"] == pytest.approx(means["home/none"] + 2.0, abs=1e-5)
    assert abs(means["home/none"]) > 0.4


def test_an_attack_has_a_clean_part_and_is_audited_as_what_it_starts_from() -> None:
    config = trial_config(domains={"pushed": {"home/pushed": ATTACKED}})
    assert audit(config)["home/pushed"]["items"] == 40
    config.contaminated = {"home/pushed": [0, 1, 2]}
    rows = run_trial(config)
    means = {r["metric"]: r["value"] for r in rows if r["shift"] == "pushed"}
    assert means["clean examples"] == 37
    rest = torch.cat([batch[0] for batch in import_module("stranger").Points().test_dataloader()["home"]])[3:]
    assert means["mean_input (clean part)"] == pytest.approx(float(rest.mean()) + 2.0, abs=1e-5)
