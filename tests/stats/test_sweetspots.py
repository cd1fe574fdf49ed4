"""Sweet spots: by hand, unchanged by what does not matter, and as often right as promised."""

from math import inf, isnan, sqrt

import numpy as np
import pytest
from scipy import optimize, stats

from ablate.plans import plan
from ablate.stats.aggregates import mean
from ablate.stats.resampling import Resampling
from ablate.stats.surfaces import Surface
from ablate.stats.sweetspots import find_best, find_crossing, find_sweet_spots, share_best
from tests.stats.samples import make_records

BUDGETS = np.array([1.0, 10, 100, 1000])
RISING = np.array([-2.1, -0.7, 0.7, 2.1])  # the small size is behind, and ahead from 10^1.5 on
TRUTH = 10**1.5
ALPHA = 0.05
GATE = 0.935  # coverage that E1 must have in any setting, as docs/coverage.py has it


def invent(rng, gaps, runs=5, domains=4, run_sd=0.5, tau=0.0, block_sd=0.0, blocked=False, shared=True):
    """A surface: gaps (sizes × budgets) above a common mean, run effects (of whole curves if shared) and errors."""
    gaps = np.asarray(gaps, float)
    block = block_sd * rng.normal(size=(1, runs, 1))
    scores = [
        gap[:, None, None]
        + run_sd * rng.normal(size=(1 if shared else len(gap), runs, 1))
        + 0.3 * rng.normal(size=(len(gap), runs, 1))
        + tau * rng.normal(size=(1, 1, domains))
        + 0.5 * rng.normal(size=(len(gap), runs, domains))
        + block
        for gap in gaps
    ]
    names, budgets = tuple(f"s{k}" for k in range(len(gaps))), BUDGETS[: gaps.shape[1]]
    return Surface("", names, (budgets,) * len(gaps), tuple(scores), blocked, ((),) * len(gaps))


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_crossing_by_hand():
    """Two budgets, paired runs: the difference is a line in log budget, and its t interval is solved for zero."""
    rng = np.random.default_rng(0)
    one = invent(rng, [[-2, 2], [0, 0]], domains=1, blocked=True)
    found = find_crossing(one, 0, 1)
    d = (one.scores[0] - one.scores[1])[..., 0]  # budgets × runs
    share = d[0].mean() / (d[0].mean() - d[1].mean())
    assert found.estimate == pytest.approx(10**share, rel=1e-9)

    def excess(w):
        return stats.ttest_1samp((1 - w) * d[0] + w * d[1], 0).pvalue - ALPHA

    solved = optimize.brentq(excess, 0, share), optimize.brentq(excess, share, 1)
    assert (found.low, found.high) == pytest.approx((10 ** solved[0], 10 ** solved[1]), rel=1e-3)
    assert (found.verdict, found.first, found.last, found.crossings) == ("overtakes", "s1", "s0", 1)
    assert found.range == pytest.approx((1, 10))


def test_unpaired_runs_are_welchs():
    one = invent(np.random.default_rng(1), [RISING, 0 * RISING], domains=1)
    found = find_crossing(one, 0, 1)
    at = [one.at(k, np.log([found.low]))[0, :, 0] for k in (0, 1)]
    assert stats.ttest_ind(*at, equal_var=False).pvalue == pytest.approx(ALPHA, rel=0.02)


def test_never_is_said_plainly():
    one = invent(np.random.default_rng(2), [RISING + 6, 0 * RISING])
    found = find_crossing(one, 0, 1)
    assert found.verdict == "never"
    assert found.told == "never within the range: s0 is ahead on every budget"
    assert isnan(found.estimate)
    assert isnan(found.low)
    assert isnan(found.high)


def test_what_the_runs_do_not_say_is_undecided_and_open():
    found = find_crossing(invent(np.random.default_rng(3), np.zeros((2, 4)), runs=3), 0, 1)
    assert (found.verdict, found.low, found.high) == ("undecided", 0.0, inf)
    one = invent(np.random.default_rng(4), [np.array([2.0, 1.5, 1, 0.1]), np.zeros(4)], runs=10, blocked=True)
    found = find_crossing(one, 0, 1)
    assert (found.verdict, found.high) == ("undecided", inf)
    assert found.low > 10


def test_the_best_size_by_hand():
    """Three sizes, the middle one far ahead at 10, a tie of two at 100."""
    gaps = np.array([[0, 0, 0.0], [-9, 9, 5], [-9, 0, 5.0]])
    one, ten, hundred = find_best(invent(np.random.default_rng(5), gaps, runs=6), 0)
    assert (one.best, one.candidates, one.budget) == ("s0", ("s0",), 1.0)
    assert (ten.best, ten.candidates) == ("s1", ("s1",))
    assert hundred.candidates == ("s1", "s2")
    assert hundred.shares["s0"] == 0
    assert sum(hundred.shares.values()) == pytest.approx(1)
    assert ten.shares == {"s0": 0, "s1": 1, "s2": 0}
    assert ten.means["s1"] == pytest.approx(9, abs=1)


def test_a_size_competes_only_on_budgets_within_its_range():
    rng = np.random.default_rng(6)
    made = invent(rng, np.zeros((2, 4)))
    narrow = Surface("", made.sizes, (BUDGETS, BUDGETS[1:3]), (made.scores[0], made.scores[1][1:3]), False, ((), ()))
    assert [best.budget for best in find_best(narrow, 0)] == [10, 100]
    assert find_crossing(narrow, 0, 1).range == pytest.approx((10, 100))
    apart = Surface(
        "", made.sizes, (BUDGETS[:2], BUDGETS[2:]), (made.scores[0][:2], made.scores[1][2:]), False, ((), ())
    )
    assert find_crossing(apart, 0, 1).refusal.code == "R10"
    assert list(find_best(apart, 0)) == []


def test_shares_spread_as_means_do():
    """Two sizes a standard error apart: the share is the normal probability; equal ones share what they win."""
    values = np.random.default_rng(4).normal(size=(2, 4, 1))
    values = (values - values.mean(1, keepdims=True)) / values.std(1, ddof=1, keepdims=True)
    values[1] += 1.0
    assert share_best(values, 5, False, resamples=20000)[1] == pytest.approx(stats.norm.cdf(1 / sqrt(2 / 4)), abs=0.03)
    assert share_best(values[[0, 0]], 5, True).tolist() == [0.5, 0.5]
    assert share_best(values, 5, True).tolist() == share_best(values, 5, True).tolist()


@pytest.mark.parametrize(("target", "scheme"), [("these_domains", "runs"), ("new_domains", "pigeonhole")])
def test_it_is_the_t_scaled_resampling(target, scheme):
    one = invent(np.random.default_rng(7), [RISING, 0 * RISING], tau=0.4, domains=6, blocked=True)
    found = find_crossing(one, 0, 1, target)
    scores = np.stack([one.at(k, np.log([found.low]))[0] for k in (0, 1)])
    drawn = Resampling(scheme, blocked=True, resamples=20000)(scores, 0, mean, [1.0, -1.0])
    assert drawn.high == pytest.approx(0, abs=0.04 * drawn.se * 3)
    assert drawn.estimate < -0.1


# --- identities -------------------------------------------------------------------------------------------------------


def ends(found):
    words = {"overtakes": 1, "is overtaken": -1, "never": 2, "undecided": 0}
    return words[found.verdict], found.estimate, found.low, found.high


@pytest.mark.parametrize("blocked", [False, True])
def test_what_does_not_matter_changes_nothing(blocked):
    one = invent(np.random.default_rng(8), [RISING, 0 * RISING, RISING / 2], blocked=blocked)

    def altered(change, budgets=BUDGETS, order=(0, 1, 2)):
        scores = tuple(change(one.scores[k]) for k in order)
        return Surface("", tuple(one.sizes[k] for k in order), (budgets,) * 3, scores, blocked, ((),) * 3)

    whole, bests = find_crossing(one, 0, 1), list(find_best(one, 0))
    shift = np.random.default_rng(9).normal(size=(4, 1, 4))  # what a budget and a domain add to every size
    order = np.random.default_rng(10).permutation(5)
    for change in (
        lambda y: y + 7,
        lambda y: y + shift,
        lambda y: y[:, order],
        lambda y: y[:, :, ::-1],
        lambda y: 3 * y,
    ):
        assert ends(find_crossing(altered(change), 0, 1)) == pytest.approx(ends(whole))
        assert [b.candidates for b in find_best(altered(change), 0)] == [b.candidates for b in bests]
    scaled = find_crossing(altered(lambda y: y, 60 * BUDGETS), 0, 1)  # seconds for minutes
    assert ends(scaled)[1:] == pytest.approx([60 * end for end in ends(whole)[1:]])
    assert ends(find_crossing(altered(lambda y: y, order=(2, 1, 0)), 2, 1)) == pytest.approx(ends(whole))
    turned = find_crossing(altered(lambda y: -y), 0, 1, sign=-1)
    assert ends(turned) == pytest.approx(ends(whole))
    swapped = find_crossing(one, 1, 0)
    assert ends(swapped)[1:] == pytest.approx(ends(whole)[1:])
    assert swapped.told.split(";")[0] == whole.told.split(";")[0]


def test_a_block_effect_cancels_within_blocks_alone():
    plain, shaken = (
        find_crossing(invent(np.random.default_rng(11), [RISING, 0 * RISING], 8, block_sd=sd, blocked=True), 0, 1)
        for sd in (0.0, 50.0)
    )
    assert shaken.verdict == plain.verdict == "overtakes"
    assert ends(shaken)[1:] == pytest.approx(ends(plain)[1:], rel=1e-6)
    loose = find_crossing(invent(np.random.default_rng(11), [RISING, 0 * RISING], runs=8, block_sd=50.0), 0, 1)
    assert (loose.low, loose.high) == (0.0, inf)


def test_a_look_earlier_widens_and_identical_runs_are_refused():
    one = invent(np.random.default_rng(12), [RISING, 0 * RISING], runs=8)
    narrow, wide = (find_crossing(one, 0, 1, level=level) for level in (0.8, 0.99))
    assert wide.low <= narrow.low <= narrow.estimate <= narrow.high <= wide.high
    still = Surface("", one.sizes, one.budgets, tuple(np.ones((4, 3, 2)) * k for k in (1, 2)), True, ((), ()))
    assert find_crossing(still, 0, 1).refusal.code == "R05"
    pair = invent(np.random.default_rng(13), [RISING, 0 * RISING], domains=2)
    assert find_crossing(pair, 0, 1, "new_domains").refusal.code == "R12"
    assert next(iter(find_best(pair, 0, "new_domains"))).refusal.code == "R12"


def test_a_study_is_answered_arm_by_arm_and_corrected_over_its_crossings():
    def task(trial):
        rng = np.random.default_rng([trial.seed, len(str(trial.cell))])
        small, clean = trial.cell["size"] == 1, trial.cell["data"] == "clean"
        gap = RISING if small and clean else np.zeros(4)
        curve = 0.5 + gap / 10 + 0.005 * rng.normal(size=4)
        return {"acc": curve[-1], **{f"acc@{int(b)}": v for b, v in zip(BUDGETS, curve, strict=True)}}

    factors = {"data": ["raw", "clean"], "size": [1, 10, 100]}
    records = make_records(plan(factors, seeds=6, metric="acc"), task)
    found = find_sweet_spots(records, "size")
    assert [(c.arm, c.small, c.large) for c in found.crossings] == [
        (f"data={d}", s, "100") for d in ("raw", "clean") for s in ("1", "10")
    ]
    assert {c.family_size for c in found.crossings} == {4}
    assert {c.level for c in found.crossings} == {1 - 0.05 / 4}
    assert [c.verdict for c in found.crossings] == ["undecided", "undecided", "overtakes", "undecided"]
    overtaking = found.crossings[2]
    assert overtaking.low < TRUTH < overtaking.high
    assert len(overtaking.trials) == 12
    assert [b.best for b in found.bests[4:]][2:] == ["1", "1"]
    assert "1" not in found.bests[4].candidates
    again = find_sweet_spots(records, "size")
    assert [b.shares for b in again.bests] == [b.shares for b in found.bests]


# --- simulations ------------------------------------------------------------------------------------------------------


def crossings(n, seed, gaps, target="these_domains", **options):
    rng = np.random.default_rng(seed)
    return [find_crossing(invent(rng, gaps, **options), 0, 1, target) for _ in range(n)]


def told_apart(found):
    return np.mean([c.verdict != "undecided" for c in found])


def held(found):
    return np.mean([c.low <= TRUTH <= c.high for c in found])


def slack(n, share=ALPHA):
    return 3 * sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("blocked", [False, True])
def test_a_planted_crossing_is_found_and_none_is_not(blocked):
    n, options = 120, {"blocked": blocked, "block_sd": 0.7 * blocked, "runs": 7}
    found = crossings(n, 20, [RISING, 0 * RISING], **options)
    assert np.mean([c.verdict == "overtakes" for c in found]) > 0.85
    assert held(found) >= 1 - ALPHA - slack(n)
    assert told_apart(crossings(n, 21, np.zeros((2, 4)), run_sd=1.0, **options)) <= ALPHA + slack(n)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5, 10])
@pytest.mark.parametrize(
    ("target", "tau", "blocked", "shared"),
    [
        ("these_domains", 0.0, False, True),
        ("these_domains", 0.0, False, False),
        ("these_domains", 0.0, True, True),
        ("new_domains", 0.7, False, True),
        ("new_domains", 0.7, True, True),
    ],
)
def test_coverage_and_errors(runs, target, tau, blocked, shared):
    n, options = 800, {"runs": runs, "tau": tau, "domains": 6, "blocked": blocked, "shared": shared}
    options |= {"block_sd": 0.7 * blocked}
    assert held(crossings(n, 30, [RISING / 2, 0 * RISING], target, **options)) >= GATE - slack(n)
    assert told_apart(crossings(n, 31, np.zeros((2, 4)), target, **options)) <= ALPHA + slack(n)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5, 10])
def test_a_best_size_is_among_the_candidates(runs):
    """Of four sizes the last is best by half a run's deviation, or one of four that are equal."""
    n, rng = 500, np.random.default_rng(40)
    for gap in (0.0, 0.25):
        gaps = np.zeros((4, 1))
        gaps[3] = gap
        found = [next(iter(find_best(invent(rng, gaps, runs=runs), 0))) for _ in range(n)]
        assert np.mean(["s3" in best.candidates for best in found]) >= 1 - ALPHA - slack(n)


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "share"), [(3, 0.85), (5, 0.92)])
def test_percentiles_of_redraws_would_not_cover(runs, share):
    """Why the interval is no percentile of crossings in redraws: at so many runs those cover less than this."""
    rng, hits, n = np.random.default_rng(50), 0, 1000
    for _ in range(n):
        one = invent(rng, [RISING, 0 * RISING], runs=runs, shared=False)
        drawn = []
        for scores in one.scores:
            picked = rng.integers(0, runs, (500, runs))
            drawn.append(scores.mean(2)[:, picked].mean(2))
        gap = drawn[0] - drawn[1]  # budgets × redraws
        after = np.clip((gap > 0).argmax(0), 1, 3)
        before, rows = after - 1, np.arange(500)
        logs = before + gap[before, rows] / (gap[before, rows] - gap[after, rows])
        low, high = np.quantile(logs, [0.025, 0.975])
        hits += low <= np.log10(TRUTH) <= high
    assert hits / n < share
