"""Cross-products: what a mixed model needs to know of its rows, computed once.

Rows enter through F'F in every residual group, F = [X, y, Z]. With one residual group the random effect with the
most levels is kept apart ("absorbed"): its own cross-product is diagonal, so that the dense work is in the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Array = NDArray[np.float64]
DENSE = 200_000  # entries of F up to which a sparse matrix does not pay
FLOOR = 1e-10  # least residual variance, as a share of the variance about the fixed effects


@dataclass(frozen=True, eq=False)
class Effect:
    """A random effect: independent draws for every level of a factor.

    Attributes:
        codes: the level of each row, 0 ... levels - 1.
        basis: what a level's draw is multiplied by in each row: a weight (n,), or k columns (n, k) with a draw for
            each; 1 if None. A random slope has its covariate here.
        unstructured: whether the k draws of a level have a covariance matrix of their own (parameters: its lower
            triangle by columns) instead of one common variance.
    """

    codes: ArrayLike
    basis: ArrayLike | None = None
    unstructured: bool = False

    @cached_property
    def columns(self) -> Array:
        """The basis, rows × k."""
        rows = len(np.asarray(self.codes))
        given = np.ones(rows) if self.basis is None else np.asarray(self.basis, float)
        return given.reshape(rows, -1)

    @property
    def width(self) -> int:
        """Draws per level, k."""
        return int(self.columns.shape[1])

    @property
    def correlated(self) -> bool:
        """Whether there are covariances to estimate."""
        return self.unstructured and self.width > 1

    @cached_property
    def mixes(self) -> list[Array | None]:
        """For every parameter, what it multiplies in the covariance of a level's draws; None: the identity."""
        if not self.correlated:
            return [None]
        unit = np.eye(self.width)
        pairs = [(r, s) for s in range(self.width) for r in range(s, self.width)]
        return [np.outer(unit[r], unit[s]) if r == s else np.outer(unit[r], unit[s]) + np.outer(unit[s], unit[r])
                for r, s in pairs]  # fmt: skip

    @cached_property
    def levels(self) -> int:
        """Levels of the factor."""
        return int(np.max(self.codes)) + 1

    def design(self, dense: bool = False) -> Any:
        """Z, rows × (levels · k), sparse or not."""
        rows, width = self.columns.shape
        places = np.asarray(self.codes)[:, None] * width + np.arange(width)
        shape = rows, self.levels * width
        if dense:
            out = np.zeros(shape)
            np.put_along_axis(out, places, self.columns, 1)
            return out
        ends = np.arange(0, rows * width + 1, width)
        return sparse.csr_array((self.columns.ravel(), places.ravel(), ends), shape=shape)

    def root(self, theta: Array) -> Array:
        """Lower Cholesky factor of the covariance of a level's draws; raises LinAlgError if it is not definite."""
        if not self.correlated:
            return np.sqrt(theta)
        total = sum(value * mix for value, mix in zip(theta, self.mixes, strict=True))
        return np.linalg.cholesky(np.asarray(total))


@dataclass(frozen=True, eq=False)
class Part:
    """One parameter of a random effect: its columns (None: the absorbed ones) and its mix."""

    place: slice | None
    mix: Array | None

    def turn(self, rows: Array) -> Array:
        """The rows that belong to these columns, times the parameter's matrix."""
        if self.mix is None:
            return rows
        folded = rows.reshape(-1, len(self.mix), rows.shape[-1])
        return (self.mix @ folded).reshape(rows.shape)


@dataclass(frozen=True, eq=False)
class Design:
    """Cross-products of F = [X, y, Z] in every residual group, and of the absorbed effect with F.

    Attributes:
        rows: rows of every residual group.
        width: columns of X; y follows, then the random effects that are not absorbed.
        grams: F'F of every group.
        absorbed, diagonal: Z_e'F and the diagonal of Z_e'Z_e; no rows where nothing is absorbed.
        effects: with their places among the columns and among the parameters.
        parts: the parameters of the random effects, in order.
        start: where the search for θ starts.
        floor: least residual variance.
    """

    rows: Array
    width: int
    grams: Array
    absorbed: Array
    diagonal: Array
    effects: tuple[tuple[Effect, slice | None, slice], ...]
    parts: tuple[Part, ...]
    start: Array
    floor: float

    @property
    def random(self) -> int:
        """Number of parameters of random effects."""
        return len(self.parts)

    @cached_property
    def own(self) -> int | None:
        """The parameter of the absorbed effect."""
        return next((i for i, part in enumerate(self.parts) if part.place is None), None)

    @cached_property
    def bounded(self) -> NDArray[np.bool_]:
        """Which parameters are variances that may come to rest at zero."""
        held = np.array([not effect.correlated for effect, _, at in self.effects for _ in range(at.stop - at.start)])
        return np.concatenate([held.astype(bool), np.zeros(len(self.rows), bool)])

    def spread(self, theta: Array, rows: Array) -> Array:
        """Λ'(rows): rows that belong to the random columns, times the root of their covariance."""
        out = np.empty_like(rows)
        for effect, place, at in self.effects:
            if place is None:
                continue
            mine = slice(place.start - self.width - 1, place.stop - self.width - 1)
            root = effect.root(theta[at])
            if effect.correlated:
                folded = rows[mine].reshape(-1, effect.width, rows.shape[1])
                out[mine] = (root.T @ folded).reshape(out[mine].shape)
            else:
                np.multiply(rows[mine], root, out=out[mine])
        return out


def cross(y: Array, fixed: Array, effects: Sequence[Effect], groups: NDArray[np.int_] | None) -> Design:
    """The cross-products; y must already be free of the fixed effects' least-squares fit."""
    n, width = fixed.shape
    groups = np.zeros(n, int) if groups is None else groups
    counts = np.bincount(groups).astype(float)
    simple = [i for i, effect in enumerate(effects) if len(counts) == 1 and effect.width == 1]
    own = max(simple, key=lambda i: effects[i].levels, default=None)
    dense = n * (width + 1 + sum(effect.levels * effect.width for effect in effects)) <= DENSE
    others = [effect.design(dense) for i, effect in enumerate(effects) if i != own]
    known = np.column_stack([fixed, y])
    kept = np.hstack([known, *others]) if dense else sparse.hstack([sparse.csr_array(known), *others], format="csr")
    pieces = [kept] if len(counts) == 1 else [kept[groups == g] for g in range(len(counts))]
    grams = np.array([_written(piece.T @ piece) for piece in pieces])
    absorbed, diagonal = np.empty((0, kept.shape[1])), np.empty(0)
    if own is not None:
        absorbed = _written(effects[own].design(dense).T @ kept)
        diagonal = np.bincount(effects[own].codes, effects[own].columns[:, 0] ** 2).astype(float)
    total = float(y @ y) / (n - width)
    placed, parts, start = _places(effects, own, width + 1, total)
    start = np.concatenate([start, np.full(len(counts), total / (len(effects) + 1))])
    return Design(counts, width, grams, absorbed, diagonal, placed, parts, start, FLOOR * total)


def _written(matrix: Any) -> Array:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)


def _places(
    effects: Sequence[Effect], own: int | None, column: int, total: float
) -> tuple[tuple[tuple[Effect, slice | None, slice], ...], tuple[Part, ...], Array]:
    placed: list[tuple[Effect, slice | None, slice]] = []
    parts: list[Part] = []
    start: list[float] = []
    for i, effect in enumerate(effects):
        place = None
        if i != own:
            place = slice(column, column + effect.levels * effect.width)
            column = place.stop
        placed.append((effect, place, slice(len(parts), len(parts) + len(effect.mixes))))
        size = (effect.columns**2).mean(0)
        share = total / (len(effects) + 1)
        for mix in effect.mixes:
            parts.append(Part(place, mix))
            level = share / size.sum() if mix is None else np.trace(mix) * share / (mix.diagonal() @ size or 1.0)
            start.append(level)
    return tuple(placed), tuple(parts), np.array(start)
