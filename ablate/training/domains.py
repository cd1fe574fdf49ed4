"""Domains: the test sets on which a trained model is measured, and their shifts.

A domain is a test dataloader of the datamodule, by name. A shift is a callable dataset -> dataset, by `_target_`; it
draws what it needs from seeds of its own, so that every trial is tested on the same items. A shift that has a parameter
`model` without a default is an attack: called with each batch as the module would get it, the trained module and a
generator (`model=`, `generator=`), it gives the batch that is tested. The items that it starts from are the same in
every trial; what it makes of them is the trial's own, drawn from its stream `attack`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any
from weakref import WeakKeyDictionary

from omegaconf import DictConfig, ListConfig, OmegaConf
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ablate.errors import TrialError
from ablate.training.parts import build
from ablate.training.streams import make_generator

CLEAN = "none"

# Shifted test sets by the set they were made from: a warm process makes them once for all its trials.
_shifted: "WeakKeyDictionary[Dataset[Any], dict[str, Dataset[Any]]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Domain:
    """A test set.

    Attributes:
        name: of its domain.
        shift: of its shift; `none` is the clean one.
        loader: its batches.
        index: the place, among the datamodule's test dataloaders, of the one it comes from.
        attack: of a shift that is drawn from the trained module: batch, model -> batch; None where there is none.
    """

    name: str
    shift: str
    loader: "DataLoader[Any]"
    index: int
    attack: "Attack | None" = None


@dataclass(frozen=True)
class Attack:
    """A shift that is drawn from a trained module, batch by batch.

    Attributes:
        draw: (batch, model=, generator=) -> batch.
        seed: the trial's.
    """

    draw: Callable[..., Any]
    seed: int

    def begin(self, model: Any) -> Callable[[Any], Any]:
        """Batch -> batch for one pass over the test set; every pass draws the same."""
        return partial(self.draw, model=model, generator=make_generator(self.seed, "attack"))


def list_domains(config: DictConfig, data: Any) -> Iterator[Domain]:
    """The domains of a trial: those of the config's `domains`, else all test dataloaders.

    Args:
        config: a composed config; `domains` maps a group to its members (name -> shift or null, or a list of
            names), or is a list of names.
        data: the datamodule, set up for testing.

    Raises:
        TrialError: a domain that is no test dataloader; lists those there are.
    """
    loaders = _named_loaders(data.test_dataloader())
    places = {name: i for i, name in enumerate(loaders)}
    declared = OmegaConf.select(config, "domains")
    if not declared:
        for name, loader in loaders.items():
            yield Domain(*_split(name), loader, places[name])
        return
    groups = {name: [name] for name in declared} if isinstance(declared, ListConfig) else declared
    for group, members in groups.items():
        for name in members:
            where = f"domains.{group}.{name}"
            node = members[name] if isinstance(members, DictConfig) else None
            base = str(name) if node is None else str(node.get("of") or _split(str(name))[0])
            if base not in loaders:
                raise TrialError(
                    f"domain {base!r} is not a test dataloader",
                    where=where,
                    allowed=loaders,
                    remedy="name one of these, or return it from `test_dataloader`",
                    word=base,
                )
            loader, attack = (loaders[base], None) if node is None else _shift(node, where, loaders[base], config)
            yield Domain(*_split(str(name)), loader, places[base], attack)


def _split(name: str) -> tuple[str, str]:
    domain, _, shift = name.partition("/")
    return domain, shift or CLEAN


def _named_loaders(given: Any) -> dict[str, "DataLoader[Any]"]:
    if isinstance(given, Mapping):
        return {str(name): loader for name, loader in given.items()}
    if isinstance(given, list | tuple):
        return {f"test_{i}": loader for i, loader in enumerate(given)}
    return {"test": given}


def _shift(
    node: DictConfig, where: str, base: "DataLoader[Any]", config: DictConfig
) -> "tuple[DataLoader[Any], Attack | None]":
    shift = OmegaConf.create({key: node[key] for key in node if key != "of"})
    made = _cache(base.dataset)
    key = OmegaConf.to_yaml(shift)
    if key not in made:
        change = build(OmegaConf.create({where: shift}), where)
        if _attacks(change):
            return base, Attack(change, int(config.seed))
        made[key] = change(base.dataset)
    return _load_as(made[key], base), None


def _load_as(dataset: "Dataset[Any]", base: "DataLoader[Any]") -> "DataLoader[Any]":
    """A shifted test set in the batches of the one it was made from; in order, where it has other rows."""
    same: dict[str, Any] = {"collate_fn": base.collate_fn, "num_workers": base.num_workers}
    if isinstance(dataset, IterableDataset):
        return DataLoader(dataset, batch_size=base.batch_size, **same)
    sizes = {len(each) for each in (dataset, base.dataset) if hasattr(each, "__len__")}
    kept = len(sizes) < 2
    if base.batch_sampler is None:
        return DataLoader(dataset, batch_size=None, sampler=base.sampler if kept else None, **same)
    if not kept:
        size = base.batch_size or getattr(base.batch_sampler, "batch_size", 1)
        return DataLoader(dataset, batch_size=size, **same)
    return DataLoader(dataset, batch_sampler=base.batch_sampler, **same)


def _attacks(change: Any) -> bool:
    """Whether a shift asks for the trained module."""
    try:
        asked = signature(change).parameters.get("model")
    except (TypeError, ValueError):  # not callable, which calling it says better; or built in
        return False
    return asked is not None and asked.default is Parameter.empty


def _cache(dataset: "Dataset[Any]") -> dict[str, "Dataset[Any]"]:
    try:
        return _shifted.setdefault(dataset, {})
    except TypeError:  # a dataset that cannot be a key is shifted anew for every trial
        return {}
