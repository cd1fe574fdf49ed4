"""Mixed models beside statsmodels, lme4 and pbkrtest: from the rows of a frame to the answer, on the same rows."""

from typing import Any

import numpy as np
import pandas as pd

from ablate.stats.crossproducts import Effect
from ablate.stats.mixed import Fit, fit_reml
from tests.benchmarks.peers import Row, ask_python, ask_r, compare, measure
from tests.stats.samples import FACTORS, case

FILES = {600: "bench600.csv", 6000: "bench6000.csv.gz"}
MIXEDLM = """
import pandas as pd
from statsmodels.regression.mixed_linear_model import MixedLM
frame = pd.DataFrame({key: values[key] for key in ("cell", "domain", "seed", "score")})
def fit():
    d = frame.assign(both=frame.cell + "/" + frame.domain.astype(str), run=frame.cell + "/" + frame.seed.astype(str))
    parts = {"0": "0 + C(both)", "1": "0 + C(run)", "2": "0 + C(domain)"}
    return MixedLM.from_formula("score ~ 0 + cell", d, groups=np.zeros(len(d)), re_formula="0", vc_formula=parts).fit()
found, seconds = measure(fit, int(values["times"]))
answer = {"seconds": seconds, "theta": [*found.vcomp, found.scale], "beta": [*found.fe_params],
          "se": [*found.bse_fe], "likelihood": found.llf}
"""
LMER = """
suppressPackageStartupMessages(library(lme4))
d <- as.data.frame(values$data)
fit <- function() lmer(score ~ 0 + cell + (1 | cell:domain) + (1 | cell:seed) + (1 | domain), d)
seconds <- measure(fit, values$times)
answer <- list(seconds = seconds, beta = unname(fixef(found)), se = unname(sqrt(diag(as.matrix(vcov(found))))),
               theta = as.data.frame(VarCorr(found))$vcov, likelihood = as.numeric(logLik(found)))
"""
KENWARD_ROGER = """
suppressPackageStartupMessages({library(lme4); library(pbkrtest)})
d <- as.data.frame(values$data)
test <- function() {
    m <- lmer(score ~ 0 + cell + (1 | cell:domain) + (1 | cell:seed) + (1 | domain), d)
    KRmodcomp(m, values$rows)
}
seconds <- measure(test, values$times)
row <- found$test["Ftest", ]
answer <- list(seconds = seconds, f = row$stat, ndf = row$ndf, ddf = row$ddf)
"""


def fit_frame(frame: pd.DataFrame) -> Fit:
    """The model of the closed form, from a frame: cell means; domains within cells, runs and domains at random."""

    def code(*columns: Any) -> Any:
        return pd.MultiIndex.from_arrays(columns).factorize(sort=True)[0]

    cell = code(*(frame[factor] for factor in FACTORS))
    effects = [Effect(code(cell, frame.domain)), Effect(code(cell, frame.seed)), Effect(code(frame.domain))]
    return fit_reml(frame.score, np.eye(cell.max() + 1)[cell], effects)


def bench_fits(rows: int, python: str | None = None, times: int = 5, slow: bool = True) -> list[Row]:
    """Fits of the reference case with so many rows; statsmodels only where it is not slow, or is asked for."""
    frame = case(FILES[rows])
    fit, ours = measure(lambda: fit_frame(frame), times)

    def judge(answer: dict[str, Any]) -> tuple[bool, str]:
        se = np.sqrt(fit.covariance.diagonal())
        beta = (np.abs(fit.beta - answer["beta"]) / se).max()
        wide = np.abs(np.array(answer["se"]) / se - 1).max()
        theta = np.abs(np.array(answer["theta"]) / fit.theta - 1).max()
        ahead = fit.log_likelihood - answer["likelihood"]
        words = f"fixed effects {beta:.0e} se, SEs {wide:.0e}, θ {theta:.0e}; our log likelihood {ahead:+.0e}"
        # peers' optimisers stop 1e-7 short of the maximum by default, which moves the fourth digit of a SE
        return beta < 1e-6 and wide < 3e-4 and theta < 1e-3 and ahead > -1e-6, words

    columns = {key: frame[key].to_numpy() for key in ("domain", "seed", "score")}
    columns["cell"] = frame.cell.to_numpy(str)
    repeats = times if rows == 600 else min(times, 3)
    by_r = ask_r(LMER, {"data": columns, "times": repeats})
    found = [compare(f"mixed model, {rows:,} rows: lme4", ours, by_r, 1, judge)]
    if slow:
        answer = ask_python(python, MIXEDLM, times=min(times, 3) if rows == 600 else 1, **columns)
        found.insert(
            0, compare(f"mixed model, {rows:,} rows: MixedLM", ours, answer, {600: 50, 6000: 1000}[rows], judge)
        )
    return found


def bench_kenward_roger(times: int = 5) -> Row:
    """Kenward and Roger's F that all cells of bench600 are alike, fit and test together on both sides."""
    frame = case(FILES[600])
    cells = frame.cell.nunique()
    rows = np.eye(cells)[1:] - np.eye(cells)[0]
    found, ours = measure(lambda: fit_frame(frame).f_test(rows), times)

    def judge(answer: dict[str, Any]) -> tuple[bool, str]:
        f, df = answer["f"] / found[0] - 1, answer["ddf"] / found[2] - 1
        words = f"F({found[1]}, {found[2]:.3f}) = {found[0]:.5f}: F {abs(f):.0e}, df {abs(df):.0e}"
        # lmer's optimiser stops early by default: 85.699 for 85.708 degrees of freedom
        return answer["ndf"] == found[1] and abs(f) < 3e-4 and abs(df) < 3e-4, words

    columns = {key: frame[key].to_numpy() for key in ("cell", "domain", "seed", "score")}
    answer = ask_r(KENWARD_ROGER, {"data": columns, "rows": rows, "times": 1})
    return compare("Kenward-Roger, 600 rows: pbkrtest", ours, answer, 20, judge)
