import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from ablate.errors import PlanError, RecordsError
from ablate.stats.clusters import cluster_robust
from ablate.stats.crossed import Crossed
from ablate.stats.examples import Cube, build_cube, compare_cells, compare_items, estimate_sampling
from ablate.stats.proportions import PairedProportions
from tests.stats.samples import case, item_covariance

SIGNS = {"full": 1.0, "base": -1.0}


def make_cube(scores, items=None):
    """Cells base and full, runs 0, 1, ..., items 0, 1, ..."""
    cells, runs, n = scores.shape
    names = np.asarray(range(n) if items is None else items, object)
    return Cube(("base", "full")[:cells], (tuple(range(runs)),) * cells, names, scores)


def long_table(scores):
    cells, runs, items = np.indices(scores.shape)
    return pd.DataFrame(
        {
            "arm": np.array(["base", "full"])[cells.ravel()],
            "seed": runs.ravel(),
            "item": [f"q{i}" for i in items.ravel()],
            "score": scores.ravel(),
        }
    )


def test_differences_are_scipys_paired_t():
    one, two = np.random.default_rng(0).normal(size=(2, 40))
    found, expected = compare_items(one, two), stats.ttest_rel(one, two)
    assert (found.pivot.statistic(), found.pivot.p_value()) == pytest.approx(
        (expected.statistic, expected.pvalue), rel=1e-10
    )
    assert (found.items, found.groups) == (40, 40)
    singles = compare_items(one, two, np.arange(40))
    assert (singles.pivot.se, singles.pivot.df) == pytest.approx((found.pivot.se, 39), rel=1e-10)


def test_sleep_by_patient():
    sleep, expected = case("sleep.csv"), case("tests_expected.json")["sleep"]["paired_t"]
    found = compare_items(*(sleep[sleep.group == g].extra for g in (1, 2))).pivot
    assert (found.estimate, found.statistic(), found.df, found.p_value()) == pytest.approx(
        (expected["est"], expected["t"], expected["df"], expected["p"]), rel=1e-8
    )
    assert found.interval(0.95) == pytest.approx(expected["ci"], rel=1e-8)


def test_groups_are_cr2_over_groups():
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 15, 200)
    one, two = rng.random((2, 200)) + rng.random(15)[groups]
    found, expected = compare_items(one, two, groups), cluster_robust(np.ones((200, 1)), one - two, groups, "CR2")
    assert (found.pivot, found.groups) == (expected.pivot(0), 15)
    assert "15 groups" in found.method


def test_right_or_wrong_is_exact_below_three_hundred_items_or_where_few_differ():
    rng = np.random.default_rng(2)
    one, two = (rng.random((2, 299)) < 0.7).astype(float)
    found = compare_items(one, two)
    assert found.pivot == PairedProportions(int((one > two).sum()), int((one < two).sum()), 299)
    assert found.pivot.estimate == pytest.approx((one - two).mean())
    assert compare_items(one, two, mid_p=True).pivot.mid_p
    many = compare_items(np.r_[one, 1], np.r_[two, 1])
    assert many.pivot.df == 299
    same = np.ones(5000)
    same[:20] = 0
    assert isinstance(compare_items(np.ones(5000), same).pivot, PairedProportions)
    with pytest.raises(RecordsError, match="two values"):
        compare_items(one, two, np.arange(299) // 3)
    with pytest.raises(RecordsError, match="two values"):
        compare_items(100 * one, 100 * two)
    assert compare_items(100 * np.r_[one, 1], 100 * np.r_[two, 1]).pivot.se == pytest.approx(100 * many.pivot.se)


@pytest.mark.parametrize("items", [100, 400])
def test_type_one_error_of_right_or_wrong(items):
    rng, n = np.random.default_rng(3), 600
    scores = (rng.random((n, 2, items)) < rng.beta(3, 1, (n, 1, items))).astype(float)
    rate = np.mean([compare_items(one, two).pivot.p_value() < 0.05 for one, two in scores])
    assert 0.01 < rate <= 0.05 + 3 * (0.05 * 0.95 / n) ** 0.5


@given(st.integers(1, 3), st.integers(2, 4), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_a_cube_is_the_table_in_any_order_of_rows(cells, runs, items, seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(min(cells, 2), runs, items))
    cube = build_cube(
        long_table(scores).sample(frac=1, random_state=seed), cell="arm", run="seed", item="item", score="score"
    )
    order = [list(cube.items).index(f"q{i}") for i in range(items)]
    assert (cube.scores[..., order] == scores).all()
    assert cube.cells == ("base", "full")[: len(scores)]
    assert cube.aligned


def test_cells_may_have_runs_of_their_own_and_unequally_many():
    table = long_table(np.random.default_rng(4).normal(size=(2, 3, 5)))
    table["seed"] = table.arm + table.seed.astype(str)
    table = table[table.seed != "base2"]
    cube = build_cube(table, cell="arm", run="seed", item="item", score="score")
    assert cube.runs == (("base0", "base1"), ("full0", "full1", "full2"))
    assert np.isnan(cube.scores[0, 2]).all()
    assert not cube.aligned
    found = compare_cells(cube, SIGNS)
    runs = [cube.scores[c, :n].mean(-1) for c, n in ((0, 2), (1, 3))]
    expected = stats.ttest_ind(runs[1], runs[0], equal_var=False)
    assert (found.these_items.statistic(), found.these_items.df) == pytest.approx(
        (expected.statistic, expected.df), rel=1e-10
    )
    assert (found.runs, found.items) == (2, 5)
    with pytest.raises(RecordsError, match="blocks"):
        compare_cells(cube, SIGNS, blocked=True)


@pytest.mark.parametrize("blocked", [False, True])
def test_cells_are_engine_e1_with_items_for_domains(blocked):
    scores = np.random.default_rng(5).normal(size=(2, 4, 30)) + np.random.default_rng(6).normal(size=(1, 1, 30))
    found = compare_cells(make_cube(scores), SIGNS, blocked=blocked)
    components = Crossed(blocked)(scores, np.array([-1.0, 1.0]))
    for pivot, target in ((found.these_items, "these_domains"), (found.new_items, "new_domains")):
        variance, df = components.variance(target)
        assert (pivot.estimate, pivot.se**2, pivot.df) == pytest.approx((components.estimate, variance, df), rel=1e-12)
    assert found.new_items.se >= found.these_items.se


def right_or_wrong(rng, n, items, base=0.9, runs=3):
    """n replicates of two cells that do not differ on average, but on single items, some of which are harder."""
    hard = rng.normal(special.logit(base), 1.5, (n, 1, 1, items)) + 0.5 * rng.normal(size=(n, 2, 1, items))
    return (rng.random((n, 2, runs, items)) < special.expit(hard + 0.3 * rng.normal(size=(n, 2, runs, 1)))).astype(
        float
    )


def test_runs_on_few_right_or_wrong_items_keep_the_level_for_new_items():
    n = 3000
    found = Crossed()(right_or_wrong(np.random.default_rng(7), n, 50), np.array([-1.0, 1.0]))
    variance, df = found.variance("new_domains")
    p = 2 * special.stdtr(df, -np.abs(found.estimate) / np.sqrt(variance))
    assert np.mean(p < 0.05) <= 0.05 + 3 * (0.05 * 0.95 / n) ** 0.5


@pytest.mark.parametrize("blocked", [False, True])
def test_sampling_of_one_domain_is_the_variance_over_items(blocked):
    scores = np.random.default_rng(8).normal(size=(2, 3, 25))
    found = estimate_sampling([make_cube(scores)], SIGNS, blocked=blocked)
    components = Crossed(blocked)(scores, np.array([-1.0, 1.0]))
    assert found.gross[0, 0] == pytest.approx(components.domain, rel=1e-10)
    assert found.net[0, 0] == pytest.approx(components.domain - components.joint, rel=1e-10)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_sampling_of_several_domains_agrees_with_arrays_of_them(shared, blocked):
    rng = np.random.default_rng(9)
    scores = [rng.normal(size=(2, 3, 20)) + rng.normal(size=(2, 1, 20)) for _ in range(4)]
    cubes = [make_cube(cube, None if shared else range(100 * d, 100 * d + 20)) for d, cube in enumerate(scores)]
    found = estimate_sampling(cubes, SIGNS, blocked=blocked)
    expected = item_covariance(scores, [-1.0, 1.0], blocked=blocked, shared=shared)
    assert found.net == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert found.items.tolist() == (np.full((4, 4), 20) if shared else 20 * np.eye(4)).tolist()
    assert np.linalg.eigvalsh(found.gross).min() > -1e-12


def test_sampling_of_groups_is_by_groups():
    rng = np.random.default_rng(10)
    scores, groups = rng.normal(size=(2, 3, 24)), np.repeat(np.arange(8), 3)
    by_group = scores.reshape(2, 3, 8, 3).mean(-1)
    found = estimate_sampling([make_cube(scores)], SIGNS, units=[groups])
    expected = estimate_sampling([make_cube(by_group)], SIGNS)
    assert (found.gross, found.net) == (pytest.approx(expected.gross), pytest.approx(expected.net))


def test_planted_sampling_is_found_where_domains_share_some_items():
    """Contrasts of items with SD 1: domains of 30 and 40 items, 10 of them shared with one common half of the luck."""
    rng, n = np.random.default_rng(11), 200
    names, found = [np.arange(30), np.arange(20, 60)], []
    for _ in range(n):
        luck, cubes = rng.normal(size=60), []
        for own in names:
            item = np.sqrt(0.5) * (luck[own] + rng.normal(size=len(own)))
            noise = rng.normal(size=(2, 3, len(own)))
            cubes.append(make_cube(noise + np.stack([np.zeros(len(own)), item])[:, None], own))
        found.append(estimate_sampling(cubes, SIGNS))
    truth = np.array([[1 / 30, 0.5 * 10 / 1200], [0.5 * 10 / 1200, 1 / 40]])
    noise = np.diag([2 / 3 / 30, 2 / 3 / 40])
    for seen, expected in ([f.net for f in found], truth), ([f.gross for f in found], truth + noise):
        assert (np.abs(np.mean(seen, 0) - expected) < 3 * np.std(seen, 0) / n**0.5).all()


def test_sampling_explains_domains_that_do_not_differ():
    """The variance over domains of one test set is runs and items, and nothing is left for tau."""
    rng, n, domains, items = np.random.default_rng(12), 100, 6, 50
    left = []
    for _ in range(n):
        item = rng.normal(size=(2, 1, items))
        scores = [item + rng.normal(size=(2, 1, items)) + rng.normal(size=(2, 4, items)) for _ in range(domains)]
        sampled = estimate_sampling([make_cube(cube) for cube in scores], SIGNS).net
        means = np.stack([cube.mean(-1) for cube in scores], -1)
        found = Crossed()(means, np.array([-1.0, 1.0]))
        between = domains * (found.domain - found.joint)
        off = (sampled.sum() - np.trace(sampled)) / (domains * (domains - 1))
        left.append((between, between - (np.trace(sampled) / domains - off)))
    seen, rest = np.array(left).T
    assert seen.mean() == pytest.approx(2 / items, rel=0.2)
    assert abs(rest.mean()) < 3 * rest.std() / n**0.5


@pytest.mark.slow
def test_a_million_rows_take_about_a_second():
    rng = np.random.default_rng(13)
    scores = rng.normal(size=(2, 5, 100_000))
    cells, runs, items = (axis.ravel() for axis in np.indices(scores.shape))
    frame = pd.DataFrame({"arm": np.array(["base", "full"])[cells], "seed": runs, "item": items, "y": scores.ravel()})
    begun = time.perf_counter()
    cube = build_cube(frame, cell="arm", run="seed", item="item", score="y")
    compare_cells(cube, SIGNS)
    estimate_sampling([cube], SIGNS)
    compare_items(scores[0].ravel(), scores[1].ravel())
    assert time.perf_counter() - begun < 6  # a second on an idle machine


def test_what_does_not_pair_is_refused():
    one = np.random.default_rng(14).normal(size=20)
    with pytest.raises(RecordsError, match="each of two"):
        compare_items(one, one[1:])
    with pytest.raises(RecordsError, match="missing"):
        compare_items(one, np.where(one > 0, np.nan, one))
    with pytest.raises(RecordsError, match="same amount"):
        compare_items(one, one)
    with pytest.raises(RecordsError, match="one cluster"):
        compare_items(one, one**2, np.zeros(20))


def test_what_is_no_cube_is_refused():
    table = long_table(np.random.default_rng(15).normal(size=(2, 3, 4)))
    names = {"cell": "arm", "run": "seed", "item": "item", "score": "score"}
    with pytest.raises(PlanError, match="itme"):
        build_cube(table, **names | {"item": "itme"})
    with pytest.raises(RecordsError, match="two scores"):
        build_cube(pd.concat([table, table[:1]]), **names)
    with pytest.raises(RecordsError, match="every item"):
        build_cube(table[1:], **names)
    with pytest.raises(RecordsError, match="missing"):
        build_cube(table.assign(score=np.nan), **names)
    cube = build_cube(table, **names)
    with pytest.raises(PlanError, match="ful"):
        compare_cells(cube, {"ful": 1, "base": -1})
    with pytest.raises(RecordsError, match="two runs"):
        compare_cells(build_cube(table[table.seed == 0], **names), SIGNS)
    with pytest.raises(RecordsError, match="two runs"):
        compare_cells(cube, {})
    with pytest.raises(RecordsError, match="same in every run"):
        compare_cells(make_cube(np.ones((2, 3, 4))), SIGNS)


def test_domains_that_cannot_be_put_side_by_side_are_refused():
    scores = np.random.default_rng(16).normal(size=(2, 3, 4))
    with pytest.raises(RecordsError, match="different cells or runs"):
        estimate_sampling([make_cube(scores), make_cube(scores[:, :2])], SIGNS)
    with pytest.raises(RecordsError, match="two runs"):
        estimate_sampling([make_cube(scores[:, :1])], SIGNS)
    with pytest.raises(RecordsError, match="independent items"):
        estimate_sampling([make_cube(scores)], SIGNS, units=[[0, 0, 0, 0]])
