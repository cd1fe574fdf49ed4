"""Aliases: which effects a set of cells cannot tell apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ablate.factors import Cell, Factor, level_name

LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"  # no I, which is the identity


@dataclass(frozen=True)
class Aliases:
    """What the cells cannot tell apart, among main effects and two-way interactions.

    Attributes:
        legend: letter -> factor (with its level where there are more than two).
        chains: effects that are equal on these cells, up to sign: `("A", "BC", "DE")`; main effects first.
        partial: main effect -> how many interactions it is correlated with, and the largest |correlation|.
        resolution: of a regular two-level fraction, up to V: 5 means five or more; None where there is none.
    """

    legend: Mapping[str, str]
    chains: tuple[tuple[str, ...], ...]
    partial: Mapping[str, tuple[int, float]]
    resolution: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        partial = {name: {"interactions": n, "largest": round(r, 6)} for name, (n, r) in self.partial.items()}
        chains = ["=".join(chain) for chain in self.chains]
        return {"legend": dict(self.legend), "chains": chains, "partial": partial, "resolution": self.resolution}


def find_aliases(factors: Sequence[Factor], cells: Sequence[Cell]) -> Aliases:
    """The alias structure that any cells have, from the cells alone.

    An effect is its sign on every cell: 1 at a factor's baseline, -1 at another level, 0 at any further one; a product
    for an interaction. What a factor's own levels share with one another is no alias.
    """
    single = {}
    legend = {}
    switched = [(f, level) for f in factors for level in f.alternatives]
    for number, (f, level) in enumerate(switched):
        name = LETTERS[number] if len(switched) <= len(LETTERS) else f"X{number + 1}·"
        legend[name] = f.key if len(f.levels) == 2 else f"{f.key}={level_name(level)}"
        single[name] = (f, tuple(_sign(f, level, cell) for cell in cells))
    pairs = {
        a + b: tuple(x * y for x, y in zip(one, two, strict=True))
        for (a, (f, one)), (b, (g, two)) in combinations(single.items(), 2)
        if f is not g
    }
    mains = {name: signs for name, (_, signs) in single.items()}
    effects = {**mains, **pairs}
    chains = tuple(tuple(chain) for chain in _classes(effects) if len(chain) > 1)
    partial = dict(_correlated(mains, pairs))
    regular = not partial and all(len(f.levels) == 2 for f in factors)
    lengths = [3 if any(name in mains for name in chain) else 4 for chain in chains]
    crossed = any(len([name for name in chain if name in mains]) > 1 for chain in chains)
    resolution = (2 if crossed else min([*lengths, 5])) if regular and len(cells) < 2 ** len(factors) else None
    return Aliases(legend, chains, partial, resolution)


def _sign(factor: Factor, level: object, cell: Cell) -> int:
    name = level_name(cell[factor.key])
    return 1 if name == level_name(factor.baseline) else -1 if name == level_name(level) else 0


def _classes(effects: Mapping[str, tuple[int, ...]]) -> Iterator[list[str]]:
    """Effects by their signs up to one sign over all; those that vanish or never change are left out."""
    found: dict[tuple[int, ...], list[str]] = {}
    for name, signs in effects.items():
        if len(set(signs)) == 1:
            continue
        turned = tuple(-sign for sign in signs)
        found.setdefault(max(signs, turned), []).append(name)
    yield from found.values()


def _correlated(
    mains: Mapping[str, tuple[int, ...]], pairs: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, tuple[int, float]]]:
    """Main effects that are correlated, but not equal, with interactions; none in a balanced regular design."""
    norm = {name: sum(x * x for x in signs) ** 0.5 for name, signs in {**mains, **pairs}.items()}
    for name, mine in mains.items():
        shares = [
            abs(sum(x * y for x, y in zip(mine, theirs, strict=True))) / (norm[name] * norm[other])
            for other, theirs in pairs.items()
            if norm[name] and norm[other]
        ]
        partly = [share for share in shares if 1e-9 < share < 1 - 1e-9]
        if partly:
            yield name, (len(partly), max(partly))
