"""Audits: which items of the test sets are in a trial's training data, and the part of a test set without them.

Labels are left out: an item is the first element of an example. What is compared is what the training data hand out, so
a copy that training changes at random before the model sees it is found only as far as its changed form is.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from ablate.contamination import Index, Overlap, find_overlaps
from ablate.errors import AblateError, StudyError, TrialError
from ablate.training.domains import CLEAN, Domain, list_domains
from ablate.training.fingerprints import as_array, describe_item, whole_tensors
from ablate.training.parts import build
from ablate.training.streams import replace_streams, seed_globals

MOST = 1_000_000  # training items that are looked at
FINGERPRINTED = 100_000  # training items that a fingerprint is made of
STREAM = "a stream: its items have no numbers"
BATCHES = "its dataset hands out whole batches: their items have no numbers"

# Test sets made ready, by the dataset: a warm process reads each once for all its trials.
_ready: "WeakKeyDictionary[Dataset[Any], Index]" = WeakKeyDictionary()


def audit(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Look for every domain's test items in the training data of one trial, which is not trained.

    Args:
        config: as of `run_trial`. Of training data up to 1,000,000 items are read: all of a map-style dataset that its
            sampler may draw, one epoch of a stream.

    Returns:
        By name of the domain, or `domain/shift`: `items`, how many are tested; `exact`, `normalised` and `near`,
        ascending numbers of those that training repeats, each level within the next; `skipped`, why a level was left
        out, or None. Near copies of a shifted domain are also those of the test set it was made from.

    Raises:
        TrialError: the datamodule cannot be built, or a domain is unknown.
    """
    with isolate_rng(), replace_streams(config.get("streams")):
        data, training = _load(config)
        seed_globals(int(config.seed), "split")
        data.setup("test")
        given = SimpleNamespace(test_dataloader=_remember(data.test_dataloader()))
        bases = [domain.loader for domain in list_domains(OmegaConf.create({}), given)]
        tested = {_name(d): _Tested.of(d.loader, bases[d.index]) for d in list_domains(config, given)}
        sets = {id(s): s for t in tested.values() if t.reason is None for s in (t.dataset, t.base)}
        indexes, reasons = _index(sets)
        found = dict(zip(indexes, find_overlaps(islice(training, MOST), list(indexes.values())), strict=True))
        return {name: t.report(found, reasons) for name, t in tested.items()}


def fingerprint_training(config: DictConfig) -> dict[str, str]:
    """A digest of the training items of one trial, which is not trained; no test set is opened.

    Args:
        config: as of `run_trial`; the first 100,000 items are read, labels left out.

    Returns:
        `train`: 16 hexadecimal digits; nothing where the items are of a type whose bytes are not known.
    """
    with isolate_rng(), replace_streams(config.get("streams")):
        digest = sha256()
        try:
            for item in islice(_load(config)[1], FINGERPRINTED):
                for part in describe_item(item):
                    digest.update(part)
        except TypeError:
            return {}
        return {"train": digest.hexdigest()[:16]}


def read_contaminated(given: str | Mapping[str, Collection[int]] | None) -> Mapping[str, Collection[int]]:
    """Name of the domain, or `domain/shift` -> its items that training repeats; as given, or from a file of audits.

    Behind a `#` stands the stratum whose test sets are meant.
    """
    if not isinstance(given, str):
        return given or {}
    path, _, stratum = given.partition("#")
    found: dict[str, dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))
    suffix = f" [{stratum}]" if stratum else ""
    own = {name.removesuffix(suffix): overlap["near"] for name, overlap in found.items() if name.endswith(suffix)}
    return {name: items for name, items in own.items() if items}


def clean_part(dataset: "Dataset[Any]", items: Collection[int], rows: Sequence[int] | None = None) -> "Subset[Any]":
    """A map-style test set, or these rows of it, without the items of these numbers."""
    left_out, rows = set(items), range(len(dataset)) if rows is None else rows  # type: ignore[arg-type]  # map-style
    return Subset(dataset, [row for row in rows if row not in left_out])


def clean_domains(domains: Sequence[Domain], contaminated: Mapping[str, Collection[int]] | None) -> Iterator[Domain]:
    """The clean parts of those domains that hold contaminated items, as domains of the same name and shift.

    Args:
        domains: of a trial.
        contaminated: name of the domain, or `domain/shift` -> numbers of its items, as `audit` gives them. A domain of
            which nothing would be left has no clean part.

    Raises:
        TrialError: a name that is of no domain, or of a stream, whose items have no numbers.
    """
    for domain, rest in _cut(domains, contaminated):
        if not len(rest):
            continue
        loader = domain.loader
        size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", 1)
        part: DataLoader[Any] = DataLoader(rest, size, collate_fn=loader.collate_fn, num_workers=loader.num_workers)
        yield replace(domain, loader=part)


def count_clean(domains: Sequence[Domain], contaminated: Mapping[str, Collection[int]] | None) -> list[dict[str, Any]]:
    """Rows of `clean examples`: how many items of each contaminated domain are in no training data; it may be none."""
    return [
        {"domain": domain.name, "shift": domain.shift, "metric": "clean examples", "value": float(len(rest))}
        for domain, rest in _cut(domains, contaminated)
    ]


def _cut(
    domains: Sequence[Domain], contaminated: Mapping[str, Collection[int]] | None
) -> Iterator[tuple[Domain, "Subset[Any]"]]:
    """The domains that hold contaminated items, each with what is left of it."""
    named = {_name(domain): domain for domain in domains}
    for name, items in (contaminated or {}).items():
        where = f"contaminated.{name}"
        if name not in named:
            raise TrialError(f"unknown domain {name!r}", where=where, allowed=named, word=name)
        loader = named[name].loader
        tested = _Tested.of(loader, loader)
        if tested.reason:
            raise TrialError(f"the domain {name!r} has no clean part: {tested.reason}", where=where)
        rest = clean_part(loader.dataset, items, tested.rows)
        if len(rest) < len(tested.rows):
            yield named[name], rest


def _load(config: DictConfig) -> tuple[LightningDataModule, Iterator[Any]]:
    """The datamodule set up and seeded as a trial's, and its training items."""
    seed = int(config.seed)
    seed_globals(seed, "split")
    data: LightningDataModule = build(config, "data", LightningDataModule)
    seed_globals(seed, "split")
    data.prepare_data()
    data.setup("fit")
    seed_globals(seed, "order")
    return data, read_training(data.train_dataloader())


def _remember(loaders: Any) -> Any:
    return lambda: loaders


def _name(domain: Domain) -> str:
    return domain.name if domain.shift == CLEAN else f"{domain.name}/{domain.shift}"


def _index(sets: Mapping[int, "Dataset[Any]"]) -> tuple[dict[int, Index], dict[int, str]]:
    """Test sets made ready, and why the others are not, by identity."""
    indexes, reasons = {}, {}
    for key, dataset in sets.items():
        try:
            indexes[key] = _prepare(dataset)
        except AblateError as error:
            reasons[key] = error.what
        except Exception as error:  # noqa: BLE001 - a foreign dataset may raise anything; the others are audited
            reasons[key] = f"its items cannot be read: {type(error).__name__}: {error}"
    return indexes, reasons


def _prepare(dataset: "Dataset[Any]") -> Index:
    try:
        if dataset not in _ready:
            _ready[dataset] = _make_index(list(read_items(dataset)))
        return _ready[dataset]
    except TypeError:  # a dataset that cannot be a weak key is read anew
        return _make_index(list(read_items(dataset)))


def _make_index(items: list[Any]) -> Index:
    try:
        return Index(items)
    except StudyError as error:  # the extra is not installed
        index = Index(items, near=False)
        index.skipped = error.what
        return index


@dataclass(frozen=True)
class _Tested:
    """A domain's test set, the one it was made from, and the rows that are tested; or why it cannot be audited."""

    dataset: "Dataset[Any]"
    base: "Dataset[Any]"
    rows: Sequence[int]
    reason: str | None = None

    @classmethod
    def of(cls, loader: "DataLoader[Any]", base: "DataLoader[Any]") -> "_Tested":
        dataset: Any = loader.dataset
        if not _has_numbers(dataset):
            return cls(dataset, dataset, (), STREAM)
        if loader.batch_sampler is None:
            return cls(dataset, dataset, (), BATCHES)
        origin: Any = base.dataset
        same_rows = _has_numbers(origin) and len(origin) == len(dataset)
        return cls(dataset, origin if same_rows else dataset, _rows(loader))

    def report(self, found: Mapping[int, Overlap], reasons: Mapping[int, str]) -> dict[str, Any]:
        own, base = found.get(id(self.dataset)), found.get(id(self.base))
        reason = self.reason or reasons.get(id(self.dataset))
        if reason or own is None:
            return {"items": len(self.rows), "exact": [], "normalised": [], "near": [], "skipped": reason}
        near = {*own.near, *(base.near if base else ())}
        levels = {"exact": own.exact, "normalised": own.normalised, "near": near}
        kept = {name: sorted({*numbers} & {*self.rows}) for name, numbers in levels.items()}
        return {"items": len(self.rows), **kept, "skipped": own.skipped}


# --- items ------------------------------------------------------------------------------------------------------------


def read_training(loaders: Any) -> Iterator[Any]:
    """The items of a training dataloader, or of several in a list, mapping or CombinedLoader, labels left out."""
    loaders = getattr(loaders, "flattened", loaders)
    if isinstance(loaders, Mapping | list | tuple):
        for loader in loaders.values() if isinstance(loaders, Mapping) else loaders:
            yield from read_training(loader)
    elif isinstance(loaders, DataLoader) and loaders.batch_sampler is not None and _has_numbers(loaders.dataset):
        yield from read_items(loaders.dataset, _rows(loaders))
    else:
        for batch in loaders:
            yield from _split(batch)


def read_items(dataset: Any, rows: Sequence[int] | None = None) -> Iterable[Any]:
    """The items of a map-style dataset, labels left out, as text or arrays."""
    tensors = whole_tensors(dataset)
    if tensors is not None:
        values = _as_item(tensors[0])
        return (values[row] for row in (range(len(values)) if rows is None else rows))
    return (_as_item(dataset[row]) for row in (range(len(dataset)) if rows is None else rows))


def _rows(loader: "DataLoader[Any]") -> Sequence[int]:
    """What a loader's sampler may draw: all rows but for a SubsetRandomSampler."""
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    return list(getattr(sampler, "indices", range(len(loader.dataset))))  # type: ignore[arg-type]  # map-style


def _has_numbers(dataset: Any) -> bool:
    """Whether a dataset's items can be asked for by number."""
    return not isinstance(dataset, IterableDataset) and hasattr(dataset, "__len__")


def _as_item(example: Any) -> Any:
    """The first element of an example, tensors as arrays; a list of numbers is a row of them."""
    if isinstance(example, torch.Tensor):
        return as_array(example.float() if example.dtype is torch.bfloat16 else example)
    if isinstance(example, Mapping) and example:
        return _as_item(next(iter(example.values())))
    if isinstance(example, list | tuple) and example:
        numbers = len(example) > 2 and all(isinstance(part, int | float) for part in example)
        return np.asarray(example) if numbers else _as_item(example[0])
    return example


def _split(batch: Any) -> Iterable[Any]:
    """The items of a batch."""
    first = batch
    while isinstance(first, Mapping | list | tuple) and first and not _listed(first):
        first = next(iter(first.values())) if isinstance(first, Mapping) else first[0]
    return map(_as_item, first) if _listed(first) else [_as_item(first)]


def _listed(batch: Any) -> bool:
    """Whether going through this gives items: a tensor or array of several, or a list of texts."""
    if isinstance(batch, torch.Tensor | np.ndarray):
        return batch.ndim > 0
    return isinstance(batch, list | tuple) and all(isinstance(part, str | bytes) for part in batch)
