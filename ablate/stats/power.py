"""Power: the chance that a study will show what is true, the smallest effect it would see, and the seeds it needs."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from ablate.analyses import Target
from ablate.errors import PlanError, require_one_of
from ablate.stats.crossed import Components
from ablate.stats.nested import NestedComponents
from ablate.stats.prospects import Found, MeanSquares, Prospect

Array = NDArray[np.float64]
Kind = Literal["difference", "equivalence", "noninferiority"]
Outlook = Prospect | Components | NestedComponents | MeanSquares
KINDS: tuple[Kind, ...] = ("difference", "equivalence", "noninferiority")
LEAST, CEILING = 3, 1000  # seeds below which no test is made; beyond which a number would be no advice


@dataclass(frozen=True)
class Claim:
    """What a study is to show.

    Attributes:
        kind: that there is a difference (of either sign); that it lies within the margin; or that it lies above minus
            the margin (a gain being positive).
        target: for these domains or for new ones.
        alpha: two-sided; equivalence and non-inferiority use one-sided tests at half of it.
        tests: size of the family; each is judged at alpha over tests, which Holm improves on.
        margin: in units of the metric.

    Raises:
        PlanError: an unknown kind or target, a margin that is not positive, an alpha outside (0, 1), no tests.
    """

    kind: Kind = "difference"
    target: Target = "these_domains"
    alpha: float = 0.05
    tests: int = 1
    margin: float | None = None

    def __post_init__(self) -> None:
        require_one_of(self.kind, KINDS, "claim.kind")
        require_one_of(self.target, ("these_domains", "new_domains"), "claim.target")
        if not 0 < self.alpha < 1 or self.tests < 1:
            raise PlanError(f"alpha {self.alpha!r} over {self.tests!r} tests", where="claim", allowed=["0 < alpha < 1"])
        if self.margin is not None and not self.margin > 0:
            raise PlanError(f"a margin of {self.margin!r}", where="claim.margin", allowed=["a positive number"])

    def half_widths(self, found: Found) -> Array:
        """Half the widths of the intervals that decide."""
        variance, df = found.variance(self.target)
        return np.asarray(-special.stdtrit(df, self.alpha / self.tests / 2) * np.sqrt(variance))

    def chance(self, effect: float, half: Array, sd: float) -> Array:
        """Probability that a normal estimate of that mean and sd is clear of what the half-width keeps it from."""
        if self.kind == "difference":
            return np.asarray(special.ndtr((effect - half) / sd) + special.ndtr((-effect - half) / sd))
        if self.margin is None:
            raise PlanError(f"{self.kind} needs a margin", where="claim.margin", allowed=["a positive number"])
        room = self.margin - half
        if self.kind == "noninferiority":
            return np.asarray(special.ndtr((effect + room) / sd))
        inside = special.ndtr((room - effect) / sd) - special.ndtr((-room - effect) / sd)
        return np.asarray(np.where(room > 0, inside, 0.0))


@dataclass(frozen=True)
class Rate:
    """A share of replicates and its Monte Carlo standard error, which stays above zero at 0 and 1."""

    value: float
    se: float


def compute_power(outlook: Outlook, effect: float, claim: Claim = Claim()) -> float:
    """Probability that the study shows the claim when the true contrast is `effect`.

    Exact up to integration where the test is exactly t (blocked or pooled runs on these domains: the non-central t and,
    for equivalence, Owen's bivariate t); elsewhere to about .001, of the engine's own Satterthwaite test.

    Args:
        outlook: a prospect; or the components of a judged study, its variances taken as the truth.
        effect: on these domains the mean over them, on new ones over all of their kind.
        claim: what is to be shown.
    """
    return _Chances(outlook, claim)(effect, claim)


def smallest_effect(outlook: Outlook, claim: Claim = Claim(), power: float = 0.8) -> float:
    """The smallest positive difference that the study shows with that probability.

    Raises:
        PlanError: the claim is no difference, or power does not lie between its alpha and 1.
    """
    if claim.kind != "difference":
        raise PlanError(f"{claim.kind} has a smallest margin", where="claim.kind", allowed=["difference"])
    _require_power(power, claim.alpha / claim.tests)
    chances = _Chances(outlook, claim)
    return chances.root(lambda effect: chances(effect, claim) - power)


def smallest_margin(outlook: Outlook, claim: Claim, effect: float = 0.0, power: float = 0.8) -> float:
    """The smallest margin within which (non-inferiority: above which) `effect` is shown to lie with that probability.

    Raises:
        PlanError: the claim is a difference, or power does not lie between its alpha and 1.
    """
    if claim.kind == "difference":
        raise PlanError("a difference has a smallest effect", where="claim.kind", allowed=KINDS[1:])
    _require_power(power, claim.alpha / claim.tests)

    def excess(margin: float) -> float:
        asked = Claim(claim.kind, claim.target, claim.alpha, claim.tests, margin)
        return _Chances(outlook, asked)(effect, asked) - power

    return _Chances(outlook, claim).root(excess)


def seeds_needed(outlook: Outlook, effect: float, claim: Claim = Claim(), power: float = 0.8) -> int | None:
    """The fewest runs per cell that show the claim with that probability.

    None where a thousand are not enough: on new domains more seeds leave the variance over domains as it is.
    """
    candidates = range(LEAST, CEILING + 1)
    found = bisect_left(candidates, True, key=lambda n: _Chances(at(outlook, n), claim)(effect, claim) >= power)
    return candidates[found] if found < len(candidates) else None


def further_seeds(found: Found, claim: Claim = Claim(), power: float = 0.8) -> int | None:
    """Further runs per cell with which a new study like this one shows the claim, the estimate being true.

    `projections.suggest` asks when this study's interval would decide if nothing changed, a chance of about one half.
    To add runs to this study itself, its looks must have been declared (`sequential`, `eprocesses`). None where a
    thousand runs are not enough.
    """
    needed = seeds_needed(found, float(found.estimate), claim, power)
    return None if needed is None else max(needed - int(found.seeds), 0)


def at(outlook: Outlook, seeds: int) -> Outlook:
    """The same study with so many runs per cell.

    Raises:
        PlanError: expected mean squares alone do not say what other numbers of runs would bring.
    """
    if isinstance(outlook, Prospect):
        return outlook.at(seeds)
    if isinstance(outlook, MeanSquares):
        raise PlanError(
            "mean squares are of one number of seeds", where="outlook", allowed=["a prospect", "components"]
        )
    return outlook.scaled(seeds, outlook.domains)


def plan_table(
    outlook: Outlook,
    effect: float,
    claim: Claim = Claim(),
    seeds: Iterable[int] = range(3, 31),
    power: float = 0.8,
) -> pd.DataFrame:
    """A row per number of seeds: its power, and the smallest effect (or margin) that it shows with `power`."""
    rows: list[dict[str, Any]] = []
    for n in seeds:
        study = at(outlook, n)
        row: dict[str, Any] = {"seeds": n, "power": _Chances(study, claim)(effect, claim)}
        if claim.kind == "difference":
            rows.append({**row, "smallest_effect": smallest_effect(study, claim, power)})
        else:
            rows.append({**row, "smallest_margin": smallest_margin(study, claim, effect, power)})
    return pd.DataFrame(rows)


def simulate_power(
    judge: Callable[[Any], ArrayLike],
    draw: Callable[[np.random.Generator, int], Any],
    replicates: int,
    rng: np.random.Generator,
    batch: int = 500,
) -> Rate:
    """Power of any judgement on any data, by simulation.

    Args:
        judge: replicates to whether each shows the claim.
        draw: generator and a number to that many replicates.
        replicates: how many in all.
        rng: where they come from.
        batch: how many at a time.
    """
    shown = 0
    for start in range(0, replicates, batch):
        size = min(batch, replicates - start)
        answers = np.asarray(judge(draw(rng, size)))
        if answers.shape != (size,):
            raise PlanError(
                f"answers of shape {answers.shape}", where="judge", allowed=[f"one for each of {size} replicates"]
            )
        shown += int(np.count_nonzero(answers))
    smooth = (shown + 0.5) / (replicates + 1)
    return Rate(shown / replicates, float(np.sqrt(smooth * (1 - smooth) / replicates)))


def allocate(run_sd: ArrayLike, weights: ArrayLike, total: int, at_least: int = 3) -> tuple[int, ...]:
    """Runs for each cell so that contrasts have the smallest variance for the total, by run deviations alone.

    Neyman's rule (1934, JRSS 97, 558-625), runs in proportion to |weight| × deviation, in whole runs and exactly: every
    further run goes where it lowers the (summed) variance most. Means must not enter. The deviations come from a pilot
    whose runs are not judged afterwards: a cell whose pilot runs happen to lie close gets few more, and keeps looking
    quiet. Kept, a pilot of 3, 5 or 10 runs brings type I errors of up to .093, .071 and .061 at alpha .05 (two equal
    cells, 20 runs); left out, .048 to .053.

    Args:
        run_sd: standard deviation of runs, for each cell.
        weights: of one contrast, or contrasts × cells.
        total: runs in all.
        at_least: runs of every cell.

    Raises:
        PlanError: the total does not give every cell its least, or cells and weights do not match.
    """
    deviations, weights = np.asarray(run_sd, float), np.atleast_2d(np.asarray(weights, float))
    cells = len(deviations)
    if weights.shape[1] != cells or (deviations < 0).any():
        raise PlanError(f"{cells} run deviations for weights of {weights.shape[1]} cells", where="allocate")
    if total < at_least * cells:
        raise PlanError(
            f"{total} runs for {cells} cells", where="allocate.total", allowed=[f"{at_least * cells} or more"]
        )
    gain, runs = (weights**2).sum(0) * deviations**2, np.full(cells, at_least)
    for _ in range(total - at_least * cells):
        runs[np.argmax(gain / (runs * (runs + 1)))] += 1
    return tuple(runs.tolist())


class _Chances:
    """What a study may find, drawn once for many effects."""

    def __init__(self, outlook: Outlook, claim: Claim) -> None:
        if isinstance(outlook, Prospect):
            squares = outlook.mean_squares()
        else:
            squares = outlook if isinstance(outlook, MeanSquares) else MeanSquares.of(outlook)
        self.sd, most = squares.variance(claim.target) ** 0.5, np.inf
        if not self.sd > 0:
            raise PlanError(
                "without any variance everything is certain", where="power", allowed=["a variance above zero"]
            )
        if claim.kind == "equivalence" and claim.margin is not None:  # no wider interval fits into the margin
            most = (claim.margin / self.sd / special.stdtrit(squares.run[0][1], claim.alpha / claim.tests / 2)) ** 2
        found, self.mass = squares.find(claim.target, most)
        self.half = claim.half_widths(found)

    def __call__(self, effect: float, claim: Claim) -> float:
        return float(self.mass @ claim.chance(effect, self.half, self.sd))

    def root(self, excess: Callable[[float], float]) -> float:
        """Where it becomes zero, as a number of standard deviations that are doubled until it is passed."""
        high = self.sd
        while excess(high) < 0:
            high *= 2
        return float(optimize.brentq(excess, 1e-9 * high, high, rtol=1e-10, xtol=1e-10 * high))


def _require_power(power: float, alpha: float) -> None:
    if not alpha < power < 1:
        raise PlanError(f"a power of {power!r}", where="power", allowed=[f"{alpha:g} < power < 1"])
