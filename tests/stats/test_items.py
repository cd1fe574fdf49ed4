"""One trained model per cell, compared on the same examples: against scipy and the plainest moments."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.stats.attribution import attribute

ASKED = {"factors": ["m"], "value": "y", "run": "run", "domain": "dom", "example": "item", "families": ["simple"]}


def frame_of(scores, clusters=None, shared=False):
    """Scores of two models × domains × items as rows; items of the domains are the same ones if `shared`."""
    return pd.DataFrame(
        {
            "m": f"m{a}", "run": f"run{a}", "dom": f"d{d}", "y": scores[a, d, i],
            "item": f"{i}" if shared else f"{d}/{i}", "cluster": None if clusters is None else f"{d}/{clusters[i]}",
        }
        for a, d, i in np.ndindex(scores.shape)
    )  # fmt: skip


def ask(frame, **options):
    return attribute(frame, **{**ASKED, **options}).frame.set_index("target").loc["new_items"]


def draw(seed, domains, items):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1, domains, items)) + rng.normal(size=(2, domains, items)) + [[[0.0]], [[0.5]]]


def test_one_domain_is_the_paired_t_test():
    scores = draw(0, 1, 40)
    row = ask(frame_of(scores))
    expected = stats.ttest_rel(scores[1, 0], scores[0, 0])
    assert (row.statistic, row.p, row.df) == pytest.approx((expected.statistic, expected.pvalue, 39))
    assert (row.low, row.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_right_and_wrong_is_mcnemars_exact_test():
    scores = np.zeros((2, 1, 50))
    scores[0, 0, :3], scores[1, 0, 3:17] = 1, 1
    row = ask(frame_of(scores))
    assert row.p == pytest.approx(stats.binomtest(3, 17).pvalue)
    assert row.estimate == pytest.approx(11 / 50)
    assert row.low > 0


def test_few_right_and_wrong_in_several_domains_are_exact_or_refused():
    scores = (draw(6, 3, 30) > 0).astype(float)
    row = ask(frame_of(scores))
    lost, won = (int(((scores[1] - scores[0]) == sign).sum()) for sign in (-1, 1))
    assert row.p == pytest.approx(stats.binomtest(won, won + lost).pvalue)
    assert row.estimate == pytest.approx((scores[1] - scores[0]).mean())
    assert ask(frame_of(scores, shared=True)).refusal == "R22"
    frame = frame_of(scores)
    assert ask(frame[frame.item != "0/0"]).refusal == "R22"  # domains of 29, 30 and 30 do not pool
    many = ask(frame_of((draw(7, 3, 110) > 0).astype(float), shared=True))
    assert (many.refusal, many.df) == ("", 109)


def test_domains_count_equally_and_their_items_are_independent():
    scores = draw(1, 3, 30)
    row = ask(frame_of(scores))
    apart = scores[1] - scores[0]
    se = np.sqrt((apart.var(axis=1, ddof=1) / 30).sum()) / 3
    assert (row.estimate, row.se) == pytest.approx((apart.mean(), se))


def test_an_item_in_several_domains_is_one_item():
    scores = draw(2, 3, 30)
    row = ask(frame_of(scores, shared=True))
    means = (scores[1] - scores[0]).mean(0)
    assert (row.estimate, row.se, row.df) == pytest.approx((means.mean(), means.std(ddof=1) / np.sqrt(30), 29))


def test_copies_of_items_in_a_cluster_add_nothing():
    scores = draw(3, 2, 15)
    once = ask(frame_of(scores))
    copied = ask(frame_of(np.repeat(scores, 4, axis=2), clusters=np.repeat(np.arange(15), 4)), cluster="cluster")
    assert (copied.estimate, copied.se, copied.df) == pytest.approx((once.estimate, once.se, once.df))


def test_what_carries_no_test_is_refused_for_its_own_reason():
    few = (draw(4, 1, 40) > 0).astype(float)
    row = ask(frame_of(few, clusters=np.arange(40) // 4), cluster="cluster")
    assert row.refusal == "R22"
    assert "identical" not in row.note
    assert ask(frame_of(2 * few)).refusal == "R22"
    assert ask(frame_of(np.repeat(draw(4, 1, 40)[:1], 2, axis=0))).refusal == "R05"
    frame = frame_of(draw(5, 2, 10))
    assert ask(frame.iloc[1:]).refusal == "R19"


@pytest.mark.slow
@pytest.mark.parametrize(("domains", "items", "rate"), [(1, 60, 0.7), (3, 15, 0.7), (5, 10, 0.9)])
def test_equal_models_are_told_apart_no_more_than_promised(domains, items, rate):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(500):
        skill = rng.normal(size=(1, domains, items)) / 2
        noise = skill + rng.normal(size=(2, domains, items))
        found.append(ask(frame_of((noise < stats.norm.ppf(rate) * np.sqrt(1.25)).astype(float))))
    tested = [row.p < 0.05 for row in found if np.isfinite(row.p)]
    assert len(tested) > 450
    assert stats.binomtest(sum(tested), len(tested), 0.05, "greater").pvalue > 0.01
