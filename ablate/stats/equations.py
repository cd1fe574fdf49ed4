"""Mixed-model equations: the restricted likelihood and its derivatives at one θ, by Woodbury's identity.

The covariance of the rows is V = Σ θ_i G_i, linear in θ: a matrix for every variance (and covariance) of the random
effects and one for every residual group. With one residual group, what belongs to it follows from the identity
Σ θ_i G_i = V. Nothing here is as long as the rows.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from ablate.stats.crossproducts import Design, Part

Array = NDArray[np.float64]


def _divide(lower: NDArray[np.floating[Any]], rows: Array) -> Array:
    """L⁻¹ rows, for a lower triangle L."""
    if not lower.size:
        return rows
    found, info = linalg.lapack.dtrtrs(lower, rows, lower=1)
    if info:
        raise np.linalg.LinAlgError("a triangle has a zero on its diagonal")
    return np.asarray(found)


class Equations:
    """What the design says at one θ: F'V⁻¹F, F'PF and what follows from them; P = V⁻¹ - V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹.

    Raises LinAlgError where V is not positive definite.
    """

    def __init__(self, design: Design, theta: Array) -> None:
        self.design, self.theta, self.residual = design, theta, theta[design.random :]
        self.weighed = np.tensordot(1 / self.residual, design.grams, 1)
        self.log_volume = float(design.rows @ np.log(self.residual))
        self._absorb()
        w = design.width
        self.half = design.spread(theta, self.weighed[w + 1 :])
        self.lower = np.linalg.cholesky(np.eye(len(self.half)) + design.spread(theta, self.half[:, w + 1 :].T.copy()))
        self.log_volume += 2 * float(np.log(self.lower.diagonal()).sum())
        self.first = _divide(self.lower, self.half)
        self.inverse = self.weighed - self.first.T @ self.first  # F'V⁻¹F
        self.fixed = np.linalg.cholesky(self.inverse[:w, :w])
        self.second = _divide(self.fixed, self.inverse[:w])
        self.projected = self.inverse - self.second.T @ self.second  # F'PF
        self.square = float(self.projected[w, w])  # y'Py
        self.free = float(design.rows.sum()) - w
        volume = self.log_volume + 2 * float(np.log(self.fixed.diagonal()).sum())
        self.log_likelihood = -0.5 * (volume + self.square + self.free * float(np.log(2 * np.pi)))

    def _absorb(self) -> None:
        """Replace R by R + θ_e Z_e Z_e'."""

    @cached_property
    def beta(self) -> Array:
        """Generalised least squares."""
        w = self.design.width
        return np.asarray(linalg.solve_triangular(self.fixed.T, self.second[:, w], check_finite=False))

    @cached_property
    def covariance(self) -> Array:
        """(X'V⁻¹X)⁻¹."""
        inverse = _divide(self.fixed, np.eye(self.design.width))
        return inverse.T @ inverse

    @cached_property
    def gradient(self) -> Array:
        """Of the restricted log likelihood."""
        return 0.5 * (self.squares - self.traces)

    traces: Array  # tr(P G_i)
    squares: Array  # y'P G_i P y
    average: Array  # ½ y'P G_i P G_j P y
    information: Array  # ½ tr(P G_i P G_j)

    @cached_property
    def hessian(self) -> Array:
        """Minus the second derivatives of the restricted log likelihood: the observed information."""
        return 2 * self.average - self.information

    def slopes(self, to: Array) -> tuple[Array, Array]:
        """D'X'V⁻¹G_iV⁻¹X D and D'X'V⁻¹G_i P G_jV⁻¹X D, for D = C `to`: parameters × k × k, and twice parameters."""
        raise NotImplementedError


class Absorbed(Equations):
    """One residual group; the largest effect is a diagonal."""

    def _absorb(self) -> None:
        design, noise = self.design, float(self.residual[0])
        self.level = 0.0 if design.own is None else float(self.theta[design.own])
        self.shrink = 1 / (1 + self.level * design.diagonal / noise)
        self.across = design.absorbed * (self.shrink / noise)[:, None]  # Z_e'V_e⁻¹F
        self.log_volume -= float(np.log(self.shrink).sum())
        if self.level:
            self.weighed = self.weighed - (design.absorbed.T * (self.level / noise)) @ self.across

    @cached_property
    def _lows(self) -> tuple[Array, Array, Array, Array]:
        """Of the absorbed effect: Z_e'V⁻¹F, Z_e'PF, and low ranks N with Z_e'PZ_e = diag - N'N."""
        w = self.design.width
        low = _divide(self.lower, self.design.spread(self.theta, self.across[:, w + 1 :].T.copy()))
        inverse = self.across - low.T @ self.first
        other = _divide(self.fixed, inverse[:, :w].T)
        return inverse, inverse - other.T @ self.second, low, other

    @cached_property
    def _diagonal(self) -> Array:
        return np.asarray(self.shrink * self.design.diagonal / self.residual[0])

    @property
    def between(self) -> tuple[Array, Array, Array]:
        """Z_e'PZ_e, Z_e'Py and Z_e'V⁻¹X of the absorbed effect."""
        inverse, projected, low, other = self._lows
        w = self.design.width
        return np.diag(self._diagonal) - low.T @ low - other.T @ other, projected[:, w], inverse[:, :w]

    def _close(self, random: Array, total: Array | float) -> Array:
        """A symmetric table over parameters, its residual row and column from Σ θ_j table_ij = total_i."""
        m, noise = self.design.random, self.residual[0]
        table = np.zeros((m + 1, m + 1, *random.shape[2:]))
        table[:m, :m] = random
        whole = np.zeros((m + 1, *random.shape[2:])) + total
        table[:m, m] = (whole[:m] - np.einsum("j,ij...->i...", self.theta[:m], random)) / noise
        table[m, :m] = table[:m, m].swapaxes(-1, -2) if random.ndim > 2 else table[:m, m]
        table[m, m] = (whole[m] - np.einsum("j,j...->...", self.theta[:m], table[m, :m])) / noise
        return table

    def _pair(self, columns: list[tuple[Part, Array]]) -> Array:
        """a'F'PF b for all pairs of vectors, each given on the columns of its part."""
        size = columns[0][1].shape[1]
        inner = np.zeros((len(self.projected), len(columns) * size))
        outer = np.zeros((len(self.design.diagonal), len(columns) * size))
        for i, (part, vectors) in enumerate(columns):
            at = slice(i * size, (i + 1) * size)
            if part.place is None:
                outer[:, at] += vectors
            else:
                inner[part.place, at] += vectors
        out = inner.T @ self.projected @ inner
        if len(outer):
            _, across, low, other = self._lows
            mixed = outer.T @ (across @ inner)
            lows = low @ outer, other @ outer
            out += mixed + mixed.T + outer.T @ (self._diagonal[:, None] * outer) - sum(x.T @ x for x in lows)
        return out

    @cached_property
    def _scores(self) -> list[Array]:
        """Z_i'Py of every parameter, times its matrix."""
        w = self.design.width
        pick = [self._lows[1] if part.place is None else self.projected[part.place] for part in self.design.parts]
        return [part.turn(rows[:, w : w + 1]) for part, rows in zip(self.design.parts, pick, strict=True)]

    @cached_property
    def traces(self) -> Array:  # type: ignore[override]
        random = []
        for part in self.design.parts:
            if part.place is None:
                _, _, low, other = self._lows
                random.append(self._diagonal.sum() - (low**2).sum() - (other**2).sum())
            else:
                random.append(np.trace(part.turn(self.projected[part.place, part.place])))
        return np.append(random, (self.free - self.theta[: len(random)] @ random) / self.residual[0])

    @cached_property
    def squares(self) -> Array:  # type: ignore[override]
        w = self.design.width
        random = []
        for part, turned in zip(self.design.parts, self._scores, strict=True):
            rows = self._lows[1] if part.place is None else self.projected[part.place]
            random.append(float(rows[:, w] @ turned[:, 0]))
        return np.append(random, (self.square - self.theta[: len(random)] @ random) / self.residual[0])

    @cached_property
    def average(self) -> Array:  # type: ignore[override]
        random = self._pair(list(zip(self.design.parts, self._scores, strict=True))) if self.design.parts else _NONE
        return self._close(0.5 * random, 0.5 * self.squares)

    @cached_property
    def information(self) -> Array:  # type: ignore[override]
        parts = self.design.parts
        random = np.zeros((len(parts), len(parts)))
        for i, a in enumerate(parts):
            for j, b in enumerate(parts[: i + 1]):
                random[i, j] = random[j, i] = 0.5 * self._product(a, b)
        return self._close(random, 0.5 * self.traces)

    def _product(self, a: Part, b: Part) -> float:
        """tr(P G_a P G_b)."""
        if a.place is None and b.place is None:
            _, _, low, other = self._lows
            low = np.vstack([low, other])
            gram = low @ low.T
            return float((self._diagonal**2).sum() - 2 * (self._diagonal * (low**2).sum(0)).sum() + (gram**2).sum())
        if b.place is None:
            a, b = b, a
        table = self._lows[1][:, b.place] if a.place is None else self.projected[a.place, b.place]
        return float((a.turn(table) * b.turn(table.T).T).sum())

    def slopes(self, to: Array) -> tuple[Array, Array]:
        w, d, parts = self.design.width, self.covariance @ to, self.design.parts
        whole = d.T @ self.inverse[:w, :w] @ d
        columns, first = [], []
        for part in parts:
            rows = (self._lows[0] if part.place is None else self.inverse[part.place])[:, :w] @ d
            columns.append((part, part.turn(rows)))
            first.append(rows.T @ columns[-1][1])
        m, k = len(parts), to.shape[1]
        second = self._pair(columns).reshape(m, k, m, k).transpose(0, 2, 1, 3) if m else np.zeros((0, 0, k, k))
        rest = (whole - np.tensordot(self.theta[:m], first, 1)) / self.residual[0] if m else whole / self.residual[0]
        return np.array([*first, rest]), self._close(second, 0.0)


_NONE = np.zeros((0, 0))


class Grouped(Equations):
    """Several residual groups; nothing is absorbed. With V⁻¹X = R⁻¹F h and P = R⁻¹ - R⁻¹F A F'R⁻¹."""

    @cached_property
    def _spreading(self) -> tuple[Array, Array, Array]:
        """h, A and I - A F'R⁻¹F."""
        w, f = self.design.width, len(self.weighed)
        root = np.zeros((f, f - w - 1))
        root[w + 1 :] = self.design.spread(self.theta, np.eye(f - w - 1)).T
        half = _divide(self.lower, root.T)
        h = np.eye(f)[:, :w] - half.T @ (half @ self.weighed[:, :w])
        a = half.T @ half + h @ self.covariance @ h.T
        return h, a, np.eye(f) - a @ self.weighed

    def _vectors(self, random: list[Array], residual: Array) -> Array:
        """Vectors of rows as coefficients of F in every group: parameters × groups × f × k."""
        parts, groups = self.design.parts, len(self.residual)
        out = np.zeros((len(parts) + groups, groups, *residual.shape))
        for i, (part, rows) in enumerate(zip(parts, random, strict=True)):
            out[i, :, part.place] = rows
        for g in range(groups):
            out[len(parts) + g, g] = residual / self.residual[g]
        return out

    def _pair(self, vectors: Array) -> Array:
        """a'P b for all pairs: parameters × parameters × k × k."""
        _, a, _ = self._spreading
        grams = self.design.grams / self.residual[:, None, None]
        weighed = np.einsum("gef,igfk->igek", grams, vectors)
        total = weighed.sum(1)
        first = np.einsum("igfk,jgfl->ijkl", vectors, weighed)
        return np.asarray(first - np.einsum("iek,ef,jfl->ijkl", total, a, total, optimize=True))

    @cached_property
    def _errors(self) -> Array:
        """F'P G_g P F of every group."""
        rest = self._spreading[2]
        return np.asarray(rest.T @ self.design.grams @ rest) / (self.residual**2)[:, None, None]

    @cached_property
    def _scores(self) -> list[Array]:
        w = self.design.width
        return [part.turn(self.projected[part.place, w : w + 1]) for part in self.design.parts]

    @cached_property
    def traces(self) -> Array:  # type: ignore[override]
        random = [np.trace(part.turn(self.projected[part.place, part.place])) for part in self.design.parts]
        taken = np.einsum("ef,gfe->g", self._spreading[1], self.design.grams)
        return np.append(random, self.design.rows / self.residual - taken / self.residual**2)

    @cached_property
    def squares(self) -> Array:  # type: ignore[override]
        w = self.design.width
        pairs = zip(self.design.parts, self._scores, strict=True)
        random = [float(self.projected[part.place, w] @ turned[:, 0]) for part, turned in pairs]
        return np.append(random, self._errors[:, w, w])

    @cached_property
    def average(self) -> Array:  # type: ignore[override]
        w = self.design.width
        vectors = self._vectors(self._scores, self._spreading[2][:, w : w + 1])
        return 0.5 * self._pair(vectors)[..., 0, 0]

    @cached_property
    def information(self) -> Array:  # type: ignore[override]
        parts, m = self.design.parts, self.design.random
        out = np.zeros((len(self.theta), len(self.theta)))
        for i, a in enumerate(parts):
            for j, b in enumerate(parts[: i + 1]):
                table = self.projected[a.place, b.place]
                out[i, j] = out[j, i] = (a.turn(table) * b.turn(table.T).T).sum()
            out[i, m:] = out[m:, i] = [np.trace(a.turn(table[a.place, a.place])) for table in self._errors]
        taken = self._spreading[1] @ self.design.grams / self.residual[:, None, None]
        own = self.design.rows - 2 * np.trace(taken, axis1=1, axis2=2)
        cross = np.einsum("gef,hfe->gh", taken, taken)
        out[m:, m:] = (np.diag(own) + cross) / np.outer(self.residual, self.residual)
        return 0.5 * out

    def slopes(self, to: Array) -> tuple[Array, Array]:
        w, d = self.design.width, self.covariance @ to
        rows = [self.inverse[part.place, :w] @ d for part in self.design.parts]
        turned = [part.turn(r) for part, r in zip(self.design.parts, rows, strict=True)]
        spread = self._spreading[0] @ d
        errors = spread.T @ self.design.grams @ spread / (self.residual**2)[:, None, None]
        first = [r.T @ t for r, t in zip(rows, turned, strict=True)]
        return np.array([*first, *errors]), self._pair(self._vectors(turned, spread))
