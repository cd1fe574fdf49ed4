from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.crossed import Crossed
from ablate.stats.pivots import Student
from ablate.stats.ratios import Ratio
from tests.stats.samples import draw

FORMS = [Crossed(blocked, variances) for blocked in (False, True) for variances in ("welch", "pooled")]
TARGETS = ["these_domains", "new_domains"]
SMALL, LARGE = np.array([-1.0, 1, 0]), np.array([-1.0, 0, 1])  # cells: base, small, large


def retained(engine=FORMS[0], target="these_domains", effects=(0, 4, 5), seed=0, **options):
    scores = draw(np.random.default_rng(seed), 1, 5, 6, effects=effects, **options)[0][0]
    return Ratio(scores, SMALL, LARGE, engine, target)


def textbook(ratio, level):
    """Fieller's quadratic, for one variance and degrees of freedom: the roots and whether the set lies between."""
    runs = ratio.scores.mean(-1)
    n, d = ratio.numerator @ runs.mean(1), ratio.denominator @ runs.mean(1)
    scale = runs.var(1, ddof=1).mean() / runs.shape[1]
    t = stats.t.isf((1 - level) / 2, len(runs) * (runs.shape[1] - 1))
    vnn, vnd, vdd = (scale * a @ b for a, b in ((SMALL, SMALL), (SMALL, LARGE), (LARGE, LARGE)))
    a, b, c = d * d - t * t * vdd, n * d - t * t * vnd, n * n - t * t * vnn
    return ((b - sqrt(b * b - a * c)) / a, (b + sqrt(b * b - a * c)) / a) if a > 0 else (-inf, inf)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]), st.sampled_from([1.0, 3.0, -3.0]))
@settings(max_examples=5)
def test_one_variance_is_fiellers_quadratic(seed, level, gain):
    ratio = retained(Crossed(variances="pooled"), effects=(0, 0.6 * gain, gain), seed=seed)
    expected = textbook(ratio, level)
    assert ratio.interval(level) == pytest.approx(expected, rel=1e-9)
    assert ratio.bounded(level) == np.isfinite(expected).all()


@pytest.mark.parametrize("engine", FORMS, ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_p_values_and_intervals_agree(engine, target):
    ratio = retained(engine, target, tau=0.3, run_sd=0.5)
    low, high = ratio.interval(0.95)
    assert low < ratio.estimate < high
    for end in (low, high):
        assert ratio.p_value(end) == pytest.approx(0.05, rel=1e-6)
    assert ratio.p_value(low, "greater") == pytest.approx(0.025, rel=1e-6)
    assert ratio.p_value(high, "less") == pytest.approx(0.025, rel=1e-6)
    assert ratio.p_value(ratio.estimate) == pytest.approx(1)


@pytest.mark.parametrize("target", TARGETS)
def test_retention_is_the_contrast_of_three_cells(target):
    ratio, fraction = retained(target=target, tau=0.3), 0.7
    found = ratio.engine(ratio.scores, np.array([-(1 - fraction), 1, -fraction]))
    variance, df = found.variance(target)
    expected = Student(found.estimate, variance**0.5, df).p_value(side="greater")
    assert ratio.p_value(fraction, "greater") == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("engine", FORMS[::3], ids=str)
def test_identities(engine):
    ratio = retained(engine, "new_domains", tau=0.5, run_sd=0.3)
    low, high = ratio.interval(0.95)
    upside_down = Ratio(ratio.scores, LARGE, SMALL, engine, "new_domains")
    assert upside_down.interval(0.95) == pytest.approx((1 / high, 1 / low), rel=1e-9)
    scaled = Ratio(-7 * ratio.scores + 3, SMALL, LARGE, engine, "new_domains")
    assert (scaled.estimate, *scaled.interval(0.95)) == pytest.approx((ratio.estimate, low, high), rel=1e-9)
    assert scaled.p_value(0.5, "greater") == pytest.approx(ratio.p_value(0.5, "greater"))
    doubled = Ratio(ratio.scores, 2 * SMALL, LARGE, engine, "new_domains")
    assert doubled.interval(0.95) == pytest.approx((2 * low, 2 * high), rel=1e-9)
    rest = Ratio(ratio.scores, LARGE - SMALL, LARGE, engine, "new_domains")  # what is not retained is lost
    assert rest.interval(0.95) == pytest.approx((1 - high, 1 - low), rel=1e-9)


def test_a_denominator_that_may_be_zero_gives_no_finite_interval():
    ratio = retained(effects=(0, 0, 0))
    assert not ratio.bounded(0.95)
    assert ratio.interval(0.95) == (-inf, inf)


def test_a_known_ratio_is_refused():
    with pytest.raises(ValueError, match="multiples"):
        Ratio(np.zeros((3, 3, 1)), SMALL, -2 * SMALL, Crossed())


def covered(n, engine, target, seed=2):
    """Share of studies whose interval holds the true ratio, .8, and of those whose interval is finite."""
    rng, hits, finite = np.random.default_rng(seed), 0, 0
    scores = draw(rng, n, 5, 8, effects=(0, 4, 5), tau=0.0, run_sd=0.7, block_sd=float(engine.blocked))[0]
    if target == "new_domains":
        scores = scores + rng.normal(0, 1, (n, 3, 1, 8))
    for one in scores:
        ratio = Ratio(one, SMALL, LARGE, engine, target)
        hits += ratio.p_value(0.8) > 0.05
        finite += ratio.bounded(0.95)
    return hits / n, finite / n


@pytest.mark.parametrize(("engine", "target"), [(FORMS[0], "new_domains"), (FORMS[2], "these_domains")], ids=str)
def test_coverage(engine, target):
    share, finite = covered(150, engine, target)
    assert share == pytest.approx(0.955, abs=0.02 + 3 * sqrt(0.05 * 0.95 / 150))
    assert finite == 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", FORMS, ids=str)
@pytest.mark.parametrize("target", TARGETS)
def test_coverage_at_full_size(engine, target):
    assert 0.935 <= covered(10000, engine, target)[0] <= 0.98
