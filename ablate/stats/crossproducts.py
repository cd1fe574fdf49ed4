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

    def design(self) -> Any:
        """Z, rows × (levels · k), sparse."""
        codes = np.asarray(self.codes)
        rows, width = self.columns.shape
        places = (codes[:, None] * width + np.arange(width)).ravel()
        shape = rows, (int(codes.max()) + 1) * width
        return sparse.csr_array((self.columns.ravel(), places, np.arange(0, rows * width + 1, width)), shape=shape)

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
    one = groups is None or int(groups.max()) == 0
    designs = [effect.design() for effect in effects]
    simple = [i for i, effect in enumerate(effects) if one and effect.width == 1]
    own = max(simple, key=lambda i: designs[i].shape[1], default=None)
    dense = np.column_stack([fixed, y])
    others = [z for i, z in enumerate(designs) if i != own]
    kept = sparse.hstack(others, format="csr") if others else sparse.csr_array((n, 0))
    grams = []
    for rows in [slice(None)] if one else [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]:  # type: ignore[union-attr]
        d, z = dense[rows], kept[rows] if not one else kept
        across = z.T @ d
        grams.append(np.block([[d.T @ d, across.T], [across, (z.T @ z).toarray()]]))
    absorbed, diagonal = np.empty((0, grams[0].shape[0])), np.empty(0)
    if own is not None:
        z = designs[own].T.tocsr()
        absorbed, diagonal = np.hstack([z @ dense, (z @ kept).toarray()]), np.asarray(z.multiply(z).sum(1)).ravel()
    counts = np.array([float(n)]) if one else np.bincount(groups).astype(float)  # type: ignore[arg-type]
    total = float(y @ y) / (n - width)
    placed, parts, start = _places(effects, designs, own, width + 1, total)
    start = np.concatenate([start, np.full(len(counts), total / (len(effects) + 1))])
    return Design(counts, width, np.array(grams), absorbed, diagonal, placed, parts, start, FLOOR * total)


def _places(
    effects: Sequence[Effect], designs: Sequence[Any], own: int | None, column: int, total: float
) -> tuple[tuple[tuple[Effect, slice | None, slice], ...], tuple[Part, ...], Array]:
    placed: list[tuple[Effect, slice | None, slice]] = []
    parts: list[Part] = []
    start: list[float] = []
    for i, (effect, design) in enumerate(zip(effects, designs, strict=True)):
        place = None
        if i != own:
            place = slice(column, column + design.shape[1])
            column = place.stop
        placed.append((effect, place, slice(len(parts), len(parts) + len(effect.mixes))))
        size = (effect.columns**2).mean(0)
        share = total / (len(effects) + 1)
        for mix in effect.mixes:
            parts.append(Part(place, mix))
            level = share / size.sum() if mix is None else np.trace(mix) * share / (mix.diagonal() @ size or 1.0)
            start.append(level)
    return tuple(placed), tuple(parts), np.array(start)
