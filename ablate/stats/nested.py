"""Engine E2: contrasts of runs that were each trained and measured on one domain only, in closed form.

Nothing is shared between domains, so that the estimate's variance over new runs is the sum of the domains' own, and the
variance over new domains is read off the domains' contrasts, which hold the runs' noise already.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ablate.analyses import Target
from ablate.stats.crossed import Array


@dataclass(frozen=True)
class NestedComponents:
    """An estimate and the variances it is judged by; numbers, or arrays over replicates.

    Attributes:
        estimate: the contrast, averaged over domains with equal weights.
        run, domain: its variance as seen over runs and over domains; domain is NaN with one domain.
        df_run, df_domain: their degrees of freedom.
        seeds, domains: runs per cell and domain (the fewest), and domains.
    """

    estimate: Any
    run: Any
    domain: Any
    df_run: Any
    df_domain: Any
    seeds: float
    domains: float

    def variance(self, target: Target) -> tuple[Any, Any]:
        """Variance of the estimate and its degrees of freedom.

        `these_domains`: Welch and Satterthwaite over the runs of every cell and domain. `new_domains`: t over the
        domains' contrasts, with a variance no smaller than over runs alone, which is a part of it.
        """
        if target == "these_domains":
            return self.run, self.df_run
        return np.maximum(self.run, self.domain), self.df_domain

    @property
    def bounded(self) -> Any:
        """Whether the domains' contrasts vary less than their runs say that they must."""
        return self.run > self.domain

    def scaled(self, seeds: float, domains: float) -> "NestedComponents":
        """These components with other numbers of runs and of domains, if the truth is as estimated."""
        more_seeds, more_domains = seeds / self.seeds, domains / self.domains
        apart = np.maximum(self.domain - self.run, 0.0)
        run = self.run / (more_seeds * more_domains)
        return replace(
            self,
            run=run,
            domain=apart / more_domains + run,
            df_run=self.df_run * more_seeds * more_domains,
            df_domain=domains - 1,
            seeds=seeds,
            domains=domains,
        )


@dataclass(frozen=True)
class Nested:
    """The engine's form.

    Attributes:
        blocked: runs at the same place of the run axis and in the same domain share a block (a seed, a fold).
        folds: the blocks are the folds of one cross-validation per domain, which share training data: the variance of
            their mean is s²·(1/K + 1/(K - 1)), not s²/K (Nadeau and Bengio 2003, Machine Learning 52, 239-281).
    """

    blocked: bool = False
    folds: bool = False

    def __call__(self, scores: Array, weights: Array) -> NestedComponents:
        """Judge one contrast.

        Args:
            scores: cells × runs × domains, after any axes of replicates; NaN where there is no run.
            weights: a weight per cell.

        Raises:
            ValueError: fewer than two runs (blocked: whole blocks) of a cell of the contrast in some domain.
        """
        scores, weights = np.asarray(scores, float), np.asarray(weights, float)
        scores, weights = scores[..., weights != 0, :, :], weights[weights != 0]
        if self.blocked:
            scores, weights = np.einsum("...cbd,c->...bd", scores, weights)[..., None, :, :], np.ones(1)
        present = ~np.isnan(scores)
        runs = present.sum(-2)
        if runs.min(initial=2) < 2 or not scores.size:
            raise ValueError("a variance between runs needs two runs of every cell in every domain")
        means = np.where(present, scores, 0.0).sum(-2) / runs
        deviations = np.where(present, scores - means[..., None, :], 0.0)
        spread = (deviations**2).sum(-2) / (runs - 1)
        share = 1 / runs + (1 / (runs - 1) if self.folds else 0.0)
        domains = scores.shape[-1]
        terms = weights[:, None] ** 2 * spread * share / domains**2
        run = terms.sum((-1, -2))
        with np.errstate(invalid="ignore", divide="ignore"):
            df_run = run**2 / (terms**2 / (runs - 1)).sum((-1, -2))
        by_domain = np.einsum("...cd,c->...d", means, weights)
        variance = by_domain.var(-1, ddof=1) / domains if domains > 1 else np.full_like(run, np.nan)[()]
        df_domain = np.full_like(run, domains - 1 if domains > 1 else np.nan)[()]
        return NestedComponents(by_domain.mean(-1), run, variance, df_run, df_domain, int(runs.min()), domains)
