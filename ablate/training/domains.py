"""Domains: the test sets on which a trained model is measured, and their shifts.

A domain is a test dataloader of the datamodule, by name. A shift is a callable dataset -> dataset, by `_target_`; it
draws what it needs from seeds of its own, so that every trial is tested on the same items.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, Dataset

from ablate.errors import TrialError
from ablate.training.parts import build

CLEAN = "none"

# Shifted test sets by the set they were made from: a warm process makes them once for all its trials.
_shifted: "WeakKeyDictionary[Dataset[Any], dict[str, Dataset[Any]]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Domain:
    """A test set: the name of its domain, its shift (`none` is the clean one), and its loader."""

    name: str
    shift: str
    loader: "DataLoader[Any]"


def list_domains(config: DictConfig, data: Any) -> Iterator[Domain]:
    """The domains of a trial: those of the config's `domains` (group -> name -> shift or null), else all there are.

    Args:
        config: a composed config.
        data: the datamodule, set up for testing.

    Raises:
        TrialError: a domain that is no test dataloader; lists those there are.
    """
    loaders = _named_loaders(data.test_dataloader())
    if not OmegaConf.select(config, "domains"):
        for name, loader in loaders.items():
            yield Domain(*_split(name), loader)
        return
    for group, members in config.domains.items():
        for name in members:
            node = members[name]
            base = _split(str(name))[0] if node is None else str(node.get("of") or _split(str(name))[0])
            known = str(name) if node is None else base
            if known not in loaders:
                raise TrialError(
                    f"domain {known!r} is not a test dataloader",
                    where=f"domains.{group}",
                    allowed=loaders,
                    remedy="name one of these, or return it from `test_dataloader`",
                    word=known,
                )
            loader = loaders[known] if node is None else _shift(node, f"domains.{group}.{name}", loaders[known])
            yield Domain(*_split(str(name)), loader)


def _split(name: str) -> tuple[str, str]:
    domain, _, shift = name.partition("/")
    return domain, shift or CLEAN


def _named_loaders(given: Any) -> dict[str, "DataLoader[Any]"]:
    if isinstance(given, Mapping):
        return {str(name): loader for name, loader in given.items()}
    if isinstance(given, list | tuple):
        return {f"test_{i}": loader for i, loader in enumerate(given)}
    return {"test": given}


def _shift(node: DictConfig, where: str, base: "DataLoader[Any]") -> "DataLoader[Any]":
    shift = OmegaConf.create({key: node[key] for key in node if key != "of"})
    made = _cache(base.dataset)
    key = OmegaConf.to_yaml(shift)
    if key not in made:
        made[key] = build(OmegaConf.create({where: shift}), where)(base.dataset)
    return DataLoader(made[key], batch_size=base.batch_size, collate_fn=base.collate_fn, num_workers=base.num_workers)


def _cache(dataset: "Dataset[Any]") -> dict[str, "Dataset[Any]"]:
    try:
        return _shifted.setdefault(dataset, {})
    except TypeError:  # a dataset that cannot be a key is shifted anew for every trial
        return {}
