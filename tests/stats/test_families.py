"""Every family is reachable from a frame and from a plan, finds what was planted, and obeys its identities."""

from functools import cache
from itertools import combinations
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import ablate as ab
from ablate.analyses import Analysis, Comparison, Family
from ablate.plans import plan
from ablate.stats.effects import COLUMNS, QUANTITIES
from ablate.stats.families import ANSWERS
from tests.stats.samples import make_records, noisy, rows_of, tabulate

TWO = ("these_domains", "new_domains")


def factorial(effects, *, seeds=6, domains=5, sd=0.02, rng=0, interaction=0.0):
    """A row per score of a full factorial of two-level factors; a run and a score each have noise."""
    rng = np.random.default_rng(rng)
    rows = []
    for code in range(2 ** len(effects)):
        on = [(code >> i) & 1 for i in range(len(effects))]
        for seed in range(seeds):
            level = 0.5 + sum(e * o for e, o in zip(effects, on, strict=True)) + interaction * all(on)
            level += sd * rng.normal()
            for d in range(domains):
                row = dict(zip("pqr", on, strict=False))
                rows.append(
                    {
                        **row,
                        "run": f"{code}/{seed}",
                        "seed": seed,
                        "domain": f"d{d}",
                        "y": level - 0.03 * d + sd * rng.normal(),
                    }
                )
    return pd.DataFrame(rows)


def ask(frame, *families, **options):
    factors = [name for name in "pqr" if name in frame]
    return rows_of(frame, factors=factors, families=list(families), **options)


FRAME = factorial((0.1, 0.3))
OPTIONS = {
    "clean": "d0", "costs": ["flops"], "budget": "steps", "threshold": 0.3, "se": "se", "phase": "phase",
    "sampler": "random",
    "comparisons": [
        Comparison("no worse", {"p": 0, "q": 1}, {"p": 1, "q": 1}, margin=0.2),
        Comparison("retained", {"p": 0, "q": 1}, {"p": 1, "q": 1}, base={"p": 0, "q": 0}, retain=0.5),
    ],
}  # fmt: skip


def equipped(frame):
    """With all that some family asks for: costs, learning curves, standard errors, tuning trials."""
    frame = frame.assign(flops=1.0 + frame.p + 0.01 * frame.seed, se=0.02, steps=100, phase="confirm")
    early = frame.assign(steps=50, y=frame.y - 0.2)
    tuning = frame[frame.seed < 4].assign(phase="search", run="tune" + frame.run)
    return pd.concat([frame, early, tuning], ignore_index=True)


EQUIPPED = equipped(factorial((0.1, 0.3), sd=0.1))


def test_every_family_has_an_answer():
    assert set(ANSWERS) == set(get_args(Family))


REACHED = [family for family in get_args(Family) if family not in ("leave_one_out", "step", "omnibus")]


@cache
def everything():
    return ask(EQUIPPED, *REACHED, **OPTIONS)


@pytest.mark.parametrize("family", REACHED)
def test_every_family_is_reachable_from_a_frame(family):
    found = everything()
    assert list(found) == list(COLUMNS)
    mine = found[(found.family == family) & ~found.factor.str.startswith("data multiplier")]  # that has its own tests
    assert len(mine)
    assert set(mine.quantity) <= set(QUANTITIES)
    for row in mine.itertuples():
        assert row.verdict, row
        assert row.refusal == "", row
        assert np.isfinite(row.estimate), row
    if family not in ("share", "prediction", "best", "tuning"):
        assert mine.p.notna().any()
        tested = mine[mine.p.notna()]
        assert tested[["p_adjusted", "low", "high"]].notna().all(axis=None)
        assert (tested.p_adjusted >= tested.p - 1e-12).all()


def test_families_of_a_plan_are_those_of_its_frame():
    families = ("omnibus", "main", "share", "improvement", "prediction", "best", "retention")
    question = Comparison("kept", {"data": "raw"}, {"data": "clean"}, base={"data": "old"}, retain=0.5)
    study = plan(
        {"data": ["old", "raw", "clean"], "loss": ["ce", "ls"]}, metric="accuracy", seeds=4, blocking="none",
        domains=[f"d{d}" for d in range(5)], analysis=Analysis(families=families, comparisons=(question,)),
    )  # fmt: skip
    records = make_records(study, noisy({("data", "raw"): 0.08, ("data", "clean"): 0.1}, domains=5))
    theirs = ab.attribute(records).frame
    frame = records.complete[["trial", "data", "loss", "domain", "value"]].rename(columns={"value": "accuracy"})
    mine = ab.attribute(
        frame, factors={"data": ["old", "raw", "clean"], "loss": ["ce", "ls"]}, run="trial", domain="domain",
        value="accuracy", families=families, comparisons=[question],
    ).frame  # fmt: skip
    assert set(theirs.family) == {*families, "noninferiority"} - {"noninferiority"}
    columns = [c for c in COLUMNS if c != "trials"]
    pd.testing.assert_frame_equal(mine[columns], theirs[columns])


@pytest.mark.parametrize("block", [None, "seed"])
def test_omnibus_finds_a_factor_of_three_levels_and_no_idle_one(block):
    rng = np.random.default_rng(0)
    rows = [
        {"p": p, "q": q, "seed": s, "run": f"{p}{q}{s}", "domain": f"d{d}", "y": 0.3 * p + 0.1 * rng.normal() + d}
        for p in range(3) for q in range(3) for s in range(8) for d in range(4)
    ]  # fmt: skip
    found = ask(pd.DataFrame(rows), "omnibus", block=block).set_index(["factor", "target"])
    for target in TWO:
        assert found.verdict["p", target] == "differs"
        assert found.p["p", target] < 1e-4
        assert found.verdict["q", target] == "undecided"
        assert (found.quantity == "F").all()
        assert found.statistic["p", target] == found.estimate["p", target]
    assert (ask(FRAME, "omnibus").shape[0]) == 0  # two levels are one contrast


def test_the_omnibus_test_of_one_factor_is_scipys_when_pooled():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(3, 5, 1)) + np.array([0, 1, 2])[:, None, None]
    scores[2, 4] = np.nan
    found = rows_of(tabulate(scores), families=["omnibus"], variances="pooled").query("target == 'these_domains'")
    groups = [side[~np.isnan(side)] for side in scores[..., 0]]
    assert (found.statistic.iloc[0], found.p.iloc[0]) == pytest.approx(tuple(stats.f_oneway(*groups)), rel=1e-10)


def test_pairs_are_all_of_them():
    found = ask(FRAME, "pairs").query("target == 'these_domains'")
    assert len(found) == 6
    assert (found.family_size == 6).all()
    means = FRAME.groupby(["p", "q"]).y.mean()
    expected = sorted(abs(means[a] - means[b]) for a, b in combinations(means.index, 2))
    assert sorted(found.estimate.abs()) == pytest.approx(expected)


def test_shapley_values_add_up_and_shares_to_one():
    frame = factorial((0.1, 0.3), interaction=0.2)
    found = ask(frame, "shapley", "share").set_index(["family", "factor", "target"])
    means = frame.groupby(["p", "q"]).y.mean()
    total = means[1, 1] - means[0, 0]
    for target in TWO:
        values = found.estimate["shapley"].xs(target, level="target")
        shares = found.estimate["share"].xs(target, level="target")
        assert values.sum() == pytest.approx(total, rel=1e-12)
        assert shares.sum() == pytest.approx(1, rel=1e-12)
        assert shares.to_dict() == pytest.approx((values / total).to_dict(), rel=1e-10)
        assert values.to_dict() == pytest.approx({"p": 0.2, "q": 0.4}, abs=0.03)
    rows = found.loc["share"]
    assert ((rows.low < rows.estimate) & (rows.estimate < rows.high)).all()
    assert rows.p.isna().all()
    assert (rows.verdict == "described").all()
    assert (found.loc["shapley"].verdict == "better").all()


def test_robustness_is_the_gap_within_a_run():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(2, 6, 3)) * 0.1 + rng.normal(size=(2, 6, 1))  # runs differ, their gaps hardly
    scores[:, :, 1] -= 1.0
    scores[1, :, 1] -= 0.5
    found = rows_of(tabulate(scores), families=["robustness"], clean="d00").set_index(["domain", "level"])
    changed = found.loc["d01", "b on d00 less d01"]
    gaps = scores[:, :, 0] - scores[:, :, 1]
    expected = stats.ttest_ind(gaps[1], gaps[0], equal_var=False)
    assert (changed.estimate, changed.p) == pytest.approx((gaps[1].mean() - gaps[0].mean(), expected.pvalue))
    assert changed.verdict == "worse"  # it loses more
    assert found.verdict["d02", "b on d00 less d02"] == "undecided"
    for place, cell in enumerate("ab"):
        row = found.loc["d01", f"x={cell}"]
        assert row.estimate == pytest.approx(gaps[place].mean())
        assert (row.low, row.high) == pytest.approx(tuple(stats.ttest_1samp(gaps[place], 0).confidence_interval()))
        assert row.verdict == "described"
        assert np.isnan(row.p)
    assert (found.family_size[found.p.notna()] == 2).all()
    with pytest.raises(ab.errors.PlanError, match="no clean domain group"):
        rows_of(tabulate(scores), families=["robustness"])


def test_gaps_between_runs_are_no_gaps():
    found = rows_of(
        tabulate(np.random.default_rng(3).normal(size=(2, 5, 3)), nested=True), families=["robustness"], clean="d00"
    )
    assert (found.refusal == "R19").all()
    assert found[["p", "low", "high"]].isna().all(axis=None)


def test_the_described_gaps_of_refused_cells_do_not_count():
    scores = np.random.default_rng(4).normal(size=(3, 5, 2))
    scores[2] = scores[2, 0]  # the third cell never varies
    found = rows_of(tabulate(scores), families=["robustness"], clean="d00")
    tested = found[~found.level.str.startswith("x=")]
    assert (tested.family_size == 2).all()


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_cell_is_found(direction):
    frame = factorial((0.1, 0.3)) if direction == "maximize" else factorial((-0.1, -0.3))
    found = ask(frame, "best", direction=direction).set_index(["level", "target"])
    for target in TWO:
        verdicts = found.verdict.xs(target, level="target")
        assert verdicts.to_dict() == {
            "p=0 q=0": "no better",
            "p=1 q=0": "no better",
            "p=0 q=1": "no better",
            "p=1 q=1": "best",
        }
    alike = ask(factorial((0.0, 0.0)), "best")
    assert (alike.verdict == "may be best").sum() >= 4


def test_a_prediction_is_wider_than_the_mean_and_tells_a_chance():
    frame = factorial((0.1, 0.3), domains=8)
    found = ask(frame, "main", "prediction").set_index(["family", "factor", "target"])
    for factor in "pq":
        mean, new = found.loc["main", factor, "new_domains"], found.loc["prediction", factor, "new_domains"]
        assert new.estimate == pytest.approx(mean.estimate)
        assert new.se > mean.se
        assert "P(effect > 0 in a new domain) = 1.00" in new.note
        assert (new.verdict, new.level_ci) == ("described", 0.95)
    few = ask(factorial((0.1, 0.3), domains=4), "prediction")
    assert (few.refusal == "R12").all()
    assert few.estimate.notna().all()


def test_heterogeneity_is_found_where_it_was_planted():
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(2, 6, 8)) * 0.1
    scores[1] += rng.normal(size=8)
    frame = tabulate(scores).assign(se=0.05)
    found = rows_of(frame, families=["heterogeneity"], se="se").iloc[0]
    assert (found.verdict, found.quantity) == ("varies", "sd")
    assert found.estimate == pytest.approx(scores[1].mean(0).std(ddof=1), rel=0.1)
    flat = scores - scores.mean(1, keepdims=True) + rng.normal(size=(2, 1, 8)) * 0.02
    assert rows_of(tabulate(flat).assign(se=0.05), families=["heterogeneity"], se="se").verdict.iloc[0] == "undecided"


def test_costs_are_ratios():
    found = ask(equipped(FRAME), "cost", **OPTIONS)
    ratio = found[found.factor == "flops: p"].iloc[0]
    assert ratio.estimate == pytest.approx(2.025 / 1.025, rel=0.01)
    assert (ratio.verdict, ratio.quantity) == ("costlier", "ratio")
    again = ask(equipped(FRAME).assign(flops=lambda f: 5 - f.flops), "cost", **OPTIONS)
    assert again[again.factor == "flops: p"].verdict.iloc[0] == "cheaper"


def refused_frames():
    scores = np.random.default_rng(6).normal(size=(3, 5, 6))
    flat = scores.copy()
    flat[2] = flat[2, 0]
    yield "R01", tabulate(scores[:, :1])
    yield "R05", tabulate(flat)
    yield "R04", pd.concat([tabulate(scores)] * 2)


@pytest.mark.parametrize(
    ("code", "frame"), list(refused_frames()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_refused_has_no_p_in_any_family(code, frame):
    frame = frame.assign(se=0.1, flops=1.0 + 0.1 * frame.seed)
    families = [
        "omnibus", "main", "simple", "pairs", "improvement", "iqm", "robustness", "heterogeneity", "prediction", "best",
        "domain",
    ]  # fmt: skip
    found = rows_of(frame, families=families, clean="d00", se="se")
    assert set(found.family) == set(families)
    refused = found[found.refusal == code]
    assert set(refused.family) == set(families)
    assert refused[["p", "p_adjusted", "low", "high", "statistic"]].isna().all(axis=None)
    assert (refused.verdict == "refused").all()
    linear = refused.family.isin(["main", "simple", "pairs", "domain", "robustness", "prediction"])
    assert refused.estimate[linear].notna().all()


# Identities --------------------------------------------------------------------------------------------------------

COLUMNS_OF_NUMBERS = ["estimate", "se", "df", "p", "p_adjusted", "low", "high"]
LINEAR = ["main", "interaction", "domain"]
designs = st.sampled_from(["crossed", "blocked", "nested", "gaps"])


def drawn(design, seed):
    """A 2 × 2 study of that design, and the columns that name it."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(4, 4, 4)) + rng.normal(size=(4, 4, 1))
    if design == "gaps":
        scores[1, 2] = np.nan
        scores[3, 0, 1] = np.nan
    frame = tabulate(scores, nested=design == "nested", key="cell")
    frame = frame.assign(
        p=frame.cell.map(dict(zip("abcd", "0011", strict=True))),
        q=frame.cell.map(dict(zip("abcd", "0101", strict=True))),
    )
    return frame, {"factors": {"p": ["0", "1"], "q": ["0", "1"]}, "block": "seed" if design == "blocked" else None}


def assert_same(one, two, *, scale=1.0, columns=COLUMNS_OF_NUMBERS):
    for column in columns:
        factor = scale if column in ("estimate", "se", "low", "high") else 1.0
        assert two[column].to_numpy() == pytest.approx(
            factor * one[column].to_numpy(), rel=1e-5, abs=1e-8, nan_ok=True
        ), column


def in_order(found):
    return found.sort_values("domain", kind="stable")


@settings(max_examples=4, deadline=None)
@given(designs, st.integers(0, 10**6))
def test_names_rows_and_shifts_are_nothing_and_scale_is_a_scale(design, seed):
    frame, columns = drawn(design, seed)
    one = in_order(rows_of(frame, families=LINEAR, **columns))
    assert (one.refusal == "").all()
    shift = 3 * frame.domain.str[1:].astype(float) + (5 * frame.seed if design == "blocked" else 0)
    shift = 0 * shift if design == "gaps" else shift  # how much domains differ weighs what is missing in some
    other = frame.assign(
        y=7 * frame.y + shift, p=frame.p.map({"0": "zz", "1": "aa"}), run=frame.run.str[::-1], domain="d" + frame.domain
    ).sample(frac=1, random_state=seed)
    two = in_order(rows_of(other, families=LINEAR, **{**columns, "factors": {"p": ["zz", "aa"], "q": ["0", "1"]}}))
    assert_same(one, two, scale=7.0)


@settings(max_examples=4, deadline=None)
@given(designs, st.integers(0, 10**6))
def test_the_other_baseline_flips_signs_and_new_domains_are_no_surer(design, seed):
    frame, columns = drawn(design, seed)
    one = rows_of(frame, families=["main"], **columns)
    two = rows_of(frame, families=["main"], baseline={"p": "1", "q": "1"}, **columns)
    assert_same(one, two, columns=["se", "df", "p", "p_adjusted"])
    assert two.estimate.to_numpy() == pytest.approx(-one.estimate.to_numpy(), rel=1e-6, abs=1e-9)
    assert two.low.to_numpy() == pytest.approx(-one.high.to_numpy(), rel=1e-5, abs=1e-8)
    these, new = (one[one.target == target].se.to_numpy() for target in TWO)
    assert (these <= new * (1 + 1e-9)).all()
