import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from ablate.stats.crossed import Crossed
from ablate.stats.crossproducts import Effect
from ablate.stats.mixed import fit_reml, judge_between
from tests.stats.rscript import run_r
from tests.stats.samples import FACTORS, bench, case

TIGHT, DEFAULT = case("lme_tight_expected.json"), case("lme_emmeans_expected.json")
METHODS = {"sat": "satterthwaite", "kr": "kenward-roger"}


def code(*columns):
    return pd.MultiIndex.from_arrays(columns).factorize(sort=True)[0]


def dummies(frame, names):
    """R's treatment contrasts of a full factorial, in R's order: columns, and the term of each."""
    columns, terms = [np.ones(len(frame))], [()]
    for size in range(1, len(names) + 1):
        for term in itertools.combinations(names, size):
            levels = [sorted(frame[name].unique())[1:] for name in term]
            for chosen in itertools.product(*reversed(levels)):  # the first factor varies fastest
                parts = [frame[name] == level for name, level in zip(term, reversed(chosen), strict=True)]
                columns.append(np.prod(parts, axis=0))
                terms.append(term)
    return np.column_stack(columns).astype(float), terms


def load(name):
    """Data, response, fixed effects and random effects of a reference case; parameters in lme4's order."""
    d = case({"sleepstudy": "sleepstudy", "machines_rs": "machines"}.get(name, name.split("_")[0]) + ".csv")
    one = np.ones((len(d), 1))
    if name == "penicillin":
        return d.diameter, one, [Effect(code(d["plate"])), Effect(code(d["sample"]))]
    if name == "pastes":
        return d.strength, one, [Effect(code(d["sample"])), Effect(code(d["batch"]))]
    if name.startswith("dyestuff"):
        return d.Yield, one, [Effect(code(d.Batch))]
    if name.startswith("sleepstudy"):
        x, subject = np.column_stack([one, d.Days]), code(d.Subject)
        kinds = {
            "ri": [Effect(subject)],
            "uncorr": [Effect(subject), Effect(subject, d.Days)],
            "corr": [Effect(subject, x, unstructured=True)],
        }
        return d.Reaction, x, kinds[name.split("_")[-1] if "_" in name else "corr"]
    if name == "ablation6x5":
        x, _ = dummies(d, ["arm"])
        return d.score, x, [Effect(code(d.domain, d.arm)), Effect(code(d.arm, d.seed)), Effect(code(d.domain))]
    if name == "oats":
        x, _ = dummies(d, ["Variety", "nf"])
        return d["yield"], x, [Effect(code(d.Block, d.Variety)), Effect(code(d.Block))]
    x, _ = dummies(d, ["Machine"])
    if name == "machines_rs":
        return d.score, x, [Effect(code(d.Worker), x, unstructured=True)]
    return d.score, x, [Effect(code(d.Worker, d.Machine)), Effect(code(d.Worker))]


def parameters(expected, fit):
    """lme4's variances in our order: the lower triangle of each effect by columns."""
    rows = expected["vc"]
    if len(rows) == 7:  # three variances, then the covariances (2,1), (3,1), (3,2)
        rows = [rows[i] for i in (0, 3, 4, 1, 5, 2, 6)]
    elif len(rows) == 4 and rows[2]["var2"] is not None:
        rows = [rows[i] for i in (0, 2, 1, 3)]
    assert len(rows) == len(fit.theta)
    return np.array([row["vcov"] for row in rows])


def agree(fit, expected, rel):
    for kind, method in METHODS.items():
        for i, row in enumerate(expected[kind]):
            found = fit.contrast(np.eye(len(fit.beta))[i], method)
            assert found == pytest.approx((row["Estimate"], row["Std. Error"], row["df"]), rel=rel), (kind, row)


@pytest.mark.parametrize("name", TIGHT)
def test_tight_fits_of_lmer(name):
    fit = fit_reml(*load(name))
    assert fit.theta == pytest.approx(parameters(TIGHT[name], fit), rel=1e-6)
    assert -2 * fit.log_likelihood == pytest.approx(TIGHT[name]["REML"], rel=1e-10)
    agree(fit, TIGHT[name], 1e-6)


BY_DEFAULT = {
    "sleepstudy_corr": 1e-4, "sleepstudy_ri": 1e-6, "sleepstudy_uncorr": 1e-5, "penicillin": 1e-4, "pastes": 1e-6,
    "dyestuff": 1e-6, "dyestuff2": 1e-6, "machines": 1e-6, "oats": 1e-4,
    "machines_rs": 3e-4,  # lmer's default optimiser stopped 3e-6 short of the maximum; see the test against R
}  # fmt: skip


@pytest.mark.parametrize("name", BY_DEFAULT)
def test_default_fits_of_lmer(name):
    fit, expected = fit_reml(*load(name)), DEFAULT[name]
    assert fit.log_likelihood >= expected["logLik"] - 1e-7  # as printed, and no lower
    assert fit.log_likelihood == pytest.approx(expected["logLik"], rel=2e-8)
    assert fit.at_zero.any() == expected["singular"]
    agree(fit, expected, BY_DEFAULT[name])


def test_machines_by_marginal_means_and_f():
    y, x, effects = load("machines")
    fit = fit_reml(y, x, effects)
    for method, row in (
        ("kenward-roger", DEFAULT["machines_anova_kr"]),
        ("satterthwaite", DEFAULT["machines_anova_sat"]),
    ):
        expected = row[0]["F value"], row[0]["NumDF"], row[0]["DenDF"]
        assert fit.f_test(np.eye(3)[1:], method) == pytest.approx(expected, rel=1e-6)
    means = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]])
    for weights, row in zip(means, DEFAULT["machines_emm"], strict=True):
        assert fit.contrast(weights) == pytest.approx((row["emmean"], row["SE"], row["df"]), rel=1e-6)
    pairs = means[[0, 0, 1]] - means[[1, 2, 2]]
    for weights, row in zip(pairs, DEFAULT["machines_contr"], strict=True):
        assert fit.contrast(weights) == pytest.approx((row["estimate"], row["SE"], row["df"]), rel=1e-6)


def averages(frame, names, **levels):
    """Rows of the design matrix at these levels, averaged over the levels of the other factors."""
    grid = pd.DataFrame(list(itertools.product(*(sorted(frame[n].unique()) for n in names))), columns=names)
    x, _ = dummies(grid, names)
    return x[np.all([grid[n] == v for n, v in levels.items()], axis=0)].mean(0)


def test_oats_by_marginal_means_and_f():
    d, names = case("oats.csv"), ["Variety", "nf"]
    y, _, effects = load("oats")
    cells = d[names].apply(tuple, axis=1)
    grid = sorted(set(cells))
    fit = fit_reml(y, np.array([[cell == g for g in grid] for cell in cells], float), effects)  # a mean for every cell
    levels = [sorted(d[n].unique()) for n in names]
    effect = [np.eye(len(one))[1:] - np.eye(len(one))[0] for one in levels]
    flat = [np.full((1, len(one)), 1 / len(one)) for one in levels]
    terms = [(effect[0], flat[1]), (flat[0], effect[1]), (effect[0], effect[1])]
    for method, rows in (("kenward-roger", DEFAULT["oats_anova_kr"]), ("satterthwaite", DEFAULT["oats_anova_sat"])):
        for (a, b), row in zip(terms, rows, strict=True):
            expected = row["F value"], row["NumDF"], row["DenDF"]
            assert fit.f_test(np.kron(a, b), method) == pytest.approx(expected, rel=1e-5)
    # lmer's default optimiser stopped 1.5e-6 short; the split plot's own analysis of variance is exact
    exact = (20020.5 / 3) / (7968.75 / 45)
    assert fit.f_test(np.kron(flat[0], effect[1])) == pytest.approx((exact, 3, 45), rel=1e-9)
    varieties = np.kron(np.eye(3)[[0, 0, 1]] - np.eye(3)[[1, 2, 2]], flat[1])
    nitrogen = np.kron(flat[0], np.eye(4)[1:] - np.eye(4)[0])
    for weights, rows in ((varieties, DEFAULT["oats_var_contr"]), (nitrogen, DEFAULT["oats_nf_dunnett"])):
        for weight, row in zip(weights, rows, strict=True):
            assert fit.contrast(weight) == pytest.approx((row["estimate"], row["SE"], row["df"]), rel=1e-5)


@pytest.mark.parametrize("name", ["bench600", "bench6000"])
def test_benches_agree_with_lmer_and_with_the_closed_form(name):
    d = case(name + (".csv" if name == "bench600" else ".csv.gz"))
    expected = case(name + "_expected.json")
    cell = code(*(d[f] for f in FACTORS))
    effects = [Effect(code(cell, d.domain)), Effect(code(cell, d.seed)), Effect(code(d.domain))]
    fit = fit_reml(d.score, np.eye(cell.max() + 1)[cell], effects)
    assert -2 * fit.log_likelihood == pytest.approx(expected["REML"], rel=1e-9)
    scale = max(row["vcov"] for row in expected["vc"])
    assert fit.theta == pytest.approx([row["vcov"] for row in expected["vc"]], rel=1e-4, abs=3e-4 * scale)
    cells, scores = bench(name + (".csv" if name == "bench600" else ".csv.gz"))
    weights = np.array([(c == (1, 0, 0)) - (c == (0, 0, 0)) for c in cells], float)
    row = next(r for r in expected["fix"] if r["_row"] == "data1")
    for method in METHODS.values():
        found = fit.contrast(weights, method)
        assert found[:2] == pytest.approx((row["Estimate"], row["Std. Error"]), rel=1e-4)
        assert found[2] == pytest.approx(row["df"], rel=2e-4)  # lmer's optimiser stopped early: 85.6986 for 85.7083
        closed = Crossed(variances="pooled", domain_variance="pooled")(scores, weights)
        variance, df = closed.variance("new_domains")
        assert found == pytest.approx((closed.estimate, variance**0.5, df), rel=1e-8)


def test_linear_models_are_those_of_least_squares():
    d = case("warpbreaks.csv")
    fit = fit_reml(d.breaks, dummies(d, ["wool", "tension"])[0])
    for row in DEFAULT["warp_emm"]:
        weights = averages(d, ["wool", "tension"], wool=row["wool"], tension=row["tension"])
        for method in METHODS.values():
            assert fit.contrast(weights, method) == pytest.approx((row["emmean"], row["SE"], row["df"]), rel=1e-8)
    d = case("pigs.csv")
    x = np.column_stack([dummies(d, ["source"])[0], dummies(d, ["percent"])[0][:, 1:]])
    fit = fit_reml(np.log(d.conc), x)
    for row in DEFAULT["pigs_emm"]:
        level = np.array([row["source"] == s for s in ("skim", "soy")], float)
        found = fit.contrast(np.concatenate([[1], level, [0.25] * 3]))
        assert found == pytest.approx((row["emmean"], row["SE"], row["df"]), rel=1e-8)
    for i, row in enumerate(DEFAULT["pigs_dunnettmvt"]):
        assert fit.contrast(np.eye(6)[3 + i]) == pytest.approx((row["estimate"], row["SE"], row["df"]), rel=1e-8)


def test_npk_is_the_analysis_of_variance():
    d = case("npk.csv")
    sign = {f: d[f] - 0.5 for f in "NPK"}
    terms = ["N", "P", "K", "NP", "NK", "PK"]
    x = np.column_stack([dummies(d, ["block"])[0], *(np.prod([sign[f] for f in term], axis=0) for term in terms)])
    fit = fit_reml(d["yield"], x)
    rows = {row["_row"].replace(":", ""): row for row in DEFAULT["npk"]}
    for i, term in enumerate(terms):
        expected = rows[term]["F value"], 1, 12
        assert fit.f_test(np.eye(12)[[6 + i]]) == pytest.approx(expected, rel=1e-8)
    for method in METHODS.values():
        expected = rows["block"]["F value"], 5, 12
        assert fit.f_test(np.eye(12)[1:6], method) == pytest.approx(expected, rel=1e-8)


def unbalanced(rng, cells=2, runs=4, domains=5, missing=0.2, sds=(1.0, 0.7, 0.8)):
    """Scores of crossed runs and domains, with cells missing: cell, run, domain and score of each row."""
    c, r, d = np.indices((cells, runs, domains)).reshape(3, -1)
    run, domain, both = (
        sd * rng.normal(size=s) for sd, s in zip(sds, [(cells, runs), domains, (cells, domains)], strict=True)
    )
    y = 1.0 * c + run[c, r] + domain[d] + both[c, d] + rng.normal(size=c.size)
    keep = rng.random(c.size) >= missing
    return c[keep], (c * runs + r)[keep], d[keep], y[keep]


@pytest.mark.parametrize("seed", range(6))
def test_no_other_variances_are_more_likely(seed):
    rng = np.random.default_rng(seed)
    c, r, d, y = unbalanced(rng, sds=rng.choice([0.0, 1.0], 3))
    groups = c if rng.random() < 0.5 else None
    fit = fit_reml(y, np.eye(2)[c], [Effect(r), Effect(d), Effect(code(c, d))], groups)
    equations = fit.equations
    assert equations.gradient[~fit.at_zero] * fit.theta[~fit.at_zero] == pytest.approx(0, abs=1e-5)
    assert (equations.gradient[fit.at_zero] <= 0).all()

    def loss(logs):
        return -type(equations)(equations.design, np.exp(logs)).log_likelihood

    start = np.log(np.maximum(fit.theta, 1e-3) * rng.uniform(0.3, 3, len(fit.theta)))
    other = optimize.minimize(loss, start, method="Nelder-Mead", options={"maxiter": 60})
    assert -other.fun <= fit.log_likelihood + 1e-9


@pytest.mark.parametrize(("seed", "unit"), [(0, 1e-6), (1, 0.01), (2, 3.0), (3, 1e6)])
def test_units_and_labels_do_not_matter(seed, unit):
    rng = np.random.default_rng(seed)
    c, r, d, y = unbalanced(rng)
    fit = fit_reml(y, np.eye(2)[c], [Effect(r), Effect(d)])
    order, relabel = rng.permutation(len(y)), rng.permutation(5)
    again = fit_reml((unit * (y + 3))[order], np.eye(2)[c[order]], [Effect(relabel[d[order]]), Effect(r[order])])
    assert again.theta[[1, 0, 2]] == pytest.approx(unit**2 * fit.theta, rel=1e-5, abs=1e-8 * unit**2)
    estimate, se, df = fit.contrast([-1, 1])
    assert again.contrast([-1, 1]) == pytest.approx((unit * estimate, unit * se, df), rel=1e-5, abs=1e-7 * unit)


def test_one_row_of_several_is_a_contrast_and_redundant_rows_are_dropped():
    rng = np.random.default_rng(3)
    c, r, d, y = unbalanced(rng, cells=3)
    fit = fit_reml(y, np.eye(3)[c], [Effect(r), Effect(d)])
    rows = np.array([[-1, 1, 0], [-1, 0, 1], [0, -1, 1.0]])
    for method in METHODS.values():
        estimate, se, df = fit.contrast(rows[0], method)
        assert fit.f_test(rows[:1], method) == pytest.approx(((estimate / se) ** 2, 1, df))
    assert fit.f_test(rows) == pytest.approx(fit.f_test(rows[1:]))  # Satterthwaite's depends on the rows, as lmerTest's
    assert fit.f_test(rows, "satterthwaite")[1] == 2


def test_one_mean_square_judges_a_balanced_mean_below_zero_too():
    d = case("dyestuff2.csv")
    means = d.groupby("Batch").Yield.mean()
    found = judge_between(d.Yield, np.ones((30, 1)), Effect(code(d.Batch)), [1.0])
    assert found == pytest.approx((d.Yield.mean(), means.std(ddof=1) / 6**0.5, 5), rel=1e-12)
    assert found[1] < fit_reml(d.Yield, np.ones((30, 1)), [Effect(code(d.Batch))]).contrast([1.0])[1]


def test_one_mean_square_is_chi_squared_in_an_unbalanced_design_without_the_effect():
    rng = np.random.default_rng(5)
    codes = np.repeat(np.arange(5), [1, 2, 3, 4, 6])
    x = np.column_stack([np.ones(16), np.arange(16) % 3 == 0]).astype(float)
    by_error = np.linalg.inv(x.T @ x)[1, 1] ** 0.5
    found = np.array([judge_between(rng.normal(size=16), x, Effect(codes), [0.0, 1.0]) for _ in range(300)])
    assert (found[:, 2] == 4).all()
    ratio = (found[:, 1] / by_error) ** 2  # a multiple of chi squared over 4
    multiple = ratio.mean()
    assert multiple >= 1 - 3 * (2 / 4 / 300) ** 0.5
    assert stats.kstest(4 * ratio / multiple, stats.chi2(4).cdf).pvalue > 0.001


def test_what_cannot_be_fitted_is_named():
    y, x = np.arange(6.0), np.column_stack([np.ones(6), np.arange(6) % 2])
    with pytest.raises(ValueError, match="not of full column rank"):
        fit_reml(y, np.column_stack([x, x[:, 1]]))
    with pytest.raises(ValueError, match="every row exactly"):
        fit_reml(x[:, 1], x)
    with pytest.raises(ValueError, match="cannot tell 6 fixed effects"):
        fit_reml(y, np.eye(6))


LMER = """
suppressPackageStartupMessages({library(lmerTest); library(pbkrtest)})
d <- as.data.frame(values$data)
for (name in values$factors) d[[name]] <- factor(d[[name]])
control <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE, check.conv.singular = "ignore",
                       optCtrl = list(rhobeg = .01, rhoend = 1e-11, maxfun = 1e5))
m <- suppressWarnings(lmer(as.formula(values$formula), d, control = control))
one <- function(ddf) as.list(unlist(contest1D(m, values$weights, ddf = ddf)))
several <- function(ddf) as.list(unlist(contestMD(m, values$rows, ddf = ddf)))
answer <- list(theta = as.data.frame(VarCorr(m))$vcov, criterion = -2 * as.numeric(logLik(m)))
for (ddf in c("Satterthwaite", "Kenward-Roger")) answer[[tolower(ddf)]] <- list(one(ddf), several(ddf))
"""


def compare(fit, given, order, rel=1e-6):
    """With lmer, lmerTest and pbkrtest on the same data."""
    expected = run_r(LMER, given)
    theta = np.array(expected["theta"])[order]
    assert fit.theta == pytest.approx(theta, rel=rel, abs=rel * max(abs(theta)))
    assert -2 * fit.log_likelihood == pytest.approx(expected["criterion"], rel=1e-10)
    for method in METHODS.values():
        one, several = expected[method]
        assert fit.contrast(given["weights"], method) == pytest.approx(
            (one["Estimate"], one["Std. Error"], one["df"]), rel=rel
        )
        assert fit.f_test(given["rows"], method) == pytest.approx(
            (several["F value"], several["NumDF"], several["DenDF"]), rel=rel
        )


@pytest.mark.r
@pytest.mark.parametrize("seed", range(6))  # three of these come to rest at a boundary, one of them at two
def test_unbalanced_designs_agree_with_r(seed):
    rng = np.random.default_rng(seed)
    c, r, d, y = unbalanced(rng, cells=3, runs=5, domains=6, sds=(1.0 if seed % 3 else 0.0, 0.7, 0.8))
    fit = fit_reml(y, np.eye(3)[c], [Effect(code(c, d)), Effect(r), Effect(d)])
    given = {
        "data": {"cell": c, "run": r, "domain": d, "y": y}, "factors": ["cell"],
        "formula": "y ~ 0 + cell + (1 | cell:domain) + (1 | run) + (1 | domain)",
        "weights": np.array([-1.0, 1, 0]), "rows": np.array([[-1.0, 1, 0], [-1, 0, 1]]),
    }  # fmt: skip
    compare(fit, given, [0, 1, 2, 3])


@pytest.mark.r
def test_random_slopes_agree_with_r():
    y, x, effects = load("machines_rs")
    d = case("machines.csv")
    given = {
        "data": {"Machine": d.Machine.tolist(), "Worker": d.Worker.tolist(), "y": y.to_numpy()},
        "factors": ["Machine", "Worker"], "formula": "y ~ Machine + (Machine | Worker)",
        "weights": np.array([0, 1.0, 0]), "rows": np.eye(3)[1:],
    }  # fmt: skip
    compare(fit_reml(y, x, effects), given, [0, 3, 4, 1, 5, 2, 6], rel=1e-5)  # of seven parameters lmer ends 1.2e-6 off


@pytest.mark.r
def test_residual_variances_of_groups_agree_with_nlme():
    c, r, _, y = unbalanced(np.random.default_rng(1), cells=2, runs=6, domains=5, sds=(1.0, 0, 0))
    fit = fit_reml(y * (1 + c), np.eye(2)[c], [Effect(r)], c)
    script = """
    library(nlme); d <- as.data.frame(values); d$cell <- factor(d$cell)
    m <- lme(y ~ 0 + cell, d, random = ~ 1 | run, weights = varIdent(form = ~ 1 | cell),
             control = lmeControl(msTol = 1e-14, tolerance = 1e-12, msMaxIter = 500, maxIter = 500, opt = "nlminb"))
    ratio <- coef(m$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
    answer <- list(theta = c(as.numeric(VarCorr(m)[1, 1]), (m$sigma * ratio[c("0", "1")])^2), se = sqrt(diag(vcov(m))))
    """
    expected = run_r(script, {"cell": c, "run": r, "y": y * (1 + c)})
    assert fit.theta == pytest.approx(expected["theta"], rel=1e-5)
    for i, weights in enumerate(np.eye(2)):
        assert fit.contrast(weights, "satterthwaite")[1] == pytest.approx(expected["se"][i], rel=1e-5)
