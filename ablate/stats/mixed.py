"""Linear mixed models of variance components: REML, and tests of fixed effects by Satterthwaite and Kenward-Roger.

Newton's method on the restricted likelihood (Fisher scoring where its Hessian is not definite), with variances kept at
or above zero by an active set. A variance at zero is a normal result, not a failure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from ablate.stats.crossproducts import Design, Effect, cross
from ablate.stats.equations import Absorbed, Equations, Grouped

Array = NDArray[np.float64]
Method = Literal["kenward-roger", "satterthwaite"]
STEPS, HALVINGS = 100, 40
CONVERGED = 1e-17  # gain in log likelihood promised by a further step, below which none is taken
CLOSE = 1e-10  # the same where rounding lets it come no further
DEFINITE = 1e-6  # eigenvalue of the scaled observed information from which a Newton step is taken
SLOW = 1e-3  # share of the gradient's own gain below which its direction is taken
ALIASED = 1e-10  # eigenvalue of the scaled information or cross-product below which it counts as singular


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model.

    Attributes:
        theta: variances (and covariances) of the random effects in the order given, then of the residual groups.
        beta, covariance: fixed effects and (X'V⁻¹X)⁻¹.
        log_likelihood: restricted, with the constant of R's lme4 (no term of X'X).
        at_zero: which parameters rest at zero.
        steps: Newton steps taken.
        equations: what the tests need.
    """

    theta: Array
    beta: Array
    covariance: Array
    log_likelihood: float
    at_zero: NDArray[np.bool_]
    steps: int
    equations: Equations

    @cached_property
    def _expected(self) -> Array:
        """Covariance of θ by the expected information of all parameters, those at zero among them (as pbkrtest)."""
        return _invert(self.equations.information)

    @cached_property
    def _observed(self) -> Array:
        """Covariance of θ by the observed information of the parameters off zero (as lmerTest)."""
        out = np.zeros((len(self.theta), len(self.theta)))
        free = np.flatnonzero(~self.at_zero)
        out[np.ix_(free, free)] = _invert(self.equations.hessian[np.ix_(free, free)])
        return out

    def contrast(self, weights: ArrayLike, method: Method = "kenward-roger") -> tuple[float, float, float]:
        """Estimate, standard error and degrees of freedom of weights'β.

        Kenward and Roger (1997, Biometrics 53, 983-997): the standard error is adjusted for the estimation of θ, whose
        covariance is by the expected information. Satterthwaite: neither adjusted nor expected.
        """
        to = np.asarray(weights, float).reshape(-1, 1)
        first, second = self.equations.slopes(to)
        variance, spread = float((to.T @ self.covariance @ to).item()), first[:, 0, 0]
        theta = self._expected if method == "kenward-roger" else self._observed
        df = 2 * variance**2 / float(spread @ theta @ spread)
        if method == "kenward-roger":
            variance += 2 * float((theta * second[..., 0, 0]).sum())
        return float(self.beta @ to[:, 0]), variance**0.5, df

    def f_test(self, hypotheses: ArrayLike, method: Method = "kenward-roger") -> tuple[float, int, float]:
        """F, numerator and denominator degrees of freedom of the hypothesis that all rows of `hypotheses` β are zero.

        Kenward-Roger: F is scaled. Satterthwaite: by the eigenvectors of the covariance (Fai and Cornelius 1996,
        Journal of Statistical Computation and Simulation 54, 363-378). Redundant rows are dropped.
        """
        rows = np.asarray(hypotheses, float)
        covariance = rows @ self.covariance @ rows.T
        values, vectors = np.linalg.eigh(covariance)
        keep = values > 1e-8 * values[-1]
        rows, values = vectors[:, keep].T @ rows, values[keep]
        if len(rows) == 1:
            estimate, se, df = self.contrast(rows[0], method)
            return (estimate / se) ** 2, 1, df
        rows /= np.sqrt(values)[:, None]  # rows'β now have unit covariance
        first, second = self.equations.slopes(rows.T)
        effects = rows @ self.beta
        if method == "kenward-roger":
            return _kenward_roger(effects, first, second, self._expected)
        spread = np.einsum("imm->mi", first)
        return (
            float(effects @ effects) / len(rows),
            len(rows),
            _common(2 / np.einsum("mi,ij,mj->m", spread, self._observed, spread)),
        )


def _kenward_roger(effects: Array, first: Array, second: Array, theta: Array) -> tuple[float, int, float]:
    """F, ndf and ddf of effects whose unadjusted covariance is the identity."""
    q = len(effects)
    traces = np.einsum("imm->i", first)
    a1 = float(traces @ theta @ traces)
    a2 = float(np.einsum("ij,imn,jnm->", theta, first, first, optimize=True))
    b = (a1 + 6 * a2) / (2 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
    c1, c2, c3 = (c / (3 * q + 2 * (1 - g)) for c in (g, q - g, q + 2 - g))
    v0 = 1 + c1 * b
    v0 = 0.0 if abs(v0) < 1e-10 else v0
    rho = ((1 - a2 / q) / (1 - c2 * b)) ** 2 * v0 / (1 - c3 * b) / q
    ddf = 4 + (q + 2) / (q * rho - 1)
    scale = 1.0 if abs(ddf - 2) < 0.01 else ddf * (1 - a2 / q) / (ddf - 2)
    adjusted = np.eye(q) + 2 * np.einsum("ij,ijmn->mn", theta, second)
    return scale * float(effects @ np.linalg.solve((adjusted + adjusted.T) / 2, effects)) / q, q, ddf


def _common(df: Array) -> float:
    """Denominator degrees of freedom of a mean of squared t with these."""
    if np.ptp(df) < 1e-8:
        return float(df.mean())
    if (df <= 2).any():
        return 2.0
    mean = float((df / (df - 2)).sum())
    return 2 * mean / (mean - len(df))


def _invert(information: Array) -> Array:
    """Inverse, in the scale of its own diagonal; of directions that cannot be told apart, the least-norm one."""
    own = information.diagonal()
    scale = np.where(own > 0, np.sqrt(np.maximum(own, 0.0)), np.inf)  # rounding may leave less than nothing
    inverse = np.linalg.pinv(information / np.outer(scale, scale), rcond=ALIASED, hermitian=True)
    return np.asarray(inverse / np.outer(scale, scale))


def fit_reml(y: ArrayLike, fixed: ArrayLike, effects: Sequence[Effect] = (), groups: ArrayLike | None = None) -> Fit:
    """Fit a linear mixed model by restricted maximum likelihood.

    Args:
        y: n responses.
        fixed: n × p, of full column rank.
        effects: random effects.
        groups: residual group of each row, 0 ...; one residual variance if None.

    Raises:
        ValueError: the fixed effects are not of full rank, leave nothing over or fit exactly; or the likelihood has no
            maximum, as where the covariance of an unstructured effect is singular.
    """
    x, response = np.asarray(fixed, float), np.asarray(y, float)
    codes = None if groups is None else np.asarray(groups)
    centre = _least_squares(x, response)
    rest = response - x @ centre
    if not rest @ rest > 1e-24 * (response @ response):
        raise ValueError("the fixed effects fit every row exactly, so that no variance is left")
    design = cross(rest, x, effects, codes)
    found, at_zero, steps = _maximise(design)
    return Fit(found.theta, centre + found.beta, found.covariance, found.log_likelihood, at_zero, steps, found)


def judge_between(y: ArrayLike, fixed: ArrayLike, effect: Effect, weights: ArrayLike) -> tuple[float, float, float]:
    """Estimate, standard error and degrees of freedom of weights'β by least squares and one mean square.

    For an effect (one draw per level) whose variance is estimated at zero: the variance of the estimate is a multiple
    of the mean square between levels, given the fixed effects, with its own degrees of freedom. That is exact in a
    balanced design, and in any if the variance is zero; else the larger of the two multiples is taken that are right
    for the effect and for the error.
    """
    x, response = np.asarray(fixed, float), np.asarray(y, float)
    centre, to = _least_squares(x, response), np.asarray(weights, float)
    found = Absorbed(cross(response - x @ centre, x, [effect], None), np.array([0.0, 1.0]))
    table, scores, sides = found.between
    values, vectors = np.linalg.eigh(table)
    keep = values > 1e-9 * values[-1]
    square = float(((vectors.T @ scores)[keep] ** 2 / values[keep]).mean())
    by_error = float(to @ found.covariance @ to)
    by_effect = float(((sides @ found.covariance @ to) ** 2).sum()) / float(values[keep].mean())
    return float(to @ centre), (max(by_error, by_effect) * square) ** 0.5, float(keep.sum())


def _least_squares(x: Array, y: Array) -> Array:
    n, width = x.shape
    if n <= width:
        raise ValueError(f"{n} rows cannot tell {width} fixed effects from noise")
    gram = x.T @ x
    scale = np.sqrt(gram.diagonal())
    if not (scale > 0).all() or np.linalg.eigvalsh(gram / np.outer(scale, scale))[0] < ALIASED:
        raise ValueError("the fixed effects are not of full column rank")
    return np.asarray(linalg.solve(gram, x.T @ y, assume_a="pos"))


def _maximise(design: Design) -> tuple[Equations, NDArray[np.bool_], int]:
    """Newton with step-halving from the design's start."""
    kind = Absorbed if len(design.rows) == 1 else Grouped
    now, lowest = kind(design, design.start), np.where(design.bounded, 0.0, -np.inf)
    lowest[design.random :] = design.floor
    for step in range(1, STEPS + 1):
        move = _step(now, lowest)
        gain = float(now.gradient @ move)
        if gain < CONVERGED or (step == STEPS and gain < CLOSE):
            return now, design.bounded & (now.theta == 0), step
        for _ in range(HALVINGS):
            try:
                then = kind(design, np.maximum(now.theta + move, lowest))
            except np.linalg.LinAlgError:
                then = None
            if then is not None and then.log_likelihood > now.log_likelihood - 1e-10:
                break
            move = move / 2
        else:
            raise ValueError("the restricted likelihood has no maximum; too few rows to tell the variances apart")
        now = then
    raise ValueError(f"the restricted likelihood has no maximum within {STEPS} steps; is there an error variance?")


def _step(now: Equations, lowest: Array) -> Array:
    """The step to the maximum of the quadratic approximation, kept within the bounds by an active set."""
    known = now.information.diagonal()
    scale = np.sqrt(np.where(known > 0, known, np.inf))  # not moved where rounding leaves no information
    slope, curves = now.gradient / scale, [m / np.outer(scale, scale) for m in (now.hessian, now.information)]
    held = (now.theta <= lowest) & (slope <= 0)
    move = np.zeros(len(lowest))
    for _ in range(len(lowest)):
        free = ~held
        for curve in curves:  # the observed information where it is definite, or else the expected
            values, vectors = np.linalg.eigh(curve[free][:, free])
            if len(values) and values[0] > DEFINITE:
                break
        rest = vectors.T @ (slope[free] - curve[free][:, held] @ move[held])
        move[free] = vectors @ np.where(values > ALIASED, rest / np.maximum(values, ALIASED), 0.0)
        over = free & (now.theta + move / scale < lowest)
        if not over.any():
            break
        move[over] = (lowest - now.theta)[over] * scale[over]
        held |= over
    plain = np.maximum(now.theta + slope / scale, lowest) - now.theta
    return move / scale if slope @ move > SLOW * (now.gradient @ plain) else plain
