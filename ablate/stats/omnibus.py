"""Omnibus tests: whether several contrasts are all zero, on these domains or on new ones of their kind.

A factor with more than two levels has several contrasts; this asks about all of them before any one is read.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablate.stats.crossproducts import Effect
from ablate.stats.mixed import fit_reml
from ablate.stats.refusals import FEW_BLOCKS, IDENTICAL_RUNS, Refusal
from ablate.stats.unbalanced import Rows

Array = NDArray[np.float64]
ROUNDING = 1e-12  # what is below this share of the largest of its kind is rounding


@dataclass(frozen=True)
class Omnibus:
    """An F statistic with the degrees of freedom of the hypothesis and of the error."""

    statistic: float
    df: float
    df_error: float

    @property
    def p_value(self) -> float:
        """p of the hypothesis that every contrast is zero."""
        return float(stats.f.sf(self.statistic, self.df, self.df_error))


def judge_jointly(
    scores: Array, contrasts: Array, *, blocked: bool = False, variances: Literal["welch", "pooled"] = "welch"
) -> Omnibus | Refusal:
    """Whether all contrasts are zero, over new runs on the same domains.

    Unblocked, every cell has its own variance: the Welch-James statistic with Johansen's F (Johansen 1980, Biometrika
    67, 85-92), which is Welch's test of a one-way layout and, for one contrast, Welch's t squared. Pooled: the F test
    of the analysis of variance over all cells. Blocked: Hotelling's T² of the contrasts over blocks. Blocked and
    pooled: the F test of the randomised-block analysis, for which differences of any two cells vary alike.

    Args:
        scores: cells × runs × domains. Runs that do not exist are NaN on every domain (not when blocked).
        contrasts: contrasts × cells, each row summing to zero; a row that follows from the others changes nothing.
        blocked: runs at the same place of the run axis share a block.
        variances: `welch`, each cell's (or contrast's) own; or `pooled`, one for all cells.

    Returns:
        The test, or why there is none: no variance between runs (R05), or too few blocks (R20).

    Raises:
        ValueError: fewer than two runs in a cell of the contrasts, a run with some domains missing, or no contrast.
    """
    basis = _row_space(np.asarray(contrasts, float))
    scores = np.asarray(scores, float)
    if variances == "welch":
        used = (basis != 0).any(0)
        scores, basis = scores[used], basis[:, used]
    means = scores.mean(-1)
    counts = (~np.isnan(means)).sum(-1)
    if (np.isnan(means) != np.isnan(scores).all(-1)).any() or (blocked and np.isnan(means).any()):
        raise ValueError("every run needs a score on every domain, and every block a run in every cell")
    if counts[(basis != 0).any(0)].min() < 2:
        raise ValueError("a variance between runs needs two runs in every cell of the contrasts")
    if blocked:
        return _from_residuals(means, basis) if variances == "pooled" else _from_blocks(means, basis)
    return _from_pool(means, counts, basis) if variances == "pooled" else _from_cells(means, counts, basis)


def judge_jointly_on_new_domains(scores: Array, contrasts: Array, *, blocked: bool = False) -> Omnibus | Refusal:
    """Whether all contrasts are zero, over new runs on new domains: Kenward and Roger's F of a mixed model.

    Domains' effects are random along the contrasts, with one variance for all of these, along the mean of the cells,
    and across both; runs (and blocks) are random too. Any scores may be missing. For one contrast it is the square of
    the t of `unbalanced.Unbalanced` with pooled variances.

    Args:
        scores: cells × runs × domains, NaN where there is none.
        contrasts: contrasts × cells, each row summing to zero.
        blocked: runs at the same place of the run axis share a block.
    """
    basis = _row_space(np.asarray(contrasts, float))
    used = np.asarray(~np.isnan(scores).all((1, 2)))
    rows, basis = Rows.of(np.asarray(scores, float)[used], np.ones(int(used.sum()), bool)), basis[:, used]
    cells = basis.shape[1]
    mean = np.full((1, cells), cells**-0.5)
    rest = np.linalg.svd(np.concatenate([basis, mean]))[2][len(basis) + 1 :]
    domain = np.unique(rows.domain, return_inverse=True)[1]
    directions = [basis, mean, *([rest] if len(rest) else [])]
    effects = [Effect(rows.training), *(Effect(domain, d.T[rows.cell]) for d in directions)]
    if blocked:
        effects.append(Effect(np.unique(rows.run, return_inverse=True)[1]))
    fit = fit_reml(rows.score, np.eye(cells)[rows.cell], effects)
    if fit.theta[0] + fit.theta[-1] <= (ROUNDING * float(np.abs(rows.score).max())) ** 2:
        return IDENTICAL_RUNS
    return Omnibus(*fit.f_test(basis))


def _row_space(contrasts: Array) -> Array:
    """An orthonormal basis of the contrasts, without rows that follow from others."""
    _, sizes, rows = np.linalg.svd(np.atleast_2d(contrasts), full_matrices=False)
    basis = np.asarray(rows[sizes > ROUNDING * max(float(sizes.max()), ROUNDING)])
    if not len(basis):
        raise ValueError("no contrast: every weight is zero")
    return np.where(np.abs(basis) > ROUNDING, basis, 0.0)


def _quadratic(estimate: Array, covariance: Array) -> float:
    return float(estimate @ np.linalg.solve(covariance, estimate))


def _singular(covariance: Array, scale: float) -> bool:
    """Whether runs leave some combination of the contrasts without variance, next to scores of that size."""
    sizes = np.linalg.eigvalsh(covariance)
    return bool(sizes[0] <= max(ROUNDING * sizes[-1], (1e-14 * scale) ** 2))


def _from_cells(means: Array, counts: NDArray[np.int_], basis: Array) -> Omnibus | Refusal:
    variance = np.nanvar(means, axis=-1, ddof=1) / counts
    covariance = basis * variance @ basis.T
    if _singular(covariance, float(np.nanmax(np.abs(means)))):
        return IDENTICAL_RUNS
    df = len(basis)
    leverage = variance * np.einsum("fc,fc->c", basis, np.linalg.solve(covariance, basis))
    excess = float((leverage**2 / (counts - 1)).sum())
    scale = df + 2 * excess * (df - 1) / (df + 2)
    return Omnibus(_quadratic(basis @ np.nanmean(means, axis=-1), covariance) / scale, df, df * (df + 2) / (3 * excess))


def _from_pool(means: Array, counts: NDArray[np.int_], basis: Array) -> Omnibus | Refusal:
    df, df_error = len(basis), int((counts - 1).clip(0).sum())
    centres = np.array([np.nanmean(row) if n else 0.0 for row, n in zip(means, counts, strict=True)])
    variance = float(np.nansum((means - centres[:, None]) ** 2)) / df_error
    used = counts > 0
    covariance = variance * (basis[:, used] / counts[used]) @ basis[:, used].T
    if _singular(covariance, float(np.nanmax(np.abs(means)))):
        return IDENTICAL_RUNS
    return Omnibus(_quadratic(basis @ centres, covariance) / df, df, df_error)


def _from_blocks(means: Array, basis: Array) -> Omnibus | Refusal:
    table = basis @ means
    df, blocks = table.shape
    if blocks <= df:
        return FEW_BLOCKS.about(f"{blocks} blocks, {df} contrasts")
    covariance = np.atleast_2d(np.cov(table)) / blocks
    if _singular(covariance, float(np.abs(means).max())):
        return IDENTICAL_RUNS
    squared = _quadratic(table.mean(-1), covariance)
    return Omnibus(squared * (blocks - df) / (df * (blocks - 1)), df, blocks - df)


def _from_residuals(means: Array, basis: Array) -> Omnibus | Refusal:
    cells, blocks = means.shape
    residuals = means - means.mean(0) - means.mean(1, keepdims=True) + means.mean()
    df, df_error = len(basis), (cells - 1) * (blocks - 1)
    covariance = float((residuals**2).sum()) / df_error / blocks * (basis @ basis.T)
    if _singular(covariance, float(np.abs(means).max())):
        return IDENTICAL_RUNS
    return Omnibus(_quadratic(basis @ means.mean(-1), covariance) / df, df, df_error)
