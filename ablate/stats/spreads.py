"""Spreads: how much one thing's scores vary when only randomness does, in all and source by source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from ablate.errors import RecordsError
from ablate.plans import WHOLE
from ablate.records import Records
from ablate.stats.crossed import Array

SOURCE = "source"  # the factor of a plan that measures noise
NEW, SAME = "new seeds", "same seed"  # its levels beside the single sources


@dataclass(frozen=True)
class Spread:
    """Variances of scores over runs that differ in their randomness alone.

    Attributes:
        runs: how many.
        variances: domain group -> variance over runs; exactly 0 where all runs are the same.
        whole: variance of a run's mean over the domain groups.
        error: mean square of runs × domain groups: what a run does to one domain and not to another; 0 with one.
        means: domain group -> mean over runs.
    """

    runs: int
    variances: Mapping[str, float]
    whole: float
    error: float
    means: Mapping[str, float]

    @property
    def run(self) -> float:
        """The variance of what a run does to all domains alike: `whole` less the errors' share, zero at least."""
        return max(self.whole - self.error / len(self.variances), 0.0)

    @property
    def is_nil(self) -> bool:
        """Whether every run scored exactly the same on every domain."""
        return not any(self.variances.values())

    @property
    def se(self) -> float:
        """Standard error of `whole`, from its unbiased square 2 s⁴ / (n + 1) (normal runs)."""
        return float(self.whole * (2 / (self.runs + 1)) ** 0.5)

    def stretch(self, level: float = 0.95) -> tuple[float, float]:
        """By what factors the true standard deviation may be off: (n - 1) s² / chi-square, for normal runs."""
        df, tail = self.runs - 1, (1 - level) / 2
        return float((df / stats.chi2.isf(tail, df)) ** 0.5), float((df / stats.chi2.ppf(tail, df)) ** 0.5)


def measure_spread(scores: Array, domains: tuple[str, ...]) -> Spread:
    """The spread of runs × domain groups, without gaps.

    Raises:
        RecordsError: fewer than two runs.
    """
    runs, count = scores.shape
    if runs < 2:
        raise RecordsError(f"{runs} run: a spread needs two", where="noise", remedy="run more")
    centred = scores - scores[0]  # runs that are the same to the last digit have a variance of exactly zero
    apart = centred - centred.mean(0)
    rest = apart - apart.mean(1, keepdims=True)
    error = float((rest**2).sum() / ((runs - 1) * (count - 1))) if count > 1 else 0.0
    variances = dict(zip(domains, centred.var(0, ddof=1).tolist(), strict=True))
    means = dict(zip(domains, scores.mean(0).tolist(), strict=True))
    return Spread(runs, variances, float(centred.mean(1).var(ddof=1)), error, means)


@dataclass(frozen=True)
class Noise:
    """The noise of one cell.

    Attributes:
        spreads: source -> its spread, where two runs of it or more are complete.
        planned: runs that each source was to have.
        scores: how many scores of a run were compared with those of its repetition on the same seed.
        apart: the largest difference of any of them; 0 if the same seed gave the same to the last digit; None where
            it was not run twice.
    """

    spreads: Mapping[str, Spread]
    planned: int
    scores: int = 0
    apart: float | None = None

    @property
    def reproduces(self) -> bool | None:
        """Whether the same seed gives the same scores bit for bit; None where it was not run twice."""
        return None if self.apart is None else self.apart == 0

    @property
    def single(self) -> Mapping[str, Spread]:
        """The spreads of the single sources."""
        return {source: spread for source, spread in self.spreads.items() if source not in (NEW, SAME)}

    @property
    def idle(self) -> tuple[str, ...]:
        """The single sources that change nothing."""
        return tuple(source for source, spread in self.single.items() if spread.is_nil)

    @cached_property
    def total(self) -> float:
        """What the single sources add up to, each without what the same seed leaves, which is counted once."""
        same = self.spreads[SAME].whole if SAME in self.spreads else 0.0
        return same + sum(spread.whole - same for spread in self.single.values())

    @property
    def total_se(self) -> float:
        """Standard error of `total`."""
        parts = [spread.se for spread in self.single.values()]
        same = self.spreads[SAME].se if SAME in self.spreads else 0.0
        return float(np.sqrt(sum(se**2 for se in parts) + ((1 - len(parts)) * same) ** 2))

    @property
    def rest(self) -> tuple[float, float] | None:
        """The variance of new seeds less `total`, and its standard error; None where one of them was not measured."""
        if NEW not in self.spreads or not self.single:
            return None
        new = self.spreads[NEW]
        return new.whole - self.total, float(np.hypot(new.se, self.total_se))


def measure_noise(records: Records) -> Noise:
    """The noise that records of a plan with the factor `source` show, on its primary metric.

    Domains of one group are averaged first. A run that lacks a domain that others have is left out.

    Raises:
        RecordsError: no source has two complete runs.
    """
    frame = records.complete
    if (frame["domain"] != WHOLE).any():  # what belongs to the whole run is cost: clocks, memory
        frame = frame[frame["domain"] != WHOLE]
    else:
        frame = frame[frame["metric"] == records.plan.metric]
    rows = frame[frame["metric"] == records.plan.metric]
    place = ["domain_group", "domain", "shift"]
    table = rows.pivot_table("value", index=[SOURCE, "trial"], columns=place, sort=False).dropna()
    table = table.T.groupby(level=0, sort=False).mean().T
    spreads = {}
    for source in records.plan.factors[0].levels:
        mine = table[table.index.get_level_values(SOURCE) == source]
        if len(mine) > 1:
            spreads[str(source)] = measure_spread(mine.to_numpy(float), tuple(map(str, table.columns)))
    if not spreads:
        raise RecordsError("no source has two complete runs", where="noise", remedy="`ablate status` says what failed")
    same = frame[frame[SOURCE] == SAME].groupby(["domain", "shift", "metric"], sort=False)["value"]
    apart = same.max() - same.min()
    return Noise(spreads, len(records.plan.seeds), len(apart), float(apart.max()) if SAME in spreads else None)
