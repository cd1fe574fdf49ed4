"""Screening designs of two-level factors: regular fractions and Plackett-Burman designs.

By hand, since a fraction is some exclusive ors. Levels are signs: in a fraction the baseline is +1, so that it
satisfies every generator; in a Plackett-Burman design it is -1, the row that cyclic shifts leave out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from math import comb, prod

from ablate.aliases import LETTERS
from ablate.errors import PlanError, require_one_of
from ablate.factors import Cell, Factor

MOST = 10  # basic factors: a thousand cells
TRIED = 20_000  # sets of generators that are all tried; beyond it they are chosen one by one


def fractional_factorial(
    factors: Sequence[Factor],
    *,
    generators: Sequence[str] | str | None = None,
    resolution: int | None = None,
    cells: int | None = None,
) -> list[Cell]:
    """A regular fraction 2^(k-p) of a two-level factorial (Box and Hunter 1961, Technometrics 3, 311-351).

    Args:
        factors: of two levels each; the first are the letters A, B, C, ... (without I) of the generators.
        generators: how the other factors follow from the first: `D=ABC`, or by keys, `size=data*model`. Without any,
            those of least aberration in the fewest cells that reach the resolution.
        resolution: the length of the shortest word that equals the identity. 3: main effects are aliased with two-way
            interactions; 4 (unless cells are given): with none, but these with one another; 5: none with another.
        cells: how many, a power of two; without it as many as the resolution asks for.

    Raises:
        PlanError: a factor of other than two levels, a generator that cannot be read, no fraction of that resolution.
    """
    require_two_levels(factors, "fractional_factorial")
    number = len(factors)
    if generators:
        if resolution is not None or cells is not None:
            remedy = "give generators, or what they should reach, not both"
            raise PlanError("generators settle resolution and cells", where="design", remedy=remedy)
        words = read_generators(factors, [generators] if isinstance(generators, str) else generators)
    else:
        words = choose_generators(number, resolution or (3 if cells else 4), cells)
    basic = [i for i in range(number) if i not in words]
    found = []
    for signs in product((1, -1), repeat=len(basic)):
        sign = dict(zip(basic, signs[::-1], strict=True))
        for i, parents in words.items():
            sign[i] = prod(sign[j] for j in parents)
        found.append(_cell(factors, [sign[i] for i in range(number)]))
    return found


def plackett_burman(factors: Sequence[Factor], *, cells: int | None = None) -> list[Cell]:
    """Main effects of up to n - 1 two-level factors in n cells, n a multiple of four (Plackett and Burman 1946).

    Rows are cyclic shifts of quadratic residues (Paley 1933) or doublings of a smaller design; 28, 36, 52 and some
    more beyond have neither. Every main effect is clear of the others and partly aliased with many interactions.

    Args:
        factors: of two levels each.
        cells: how many; without it the fewest that do.

    Raises:
        PlanError: a factor of other than two levels, or a number of cells that there is no design of.
    """
    require_two_levels(factors, "plackett_burman")
    sizes = [n for n in range(4, 4 * len(factors) + 9, 4) if n > len(factors) and _is_hadamard(n)]
    if cells is not None:
        require_one_of(cells, sizes, "design.cells", "number of cells")
    rows = _hadamard(sizes[0] if cells is None else cells)
    return [_cell(factors, [-sign for sign in row[: len(factors)]]) for row in reversed(rows)]


def require_two_levels(factors: Sequence[Factor], design: str) -> None:
    """PlanError that names the factors of other than two levels, or says that there are too few or many."""
    for f in factors:
        if len(f.levels) != 2:
            remedy = "leave out levels, or take `d_optimal`, which mixes numbers of levels"
            what = f"{f.key} has {len(f.levels)} levels; the design is one of two-level factors"
            raise PlanError(what, where=f"design {design}", remedy=remedy)
    if not 3 <= len(factors) <= len(LETTERS):
        what = f"{len(factors)} factor(s)"
        remedy = "take `full_factorial` for one or two; screen fewer than all at once"
        raise PlanError(what, where=f"design {design}", allowed=[f"3 to {len(LETTERS)} factors"], remedy=remedy)


def read_generators(factors: Sequence[Factor], generators: Sequence[str]) -> dict[int, list[int]]:
    """Generators as numbers of factors: the one that follows -> those that it follows from.

    Raises:
        PlanError: what is no generator, and why.
    """
    names = {**dict(zip(LETTERS, range(len(factors)), strict=False)), **{f.key: i for i, f in enumerate(factors)}}
    legend = [f"{letter}={f.key}" for letter, f in zip(LETTERS, factors, strict=False)]
    found: dict[int, list[int]] = {}

    def refuse(generator: object, why: str, word: object = None) -> PlanError:
        remedy = "write `D=ABC`, or `size=data*model*loss`: a factor follows from others that stand in no left side"
        what = f"generator {generator!r}: {why}"
        return PlanError(what, where="design.generators", allowed=legend, remedy=remedy, word=word)

    for generator in generators:
        left, equals, right = (part.strip() for part in str(generator).partition("="))
        if right.startswith("-"):
            raise refuse(generator, "its sign leaves the baseline out; swap which level is the baseline instead")
        parts = [part.strip() for part in right.split("*")] if "*" in right or right in names else list(right)
        unknown = [word for word in (left, *parts) if word not in names]
        if not equals or unknown or not parts:
            raise refuse(generator, f"{unknown[0] if unknown else left!r} is no factor", (unknown or [left])[0])
        made, parents = names[left], [names[part] for part in parts]
        if made in found or made in parents or len(set(parents)) < max(len(parents), 2):
            raise refuse(generator, "a factor follows once, from two or more others")
        found[made] = sorted(parents)
    for made, parents in found.items():
        if set(parents) & set(found):
            raise refuse(f"{LETTERS[made]}={''.join(LETTERS[i] for i in parents)}", "it follows from one that follows")
    if len({tuple(parents) for parents in found.values()}) < len(found):
        raise PlanError("two factors follow alike: they would always move together", where="design.generators")
    return found


def choose_generators(number: int, resolution: int, cells: int | None = None) -> dict[int, list[int]]:
    """Generators of least aberration (Fries and Hunter 1980), of the smallest fraction that reaches a resolution.

    Cells fix its size. All sets are tried where they are at most twenty thousand; else generators are added one by one,
    from all words and from those of even length that resolution IV is made of, and the better set is kept.

    Raises:
        PlanError: no fraction in a thousand cells, or in that number, reaches it.
    """
    sizes = {2**basic: basic for basic in range(2, min(number, MOST + 1))}
    if cells is not None:
        require_one_of(cells, sizes, "design.cells", "number of cells of a fraction")
        sizes = {cells: sizes[cells]}
    if not isinstance(resolution, int) or isinstance(resolution, bool) or resolution < 3:
        raise PlanError(f"a resolution of {resolution!r}", where="design.resolution", allowed=["3, 4, 5, ..."])
    for runs, basic in sizes.items():
        if number > (runs - 1 if resolution == 3 else runs // 2):  # more than any such fraction holds
            continue
        columns = _least_aberration(basic, number - basic)
        if find_resolution(columns, basic) >= resolution:
            return {basic + i: [j for j in range(basic) if column >> j & 1] for i, column in enumerate(columns)}
    remedy = "lower the resolution, give more cells, or run the full factorial"
    size = f"{cells}" if cells else f"at most {2**MOST}"
    what = f"no fraction of {number} factors in {size} cells has resolution {resolution}"
    raise PlanError(what, where="design.resolution", remedy=remedy)


def find_resolution(columns: Sequence[int], basic: int) -> int:
    """The length of the shortest word of the defining relation; columns are bit sets of basic factors."""
    return next(i for i, count in enumerate([*_word_lengths(columns, basic), 1], 3) if count)


def _least_aberration(basic: int, added: int) -> tuple[int, ...]:
    words = [word for word in range(3, 2**basic) if word.bit_count() > 1]
    if comb(len(words), added) <= TRIED:
        return min(combinations(words, added), key=lambda chosen: _word_lengths(chosen, basic))
    found = []
    for allowed in (words, [word for word in words if word.bit_count() % 2]):
        chosen: tuple[int, ...] = ()
        while len(chosen) < min(added, len(allowed)):
            left = [word for word in allowed if word not in chosen]
            chosen = min(((*chosen, word) for word in left), key=lambda c: _word_lengths(c, basic))
        if len(chosen) == added:
            found.append(chosen)
    return min(found, key=lambda chosen: _word_lengths(chosen, basic))


def _word_lengths(columns: Sequence[int], basic: int) -> tuple[int, ...]:
    """How many words of the defining relation have 3, 4, ... letters; up to 4 where there are over a thousand words."""
    if len(columns) > 10:
        every = [*(1 << i for i in range(basic)), *columns]
        sums = Counter(a ^ b for a, b in combinations(every, 2))
        return sum(sums[c] for c in every) // 3, sum(comb(n, 2) for n in sums.values()) // 3
    group = [0]
    for i, column in enumerate(columns):
        word = column | 1 << basic + i
        group += [word ^ other for other in group]
    counts = Counter(word.bit_count() for word in group)
    return tuple(counts[n] for n in range(3, basic + len(columns) + 1))


def _cell(factors: Sequence[Factor], signs: Iterable[int]) -> Cell:
    return Cell({f.key: f.baseline if sign > 0 else f.alternatives[0] for f, sign in zip(factors, signs, strict=True)})


def _is_hadamard(n: int) -> bool:
    return n in (1, 2) or (n % 4 == 0 and (_is_prime(n - 1) or _is_hadamard(n // 2)))


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def _hadamard(n: int) -> list[list[int]]:
    """Rows of n - 1 signs, orthogonal and each column balanced; the last row is all -1."""
    if n == 2:
        return [[1], [-1]]
    if _is_prime(n - 1):
        residues = {i * i % (n - 1) for i in range(n - 1)}  # with 0
        first = [1 if i in residues else -1 for i in range(n - 1)]
        return [[first[(j - i) % (n - 1)] for j in range(n - 1)] for i in range(n - 1)] + [[-1] * (n - 1)]
    half = [[-sign for sign in row] for row in _hadamard(n // 2)]  # last row all +1
    rows = [[*row, 1, *row] for row in half] + [[*row, -1, *(-sign for sign in row)] for row in half]
    flip = rows[len(half) - 1]  # all +1
    return [[-sign for sign in row] for row in rows if row is not flip] + [[-1] * (n - 1)]
