"""Prospects: what a study is assumed to be before it is run, and what its engine would then find.

The estimate is normal and independent of the mean squares that judge it, and those are independent multiples of
chi-square. So the chance of any claim is an average over mean squares of a normal probability, taken here with the
engine's own variance and degrees of freedom: its rule of the largest variance, its caution and its random
Satterthwaite degrees of freedom are in the promise.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from ablate.analyses import Target
from ablate.errors import PlanError
from ablate.stats.crossed import Components, Crossed
from ablate.stats.nested import Nested, NestedComponents

Array = NDArray[np.float64]
Found = Components | NestedComponents
Square = tuple[float, float]  # expected mean square, in units of the estimate's variance, and its degrees of freedom
FEWEST = 3  # domains that a test for new domains needs
POINTS, NODES = 4096, 160  # quasi-random points for several mean squares; Gauss-Legendre nodes for one


@dataclass(frozen=True)
class MeanSquares:
    """Expected mean squares of a contrast, each an independent multiple of chi-square.

    Attributes:
        run: over runs; one, or one for each variance that Welch's form estimates apart, which add up.
        domain: over domains, and joint over both, as `run`; None with one domain. Nested runs have no joint.
        seeds, domains: as in `Components`.
    """

    run: tuple[Square, ...]
    domain: Square | None = None
    joint: tuple[Square, ...] | None = None
    seeds: float = 0
    domains: float = 1

    @classmethod
    def of(cls, found: Found) -> "MeanSquares":
        """Those of a study that has been judged, taken as the truth.

        The runs' degrees of freedom over seeds - 1 count the variances that Welch's form estimated apart.
        """
        count = max(1, round(float(found.df_run) / (found.seeds - 1)))
        run = ((float(found.run) / count, float(found.df_run) / count),) * count
        if found.domains == 1:
            return cls(run, None, None, found.seeds, 1)
        joint = None
        if isinstance(found, Components):
            joint = ((float(found.joint), float(found.df_joint)),)
        return cls(run, (float(found.domain), float(found.df_domain)), joint, found.seeds, found.domains)

    def variance(self, target: Target) -> float:
        """Variance of the estimate; on new domains never less than over runs alone, which is a part of it.

        Raises:
            PlanError: new domains, with fewer than three domains (R12).
        """
        run = sum(expected for expected, _ in self.run)
        if target == "these_domains":
            return run
        domain = self._over_domains[0]
        if self.joint is not None:
            domain += run - sum(expected for expected, _ in self.joint)
        return max(run, domain)

    @property
    def _over_domains(self) -> Square:
        if self.domain is None or self.domains < FEWEST:
            what = f"fewer than {FEWEST} domain groups say nothing about new domains"
            raise PlanError(what, where="target", allowed=["these_domains"])
        return self.domain

    def find(self, target: Target, most: float = np.inf) -> tuple[Found, Array]:
        """What the engine may find, estimates aside, and the probability of each.

        Args:
            target: what the estimate is judged for.
            most: a single mean square is integrated up to this multiple of its expectation.

        Raises:
            PlanError: new domains, with fewer than three domains (R12).
        """
        if target == "these_domains":
            if len(self.run) == 1:
                ratio, mass = _chi_square_nodes(self.run[0][1], most)
                run, df_run = ratio * self.run[0][0], np.full(NODES, self.run[0][1])
            else:
                (run, df_run), mass = _draw(self.run, 0, len(self.run)), np.full(POINTS, 1 / POINTS)
            nan = np.full_like(run, np.nan)
            return Components(0.0, run, nan, nan, df_run, nan, nan, self.seeds, 1), mass
        joint, mass = self.joint or (), np.full(POINTS, 1 / POINTS)
        dimensions = 1 + len(self.run) + len(joint)
        domain, df_domain = _draw((self._over_domains,), 0, dimensions)
        run, df_run = _draw(self.run, 1, dimensions)
        if self.joint is None:
            return NestedComponents(0.0, run, domain, df_run, df_domain, self.seeds, self.domains), mass
        both, df_joint = _draw(joint, 1 + len(self.run), dimensions)
        return Components(0.0, run, domain, both, df_run, df_domain, df_joint, self.seeds, self.domains), mass


@dataclass(frozen=True)
class Prospect:
    """A study as it is assumed to be.

    Attributes:
        seeds: runs per cell; a number for each cell only if unblocked.
        domains: domain groups.
        run: standard deviation of a run's mean over domains, apart from the errors; one, or one for each cell.
        error: standard deviation of a score around its run and domain.
        domain: standard deviation over domains of the contrast itself (not of a cell).
        weights: the contrast, a weight per cell.
        engine: how it will be judged.

    Raises:
        PlanError: fewer than two runs of a cell, a negative standard deviation, or a form that has no closed form.
    """

    seeds: int | tuple[int, ...]
    domains: int = 1
    run: float | tuple[float, ...] = 0.0
    error: float = 1.0
    domain: float = 0.0
    weights: tuple[float, ...] = (-1.0, 1.0)
    engine: Crossed | Nested = field(default_factory=Crossed)

    def __post_init__(self) -> None:
        for name, given in (("seeds", self.seeds), ("run", self.run)):
            if np.size(given) not in (1, len(self.weights)):
                raise _impossible(f"{np.size(given)} values of {name} for {len(self.weights)} cells")
        if np.min(self.seeds) < 2 or self.domains < 1:
            raise _impossible(f"{self.seeds} runs on {self.domains} domains", "two runs of each cell, one domain")
        if min(np.min(self.run), self.error, self.domain) < 0:
            raise _impossible("a negative standard deviation", "zero or more")
        uneven = np.ndim(self.seeds) > 0 and len(set(np.ravel(self.seeds))) > 1
        if self.engine.blocked and uneven:
            raise _impossible("blocks with unequal runs", "one number of seeds")
        if isinstance(self.engine, Nested):
            if self.engine.folds:
                raise _impossible("cross-validation folds share training data", "`simulate_power`")
        elif self.engine.domain_variance == "pooled" or (self.engine.variances == "pooled" and np.size(self.run) > 1):
            raise _impossible("pooled variances of unequal cells or domains", "one run deviation, contrast-specific")

    @classmethod
    def of(
        cls,
        found: Found,
        weights: ArrayLike,
        engine: Crossed | Nested,
        assurance: float | None = None,
    ) -> "Prospect":
        """The prospect of a study like a pilot that has been judged with the same weights and engine.

        Args:
            found: what the engine found; runs of the cells equal in number and in variance.
            weights: the contrast.
            engine: the engine.
            assurance: None takes the variances as found, which half of pilots find too small; .8 takes each at the
                bound that the truth stays below in 80 % of pilots (Browne 1995, Stat. Med. 14, 1933-1940).

        Raises:
            PlanError: as the class.
        """
        weights = np.asarray(weights, float)
        scale, domains = found.seeds / (weights**2).sum(), found.domains
        run, domain = found.run * _caution(found.df_run, assurance), found.domain
        joint = 0.0
        if domains > 1:
            domain = domain * _caution(found.df_domain, assurance)
            joint = found.joint if isinstance(found, Components) else run
        over_runs = 0.0 if isinstance(found, NestedComponents) and domains > 1 else np.maximum(run - joint, 0.0) * scale
        between = np.maximum(domain - joint, 0.0) * domains if domains > 1 else 0.0
        run_sd, error, domain_sd = (float(v**0.5) for v in (over_runs, joint * scale * domains, between))
        return cls(int(found.seeds), int(domains), run_sd, error, domain_sd, tuple(weights.tolist()), engine)

    def at(self, seeds: int) -> "Prospect":
        """The same study with so many runs per cell."""
        return replace(self, seeds=seeds)

    def mean_squares(self) -> MeanSquares:
        """Its expected mean squares."""
        weights = np.array(self.weights)
        seeds, run = (np.broadcast_to(np.asarray(given, float), weights.shape) for given in (self.seeds, self.run))
        share, domains = weights**2 / seeds, self.domains
        fewest, nested = int(np.min(self.seeds)), isinstance(self.engine, Nested)
        joint = share * self.error**2 / domains
        over_runs = share * run**2 / (domains if nested else 1) + joint
        between = (self.domain**2 / domains + float((over_runs if nested else joint).sum()), domains - 1.0)
        if domains == 1:
            return MeanSquares(self._parts(over_runs, seeds - 1), None, None, fewest, 1)
        if nested:
            each = self._parts(over_runs / domains, seeds - 1) * domains
            return MeanSquares(each, between, None, fewest, domains)
        return MeanSquares(
            self._parts(over_runs, seeds - 1),
            between,
            self._parts(joint, (seeds - 1) * (domains - 1)),
            fewest,
            domains,
        )

    def _parts(self, expected: Array, df: Array) -> tuple[Square, ...]:
        """The variances that the engine estimates apart, of what every cell contributes."""
        pooled = isinstance(self.engine, Crossed) and self.engine.variances == "pooled"
        if self.engine.blocked:
            return ((float(expected.sum()), float(df[0] * (len(df) - 1 if pooled else 1))),)
        if pooled:
            return ((float(expected.sum()), float(df.sum())),)
        used = np.array(self.weights) != 0
        return tuple(zip(expected[used].tolist(), df[used].tolist(), strict=True))


def _draw(squares: tuple[Square, ...], first: int, dimensions: int) -> tuple[Array, Array]:
    """Sums of independent mean squares at the quasi-random points, and Satterthwaite's degrees of freedom of each."""
    expected, df = np.array(squares).T
    terms = expected * _ratios(tuple(df.tolist()), first, dimensions)
    total = terms.sum(1)
    with np.errstate(invalid="ignore"):
        return total, np.where(total > 0, total**2 / (terms**2 / df).sum(1), df.sum())


@lru_cache(maxsize=64)
def _ratios(df: tuple[float, ...], first: int, dimensions: int) -> Array:
    """Chi-squares over their degrees of freedom at the quasi-random points, from a dimension on."""
    degrees, uniform = np.array(df), _points(dimensions)[:, first : first + len(df)]
    return np.asarray(2 * special.gammaincinv(degrees / 2, uniform) / degrees)


@lru_cache(maxsize=32)
def _points(dimensions: int) -> Array:
    """Sobol points, shifted by a fixed random amount so that none lies on an edge."""
    points = stats.qmc.Sobol(dimensions, scramble=False).random(POINTS)
    shifted = (points + np.random.default_rng(0).random(dimensions)) % 1
    return np.asarray(np.clip(shifted, 1e-12, 1 - 1e-12))


def _chi_square_nodes(df: float, most: float) -> tuple[Array, Array]:
    """Values of chi-square over its degrees of freedom up to `most`, and the probability at each."""
    nodes, weights = _legendre()
    low, high = 2 * special.gammaincinv(df / 2, 1e-14), 2 * special.gammainccinv(df / 2, 1e-14)
    start, end = np.log(low), np.log(max(min(high, most * df), low))
    square = np.exp(start + (end - start) * (nodes + 1) / 2)
    mass = weights * (end - start) / 2 * stats.chi2.pdf(square, df) * square
    return square / df, mass


@lru_cache(maxsize=1)
def _legendre() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights


def _caution(df: ArrayLike, assurance: float | None) -> float:
    return 1.0 if assurance is None else float(np.asarray(df) / stats.chi2.ppf(1 - assurance, df))


def _impossible(what: str, allowed: str | None = None) -> PlanError:
    return PlanError(what, where="prospect", allowed=None if allowed is None else [allowed])
