import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ablate.errors import PlanError, RecordsError
from ablate.stats.dominance import AlmostStochasticOrder, violation_ratio
from tests.stats.samples import case

DEEPSIG = AlmostStochasticOrder(step=0.005)
samples = arrays(float, st.integers(2, 12), elements=st.floats(-4, 4, width=16))


def by_points(a, b, points):
    """The violation ratio by the plainest loop over points of (0, 1)."""
    a, b, above, distance = sorted(a), sorted(b), 0.0, 0.0
    for p in points:
        f, g = a[int(np.ceil(len(a) * p)) - 1], b[int(np.ceil(len(b) * p)) - 1]
        distance += (g - f) ** 2
        above += (g - f) ** 2 if g > f else 0.0
    return above / distance if distance else 0.5


def test_deepsig_with_its_seeding():
    expected = case("deepsig_expected.json")["readme1"]
    a, b = np.array(expected["a"]), np.array(expected["b"])
    draws, others = [], []
    for i in range(1, DEEPSIG.resamples + 1):  # deepsig seeds the global generator anew for every resample
        legacy = np.random.RandomState(expected["seed"] + i)
        draws.append(legacy.uniform(0, 1, len(a)))
        others.append(legacy.uniform(0, 1, len(b)))
    found = DEEPSIG.bound(a, b, np.array(draws), np.array(others))
    assert found.bound == pytest.approx(expected["eps_min"], rel=0, abs=1e-12)


@given(samples, samples)
def test_the_exact_integral_is_the_sum_over_midpoints_of_a_fine_enough_grid(a, b):
    cells = len(a) * len(b)
    points = (np.arange(cells) + 0.5) / cells
    assert violation_ratio(a, b) == pytest.approx(by_points(a, b, points), abs=1e-12)


@given(samples, samples)
def test_the_stepped_sum_leaves_the_first_point_out_above(a, b):
    points = np.arange(0.005, 1, 0.005)
    f, g = (np.sort(x)[np.clip(np.ceil(len(x) * points).astype(int) - 1, 0, len(x) - 1)] for x in (a, b))
    above = np.where(g > f, (g - f) ** 2, 0)[1:].sum()
    expected = above / ((g - f) ** 2).sum() if (f != g).any() else 0.5
    assert violation_ratio(a, b, 0.005) == pytest.approx(expected, abs=1e-12)


@given(samples, samples, st.floats(0.125, 8))
def test_ratios_of_the_two_directions_sum_to_one_and_know_no_units(a, b, scale):
    ratio = violation_ratio(a, b)
    assert ratio + violation_ratio(b, a) == pytest.approx(1)
    assert violation_ratio(scale * a - 1, scale * b - 1) == pytest.approx(ratio, abs=1e-9)


def test_the_ends_of_the_scale():
    a = np.array([0.0, 1.0, 2.0])
    assert [float(violation_ratio(a + shift, a)) for shift in (1, 0, -1)] == [0.0, 0.5, 1.0]
    assert violation_ratio(np.stack([a + 1, a - 1]), np.stack([a, a])).tolist() == [0.0, 1.0]


def test_the_generator_is_used_and_only_it():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 8), rng.normal(0, 1, 6)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    order = AlmostStochasticOrder(resamples=200)
    assert order(a, b, 1) == order(a, b, 1) == order(a, b, np.random.default_rng(1))
    assert order(a, b, 1).bound != order(a, b, 2).bound
    assert order(a, b, 1).violation == order(a, b, 2).violation <= order(a, b, 1).bound
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_identical_arms_pass_far_too_often_to_be_a_test():
    rng = np.random.default_rng(3)
    order = AlmostStochasticOrder(resamples=100)
    passed = np.mean([order(*rng.normal(size=(2, 10)), rng).bound < 0.5 for _ in range(600)])
    assert 0.13 < passed < 0.28


@pytest.mark.parametrize("options", [{"level": 0.4}, {"level": 1.0}, {"resamples": 1}, {"step": 0.0}, {"step": 0.7}])
def test_options_that_make_no_sense(options):
    with pytest.raises(PlanError, match=next(iter(options))):
        AlmostStochasticOrder(**options)


@pytest.mark.parametrize("scores", [[1.0], [1.0, np.nan], [[1.0, 2.0], [3.0, 4.0]]])
def test_scores_that_cannot_be_ordered(scores):
    with pytest.raises(RecordsError, match="finite scores"):
        AlmostStochasticOrder()(scores, [1.0, 2.0], 0)
