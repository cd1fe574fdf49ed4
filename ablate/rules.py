"""Rules: which cells of a design are not run (`exclude`), and which levels exist only under others (`conditional`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablate.errors import PlanError, require_keys, require_one_of
from ablate.factors import Cell, Factor, is_list, level_name

Conditions = Mapping[str, Mapping[str, Any]]  # factor -> {only: {other factor: level or levels}, levels: [...]}


def read_conditions(given: Any, factors: Sequence[Factor]) -> dict[str, dict[str, Any]]:
    """Conditions as plain values, each with its levels named.

    Args:
        given: factor -> `{only: {other: level or levels}}`, and `levels`, those of the factor that depend on it;
            without them all but the baseline do.
        factors: all of the study's.

    Raises:
        PlanError: an unknown factor, level or key, a factor that depends on itself, a baseline that depends on others.
    """
    if not isinstance(given, Mapping):
        allowed = ["{momentum: {only: {optimiser: sgd}}}"]
        raise PlanError(f"{given!r:.80} is no mapping", where="conditional", allowed=allowed)
    by_key = {f.key: f for f in factors}
    found: dict[str, dict[str, Any]] = {}
    for key, condition in given.items():
        where = f"conditional.{key}"
        require_one_of(key, by_key, "conditional", "factor")
        require_keys(condition, ["only", "levels"], where)
        only, factor = condition.get("only"), by_key[key]
        if not isinstance(only, Mapping) or not only:
            raise PlanError("it says not under what", where=where, allowed=["only: {other factor: level or levels}"])
        if key in only:
            raise PlanError("a factor that depends on itself", where=f"{where}.only", remedy="name another factor")
        levels = [factor.level(word) for word in condition.get("levels") or factor.alternatives]
        if level_name(factor.baseline) in map(level_name, levels):
            remedy = "name a baseline that exists everywhere: it is where the factor stays elsewhere"
            raise PlanError(
                f"the baseline {level_name(factor.baseline)!r} depends on others", where=where, remedy=remedy
            )
        found[key] = {"only": _read_rule(only, by_key, f"{where}.only"), "levels": levels}
    return found


def holds(condition: Mapping[str, Any], cell: Cell) -> bool:
    """Whether what a condition depends on is so in a cell."""
    return cell.agrees(condition["only"])


def absent(conditions: Conditions, factor: Factor, cell: Cell) -> bool:
    """Whether a factor as a whole does not exist in a cell: all its other levels depend on what is not so there."""
    condition = conditions.get(factor.key)
    return condition is not None and not holds(condition, cell) and len(condition["levels"]) == len(factor.alternatives)


def apply_conditions(cells: Iterable[Cell], factors: Sequence[Factor], conditions: Conditions) -> list[Cell]:
    """Cells with every factor at its baseline where the level does not exist, each cell once.

    Raises:
        PlanError: no cell is left with one of the levels.
    """
    if not conditions:
        return list(cells)
    settled = list(dict.fromkeys(_settle(cell, factors, conditions) for cell in cells))
    for key, condition in conditions.items():
        gone = {level_name(w) for w in condition["levels"]} - {level_name(cell[key]) for cell in settled}
        if gone:
            remedy = "take a full factorial, or a baseline under which the level exists"
            what = f"no cell of the design has {key}={', '.join(sorted(gone))} where it exists"
            raise PlanError(what, where=f"conditional.{key}", remedy=remedy)
    return settled


def _settle(cell: Cell, factors: Sequence[Factor], conditions: Conditions) -> Cell:
    baseline = {f.key: f.baseline for f in factors}
    for _ in conditions:  # one may depend on another, that on a third
        for key, condition in conditions.items():
            if level_name(cell[key]) in map(level_name, condition["levels"]) and not holds(condition, cell):
                cell = cell.replace(**{key: baseline[key]})
    return cell


def split_cells(
    cells: Sequence[Cell], factors: Sequence[Factor], rules: Any
) -> tuple[tuple[Cell, ...], tuple[Cell, ...], tuple[Mapping[str, Any], ...]]:
    """The cells that are run, those that a rule excludes, and the rules as plain values.

    Raises:
        PlanError: a rule that cannot be read, or that leaves nothing to compare, or no cell of some level.
    """
    by_key = {f.key: f for f in factors}
    if isinstance(rules, Mapping) or not all(isinstance(rule, Mapping) and rule for rule in rules):
        raise PlanError("exclude is a list of rules", where="exclude", allowed=["[{factor: level, ...}, ...]"])
    plain = tuple(_read_rule(rule, by_key, "exclude") for rule in rules)
    out = tuple(cell for cell in cells if any(cell.agrees(rule) for rule in plain))
    kept = tuple(cell for cell in cells if cell not in out)
    if len(kept) < 2:
        raise PlanError(f"{len(kept)} cell(s) are left: nothing to compare", where="exclude", remedy="loosen the rules")
    for f in factors:
        gone = {level_name(cell[f.key]) for cell in out} - {level_name(cell[f.key]) for cell in kept}
        if gone:
            remedy = "take the level out of the factor, or loosen the rules"
            raise PlanError(f"no cell is left with {f.key}={', '.join(sorted(gone))}", where="exclude", remedy=remedy)
    return kept, out, plain


def _read_rule(rule: Mapping[str, Any], by_key: Mapping[str, Factor], where: str) -> dict[str, Any]:
    for key, wanted in rule.items():
        require_one_of(key, by_key, where, "factor")
        for word in wanted if is_list(wanted) else [wanted]:
            by_key[key].level(word)
    return {key: list(want) if is_list(want) else want for key, want in rule.items()}
