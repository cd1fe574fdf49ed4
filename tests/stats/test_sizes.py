import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.errors import RecordsError
from ablate.stats.crossed import Crossed
from ablate.stats.improvement import ProbabilityOfImprovement
from ablate.stats.pivots import SignFlips, Student
from ablate.stats.sizes import eta_squared, hedges_g, omega_squared, small_sample_factor
from tests.stats.samples import case

SLEEP, EXPECTED = case("sleep.csv"), case("tests_expected.json")
ONE, TWO = (SLEEP[SLEEP.group == g].extra.to_numpy() for g in (1, 2))
OPTIMISER = 1e-6  # effectsize finds noncentralities by a general optimiser, t to seven digits and F to five


def two_groups(one, two):
    n, m = len(one), len(two)
    sd = np.sqrt(((n - 1) * one.var(ddof=1) + (m - 1) * two.var(ddof=1)) / (n + m - 2))
    return one.mean() - two.mean(), sd * np.sqrt(1 / n + 1 / m), sd, n + m - 2


@pytest.mark.parametrize(
    ("name", "key", "corrected"), [("hedges_g", "Hedges_g", True), ("cohens_d", "Cohens_d", False)]
)
def test_two_groups_of_sleep_agree_with_effectsize(name, key, corrected):
    expected = EXPECTED["sleep"][name][0]
    found = hedges_g(*two_groups(ONE, TWO), level=expected["CI"], corrected=corrected)
    assert found.estimate == pytest.approx(expected[key], rel=1e-8)
    shrunk = small_sample_factor(18) if corrected else 1.0  # effectsize shrinks the limits of g too
    limits = tuple(shrunk * limit for limit in found.interval)
    assert limits == pytest.approx((expected["CI_low"], expected["CI_high"]), abs=OPTIMISER)


def test_paired_sleep_agrees_with_effectsize():
    expected = EXPECTED["sleep"]["cohens_dz"][0]
    differences = ONE - TWO
    sd = differences.std(ddof=1)
    found = hedges_g(differences.mean(), sd / np.sqrt(10), sd, 9, corrected=False)
    assert found.estimate == pytest.approx(expected["Cohens_d"], rel=1e-8)
    assert found.interval == pytest.approx((expected["CI_low"], expected["CI_high"]), abs=OPTIMISER)


def test_plantgrowth_agrees_with_effectsize():
    frame = case("plantgrowth.csv")
    f = stats.f_oneway(*(group.weight for _, group in frame.groupby("group"))).statistic
    eta, omega = EXPECTED["plantgrowth_eta2"][0], EXPECTED["plantgrowth_omega2"][0]
    assert f == pytest.approx(EXPECTED["plantgrowth_anova"][0]["F value"], rel=1e-8)
    found = eta_squared(f, 2, 27, level=0.9)  # effectsize's .95 is one-sided
    assert found.estimate == pytest.approx(eta["Eta2"], rel=1e-8)
    assert found.interval[0] == pytest.approx(eta["CI_low"], abs=2e-5)
    share = omega_squared(f, 2, 27).estimate
    assert share == pytest.approx(omega["Omega2"], rel=1e-8)
    as_eta = eta_squared(share / 2 / ((1 - share) / 27), 2, 27, level=0.9)  # which is how effectsize gets its limit
    assert as_eta.interval[0] == pytest.approx(omega["CI_low"], abs=2e-5)
    assert omega_squared(f, 2, 27).interval == eta_squared(f, 2, 27).interval


@given(st.floats(-6, 6), st.integers(2, 60), st.floats(0.5, 0.99))
def test_limits_put_the_statistic_at_the_tails(t, df, level):
    low, high = hedges_g(t, 1.0, 1.0, df, level=level, corrected=False).interval
    assert stats.nct.sf(t, df, low) == pytest.approx((1 - level) / 2, abs=1e-7)
    assert stats.nct.cdf(t, df, high) == pytest.approx((1 - level) / 2, abs=1e-7)


@given(st.floats(0.01, 40), st.integers(1, 6), st.integers(2, 60))
def test_limits_of_shares_put_f_at_the_tails(f, df, df_error):
    low, high = (df_error * s / (1 - s) for s in eta_squared(f, df, df_error).interval)
    if low > 0:
        assert stats.ncf.sf(f, df, df_error, low) == pytest.approx(0.025, abs=1e-7)
    if high > 0:
        assert stats.ncf.cdf(f, df, df_error, high) == pytest.approx(0.025, abs=1e-7)


def test_g_is_unbiased_and_its_interval_covers():
    """Three runs a cell and a true difference of one run SD."""
    rng, n = np.random.default_rng(0), 600
    one, two = rng.normal(1, 1, (n, 3)), rng.normal(0, 1, (n, 3))
    sizes = [hedges_g(*two_groups(a, b)) for a, b in zip(one, two, strict=True)]
    g = np.array([size.estimate for size in sizes])
    assert g.mean() == pytest.approx(1, abs=3 * g.std() / n**0.5)
    assert g.mean() / small_sample_factor(4) > 1.15  # what d says
    inside = np.mean([size.interval[0] <= 1 <= size.interval[1] for size in sizes])
    assert inside == pytest.approx(0.95, abs=3 * (0.05 * 0.95 / n) ** 0.5)


@pytest.mark.parametrize(("se", "sd", "df"), [(0, 1, 5), (1, 0, 5), (1, 1, 1), (np.nan, 1, 5)])
def test_no_spread_has_no_size(se, sd, df):
    with pytest.raises(RecordsError, match="no standardised effect"):
        hedges_g(1.0, se, sd, df)


@pytest.mark.parametrize(("f", "df", "df_error"), [(-1, 1, 5), (np.inf, 1, 5), (1, 0, 5), (1, 1, 0)])
def test_no_f_has_no_share(f, df, df_error):
    with pytest.raises(RecordsError, match="no share of variance"):
        eta_squared(f, df, df_error)


def test_welch_and_cliffs_delta_of_sleep():
    """The two groups as two arms of ten runs on one domain."""
    scores, weights = np.stack([ONE, TWO])[:, :, None], np.array([1.0, -1.0])
    components, expected = Crossed()(scores, weights), EXPECTED["sleep"]["welch"]
    pivot = Student(float(components.estimate), float(components.run) ** 0.5, float(components.df_run))
    assert (pivot.statistic(), pivot.df, pivot.p_value()) == pytest.approx(
        (expected["t"], expected["df"], expected["p"]), rel=1e-8
    )
    assert pivot.interval(0.95) == pytest.approx(expected["ci"], rel=1e-8)
    better = ProbabilityOfImprovement()(ONE[:, None], TWO[:, None]).estimate
    assert 2 * better - 1 == pytest.approx(EXPECTED["sleep"]["cliffs"][0]["r_rank_biserial"], rel=1e-12)


def test_wilcoxon_of_sleep_is_sign_flips_of_ranks():
    """The pair without a difference flips to itself, so that it has no say (Pratt's treatment of zeros)."""
    differences = np.round(ONE - TWO, 9)
    ranks = np.sign(differences) * stats.rankdata(np.abs(differences))
    assert SignFlips(ranks).p_value() == pytest.approx(EXPECTED["sleep"]["wilcox_exact_coin"]["p"], rel=1e-12)
