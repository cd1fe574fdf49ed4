"""Targets: what the configs of a study would build, checked against the packages that it may, without importing any.

A `_target_` runs what it names. Each must lie in an allowed package or in a module of the study's own.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ablate.errors import PlanError
from ablate.factors import Cell

ALLOWED = ("ablate", "lightning", "torch", "torchmetrics")


def find_targets(values: object, path: str = "") -> dict[str, str]:
    """Every `_target_` of a config's plain values, by the dotted key of what it builds."""
    found: dict[str, str] = {}
    items: Iterator[tuple[object, object]] = iter(())
    if isinstance(values, Mapping):
        items = iter(values.items())
    elif isinstance(values, list):
        items = iter(enumerate(values))
    for key, value in items:
        if key == "_target_" and isinstance(value, str):
            found[path] = value
        else:
            found |= find_targets(value, f"{path}.{key}" if path else str(key))
    return found


def modules_in(folder: Path) -> list[str]:
    """Names of the modules and packages that stand in a folder."""
    files = [file.stem for file in folder.glob("*.py") if file.stem.isidentifier()]
    return sorted([*files, *(file.parent.name for file in folder.glob("*/__init__.py"))])


def check_targets(
    cells: Sequence[Cell],
    configs: Sequence[Mapping[str, Any]],
    overrides: Mapping[Cell, Sequence[str]],
    allowed: Sequence[str],
    search: Sequence[Path],
) -> None:
    """Every target of every cell is allowed, and its module is there.

    Args:
        cells: of the plan.
        configs: their configs as plain values.
        overrides: what made each of them.
        allowed: packages, modules, or longer dotted paths.
        search: folders of the study's own modules.

    Raises:
        PlanError: every target that fails, why, and the override that causes it.
    """
    found = [find_targets(config) for config in configs]
    failing = {}
    for targets in found:
        for key, target in targets.items():
            why = _refuse(target, allowed, search)
            if why:
                failing[key, target] = why
    if not failing:
        return
    lines = []
    for (key, target), why in failing.items():
        having = [cell for cell, targets in zip(cells, found, strict=True) if targets.get(key) == target]
        place = f"{key}._target_" if key else "_target_"
        lines.append(f"{place} = {target}: {why} ({_blame(place, having, cells, overrides)})")
    raise PlanError(
        "\n  ".join(["targets that cannot be built:", *lines]),
        where="_target_",
        allowed=allowed,
        remedy="mend the path; what you trust is allowed with `hydra.sweeper.allow=[package]`; nothing was imported",
    )


def _refuse(target: str, allowed: Sequence[str], search: Sequence[Path]) -> str | None:
    """Why a target cannot be built; None if it may be."""
    if "${" in target:
        return "an interpolation, which could become anything: write the path out"
    if not any(target == name or target.startswith(f"{name}.") for name in allowed):
        return "not in an allowed package"
    parts = target.split(".")
    spec = PathFinder.find_spec(parts[0], [str(folder) for folder in search])
    if spec is None:
        return None if find_spec(parts[0]) else f"there is no module {parts[0]!r}"
    if spec.submodule_search_locations is None and spec.origin and len(parts) > 1:
        names = _names_in(Path(spec.origin))
        if names is not None and parts[1] not in names:
            return f"{Path(spec.origin).name} defines no {parts[1]!r}"
    return None


def _names_in(file: Path) -> set[str] | None:
    """What a module's source binds at its top level; None where that cannot be told without running it."""
    try:
        module = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            return None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return found


def _blame(place: str, having: Sequence[Cell], cells: Sequence[Cell], overrides: Mapping[Cell, Sequence[str]]) -> str:
    """The overrides that all cells with a target have and no other has; where all have it, the one that sets it."""
    shared = [word for word in overrides[having[0]] if all(word in overrides[cell] for cell in having)]
    if len(having) == len(cells):
        setting = [word for word in shared if f"{place}.".startswith(f"{word.partition('=')[0].lstrip('+')}.")]
        return f"from {', '.join(setting)}, in every cell" if setting else "in every cell"
    without = {word for cell in cells if cell not in having for word in overrides[cell]}
    own = [word for word in shared if word not in without]
    return f"from {', '.join(own)}" if own else f"in {len(having)} cells, first {having[0]}"
