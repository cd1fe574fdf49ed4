from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import ablate as ab
from ablate.stats.corrections import benjamini_hochberg, dunnett_level, dunnett_p, holm
from ablate.stats.crossed import Crossed
from ablate.stats.maxima import correlate, max_t
from tests.stats.samples import case, rows_of, tabulate


def test_holm_gives_the_figures_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).beta(0.5, 3, 40)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-15)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_bonferroni_test(p):
    """A hypothesis falls when every intersection that holds it falls by Bonferroni."""
    m = len(p)
    subsets = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
    closed = [max(min(1, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in range(m)]
    assert holm(p) == pytest.approx(closed, abs=1e-12)


def test_a_missing_p_counts_in_the_family():
    adjusted = holm([0.01, np.nan, 0.02])
    assert adjusted[[0, 2]] == pytest.approx([0.03, 0.04])
    assert np.isnan(adjusted[1])


def test_plantgrowth_by_dunnett():
    frame, expected = case("plantgrowth.csv"), case("tests_expected.json")["plantgrowth_dunnett"]
    scores = np.array([frame[frame.group == g].weight for g in ("ctrl", "trt1", "trt2")])[..., None]
    engine = Crossed(variances="pooled")
    level = dunnett_level(0.05, [0.5**0.5] * 2, 27)
    interval = stats.dunnett(*scores[1:, :, 0], control=scores[0, :, 0]).confidence_interval(0.95)
    for i in (1, 2):
        found = engine(scores, np.eye(3)[i] - np.eye(3)[0])
        t = found.estimate / found.run**0.5
        assert (found.estimate, t) == pytest.approx((expected["est"][i - 1], expected["t"][i - 1]), rel=1e-8)
        assert dunnett_p(t, [0.5**0.5] * 2, 27) == pytest.approx(expected["p"][i - 1], abs=3e-4)
        half = stats.t.isf((1 - level) / 2, 27) * found.run**0.5
        assert found.estimate - half == pytest.approx(interval.low[i - 1], abs=2e-3)


@pytest.mark.parametrize(("runs", "df", "t"), [((5, 5, 5, 5), 16, 2.4), ((4, 9, 3), 7, 2.0), ((12, 2, 2, 30), 40, 3.0)])
def test_dunnett_is_the_multivariate_t(runs, df, t):
    loadings = np.sqrt(np.array(runs[1:]) / (runs[0] + np.array(runs[1:])))
    correlation = np.outer(loadings, loadings)
    np.fill_diagonal(correlation, 1)
    reach = np.full(len(loadings), t)
    inside = stats.multivariate_t(shape=correlation, df=df, seed=0).cdf(reach, lower_limit=-reach)
    assert dunnett_p(t, loadings, df) == pytest.approx(1 - inside, abs=3e-4)


def test_dunnett_with_one_comparison_is_t_even_far_out():
    for df in (1, 4, 200):
        for t in (0.1, 2.0, 15.0):
            assert dunnett_p(t, [0.6], df) == pytest.approx(2 * stats.t.sf(t, df), rel=1e-6)
    assert dunnett_level(0.05, [0.6], 4) == pytest.approx(0.95)


def test_dunnett_lies_between_one_test_and_bonferroni():
    for m in (2, 5, 17):
        level = dunnett_level(0.05, [0.5**0.5] * m, 8)
        assert 0.95 < level < 1 - 0.05 / m
        critical = stats.t.isf((1 - level) / 2, 8)
        assert dunnett_p(critical, [0.5**0.5] * m, 8) == pytest.approx(0.05, abs=1e-8)


def test_benjamini_hochberg_gives_the_figures_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(1).beta(0.3, 3, 40)
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1], abs=1e-12)
    with_gap = benjamini_hochberg([*p, np.nan])
    assert np.isnan(with_gap[-1])
    assert with_gap[:-1] == pytest.approx(multipletests([*p, 1.0], method="fdr_bh")[1][:-1], abs=1e-12)


def table(cells=4, seeds=5, domains=3, *, rng=0, spread=False, effect=0.0):
    """Cells × runs × domains; with `spread` every cell has its own run variance."""
    rng = np.random.default_rng(rng)
    sd = np.linspace(0.5, 3, cells)[:, None, None] if spread else 1.0
    level = np.where(np.arange(cells) == 1, effect, 0.0)[:, None, None]
    return level + sd * rng.normal(size=(cells, seeds, 1)) + 0.3 * rng.normal(size=(cells, seeds, domains))


@pytest.mark.parametrize(
    ("family", "variances", "block"),
    [
        ("simple", "welch", None),
        ("simple", "welch", "seed"),
        ("simple", "pooled", "seed"),
        ("main", "pooled", None),
        ("pairs", "pooled", "seed"),
        pytest.param("pairs", "welch", None, marks=pytest.mark.slow),
    ],
)
def test_max_t_lies_between_each_alone_and_bonferroni(family, variances, block):
    frame = tabulate(table(spread=True, effect=3.0))
    options = {"variances": variances, "block": block, "families": [family], "correction": "max_t"}
    found = rows_of(frame, **options)
    new = found[found.target == "new_domains"]
    assert (new.correction == "holm").all()  # not known there
    these = found[found.target == "these_domains"]
    m = len(these)
    known = variances == "pooled" or block is None
    name = "tukey" if family == "pairs" and variances == "pooled" else "max_t" if known else "holm"
    assert (these.correction == name).all()
    if not known:
        return
    assert (these.p_adjusted >= these.p).all()
    assert (these.p_adjusted <= np.minimum(1, m * these.p) + 1e-9).all()
    assert these.level_ci.nunique() == 1
    assert 0.95 < these.level_ci.iloc[0] < 1 - 0.05 / m
    assert ((these.p_adjusted < 0.05) == ((these.low > 0) | (these.high < 0))).all()
    assert set(these.p_adjusted < 0.05) == {True, False}


def test_max_t_with_pooled_variances_is_dunnett_for_simple_effects():
    frame = tabulate(table(3, effect=2.0))
    options = {"variances": "pooled", "families": ["simple"]}
    exact, general = (
        rows_of(frame, **options, correction=name).query("target == 'these_domains'") for name in ("dunnett", "max_t")
    )
    assert general.p_adjusted.to_numpy() == pytest.approx(exact.p_adjusted.to_numpy(), abs=2e-4)
    assert general.level_ci.to_numpy() == pytest.approx(exact.level_ci.to_numpy(), abs=2e-4)


def test_max_t_knows_no_correlation_between_domains_and_sides():
    """The same cells in several domains are no one contrast, and a one-sided p is no two-sided one."""
    frame = tabulate(table(effect=2.0))
    question = {"name": "q", "cell": {"x": "b"}, "versus": {"x": "a"}, "margin": 0.5}
    other = {**question, "name": "r", "cell": {"x": "c"}}
    options = {"correction": "max_t", "comparisons": [question, other]}
    found = rows_of(frame, families=["domain", "noninferiority"], **options)
    assert (found.correction == "holm").all()
    for _, rows in found.groupby(["family", "target"]):
        assert rows.p_adjusted.to_numpy() == pytest.approx(holm(rows.p))


def test_joint_corrections_are_for_the_closed_form_alone():
    """Runs of their own in every domain, or gaps, leave every contrast with degrees of freedom of its own."""
    scores = table(3, effect=2.0)
    gaps = scores.copy()
    gaps[2, 0, 1] = np.nan
    for frame in (tabulate(scores, nested=True), tabulate(gaps)):
        for options in (
            {"families": ["simple"], "correction": "dunnett", "variances": "pooled"},
            {"families": ["pairs"], "correction": "max_t", "variances": "pooled"},
        ):
            found = rows_of(frame, **options)
            assert (found.correction == "holm").all()
            for _, rows in found.groupby("target"):
                assert rows.p_adjusted.to_numpy() == pytest.approx(holm(rows.p))
    assert (rows_of(tabulate(scores), families=["pairs"], correction="max_t").correction.iloc[0]) == "max_t"


def test_pairs_of_plantgrowth_are_tukeys():
    frame = case("plantgrowth.csv").assign(run=range(30))
    found = rows_of(
        frame, factors=["group"], run="run", domain=None, value="weight", families=["pairs"], variances="pooled"
    ).query("target == 'these_domains'")
    assert (found.correction == "tukey").all()
    for row in case("tests_expected.json")["plantgrowth_tukey"]:
        mine = found[(found.level + "-" + found.versus) == row["_row"]].iloc[0]
        assert (mine.estimate, mine.p_adjusted, mine.low, mine.high) == pytest.approx(
            (row["diff"], row["p adj"], row["lwr"], row["upr"]), rel=1e-8
        )


@pytest.mark.slow
def test_pairs_of_warpbreaks_are_tukeys():
    frame = case("warpbreaks.csv").assign(run=range(54))
    found = ab.attribute(
        frame, factors=["wool", "tension"], run="run", value="breaks", families=["pairs"], variances="pooled"
    ).select(target="these_domains").frame  # fmt: skip
    assert (found.correction == "tukey").all()
    groups = {cell: list(rows.breaks) for cell, rows in frame.groupby(["wool", "tension"])}
    oracle = stats.tukey_hsd(*groups.values())
    names = list(groups)
    assert len(found) == 15
    for row in case("lme_emmeans_expected.json")["warp_tukey"]:  # within one wool, of the same pooled variance
        plus, minus = ((row["wool"], level) for level in row["contrast"].split(" - "))
        level, versus = (f"wool={wool} tension={tension}" for wool, tension in (minus, plus))
        (mine,) = found[(found.level == level) & (found.versus == versus)].itertuples()
        assert (-mine.statistic, mine.se, mine.df) == pytest.approx((row["t.ratio"], row["SE"], row["df"]), rel=1e-8)
        assert mine.p_adjusted == pytest.approx(oracle.pvalue[names.index(plus), names.index(minus)], rel=1e-6)


def test_other_pairs_are_corrected_by_holm():
    found = rows_of(tabulate(table(3, spread=True)), families=["pairs"])
    assert (found.correction == "holm").all()
    for _, rows in found.groupby("target"):
        assert rows.p_adjusted.to_numpy() == pytest.approx(holm(rows.p))


def test_a_screen_corrects_the_false_discovery_rate_and_says_so():
    frame = tabulate(table(5, effect=4.0))
    found = rows_of(frame, families=["simple"], correction="benjamini_hochberg")
    for _, rows in found.groupby("target"):
        assert rows.p_adjusted.to_numpy() == pytest.approx(benjamini_hochberg(rows.p))
    assert (found.correction == "benjamini_hochberg").all()
    assert (found.level_ci == 0.95).all()


def family_wise_error(n, variances, points=2**11, seed=0):
    """Share of null studies, three variants and a baseline, in which max-t calls anything different."""
    rng, engine, wrong = np.random.default_rng(seed), Crossed(variances=variances), 0
    weights = np.eye(4)[1:] - np.eye(4)[0]
    for scores in rng.normal(size=(n, 4, 6, 1)):
        spread = scores[..., 0].var(1, ddof=1) if variances == "welch" else np.ones(4)
        found = [engine(scores, row) for row in weights]
        df = np.array([float(one.df_run) for one in found])
        p = min(2 * stats.t.sf(abs(one.estimate) / one.run**0.5, one.df_run) for one in found)
        joint = max_t(correlate(weights, spread), df if variances == "welch" else df[0], 0, points=points)
        wrong += joint.exceeds(p) < 0.05
    return wrong / n


@pytest.mark.slow
@pytest.mark.parametrize("variances", ["welch", "pooled"])
def test_the_error_rate_of_max_t(variances):
    n = 3000
    error, noise = family_wise_error(n, variances, seed=1), 3 * (0.05 * 0.95 / n) ** 0.5
    assert error <= 0.055 + noise
    if variances == "pooled":
        assert error >= 0.05 - noise  # exact, so it gives nothing away
