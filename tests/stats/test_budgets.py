from itertools import combinations, product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.errors import PlanError, RecordsError
from ablate.stats.budgets import TuningBudget, expected_best
from tests.stats.samples import case


@pytest.mark.parametrize(("form", "key"), [("V", "V_statistic_dodge"), ("U", "U_statistic_tang")])
def test_published_formulas(form, key):
    expected = case("expected_max_expected.json")
    values = np.array(expected["x"])
    budgets = [int(n) for n in expected[key]]
    assert expected_best(values, budgets, form) == pytest.approx(list(expected[key].values()), abs=1e-12)
    assert expected_best(-values, budgets, form, "minimize") == pytest.approx(
        [-best for best in expected[key].values()], abs=1e-12
    )


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_they_are_means_over_all_ways_to_draw(values, random):
    n = random.randint(1, min(len(values), 4))
    assert expected_best(values, n, "V") == pytest.approx([np.mean([max(d) for d in product(values, repeat=n)])])
    assert expected_best(values, n, "U") == pytest.approx([np.mean([max(d) for d in combinations(values, n)])])
    assert expected_best(values, n, "U", "minimize") == pytest.approx(
        [np.mean([min(d) for d in combinations(values, n)])]
    )


def test_one_trial_is_a_mean_and_its_standard_error():
    values = np.random.default_rng(0).normal(size=30)
    found = TuningBudget("random", resamples=20000)(values, [1], 1)
    assert found.expected == pytest.approx([values.mean()], abs=1e-12)
    assert found.se == pytest.approx([values.std(ddof=1) / sqrt(30)], rel=0.03)
    assert found.df == 29


def test_a_comparison_is_a_difference_of_curves():
    rng = np.random.default_rng(0)
    values, others, engine = rng.normal(size=20), rng.normal(1, 2, 30), TuningBudget("random", resamples=200)
    found = engine.compare(values, others, [1, 5, 15], 0)
    assert found.expected == pytest.approx(
        expected_best(values, [1, 5, 15], "U") - expected_best(others, [1, 5, 15], "U")
    )
    alone = [engine(x, [1, 5, 15], 0) for x in (values, others)]
    assert found.se**2 == pytest.approx(alone[0].se ** 2 + alone[1].se ** 2, rel=0.5)
    assert found.nominal.tolist() == [True, True, False]
    assert np.isnan(found.low).tolist() == np.isnan(found.high).tolist() == [False, False, True]
    assert not TuningBudget("random", form="V")(values, [1, 2], 0).nominal.any()


def test_directions_mirror_each_other():
    values = np.random.default_rng(0).normal(size=20)
    up = TuningBudget("random", resamples=200)(values, [2, 4], 7)
    down = TuningBudget("random", "minimize", resamples=200)(-values, [2, 4], 7)
    assert (down.low, down.high) == (pytest.approx(-up.high), pytest.approx(-up.low))


def test_a_seed_is_used_and_no_other_state_touched():
    values = np.random.default_rng(0).normal(size=20)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    engine = TuningBudget("random", resamples=200)
    assert (engine(values, [3], 1).low == engine(values, [3], np.random.default_rng(1)).low).all()
    assert (engine(values, [3], 1).low != engine(values, [3], 2).low).all()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.parametrize("sampler", ["tpe", "grid", "cmaes"])
def test_trials_that_are_not_independent_are_refused(sampler):
    with pytest.raises(PlanError, match="not independent"):
        TuningBudget(sampler)


@pytest.mark.parametrize(
    "options", [{"direction": "up"}, {"form": "W"}, {"level": 1.0}, {"resamples": 5}], ids=lambda o: next(iter(o))
)
def test_options_that_make_no_sense(options):
    with pytest.raises(PlanError):
        TuningBudget("random", **options)


@pytest.mark.parametrize("budgets", [0, 6, 2.0, [1, 9]])
def test_budgets_that_were_not_spent(budgets):
    with pytest.raises(RecordsError, match="1 to 5"):
        expected_best(np.arange(5.0), budgets)


def test_scores_that_make_no_curve():
    with pytest.raises(RecordsError, match="finite score"):
        expected_best([1.0, np.nan], 1)
    with pytest.raises(RecordsError, match="three or more"):
        TuningBudget("random")([1.0, 2.0], 1, 0)


def cover(n, distribution, trials, budgets, seed=0):
    """Share of intervals of a curve that hold the truth, and of a difference of two equal arms that hold zero."""
    rng, grid = np.random.default_rng(seed), (np.arange(100000) + 0.5) / 100000
    truth = np.array([distribution.ppf(grid ** (1 / k)).mean() for k in budgets])
    engine, one, two = TuningBudget("random", resamples=300), 0.0, 0.0
    for _ in range(n):
        values, others = distribution.rvs((2, trials), random_state=rng)
        curve, difference = engine(values, budgets, rng), engine.compare(values, others, budgets, rng)
        one = one + ((curve.low <= truth) & (truth <= curve.high))
        two = two + ((difference.low <= 0) & (difference.high >= 0))
    return one / n, two / n


def test_coverage():
    for covered in cover(80, stats.beta(5, 2), 40, [1, 4, 20]):
        assert (covered >= 0.935 - 3 * sqrt(0.05 * 0.95 / 80)).all()


@pytest.mark.slow
@pytest.mark.parametrize("trials", [20, 50, 200])
@pytest.mark.parametrize(
    ("distribution", "low"), [(stats.norm(), 0.925), (stats.beta(5, 2), 0.935), (stats.gamma(1.5), 0.91)]
)
def test_coverage_by_skewness(distribution, low, trials):
    one, two = cover(2000, distribution, trials, [1, 2, 5, trials // 4, trials // 2])
    assert (one >= low - 3 * sqrt(0.05 * 0.95 / 2000)).all()
    assert (two >= 0.935 - 3 * sqrt(0.05 * 0.95 / 2000)).all()
