import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from ablate.stats.crossed import FEW, Crossed
from tests.stats.samples import bench, case, cube, draw

POOLED_H = Crossed(variances="pooled", domain_variance="pooled")
FORMS = [Crossed(blocked, variances) for blocked in (False, True) for variances in ("welch", "pooled")]


def weigh(cells, plus, minus):
    return np.array([(cell == plus) - (cell == minus) for cell in cells], float)


def se_df(components, target):
    variance, df = components.variance(target)
    return float(variance) ** 0.5, float(df)


ABLATION = cube(case("ablation6x5.csv"), ["arm"], "seed", "domain", "score")
WORKED = {
    "ablation6x5": (
        *ABLATION, ("full",), ("base",), 0.0068779,
        (0.005842593213634, 8.461291023711), (0.004114268717794, 7.800941719155), (0.00584259, 8.52256),
    ),
    "bench600": (
        *bench("bench600.csv"), (1, 0, 0), (0, 0, 0), 0.005268186667,
        (0.005745009464262, 12.076152428076), (0.004950804752110, 7.191831702454), (0.0054300165, 85.708),
    ),
    "bench6000": (
        *bench("bench6000.csv.gz"), (1, 0, 0), (0, 0, 0), 0.010662138,
        (0.003342763309886, 30.564388781433), (0.002784776742490, 15.787915149029), (0.0032682281, 247.1448),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKED)
def test_worked_figures(name):
    cells, scores, plus, minus, estimate, new, these, pooled = WORKED[name]
    weights = weigh(cells, plus, minus)
    found = Crossed()(scores, weights)
    assert found.estimate == pytest.approx(estimate, abs=5e-13)
    assert se_df(found, "new_domains") == pytest.approx(new, rel=1e-12, abs=1e-12)
    assert se_df(found, "these_domains") == pytest.approx(these, rel=1e-12, abs=1e-12)
    se, df = se_df(POOLED_H(scores, weights), "new_domains")
    assert se == pytest.approx(pooled[0], abs=6e-9)
    assert df == pytest.approx(pooled[1], abs=5e-4 if name == "bench600" else 6e-5)


def test_the_pooled_form_agrees_with_lmer():
    cells, scores = ABLATION
    expected = case("lme_tight_expected.json")["ablation6x5"]["sat"][1]
    se, df = se_df(POOLED_H(scores, weigh(cells, ("full",), ("base",))), "new_domains")
    assert (se, df) == pytest.approx((expected["Std. Error"], expected["df"]), rel=1e-6)


@pytest.mark.parametrize("name", ["bench600", "bench6000"])
def test_the_pooled_form_agrees_with_lmer_on_every_two_level_term(name):
    cells, scores = bench(name + (".csv" if name == "bench600" else ".csv.gz"))
    expected = case(name + "_expected.json")
    sign = {0: -1, 1: 1}
    terms = {"data": (0,), "objective": (1,), "data:objective": (0, 1)}
    for term, places in terms.items():
        weights = np.array([np.prod([sign[cell[i]] for i in places]) for cell in cells], float)
        weights /= len(cells) / 2 ** len(places)
        row = next(r for r in expected["anova"] if r["_row"] == term)
        found = POOLED_H(scores, weights)
        se, df = se_df(found, "new_domains")
        assert (found.estimate / se) ** 2 == pytest.approx(row["F value"], rel=1e-4)
        assert df == pytest.approx(row["DenDF"], rel=2e-4)  # lmer's optimiser stopped early: 85.6986 for 85.7083
    simple = next(r for r in expected["fix"] if r["_row"] == "data1")
    found = POOLED_H(scores, weigh(cells, (1, 0, 0), (0, 0, 0)))
    assert found.estimate == pytest.approx(simple["Estimate"], rel=1e-7)
    assert se_df(found, "new_domains")[0] == pytest.approx(simple["Std. Error"], rel=1e-4)


@given(st.integers(2, 7), st.integers(2, 7), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_unblocked_these_domains_is_scipys_welch(n0, n1, domains, seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(2, max(n0, n1), domains)) * [[[1]], [[3]]]
    scores[0, n0:], scores[1, n1:] = np.nan, np.nan
    se, df = se_df(found := Crossed()(scores, np.array([-1, 1])), "these_domains")
    runs = [scores[c, :n].mean(-1) for c, n in enumerate((n0, n1))]
    expected = stats.ttest_ind(runs[1], runs[0], equal_var=False)
    assert df == pytest.approx(expected.df, rel=1e-10)
    assert found.estimate / se == pytest.approx(expected.statistic, rel=1e-10)
    pooled = stats.ttest_ind(runs[1], runs[0], equal_var=True)
    se, df = se_df(Crossed(variances="pooled")(scores, np.array([-1, 1])), "these_domains")
    assert (found.estimate / se, df) == pytest.approx((pooled.statistic, pooled.df), rel=1e-10)


def test_blocked_these_domains_is_scipys_paired_t():
    scores = np.random.default_rng(1).normal(size=(2, 6, 4))
    found = Crossed(blocked=True)(scores, np.array([-1, 1]))
    se, df = se_df(found, "these_domains")
    expected = stats.ttest_rel(scores[1].mean(-1), scores[0].mean(-1))
    assert (found.estimate / se, df) == pytest.approx((expected.statistic, 5), rel=1e-10)


def test_warpbreaks_pooled_contrasts_agree_with_emmeans():
    frame, expected = case("warpbreaks.csv"), case("lme_emmeans_expected.json")
    cells = [(w, t) for w in "AB" for t in "LMH"]
    scores = np.array([frame[(frame.wool == w) & (frame.tension == t)]["breaks"] for w, t in cells], float)[..., None]
    engine = Crossed(variances="pooled")
    for row in expected["warp_tukey"]:
        plus, minus = row["contrast"].split(" - ")
        found = engine(scores, weigh(cells, (row["wool"], plus), (row["wool"], minus)))
        assert (found.estimate, *se_df(found, "these_domains")) == pytest.approx(
            (row["estimate"], row["SE"], row["df"]), rel=1e-8
        )
    found = engine(scores, np.array([1, 1, 1, -1, -1, -1]) / 3)
    wool = next(r for r in expected["warp_anova"] if r["_row"] == "wool")
    assert (found.estimate / se_df(found, "these_domains")[0]) ** 2 == pytest.approx(wool["F value"], rel=1e-8)


def test_blocked_and_pooled_is_the_two_way_analysis_of_variance():
    scores = np.random.default_rng(2).normal(size=(3, 5, 4))
    rows = [(c, b) for c in range(3) for b in range(5)]
    design = np.array([[1, c == 1, c == 2, *(b == k for k in range(1, 5))] for c, b in rows], float)
    y = np.array([scores[c, b].mean() for c, b in rows])
    beta, (squares,), *_ = np.linalg.lstsq(design, y)
    df = len(rows) - design.shape[1]
    se = (squares / df * np.linalg.inv(design.T @ design)[2, 2]) ** 0.5
    found = Crossed(blocked=True, variances="pooled")(scores, np.array([-1, 0, 1]))
    assert (found.estimate, *se_df(found, "these_domains")) == pytest.approx((beta[2], se, df))


def mean_squares(scores, weights):
    """The mean squares as the textbook writes them, by loops: MS_D, MS_R, MS_E and their degrees of freedom."""
    cells, runs, domains = scores.shape
    length = sum(w * w for w in weights)
    delta = [sum(weights[c] * scores[c, :, d].mean() for c in range(cells)) for d in range(domains)]
    ms_d = runs * np.var(delta, ddof=1) / length
    of_run = [weights[c] ** 2 * np.var(scores[c].mean(-1), ddof=1) for c in range(cells)]
    of_error = []
    for c in range(cells):
        y, total = scores[c], 0.0
        for s in range(runs):
            for d in range(domains):
                total += (y[s, d] - y[s].mean() - y[:, d].mean() + y.mean()) ** 2
        of_error.append(weights[c] ** 2 * total / ((runs - 1) * (domains - 1)))
    ms_r, ms_e = domains * sum(of_run) / length, sum(of_error) / length
    df_r = sum(of_run) ** 2 / sum(v * v / (runs - 1) for v in of_run)
    df_e = sum(of_error) ** 2 / sum(v * v / ((runs - 1) * (domains - 1)) for v in of_error)
    return (ms_d, ms_r, ms_e), (domains - 1, df_r, df_e), length / (runs * domains)


def mean_squares_of_blocks(scores, weights):
    delta = sum(w * y for w, y in zip(weights, scores, strict=True))
    (blocks, domains), length = delta.shape, sum(w * w for w in weights)
    residual = delta - delta.mean(0) - delta.mean(1)[:, None] + delta.mean()
    ms_d, ms_r = blocks * np.var(delta.mean(0), ddof=1), domains * np.var(delta.mean(1), ddof=1)
    df = (domains - 1, blocks - 1, (blocks - 1) * (domains - 1))
    return (ms_d / length, ms_r / length, (residual**2).sum() / df[2] / length), df, length / (blocks * domains)


@pytest.mark.parametrize("blocked", [False, True])
@given(st.integers(2, 8), st.integers(2, 5), st.sampled_from([0, 1, 4]), st.integers(0, 2**32 - 1))
def test_new_domains_follows_the_mean_squares(blocked, runs, domains, tau, seed):
    rng = np.random.default_rng(seed)
    scores = draw(rng, 1, runs, domains, effects=(0, 0, 1), tau=tau, run_sd=0.5)[0][0]
    weights = np.array([-1, 0.25, 0.75])
    (d, r, e), (df_d, df_r, df_e), unit = (mean_squares_of_blocks if blocked else mean_squares)(scores, weights)
    v = max(d + r - e, d, r)
    if v == d + r - e:
        df = v**2 / (d**2 / df_d + r**2 / df_r + e**2 / df_e)
    else:
        df = df_d if v == d else df_r
    found = Crossed(blocked)(scores, weights)
    se, found_df = se_df(found, "new_domains")
    assert se == pytest.approx((unit * v) ** 0.5, rel=1e-8)
    if df_r > FEW + 0.001:
        assert found_df == pytest.approx(df, rel=1e-8)
    elif df_r < FEW - 0.001:
        assert found_df <= df * (1 + 1e-12)
    assert se_df(found, "these_domains") == pytest.approx(((unit * r) ** 0.5, df_r), rel=1e-8)
    assert found.bounded == (v != d + r - e)


cubes = arrays(
    float, st.tuples(st.just(3), st.integers(2, 5), st.integers(2, 5)), elements=st.floats(-1, 1, width=16), unique=True
)


@pytest.mark.parametrize("engine", FORMS, ids=str)
@given(cubes, st.randoms(use_true_random=False), st.floats(0.125, 8))
def test_identities(engine, scores, random, scale):
    scores = scores + 0.01 * np.random.default_rng(random.randrange(2**32)).normal(size=scores.shape)
    weights = np.array([-1, 0.5, 0.5])
    found = engine(scores, weights)
    cells, runs, domains = (random.sample(range(n), n) for n in scores.shape)
    shift = np.array([random.random() for _ in domains])
    block = np.array([random.random() for _ in runs])[:, None] if engine.blocked else 0.0
    same = [
        engine(scores[cells], weights[cells]),  # relabelled levels
        engine(scores[:, runs], weights),  # permuted runs
        engine(scores[..., domains], weights),  # permuted domains
        engine(scores + shift + block, weights),  # harder domains, luckier seeds
    ]
    for target in ("these_domains", "new_domains"):
        expected = np.array([found.estimate, *se_df(found, target)])
        for other in same:
            assert np.array([other.estimate, *se_df(other, target)]) == pytest.approx(expected, rel=1e-6, abs=1e-9)
        scaled = engine(scale * scores, weights)
        assert (scaled.estimate, *se_df(scaled, target)) == pytest.approx(expected * [scale, scale, 1], rel=1e-6)
        swapped = engine(scores, -weights)
        assert (swapped.estimate, *se_df(swapped, target)) == pytest.approx(expected * [-1, 1, 1], rel=1e-12)
    assert found.run <= found.variance("new_domains")[0]


def test_replicates_are_judged_one_by_one():
    scores = draw(np.random.default_rng(0), 4, 3, 5, effects=(0, 1, 2), tau=1, run_sd=1)[0]
    weights = np.array([-1, 0, 1])
    for engine in [*FORMS, POOLED_H]:
        together = engine(scores, weights)
        for i, one in enumerate(scores):
            alone = engine(one, weights)
            for target in ("these_domains", "new_domains"):
                v, df = together.variance(target)
                assert (together.estimate[i], v[i], df[i]) == pytest.approx((alone.estimate, *alone.variance(target)))


def test_one_domain_has_no_new_domains():
    scores = np.random.default_rng(0).normal(size=(2, 4, 1))
    for engine in FORMS:
        found = engine(scores, np.array([-1, 1]))
        assert np.isfinite(found.run)
        assert np.isnan(found.domain)
        assert np.isnan(found.variance("new_domains")[0])


def test_more_seeds_and_domains_shrink_what_they_can():
    found = Crossed()(draw(np.random.default_rng(3), 1, 6, 8, tau=1, run_sd=1)[0][0], np.array([-1, 1]))
    same = found.scaled(found.seeds, found.domains)
    for target in ("these_domains", "new_domains"):
        assert same.variance(target) == pytest.approx(found.variance(target))
    limit = found.scaled(np.inf, found.domains)
    assert limit.run == 0
    assert limit.variance("new_domains") == pytest.approx((found.domain - found.joint, 7))  # tau²/D
    assert found.scaled(12, 8).run == pytest.approx(found.run / 2)
    assert found.scaled(6, 16).domain == pytest.approx(found.domain / 2)
    assert found.scaled(6, np.inf).variance("new_domains")[0] == pytest.approx(found.run - found.joint)  # sigma_u²/S


@pytest.mark.parametrize(
    ("engine", "hole"), [(Crossed(), (0, 0, 0)), (Crossed(blocked=True), (0, 0)), (Crossed(), (0, slice(1, None)))]
)
def test_holes_are_refused(engine, hole):
    scores = np.random.default_rng(0).normal(size=(2, 4, 3))
    scores[hole] = np.nan
    with pytest.raises(ValueError, match=r"every run|two runs"):
        engine(scores, np.array([-1, 1]))
