"""Group-sequential rules: when seeds may stop being added, with false claims over all looks kept to alpha.

Lan and DeMets (1983, Biometrika 70, 659-663) spend alpha as a function of the share of the schedule that is in, so that
looks may fall elsewhere than planned. The bounds are those of z statistics with independent increments, integrated from
look to look (Armitage, McPherson and Rowe 1969, JRSS A 132, 235-244; Jennison and Turnbull 2000, chapter 19), and are
then read as two-sided p-values: compared with Student's p they keep their level at the few seeds of an ablation, where
comparing z with the bound itself would reject a true null more than twice as often as promised. Simulated at alpha .05:
.044 to .055 with up to five looks; up to .057 where every seed up to ten is a look, and .059 where Pocock's spending
begins at three blocks, because Student's t of successive looks is less alike than z. To look at every seed there are
`eprocesses`.
The two sides are kept apart, alpha/2 each, so that a claim has a direction and equivalence can use the same level.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, exp, log
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from ablate.errors import PlanError, require_one_of

Array = NDArray[np.float64]
Kind = Literal["obrien_fleming", "pocock"]
Verdict = Literal["go on", "stop: decided", "stop: schedule ended"]
KINDS: tuple[Kind, ...] = ("obrien_fleming", "pocock")
TAIL, FAR = 8.5, 40.0  # z beyond which no path is followed; beyond which no bound is sought (p underflows)


@dataclass(frozen=True)
class Decision:
    """Whether to add seeds.

    Attributes:
        verdict: go on, or why to stop.
        to_next: further seeds until the next look; 0 where there is none.
        to_end: further seeds that the schedule holds in all.
    """

    verdict: Verdict
    to_next: int = 0
    to_end: int = 0


@dataclass(frozen=True)
class Spending:
    """Alpha spending on a schedule of seeds, for claims about these domains: new ones need domains, not seeds.

    Attributes:
        kind: `obrien_fleming` spends little early and leaves the last look almost all of alpha; `pocock` spends evenly.
        alpha: two-sided chance, over all looks, of a claim where there is no difference.
        looks: seeds (runs per cell, or blocks) at each look, increasing; the last ends the schedule.
        end: seeds at which alpha is spent; None takes the last look. It stays as planned when looks are `observed`.

    Raises:
        PlanError: an unknown kind, an alpha outside (0, 1), or looks that do not increase or begin below two seeds.
    """

    kind: Kind = "obrien_fleming"
    alpha: float = 0.05
    looks: tuple[int, ...] = ()
    end: int | None = None

    def __post_init__(self) -> None:
        require_one_of(self.kind, KINDS, "spending.kind")
        if not 0 < self.alpha < 1:
            raise PlanError(
                f"alpha {self.alpha!r} is no probability", where="spending.alpha", allowed=["0 < alpha < 1"]
            )
        steps = (1, *self.looks)
        if not self.looks or any(np.diff(steps) <= 0):
            remedy = "name every look by its number of seeds, the last being the most that will be run: [5, 10, 20]"
            raise PlanError(f"{self.looks!r} is no schedule of looks", where="spending.looks", remedy=remedy)

    def observed(self, sizes: Sequence[int]) -> "Spending":
        """The same spending with looks taken at `sizes`, followed by the planned ones that are still to come.

        The bounds of looks already taken do not change. More seeds than planned spend what is left.
        """
        taken = tuple(sizes)
        rest = tuple(n for n in self.looks if not taken or n > taken[-1])
        return replace(self, looks=taken + rest, end=self.end or self.looks[-1])

    def bounds(self) -> Array:
        """Critical |z| of every look."""
        return np.array(_spend_bounds(self.kind, self.alpha, self.looks, self.end or self.looks[-1]))

    def nominal(self, look: int) -> float:
        """The two-sided p at or below which that look (0 is the first) rejects; compare it with Student's p."""
        return float(min(1.0, 2 * special.ndtr(-self.bounds()[look])))

    def repeated_p(self, p: float, look: int) -> float:
        """The smallest alpha with which that look would reject: a p-value valid at every look (Jennison-Turnbull 9.4).

        Holm applies to these as to any p-values, each taken at the look where its own contrast stopped; the smallest of
        all looks so far is as valid.

        Args:
            p: the look's own two-sided p.
            look: 0 is the first.
        """
        if np.isnan(p):
            return p
        least, most = 1e-12, 1 - 1e-9

        def excess(log_alpha: float) -> float:
            nominal = replace(self, alpha=exp(log_alpha)).nominal(look)
            return log(max(nominal, 1e-300)) - log(max(p, 1e-300))

        if excess(log(most)) <= 0:
            return 1.0
        if excess(log(least)) >= 0:
            return least
        return float(exp(optimize.brentq(excess, log(least), log(most), xtol=1e-9)))

    def interval_level(self, look: int, tests: int = 1) -> float:
        """Confidence level of a single interval such that those of all looks and `tests` hold at 1 - alpha."""
        return 1 - replace(self, alpha=self.alpha / tests).nominal(look)

    def decide(
        self,
        p: float,
        estimate: float,
        half_width: float,
        n: int,
        margin: float | None = None,
        tests: int = 1,
    ) -> Decision:
        """Whether the look at n seeds stops for a difference, or for equivalence where there is a margin.

        Args:
            p: Student's two-sided p of this look alone.
            estimate: the contrast.
            half_width: of its interval at `interval_level(look, tests)`, so that equivalence is two one-sided tests
                at half the look's nominal level.
            n: seeds now.
            margin: the largest difference that counts as none.
            tests: the size of the family.

        Raises:
            PlanError: n is not one of the looks.
        """
        nominal = 1 - self.interval_level(self._look(n), tests)
        return self.stand(n, p <= nominal or (margin is not None and abs(estimate) + half_width < margin))

    def stand(self, n: int, decided: bool) -> Decision:
        """Where the schedule stands after the look at n seeds: for claims judged elsewhere, by Holm for example.

        Raises:
            PlanError: n is not one of the looks.
        """
        rest = self.looks[self._look(n) + 1 :]
        to_next, to_end = (rest[0] - n, rest[-1] - n) if rest else (0, 0)
        if decided:
            return Decision("stop: decided", to_next, to_end)
        return Decision("go on" if rest else "stop: schedule ended", to_next, to_end)

    def inflation(self, power: float = 0.9) -> float:
        """The last look over the seeds of a study without looks of the same power: what looking may cost."""
        return _inflate(np.array(self.looks, float), self.bounds(), self.alpha, power)

    def _look(self, n: int) -> int:
        if n not in self.looks:
            raise PlanError(
                f"a look at {n} seeds is not on the schedule",
                where="spending.looks",
                allowed=self.looks,
                remedy="give the sizes of all looks taken so far to `observed`",
            )
        return self.looks.index(n)


@dataclass(frozen=True)
class FixedShape:
    """The classical bounds c·(n/n_max)^(shape - 1/2), all looks planned: 0 is O'Brien-Fleming's, 1/2 is Pocock's.

    They need the looks to fall as planned, which `Spending` does not; here to compare with (Wang and Tsiatis 1987,
    Biometrics 43, 193-199).
    """

    shape: float
    alpha: float = 0.05

    def __call__(self, looks: Sequence[float]) -> Array:
        """Critical |z| of every look."""
        n = np.asarray(looks, float)
        shape = (n / n[-1]) ** (self.shape - 0.5)
        found = optimize.brentq(lambda c: crossing(n, c * shape)[-1] - self.alpha / 2, 0, 2 * TAIL, xtol=1e-12)
        return np.asarray(found * shape)


def crossing(looks: Sequence[float] | Array, bounds: Sequence[float] | Array, drift: float = 0.0) -> Array:
    """Probability that z has passed the upper bound at or before each look.

    Args:
        looks: information at each look, in any unit.
        bounds: critical z of each look.
        drift: mean of z per square root of information.
    """
    n = np.asarray(looks, float)
    walk, order, passed = Walk.start(drift), _order(n), []
    for size, bound in zip(n, bounds, strict=True):
        passed.append(walk.passes(float(bound), size))
        walk = walk.go_on(float(bound), size, order)
    return np.cumsum(passed)


@dataclass(frozen=True, eq=False)
class Walk:
    """Where z is at a look while it has not passed a bound: nodes, the probability at each, and the information."""

    z: Array
    mass: Array
    n: float
    drift: float

    @classmethod
    def start(cls, drift: float = 0.0) -> "Walk":
        """Before any look."""
        return cls(np.zeros(1), np.ones(1), 0.0, drift)

    def passes(self, bound: float, n: float) -> float:
        """Probability of passing the bound at the next look, at information n, and not before."""
        ahead = self.z * self.n**0.5 + self.drift * (n - self.n) - bound * n**0.5
        return float(self.mass @ special.ndtr(ahead / (n - self.n) ** 0.5))

    def go_on(self, bound: float, n: float, order: int) -> "Walk":
        """The walk after a look that it did not stop at; Gauss-Legendre nodes."""
        nodes, weights = _legendre(order)
        low, high = self.drift * n**0.5 - TAIL, min(bound, self.drift * n**0.5 + TAIL)
        half = max(high - low, 0.0) / 2
        z, spread = low + half * (nodes + 1), (n - self.n) ** 0.5
        steps = (z[:, None] * n**0.5 - self.z * self.n**0.5 - self.drift * (n - self.n)) / spread
        density = np.exp(-(steps**2) / 2) @ self.mass * n**0.5 / spread / (2 * np.pi) ** 0.5
        return Walk(z, half * weights * density, n, self.drift)


@lru_cache(maxsize=4096)
def _spend_bounds(kind: Kind, alpha: float, looks: tuple[int, ...], end: int) -> tuple[float, ...]:
    n = np.array(looks, float)
    walk, order, before = Walk.start(), _order(n), 0.0
    found: list[float] = []
    for size, spent in zip(n, _spent(kind, alpha / 2, np.minimum(n / end, 1.0)), strict=True):

        def excess(bound: float, walk: Walk = walk, size: float = size, share: float = spent - before) -> float:
            return walk.passes(bound, size) - share

        found.append(float(optimize.brentq(excess, -TAIL, FAR, xtol=1e-12)))
        walk, before = walk.go_on(found[-1], size, order), spent
    return tuple(found)


def _spent(kind: Kind, side: float, fraction: Array) -> Array:
    """What one side has spent at a fraction of the schedule (Lan and DeMets 1983)."""
    if kind == "pocock":
        return np.asarray(side * np.log1p(np.expm1(1.0) * fraction))
    return np.asarray(2 * special.ndtr(special.ndtri(side / 2) / fraction**0.5))


def _inflate(n: Array, bounds: Array, alpha: float, power: float) -> float:
    fraction = n / n[-1]
    drift = optimize.brentq(lambda d: crossing(fraction, bounds, d)[-1] - power, 0, 2 * TAIL, xtol=1e-12)
    return float((drift / (stats.norm.isf(alpha / 2) + stats.norm.ppf(power))) ** 2)


def _order(n: Array) -> int:
    """Nodes enough for the narrowest step between looks: two or more to its standard deviation."""
    narrowest = float(np.sqrt(np.diff(n, prepend=0.0) / n).min())
    return max(64, ceil(2.5 * 2 * TAIL / narrowest))


@lru_cache(maxsize=64)
def _legendre(order: int) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return nodes, weights
