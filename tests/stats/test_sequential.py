"""Group-sequential bounds against rpact, and how often they call a true null false."""

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from ablate.errors import PlanError
from ablate.stats.corrections import holm
from ablate.stats.sequential import KINDS, FixedShape, Spending, crossing
from tests.stats.samples import case

RPACT = case("group_sequential_rpact_expected.json")
SHAPES = {"OF": FixedShape(0.0), "P": FixedShape(0.5)}
SPENT = {"asOF": "obrien_fleming", "asP": "pocock"}
SCHEDULE = Spending(looks=(5, 10, 20, 30))
schedules = st.lists(st.integers(2, 40), min_size=1, max_size=4, unique=True).map(lambda n: tuple(sorted(n)))


@pytest.mark.parametrize("name", RPACT)
def test_bounds_agree_with_rpact(name):
    expected, (kind, _, count) = RPACT[name], name.partition("_K")
    looks = tuple(10 * k for k in range(1, int(count) + 1)) if count else (30, 70, 100)
    if kind in SHAPES:
        bounds = SHAPES[kind](looks)
    else:
        bounds = Spending(SPENT[kind.removesuffix("_irr")], looks=looks).bounds()
    assert bounds == pytest.approx(expected["crit"], abs=1e-6)
    if count:
        assert crossing(looks, bounds) == pytest.approx(expected["alphaSpent"], abs=1e-6)
        assert special.ndtr(-bounds) == pytest.approx(expected["stageLevels"], abs=1e-6)
    if kind in SPENT:
        assert Spending(SPENT[kind], looks=looks).inflation() == pytest.approx(expected["infl"], abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_classical_bounds_inflate_as_in_rpact(shape):
    for count in range(2, 6):
        looks = np.arange(1.0, count + 1)
        expected = RPACT[f"{shape}_K{count}"]["infl"]
        drift = sqrt(expected / count) * (stats.norm.isf(0.025) + stats.norm.isf(0.1))
        assert crossing(looks, SHAPES[shape](looks), drift)[-1] == pytest.approx(0.9, abs=1e-6)


def test_crossing_agrees_with_the_multivariate_normal():
    looks, bounds, drift = np.array([3.0, 4, 9]), np.array([1.9, 2.2, 1.4]), 0.3
    covariance = np.sqrt(np.minimum.outer(looks, looks) / np.maximum.outer(looks, looks))
    for k, passed in enumerate(crossing(looks, bounds, drift), 1):
        law = stats.multivariate_normal(drift * np.sqrt(looks[:k]), covariance[:k, :k], abseps=1e-7, releps=1e-7)
        inside = law.cdf(bounds[:k])
        assert passed == pytest.approx(1 - inside, abs=1e-6)


@given(schedules, st.sampled_from(KINDS), st.floats(0.001, 0.2))
def test_what_is_spent_is_what_the_bounds_cross(looks, kind, alpha):
    spending = Spending(kind, alpha, looks)
    fraction, side = np.array(looks) / looks[-1], alpha / 2
    spent = crossing(looks, spending.bounds())
    if kind == "pocock":
        assert spent == pytest.approx(side * np.log(1 + (np.e - 1) * fraction), abs=1e-10)
    else:
        assert spent == pytest.approx(2 * stats.norm.sf(stats.norm.isf(side / 2) / np.sqrt(fraction)), abs=1e-10)


def test_one_look_is_no_correction():
    alone = Spending(looks=(7,))
    assert alone.nominal(0) == pytest.approx(0.05, abs=1e-12)
    assert alone.repeated_p(0.0312, 0) == pytest.approx(0.0312, rel=1e-8)
    assert alone.interval_level(0, tests=4) == pytest.approx(1 - 0.05 / 4)
    assert alone.inflation() == pytest.approx(1.0)


@given(schedules, st.sampled_from(KINDS), st.floats(1e-6, 0.6), st.data())
def test_a_repeated_p_is_the_alpha_at_which_its_look_rejects(looks, kind, alpha, data):
    spending, look = Spending(kind, alpha, looks), data.draw(st.integers(0, len(looks) - 1))
    nominal = spending.nominal(look)
    if nominal > 1e-250:
        assert spending.repeated_p(nominal, look) == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_p_grow_with_p(kind):
    spending = Spending(kind, looks=(5, 10, 20, 30))
    for look in range(4):
        found = [spending.repeated_p(p, look) for p in (0.0, 1e-9, 0.01, 0.2, 1.0)]
        assert found == sorted(found)
        assert 0 < found[0] < 1e-4
        assert found[-1] == 1.0
        assert all(own > p for own, p in zip(found[:4], (0.0, 1e-9, 0.01, 0.2), strict=True))
    assert np.isnan(spending.repeated_p(float("nan"), 0))


def test_holm_and_intervals_on_repeated_p_agree_with_the_nominal_levels():
    p, look = np.array([0.002, 0.3, 0.04]), 2
    adjusted = holm([SCHEDULE.repeated_p(x, look) for x in p])
    first = 1 - SCHEDULE.interval_level(look, tests=3)
    assert (adjusted[0] <= 0.05) == (p[0] <= first)
    assert SCHEDULE.repeated_p(first, look) == pytest.approx(0.05 / 3, rel=1e-8)


def test_looks_elsewhere_than_planned():
    moved = SCHEDULE.observed((6, 9))
    assert moved.looks == (6, 9, 10, 20, 30)
    assert SCHEDULE.observed(()).looks == SCHEDULE.looks
    assert moved.observed((6, 9, 14)).bounds()[:2] == pytest.approx(moved.bounds()[:2])  # the past stays
    beyond = SCHEDULE.observed((5, 33))  # more runs than planned: everything is spent, no more than that
    assert crossing(beyond.looks, beyond.bounds())[-1] == pytest.approx(0.025, abs=1e-10)
    short = SCHEDULE.observed((5, 10, 20))
    assert crossing(short.looks[:3], short.bounds()[:3])[-1] < 0.025


def test_decisions_say_how_many_seeds_the_schedule_holds():
    p = SCHEDULE.nominal(1)
    go_on = SCHEDULE.decide(p * 1.01, 1.0, 1.01, 10)
    assert (go_on.verdict, go_on.to_next, go_on.to_end) == ("go on", 10, 20)
    assert SCHEDULE.decide(p * 0.99, 1.0, 0.99, 10).verdict == "stop: decided"
    assert SCHEDULE.decide(p * 0.99, 1.0, 1.1, 10, tests=2).verdict == "go on"
    assert SCHEDULE.decide(0.9, 0.1, 0.3, 10, margin=0.39).verdict == "go on"
    assert SCHEDULE.decide(0.9, 0.1, 0.3, 10, margin=0.41).verdict == "stop: decided"
    ended = SCHEDULE.decide(0.9, 0.1, 0.3, 30)
    assert (ended.verdict, ended.to_next, ended.to_end) == ("stop: schedule ended", 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"looks": ()}, {"looks": (5, 5)}, {"looks": (1, 5)}, {"looks": (5,), "alpha": 1.0}, {"looks": (5,), "kind": "of"}],
)
def test_no_schedule(wrong):
    with pytest.raises(PlanError):
        Spending(**wrong)


def test_a_look_off_the_schedule_is_named():
    with pytest.raises(PlanError, match="observed"):
        SCHEDULE.decide(0.01, 1.0, 0.1, 12)


def look_at(form, looks, n, rng):
    """p at every look by Student's t and by z: looks × replicates, two arms without a difference."""
    scores = rng.normal(size=(n, max(looks), 2))
    by_t, by_z = [], []
    for k in looks:
        seen = scores[:, :k]
        if form == "blocked":
            difference = seen[..., 0] - seen[..., 1]
            estimate, square, df = difference.mean(1), difference.var(1, ddof=1) / k, k - 1.0
        else:
            own = seen.var(1, ddof=1) / k
            estimate, square = seen[..., 0].mean(1) - seen[..., 1].mean(1), own.sum(1)
            df = square**2 / ((own**2).sum(1) / (k - 1))
        z = np.abs(estimate) / np.sqrt(square)
        by_t.append(2 * stats.t.sf(z, df))
        by_z.append(2 * special.ndtr(-z))
    return np.array(by_t), np.array(by_z)


def claims(p, spending):
    nominal = [spending.nominal(k) for k in range(len(spending.looks))]
    return float((p <= np.array(nominal)[:, None]).any(0).mean())


@pytest.mark.parametrize("form", ["blocked", "welch"])
def test_type_one_error(form):
    n, looks = 2000, (5, 10, 20, 30)
    p, _ = look_at(form, looks, n, np.random.default_rng(1))
    for kind in KINDS:
        assert abs(claims(p, Spending(kind, looks=looks)) - 0.05) <= 0.005 + 3 * sqrt(0.05 * 0.95 / n)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["blocked", "welch"])
@pytest.mark.parametrize("looks", [(5, 10, 20, 30), (5, 10, 15, 20), (3, 10, 30), (6, 8, 10)], ids=str)
def test_type_one_error_at_full_size(form, looks, kind):
    p, _ = look_at(form, looks, 20000, np.random.default_rng(0))
    assert abs(claims(p, Spending(kind, looks=looks)) - 0.05) <= 0.005


@pytest.mark.slow
def test_what_these_tests_can_see():
    """z at the bounds: .128; peeking at every seed without any rule: .26; Pocock from three blocks on: .057."""
    every = tuple(range(3, 31))
    pocock = Spending("pocock", looks=every)
    by_t, by_z = look_at("welch", every, 20000, np.random.default_rng(0))
    assert claims(by_z, pocock) == pytest.approx(0.128, abs=0.006)
    assert claims(by_t, pocock) == pytest.approx(0.05, abs=0.005)
    blocked, _ = look_at("blocked", every, 20000, np.random.default_rng(0))
    assert (blocked <= 0.05).any(0).mean() == pytest.approx(0.26, abs=0.01)
    assert 0.05 < claims(blocked, pocock) < 0.06


@pytest.mark.slow
def test_equivalence_at_any_look_keeps_its_level():
    """A truth at the margin is called equivalent at one of the looks in at most alpha/2 of studies."""
    n, looks, margin, hits = 20000, (5, 10, 20, 30), 1.0, np.zeros(20000, bool)
    values = np.random.default_rng(2).normal(margin, 1, (n, 30))
    for look, k in enumerate(looks):
        seen = values[:, :k]
        half = stats.t.isf((1 - SCHEDULE.interval_level(look)) / 2, k - 1) * seen.std(1, ddof=1) / sqrt(k)
        hits |= np.abs(seen.mean(1)) + np.where(np.isfinite(half), half, inf) < margin
    assert 0.02 <= hits.mean() <= 0.0275
