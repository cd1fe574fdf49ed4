"""Where a trained model is measured: the data module's test loaders, and shifts of them.

    domains:
      clean: {digits: null}                          group: {a test loader by its name}
      fog:                                           group of severities, averaged when effects are judged
        digits/fog_1: {_target_: parts.Fog, thickness: 1}
        digits/fog_2: {_target_: parts.Fog, thickness: 2, of: digits, input: image}

A shift is a callable `shift(x, rng) -> x`: one example's input, as the test loader gives it, and a numpy Generator that
starts at the same point for the same example in every trial. `of` names the loader whose examples it changes (else the
part before the slash), `input` the key of the input in a batch that is a mapping (a batch that is a sequence has it
first). Shifted batches are made once per process and kept in memory.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ablate.errors import PlanError
from ablate.training.building import build

SHIFT_STREAM = 20_130  # any number: keeps the generators of shifts apart from others seeded by small integers
OWN_KEYS = ("of", "input")


@dataclass(frozen=True)
class Domain:
    """A place of measurement as declared.

    Attributes:
        place: `name` or `name/shift`.
        of: the test loader whose examples it holds.
        shift: config of the callable that changes them; empty for none.
        input: key of the input in a batch that is a mapping.
    """

    place: str
    of: str
    shift: Mapping[str, Any] = field(default_factory=dict)
    input: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The domain and shift that rows carry."""
        domain, _, shift = self.place.partition("/")
        return {"domain": domain, "shift": shift or "none"}


def named_loaders(loaders: Any) -> dict[str, Any]:
    """Test loaders by name: a mapping's keys; `test` for one loader; `test_0`, `test_1`, ... for a list."""
    if isinstance(loaders, Mapping):
        return {str(name): loader for name, loader in loaders.items()}
    if isinstance(loaders, list | tuple):
        return {f"test_{i}": loader for i, loader in enumerate(loaders)}
    return {"test": loaders}


def declared_domains(domains: Any, loaders: Iterable[str]) -> list[Domain]:
    """The places that a config's `domains` declares; without any, every test loader.

    Args:
        domains: domain group -> its places (`{place: null or shift}`, or a list of names); or a list of names.
        loaders: names of the test loaders.

    Raises:
        PlanError: a place or its `of` is no test loader, or it is not declared as above.
    """
    names = list(loaders)
    groups = domains if isinstance(domains, Mapping) else {"": domains or names}
    found = []
    for group, members in (groups or {"": names}).items():
        where = f"domains.{group}".rstrip(".")
        if isinstance(members, str):
            members = [members]
        if not isinstance(members, Mapping):
            members = dict.fromkeys(members or ())
        found += [_declared(str(place), shift, names, where) for place, shift in members.items()]
    return found


def _declared(place: str, shift: Any, loaders: Sequence[str], where: str) -> Domain:
    if shift is not None and not (isinstance(shift, Mapping) and "_target_" in shift):
        raise PlanError(
            f"{place!r} is neither a test loader nor a shift: {shift!r:.80}",
            where=where,
            allowed=[f"{place}: null", f"{place}: {{_target_: ..., ...}}"],
        )
    of = place if shift is None else str(shift.get("of") or place.partition("/")[0])
    if of not in loaders:
        what = f"there is no test loader {of!r}" + ("" if shift is None else f" for the shift {place!r}")
        remedy = "name one of these, or give the data module's `test_dataloader` one of that name"
        raise PlanError(what, where=where, allowed=loaders, remedy=remedy, word=of)
    if shift is None:
        return Domain(place, of)
    return Domain(place, of, {k: v for k, v in shift.items() if k not in OWN_KEYS}, shift.get("input"))


def domain_loaders(
    domains: Iterable[Domain], loaders: Mapping[str, Any], batches: int | None = None
) -> Iterator[tuple[Domain, Any]]:
    """Each domain with the loader of its batches; shifted ones come from this process's memory where they can.

    Args:
        domains: what is declared.
        loaders: test loaders by name.
        batches: how many batches of a shifted domain are needed; None makes all.
    """
    from torch.utils.data import DataLoader

    clean: dict[str, tuple[list[Any], str]] = {}
    for domain in domains:
        if not domain.shift:
            yield domain, loaders[domain.of]
            continue
        if domain.of not in clean:
            held = list(islice(loaders[domain.of], batches))
            clean[domain.of] = held, content_digest(held)
        yield domain, DataLoader(_shifted(domain, *clean[domain.of]), batch_size=None, collate_fn=_as_it_is)


# place -> (what it was made from, its batches); the last content of each place only, so that it cannot grow.
_kept: dict[str, tuple[str, list[Any]]] = {}


def _shifted(domain: Domain, clean: list[Any], digest: str) -> list[Any]:
    key = f"{digest} {domain}"
    if _kept.get(domain.place, ("", []))[0] != key:
        shift = build({domain.place: domain.shift}, domain.place)
        if not callable(shift):
            raise PlanError(
                f"the shift {domain.place!r} is a {type(shift).__name__}, which cannot be called",
                where=f"domains: {domain.place}",
                remedy="let `_target_` build a callable (x, rng) -> x; a function needs `_partial_: true`",
            )
        _kept[domain.place] = key, list(_shift_batches(shift, clean, domain))
    return _kept[domain.place][1]


def _shift_batches(shift: Any, batches: Iterable[Any], domain: Domain) -> Iterator[Any]:
    import numpy as np
    import torch

    seen = 0
    for batch in batches:
        inputs = inputs_of(batch, domain.input, domain.place)
        made = [shift(x, np.random.default_rng([SHIFT_STREAM, seen + i])) for i, x in enumerate(inputs)]
        seen += len(made)
        if isinstance(inputs, torch.Tensor):
            made = torch.stack([torch.as_tensor(x, dtype=inputs.dtype) for x in made])  # type: ignore[assignment]
        yield _with_inputs(batch, domain.input, made)


def inputs_of(batch: Any, key: str | None = None, place: str = "") -> Any:
    """The inputs of a batch: under `key` of a mapping, first in a sequence, or the batch itself.

    Raises:
        PlanError: the batch is a mapping and no key of it is named.
    """
    if isinstance(batch, Mapping):
        if key not in batch:
            what = f"a batch is a mapping: which key holds the input of {place!r}?"
            remedy = f"add `input: <key>` to the shift {place!r}"
            raise PlanError(what, where=f"domains: {place}", allowed=batch, remedy=remedy, word=key)
        return batch[key]
    return batch[0] if isinstance(batch, list | tuple) else batch


def _with_inputs(batch: Any, key: str | None, inputs: Any) -> Any:
    if isinstance(batch, Mapping):
        return {**batch, key: inputs}
    return [inputs, *batch[1:]] if isinstance(batch, list | tuple) else inputs


def _as_it_is(batch: Any) -> Any:
    return batch


def count_examples(batch: Any) -> int:
    """How many examples a batch holds: the length of the first thing in it that has one."""
    if isinstance(batch, Mapping):
        return count_examples(next(iter(batch.values())))
    if isinstance(batch, list | tuple) and batch and not isinstance(batch[0], str):
        return count_examples(batch[0])
    return len(batch)


def content_digest(value: Any) -> str:
    """SHA-256 (hex) of batches: the bytes of tensors and arrays, the text of everything else."""
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, list | tuple):
        state.update(b"[%d" % len(value))
        for item in value:
            _feed(state, item)
    elif hasattr(value, "numpy") or hasattr(value, "tobytes"):
        array = value.numpy() if hasattr(value, "numpy") else value
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(array.tobytes())
    else:
        state.update(repr(value).encode() + b",")
