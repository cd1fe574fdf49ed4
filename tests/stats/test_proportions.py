import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import mcnemar

from ablate.errors import RecordsError
from ablate.stats import proportions
from ablate.stats.proportions import PairedProportions, Proportion

counts = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 20)).filter(lambda drawn: sum(drawn) > 0)


@given(st.integers(1, 299).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_clopper_pearson_is_scipys(drawn, level):
    right, items = drawn
    expected = stats.binomtest(right, items).proportion_ci(level, "exact")
    assert Proportion(right, items).interval(level) == pytest.approx((expected.low, expected.high), abs=1e-10)
    for side in ("greater", "less"):
        p = stats.binomtest(right, items, 0.3, side).pvalue
        assert Proportion(right, items).p_value(0.3, side) == pytest.approx(p, rel=1e-8, abs=1e-15)


def test_a_share_lies_in_its_interval_where_its_p_says_so():
    for right in range(13):
        low, high = Proportion(right, 12).interval(0.9)
        for share in (0.05, 0.2, 0.5, 0.77):
            assert (low <= share <= high) == (Proportion(right, 12).p_value(share) >= 0.1)


@given(counts)
def test_mcnemar_is_statsmodels(drawn):
    first, second, rest = drawn
    found = PairedProportions(first, second, sum(drawn))
    table = [[rest, first], [second, 0]]
    assert found.p_value() == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-10)
    if first + second:
        for side in ("greater", "less"):
            expected = stats.binomtest(first, first + second, 0.5, side).pvalue
            assert found.p_value(side=side) == pytest.approx(expected, rel=1e-10)
        middle = expected_mid_p(first, first + second)
        assert PairedProportions(first, second, sum(drawn), mid_p=True).p_value() == pytest.approx(middle, rel=1e-9)


def expected_mid_p(first, n):
    point = stats.binom.pmf(first, n, 0.5)
    return min(1, 2 * min(stats.binom.cdf(first, n, 0.5), stats.binom.sf(first - 1, n, 0.5)) - point)


def test_one_against_seven():
    """Airway hyper-responsiveness of 21 children (Fagerland, Lydersen and Laake 2013, BMC Med. Res. Methodology 13)."""
    assert PairedProportions(1, 7, 21).p_value() == pytest.approx(18 / 256)
    assert PairedProportions(1, 7, 21, mid_p=True).p_value() == pytest.approx(10 / 256)


@settings(max_examples=8)
@given(counts, st.floats(0.8, 0.99))
def test_intervals_mirror_hold_the_estimate_and_agree_with_the_test(drawn, level):
    first, second, _ = drawn
    one, other = PairedProportions(first, second, sum(drawn)), PairedProportions(second, first, sum(drawn))
    low, high = one.interval(level)
    assert other.interval(level) == pytest.approx((-high, -low), abs=1e-12)
    assert -1 <= low <= one.estimate <= high <= 1
    if one.p_value() > 1 - level:
        assert low <= 0 <= high
    for limit, side in ((low, "greater"), (high, "less")):
        if limit not in (-1.0, 0.0, 1.0):
            outside = limit - 1e-6 if side == "greater" else limit + 1e-6
            inside = 2 * limit - outside
            assert one.p_value(outside, side) <= (1 - level) / 2 + 1e-3
            assert one.p_value(inside, side) >= (1 - level) / 2 - 1e-3


def coverage(n, difference, discordant, level):
    """Exact, over every table: how often the true difference is in the interval."""
    first, second = (discordant + difference) / 2, (discordant - difference) / 2
    inside, below, above = 0.0, 0.0, 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            chance = stats.multinomial.pmf([a, b, n - a - b], n, [first, second, 1 - first - second])
            low, high = PairedProportions(a, b, n).interval(level)
            inside += chance * (low <= difference <= high)
            below, above = below + chance * (high < difference), above + chance * (low > difference)
    return inside, below, above


@pytest.mark.parametrize(("difference", "discordant"), [(0.1, 0.2), (0.3, 0.5)])
def test_intervals_cover_at_every_table_of_a_few_items(difference, discordant):
    inside, below, above = coverage(6, difference, discordant, 0.9)
    assert inside >= 0.9 - 1e-6
    assert max(below, above) <= 0.05 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("discordant", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_intervals_cover_at_every_table_of_thirty_items(share, discordant):
    inside, below, above = coverage(30, share * discordant, discordant, 0.95)
    assert inside >= 0.95 - 1e-6
    assert max(below, above) <= 0.025 + 1e-6


def test_wald_covers_too_little_where_this_one_does_not():
    """Two discordant items of 40 expected, over all tables with a chance above 1e-5."""
    wald = exact = 0.0
    for first in range(8):
        for second in range(4):
            chance = stats.multinomial.pmf([first, second, 40 - first - second], 40, [0.04, 0.01, 0.95])
            if chance > 1e-5:
                pair = PairedProportions(first, second, 40)
                half = 1.96 * np.sqrt((first + second) / 40 - pair.estimate**2) / np.sqrt(40)
                wald += chance * (abs(pair.estimate - 0.03) <= half)
                exact += chance * (min(pair.p_value(0.03, side) for side in ("greater", "less")) > 0.025)
    assert wald < 0.85
    assert exact > 0.95


def test_a_hundred_thousand_items_with_few_discordant():
    low, high = PairedProportions(10, 30, 100_000).interval(0.95)
    assert -3.5e-4 < low < -2e-4 < high < 0


tables = st.tuples(
    st.integers(3, 25), st.floats(-0.9, 0.9).filter(lambda against: abs(against) > 1e-3), st.integers(0, 2**32 - 1)
)


def draw_table(items, seed):
    rng = np.random.default_rng(seed)
    return tuple(int(count) for count in rng.multinomial(items, rng.dirichlet([1, 1, 1])))


@given(tables)
def test_tangos_score_is_at_the_constrained_maximum_of_the_likelihood(drawn):
    items, against, seed = drawn
    first, second, rest = draw_table(items, seed)

    def loss(q):  # q: chance that only the second is right; then only the first has q + against
        chances = np.array([q + against, q, 1 - 2 * q - against])
        return -special.xlogy([first, second, rest], np.maximum(chances, 1e-300)).sum()

    low, high = max(0.0, -against), (1 - against) / 2
    q = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-9}).x
    variance = items * (2 * q + against - against**2)
    expected = (first - second - items * against) / np.sqrt(variance)
    found = proportions._tango(np.array(first), np.array(second), items, against)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


@settings(max_examples=12)
@given(tables)
def test_the_exact_p_is_the_largest_sum_over_tables(drawn):
    """Every table whose score is as large as the observed, at every share of discordant items, by the plainest loop."""
    items, against, seed = drawn
    first, second, _ = draw_table(items, seed)
    a, b = np.indices((items + 1, items + 1)).reshape(2, -1)
    a, b = a[a + b <= items], b[a + b <= items]
    scores = proportions._tango(a, b, items, against)
    observed = scores[(a == first) & (b == second)]
    extreme = np.c_[a, b, items - a - b][scores >= observed - 1e-9 * (1 + abs(observed))]
    reach = stats.binomtest(first + second, items).proportion_ci(1 - 1e-5, "exact")
    largest = 0.0
    for share in np.linspace(max(abs(against), reach.low), max(abs(against), reach.high), 60):
        chances = np.clip([(share + against) / 2, (share - against) / 2, 1 - share], 0, 1)
        largest = max(largest, stats.multinomial.pmf(extreme, items, chances / chances.sum()).sum())
    found = PairedProportions(first, second, items).p_value(against, "greater")
    if reach.high > abs(against):
        assert found == pytest.approx(min(1, largest + 1e-5), abs=1e-9)
    else:
        assert found == pytest.approx(1e-5)


def test_certain_tables():
    assert PairedProportions(0, 0, 50).p_value() == 1
    low, high = PairedProportions(0, 0, 50).interval(0.95)
    assert -0.1 < low < 0 < high < 0.1
    assert PairedProportions(20, 0, 20).interval(0.95)[1] == 1
    assert (
        PairedProportions(3, 2, 20).p_value(1.0, "less")
        < 1e-4
        < 0.99
        < PairedProportions(3, 2, 20).p_value(-1.0, "less")
    )
    assert Proportion(0, 5).interval(0.95)[0] == 0
    assert Proportion(5, 5).interval(0.95)[1] == 1


@pytest.mark.parametrize("values", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_tables_are_refused(values):
    with pytest.raises(RecordsError, match="discordant"):
        PairedProportions(*values)


def test_impossible_shares_are_refused():
    with pytest.raises(RecordsError, match="no proportion"):
        Proportion(6, 5)
