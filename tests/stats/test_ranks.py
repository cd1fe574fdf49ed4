import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.errors import PlanError, RecordsError
from ablate.stats import ranks
from ablate.stats.ranks import (
    bergmann_hommel,
    compare_pairs,
    compare_with_control,
    dunn_difference,
    hochberg,
    judge_friedman,
    nemenyi_difference,
    rank_average,
    shaffer,
)
from tests.stats.samples import case

DEMSAR = case("demsar2006_table6.csv").iloc[:, 1:]
GARCIA = case("garcia_herrera_2008.csv").iloc[:, 1:]


def test_demsars_table_as_printed():
    expected = case("demsar2006_expected.json")
    printed = expected["as_printed"]
    assert rank_average(DEMSAR) == pytest.approx([printed["ranks"][name] for name in DEMSAR], rel=1e-14)
    plain, tied = judge_friedman(DEMSAR, ties=False), judge_friedman(DEMSAR)
    assert (plain.chi2, plain.f, plain.f_p) == pytest.approx(
        (printed["chi2_no_tie_correction"], printed["FF"], printed["FF_p"]), rel=1e-12
    )
    assert (tied.chi2, tied.p) == pytest.approx(
        (printed["chi2_tie_corrected"], printed["chi2_tie_corrected_p"]), rel=1e-12
    )
    for alpha, digits in ((0.05, "CD05"), (0.10, "CD10")):
        assert nemenyi_difference(14, 4, alpha) == pytest.approx(expected[digits], rel=1e-9)


def test_demsars_published_figures_without_the_tie_of_the_printed_table():
    """At three digits `voting` reads .975 twice; the ranks of the paper need C4.5+cf a little above C4.5+m+cf."""
    expected = case("demsar2006_expected.json")
    published = expected["published"]
    table = DEMSAR.to_numpy().copy()
    table[12, 2] += 1e-5
    found = judge_friedman(table, ties=False)
    assert found.ranks == pytest.approx(published["ranks"], abs=6e-4)
    assert (found.chi2, found.f) == pytest.approx((published["chi2_F"], published["F_F"]), abs=6e-3)
    assert nemenyi_difference(14, 4) == pytest.approx(published["CD05"], abs=6e-3)
    assert nemenyi_difference(14, 4, 0.1) == pytest.approx(published["CD10"], abs=6e-3)
    assert dunn_difference(14, 4) == pytest.approx(published["dunn_CD05"], abs=1e-2)
    assert dunn_difference(14, 4, 0.1) == pytest.approx(published["dunn_CD10"], abs=1e-2)
    found = compare_with_control(table)
    for place, name in enumerate(DEMSAR):
        if name in expected["z"]:
            assert (-found.z[place], found.p[place]) == pytest.approx(
                (expected["z"][name], expected["p"][name]), rel=1e-12
            )


def test_garcia_and_herreras_table():
    expected = case("garcia_herrera_2008_expected.json")
    plain, tied = judge_friedman(GARCIA, ties=False), judge_friedman(GARCIA)
    assert plain.ranks == pytest.approx([expected["ranks"][name] for name in GARCIA], rel=1e-9)
    assert (plain.chi2, tied.chi2, plain.f) == pytest.approx(
        (expected["friedman_noties"], expected["friedman_base_R"], expected["iman_davenport"]), rel=1e-9
    )
    for correction in ("shaffer", "bergmann-hommel"):
        found = compare_pairs(GARCIA, correction=correction)
        assert found.p == pytest.approx(np.array(expected["raw"], float), rel=1e-9, nan_ok=True)
        wanted = np.array(expected[correction.replace("-", "_")], float)
        assert found.p_adjusted == pytest.approx(wanted, rel=1e-9, nan_ok=True)


tables = st.tuples(st.integers(2, 9), st.integers(3, 6), st.integers(0, 2**32 - 1)).map(
    lambda drawn: np.random.default_rng(drawn[2]).integers(0, 9, drawn[:2]) + np.linspace(0, 0.5, drawn[1])
)


@given(tables)
def test_friedman_is_scipys(table):
    found, expected = judge_friedman(table), stats.friedmanchisquare(*table.T)
    assert (found.chi2, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    ranked = stats.rankdata(-table, axis=1)  # without ties, F is the analysis of variance of the ranks
    residual = ranked - ranked.mean(0)
    n, k = table.shape
    between = n * ((ranked.mean(0) - (k + 1) / 2) ** 2).sum() / (k - 1)
    within = (residual**2).sum() / ((n - 1) * (k - 1))
    if within > 1e-9:
        assert found.f == pytest.approx(between / within, rel=1e-8)


@given(tables)
def test_sharper_corrections_reject_whatever_the_blunter_do(table):
    by = {name: compare_pairs(table, correction=name).p_adjusted for name in ("holm", "shaffer", "bergmann-hommel")}
    off = ~np.eye(len(by["holm"]), dtype=bool)
    raw = compare_pairs(table).p[off]
    slack = 1e-12
    assert (by["holm"][off] + slack >= by["shaffer"][off]).all()
    assert (by["shaffer"][off] + slack >= by["bergmann-hommel"][off]).all()
    assert (by["bergmann-hommel"][off] + slack >= raw).all()


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_bergmann_and_hommel_by_closed_testing(algorithms, seed):
    """A pair is rejected where Bonferroni rejects every set that can be true and holds it: by the plainest loop."""
    first, second = np.triu_indices(algorithms, 1)
    p = np.random.default_rng(seed).random(len(first)) ** 3
    expected = np.zeros(len(p))
    for labels in np.ndindex(*[algorithms] * algorithms):
        same = [i for i in range(len(p)) if labels[first[i]] == labels[second[i]]]
        for i in same:
            expected[i] = max(expected[i], len(same) * min(p[j] for j in same))
    found = bergmann_hommel(p, algorithms)
    monotone = [expected[p <= value].max() for value in p]
    assert found == pytest.approx(np.minimum(monotone, 1), rel=1e-12)


def test_numbers_of_partitions_and_of_pairs_that_can_be_equal():
    assert [len(ranks._exhaustive_sets(k)) + 1 for k in range(2, 9)] == [2, 5, 15, 52, 203, 877, 4140]  # Bell's
    assert sorted(ranks._possible_counts(5)) == [0, 1, 2, 3, 4, 6, 10]  # García and Herrera 2008, section 2.1
    for k in range(2, 9):
        assert set(ranks._exhaustive_sets(k).sum(1)) | {0} == ranks._possible_counts(k)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_hochberg_is_statsmodels(p):
    assert hochberg(p) == pytest.approx(multipletests(p, method="simes-hochberg")[1], abs=1e-12)


def test_holm_against_the_control_and_orientation():
    found = compare_with_control(DEMSAR, 3, correction="hochberg")
    assert np.isnan(found.p_adjusted[3])
    assert (found.z[:3] > 0).all()  # the control has the best rank, the others larger ones
    assert found.p_adjusted[:3] == pytest.approx(multipletests(found.p[:3], method="simes-hochberg")[1])
    assert compare_with_control(-DEMSAR, 3, maximise=False).z[:3] == pytest.approx(found.z[:3])
    assert compare_with_control(DEMSAR, 3).p_adjusted[:3] == pytest.approx(multipletests(found.p[:3], method="holm")[1])
    pairs = compare_pairs(DEMSAR)
    assert pairs.z[:3, 3] == pytest.approx(found.z[:3])
    assert pairs.z == pytest.approx(-pairs.z.T, nan_ok=True)


def test_nemenyi_p_is_alpha_at_the_critical_difference():
    found = compare_pairs(DEMSAR, correction="nemenyi")
    gap = abs(found.ranks[0] - found.ranks[3])
    assert nemenyi_difference(14, 4, found.p_adjusted[0, 3]) == pytest.approx(gap, rel=1e-6)


def test_null_tables_are_rejected_at_the_nominal_rate():
    """Iman and Davenport's F at 10 data sets × 4 algorithms; and all pairs by Bergmann and Hommel within .05."""
    rng, n = np.random.default_rng(3), 400
    found = [judge_friedman(table).f_p < 0.05 for table in rng.normal(size=(n, 10, 4))]
    assert np.mean(found) == pytest.approx(0.05, abs=0.005 + 3 * (0.05 * 0.95 / n) ** 0.5)
    wrong = [
        np.nanmin(compare_pairs(table, correction="bergmann-hommel").p_adjusted) < 0.05
        for table in rng.normal(size=(n, 10, 4))
    ]
    assert np.mean(wrong) <= 0.05 + 3 * (0.05 * 0.95 / n) ** 0.5


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(RecordsError, match="full table"):
        rank_average([[1, 2], [np.nan, 3]])
    with pytest.raises(RecordsError, match="one tie"):
        judge_friedman(np.ones((3, 3)))
    with pytest.raises(PlanError, match="bergman"):
        compare_pairs(DEMSAR, correction="bergman")
    with pytest.raises(PlanError, match="too many partitions"):
        compare_pairs(np.random.default_rng(0).normal(size=(3, 11)), correction="bergmann-hommel")
    with pytest.raises(PlanError, match="column"):
        compare_with_control(DEMSAR, 4)
    assert judge_friedman([[3, 2, 1]] * 4).f == np.inf
    assert shaffer([0.01], 2) == pytest.approx([0.01])
