"""Clusters: least squares whose standard errors allow for rows of one cluster resembling each other.

Items of one passage, patient or source are not independent, however many there are; clusters are taken to be. CR2 is
unbiased where errors are in truth independent with one variance, and Satterthwaite's degrees of freedom make t usable
with a dozen clusters, where the usual z rejects far too often (Bell and McCaffrey 2002, Survey Methodology 28, 169-181;
Pustejovsky and Tipton 2018, J. Business and Economic Statistics 36, 672-683).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ablate.errors import RecordsError, require_one_of
from ablate.stats.pivots import Student

Array = NDArray[np.float64]
Kind = Literal["CR0", "CR1", "CR1S", "CR2", "CR3"]
FULL = 1e-10  # below this share of its own variance left, a direction of a cluster is fitted by the cluster alone


@dataclass(frozen=True, eq=False)
class Robust:
    """Contrasts of least-squares coefficients with cluster-robust errors.

    Attributes:
        estimates: one for each contrast.
        covariance: theirs.
        df: Satterthwaite's degrees of freedom of each.
        clusters, rows: how many there are.
        kind: the correction.
    """

    estimates: Array
    covariance: Array
    df: Array
    clusters: int
    rows: int
    kind: str

    @property
    def se(self) -> Array:
        """Standard errors."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def pivot(self, i: int) -> Student:
        """The i-th contrast."""
        return Student(float(self.estimates[i]), float(self.se[i]), float(self.df[i]))


def cluster_robust(
    x: ArrayLike, y: ArrayLike, cluster: ArrayLike, kind: Kind = "CR2", *, contrasts: ArrayLike | None = None
) -> Robust:
    """Regress y on x by least squares, with errors by clusters.

    Every cluster's residuals are multiplied by a matrix A of its leverage H: CR0 leaves them, CR2 takes (I - H)^-½ and
    CR3 (I - H)^-1; CR1 and CR1S scale CR0 by m/(m - 1) and m(n - 1)/((m - 1)(n - p)). Degrees of freedom assume
    independent errors of one variance. Each cluster is brought to a p × p matrix, so that time grows with rows only.

    Args:
        x: rows × coefficients, an intercept included where one is meant.
        y: a value for each row.
        cluster: a label for each row.
        kind: CR0, CR1, CR1S, CR2 or CR3.
        contrasts: contrasts × coefficients; the coefficients themselves if left out.

    Raises:
        PlanError: an unknown kind.
        RecordsError: shapes that do not fit, missing values, columns that depend on each other, one cluster only, or
            a contrast that one cluster alone decides.
    """
    require_one_of(kind, get_args(Kind), "kind")
    design, values = np.asarray(x, float), np.asarray(y, float)
    codes, labels = pd.factorize(np.asarray(cluster))
    rows, p, m = len(values), design.shape[-1], len(labels)
    _check(design, values, codes, m)
    wanted = np.eye(p) if contrasts is None else np.atleast_2d(np.asarray(contrasts, float))
    crossed, moments = np.empty((m, p, p)), np.empty((m, p))
    for i in range(p):
        for j in range(i + 1):
            crossed[:, i, j] = crossed[:, j, i] = np.bincount(codes, design[:, i] * design[:, j], m)
    root = _root_of_inverse(crossed.sum(0))
    beta = root @ root @ (design.T @ values)
    residuals = values - design @ beta
    for i in range(p):
        moments[:, i] = np.bincount(codes, design[:, i] * residuals, m)
    # With U = X·root, H = UU' and A·U = U·f(U'U): every A acts through a p × p matrix of its cluster.
    leverage = root @ crossed @ root
    acting = _acting(leverage, kind)
    scores = np.einsum("qb,mbc,mc->mq", wanted @ root, acting, moments @ root)
    factor = {"CR1": m / (m - 1), "CR1S": m * (rows - 1) / ((m - 1) * (rows - p))}.get(kind, 1.0)
    covariance = factor * (scores.T @ scores)
    df = np.array([_satterthwaite(leverage, acting @ (root @ row)) for row in wanted])
    scale = ((wanted @ root) ** 2).sum(1) * (values @ values) / rows
    if not (np.diag(covariance) > 1e-22 * scale).all() or np.isnan(df).any():
        raise RecordsError(
            "a contrast has no variance between clusters",
            where="contrasts, cluster",
            remedy="leave out what a single cluster decides; look for scores that are all alike",
        )
    return Robust(wanted @ beta, covariance, df, m, rows, kind)


def _acting(leverage: Array, kind: str) -> Array:
    if kind in ("CR0", "CR1", "CR1S"):
        return np.broadcast_to(np.eye(leverage.shape[-1]), leverage.shape)
    values, vectors = np.linalg.eigh(leverage)
    left = np.where(values < 1 - FULL, 1 - values, np.inf)  # a generalised inverse: what is fitted exactly is left out
    powers = left**-0.5 if kind == "CR2" else 1 / left
    return np.asarray((vectors * powers[:, None, :]) @ np.swapaxes(vectors, -1, -2))


def _satterthwaite(leverage: Array, a: Array) -> float:
    """(tr P)²/tr P² of the matrix P_ij = δ_ij·a_i'G_i·a_i - t_i't_j with t_i = G_i·a_i, G the leverages."""
    t = np.einsum("mab,mb->ma", leverage, a)
    own, length, outer = (a * t).sum(1), (t**2).sum(1), t.T @ t
    trace, square = (own - length).sum(), (own**2 - 2 * own * length).sum() + (outer**2).sum()
    return float(trace**2 / square) if square > 1e-24 * own.sum() ** 2 > 0 else np.nan


def _root_of_inverse(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T)


def _check(design: Array, values: Array, codes: NDArray[np.intp], clusters: int) -> None:
    if design.ndim != 2 or values.ndim != 1 or not len(design) == len(values) == len(codes):
        raise RecordsError("x needs a row, y a value and cluster a label for each observation", where="x, y, cluster")
    if not (np.isfinite(design).all() and np.isfinite(values).all()) or (codes < 0).any():
        raise RecordsError("values or labels are missing", where="x, y, cluster", remedy="leave these rows out")
    if clusters < 2:
        raise RecordsError("one cluster says nothing about others", where="cluster", allowed=["two or more clusters"])
    if np.linalg.matrix_rank(design.T @ design, hermitian=True) < design.shape[1]:
        raise RecordsError("columns of x depend on each other", where="x", remedy="drop one of them")
