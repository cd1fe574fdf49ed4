"""Engine E1: contrasts of runs that were each measured on every domain, balanced, in closed form.

The model is y = cell + domain + contrast × domain + run (+ block) + error. Domain effects cancel in every contrast and
block effects cancel when blocked, so that three variances remain, here already in units of the estimate's variance:
of the contrast over domains, over runs, and over both (the error). With equal runs per cell they are
ΣL²/(S·D) times the mean squares MS_D, MS_R and MS_E.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablate.analyses import Target

Array = NDArray[np.float64]
FEW = 5  # degrees of freedom of the runs up to which their weight is taken with caution
ROUNDING = 1e-12  # relative, of a component that is zero
CAUTION = 0.1  # chance that a run variance is larger than the bound used then


@dataclass(frozen=True)
class Components:
    """An estimate and the variances it is judged by; numbers, or arrays over replicates.

    Attributes:
        estimate: the contrast.
        run, domain, joint: its variance as seen over runs, over domains, and over runs × domains.
        df_run, df_domain, df_joint: their degrees of freedom; domain and joint are NaN with one domain.
        seeds, domains: runs per cell (the fewest of any cell) and domain groups.
    """

    estimate: Any
    run: Any
    domain: Any
    joint: Any
    df_run: Any
    df_domain: Any
    df_joint: Any
    seeds: float
    domains: float

    def variance(self, target: Target) -> tuple[Any, Any]:
        """Variance of the estimate and its degrees of freedom.

        `these_domains`: over new runs on the same domains. `new_domains`: over new runs and new domains;
        domain + run - joint by Satterthwaite, but never less than one of the first two (then with its own
        degrees of freedom), so that a component estimated below zero does not narrow the interval. Where the runs
        give few degrees of freedom (six blocks or fewer), their own estimate is too uncertain to weigh them by: an
        estimate that happens to be small has many degrees of freedom for a small variance, and the far tails of
        Satterthwaite's t are too thin (17 tests at a family-wise .05 reject .09 to .19 of studies with three to five
        blocks and 20 domains). There the weight is taken from a bound that the true run variance exceeds in one study
        of ten (.05 to .09).
        """
        if target == "these_domains":
            return self.run, self.df_run
        total, larger = self.domain + self.run - self.joint, np.maximum(self.domain, self.run)
        with np.errstate(invalid="ignore", divide="ignore"):
            df = total**2 / (
                self.domain**2 / self.df_domain + self.run**2 / self.df_run + self.joint**2 / self.df_joint
            )
            df = np.where(self.bounded, np.where(self.domain >= self.run, self.df_domain, self.df_run), df)
            run = self.run * self.df_run / (2 * special.gammaincinv(self.df_run / 2, CAUTION))
            cautious = (self.domain + run) ** 2 / (self.domain**2 / self.df_domain + run**2 / self.df_run)
        return np.maximum(total, larger), np.where(self.df_run <= FEW, np.minimum(df, cautious), df)[()]

    @property
    def bounded(self) -> Any:
        """Whether the rule of the largest variance bites: a component is estimated at or below zero, up to rounding."""
        return self.domain + self.run - self.joint <= np.maximum(self.domain, self.run) * (1 + ROUNDING)

    def scaled(self, seeds: float, domains: float) -> "Components":
        """These components with other numbers of runs per cell and of domains, if the truth is as estimated."""
        by_seeds, by_domains = self.seeds / seeds, self.domains / domains
        more_seeds = (seeds - 1) / (self.seeds - 1)
        if self.domains == 1:
            return replace(self, run=self.run * by_seeds, df_run=self.df_run * more_seeds, seeds=seeds)
        more_domains = (domains - 1) / (self.domains - 1)
        in_run, in_domain = np.minimum(self.joint, self.run), np.minimum(self.joint, self.domain)
        return Components(
            self.estimate,
            run=(self.run - in_run + in_run * by_domains) * by_seeds,
            domain=(self.domain - in_domain + in_domain * by_seeds) * by_domains,
            joint=self.joint * by_seeds * by_domains,
            df_run=self.df_run * more_seeds,
            df_domain=self.df_domain * more_domains,
            df_joint=self.df_joint * more_seeds * more_domains,
            seeds=seeds,
            domains=domains,
        )


@dataclass(frozen=True)
class Crossed:
    """The engine's form.

    Attributes:
        blocked: runs at the same place of the run axis share a block (seed): contrasts are taken within blocks.
        variances: `welch`, each contrast from its own cells; or `pooled`, one run variance and one error variance for
            all cells. Blocked and pooled is the randomised-block analysis: the residual of cells × blocks.
        domain_variance: `contrast`, each contrast's own variance over domains; or `pooled`, one variance for all
            cells as a mixed model with a domain-by-cell intercept has it. The second covers badly where effects
            are heterogeneous and exists to compare with such models.
    """

    blocked: bool = False
    variances: Literal["welch", "pooled"] = "welch"
    domain_variance: Literal["contrast", "pooled"] = "contrast"

    def __call__(self, scores: Array, weights: Array) -> Components:
        """Judge one contrast.

        Args:
            scores: cells × runs × domains, after any axes of replicates. Runs that do not exist are NaN on every
                domain (not when blocked). Cells of weight zero matter only to pooled variances.
            weights: a weight per cell.

        Raises:
            ValueError: fewer than two runs in a cell of the contrast, or runs with some domains missing.
        """
        scores, weights = np.asarray(scores, float), np.asarray(weights, float)
        if self.variances == "welch":
            scores, weights = scores[..., weights != 0, :, :], weights[weights != 0]
        absent = np.isnan(scores)
        present = np.asarray(~absent.any(-1))
        if (present == absent.all(-1)).any() or (self.blocked and not present.all()):
            raise ValueError("every run needs a score on every domain, and every block a run in every cell")
        runs = present.sum(-1)
        seeds, domains = int(runs[..., weights != 0].min()), scores.shape[-1]
        if seeds < 2:
            raise ValueError("a variance between runs needs two runs in every cell of the contrast")
        means = np.where(present[..., None], scores, 0.0).sum(-2) / np.maximum(runs, 1)[..., None]
        by_domain = np.einsum("...cd,c->...d", means, weights)
        if self.blocked:
            run, df_run, joint, df_joint = self._from_blocks(scores, weights)
        else:
            run, df_run, joint, df_joint = self._from_cells(scores, weights, present, runs, means)
        domain, df_domain = self._from_domains(by_domain, means, weights)
        return Components(by_domain.mean(-1), run, domain, joint, df_run, df_domain, df_joint, seeds, domains)

    def _from_cells(
        self, scores: Array, weights: Array, present: NDArray[np.bool_], runs: NDArray[np.int_], means: Array
    ) -> tuple[Any, Any, Any, Any]:
        domains = scores.shape[-1]
        run_means, cell_means = scores.mean(-1), means.mean(-1)
        deviations = np.where(present, run_means - cell_means[..., None], 0.0)
        errors = scores - run_means[..., None] - (means - cell_means[..., None])[..., None, :]
        squares = [(deviations**2).sum(-1), (np.where(present[..., None], errors, 0.0) ** 2).sum((-1, -2)) / domains]
        parts: list[Any] = []
        for square, df in zip(squares, [runs - 1, (runs - 1) * (domains - 1)], strict=True):
            df = np.maximum(df, 0)
            share = np.where(weights != 0, weights**2 / np.maximum(runs, 1), 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                if self.variances == "pooled":
                    parts += [share.sum(-1) * square.sum(-1) / df.sum(-1), df.sum(-1) + 0.0]
                else:
                    terms = share * square / df
                    parts += [terms.sum(-1), terms.sum(-1) ** 2 / (terms**2 / df).sum(-1)]
        return parts[0], parts[1], parts[2], parts[3]

    def _from_blocks(self, scores: Array, weights: Array) -> tuple[Any, Any, Any, Any]:
        cells, blocks, domains = scores.shape[-3:]
        if self.variances == "pooled":
            table = scores - scores.mean(-3, keepdims=True)
            scale, rank = (weights**2).sum(), cells - 1
        else:
            table = np.einsum("...cbd,c->...bd", scores, weights)[..., None, :, :]
            scale, rank = np.float64(1.0), 1
        means = table.mean(-1)
        deviations = means - means.mean(-1, keepdims=True)
        errors = table - means[..., None] - (table.mean(-2, keepdims=True) - table.mean((-1, -2), keepdims=True))
        df_run, df_joint = rank * (blocks - 1), rank * (blocks - 1) * (domains - 1)
        run = scale * (deviations**2).sum((-1, -2)) / df_run / blocks
        with np.errstate(invalid="ignore", divide="ignore"):
            joint = scale * (errors**2).sum((-1, -2, -3)) / np.float64(df_joint) / (blocks * domains)
        return run, np.full_like(run, df_run)[()], joint, np.full_like(run, df_joint or np.nan)[()]

    def _from_domains(self, by_domain: Array, means: Array, weights: Array) -> tuple[Any, Any]:
        domains = by_domain.shape[-1]
        if domains == 1:
            return (np.full_like(by_domain[..., 0], np.nan)[()],) * 2
        if self.domain_variance == "contrast":
            variance, df = by_domain.var(-1, ddof=1), domains - 1
        else:
            residuals = means - means.mean(-1, keepdims=True)
            residuals = residuals - residuals.mean(-2, keepdims=True)
            df = (len(weights) - 1) * (domains - 1)
            variance = (weights**2).sum() * (residuals**2).sum((-1, -2)) / df
        return variance / domains, np.full_like(variance, df)[()]
