"""Drift: what differs between two plans, or two sets of plain values, so that nothing changes unseen."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ablate.factors import Cell

if TYPE_CHECKING:
    from ablate.plans import Plan


def drift(locked: "Plan", now: "Plan") -> list[str]:
    """What differs between two plans, a line each: `key: before -> now`; empty if they are one study."""
    before, after = ({k: v for k, v in p.to_dict().items() if k != "provenance"} for p in (locked, now))
    for values, p in ((before, locked), (after, now)):
        changes = p.changes or ({},) * len(p.cells)
        cells = [str(Cell(dict(sorted(cell.items())))) for cell in p.cells]
        values["cells"] = {cell: change or "as the base" for cell, change in zip(cells, changes, strict=True)}
        values["factors"] = {f["key"]: {k: v for k, v in f.items() if k != "key"} for f in values["factors"]}
    lines = list(differences(flatten(before), flatten(after)))
    return lines or ([] if locked.hash == now.hash else ["the order of the factors or of the cells"])


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """`key: before -> after` for every key whose value differs between two flat mappings."""
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key, "(absent)"), after.get(key, "(absent)")
        if old is not new and _spell(old) != _spell(new):
            yield f"{key}: {old} -> {new}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one flat mapping with dotted keys; lists are leaves, an empty mapping stays one."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def _spell(value: object) -> str:
    """A value as its digest sees it: 1, 1.0 and true differ, a tuple and a list do not."""
    return json.dumps(value, sort_keys=True, default=repr)
