"""The engine follows from the data's design, says so, and is refused where the design contradicts it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import ablate as ab
from ablate.errors import PlanError
from ablate.stats.folds import correlated_t
from ablate.stats.pivots import SignFlips, Student
from ablate.stats.summaries import pool
from tests.stats.samples import rows_of, tabulate


def scores(cells=2, seeds=5, domains=4, *, rng=0, run_sd=1.0):
    rng = np.random.default_rng(rng)
    level = np.arange(cells)[:, None, None] + rng.normal(0, 1, (cells, 1, domains))
    return level + run_sd * rng.normal(size=(cells, seeds, 1)) + rng.normal(size=(cells, seeds, domains))


def gaps(table):
    """Without some runs and some scores of others."""
    table = table.copy()
    table[1, -1] = np.nan
    table[0, 1, 2] = np.nan
    return table


def summaries(domains=5, rng=1):
    """One score and its standard error per cell and domain."""
    rng = np.random.default_rng(rng)
    frame = tabulate(rng.normal(size=(2, 1, domains)))
    return frame.assign(se=rng.uniform(0.2, 0.6, len(frame)))


def methods(found):
    return set(found.method.str.partition(",")[0])


@pytest.mark.parametrize(
    ("frame", "options", "code", "words"),
    [
        (tabulate(scores()), {}, "E1 crossed", "every run was measured on all 4 domain groups"),
        (tabulate(scores(), nested=True), {}, "E2 nested", "trained and measured on one domain group alone"),
        (tabulate(gaps(scores())), {}, "E3 mixed", "some runs lack a domain group or a block"),
        (tabulate(gaps(scores())), {"block": "seed"}, "E3 mixed", "some runs lack a domain group or a block"),
        (summaries(), {"run": None, "se": "se"}, "E4 summaries", "there are no runs"),
    ],
)
def test_the_engine_follows_from_the_design_and_the_notes_say_why(frame, options, code, words):
    assert methods(rows_of(frame, **options)) == {code}
    columns = {"factors": ["x"], "run": "run", "domain": "domain", "value": "y", "families": ["main"], **options}
    note = ab.attribute(frame, **columns).notes[0]
    assert note.startswith(f"Engine {code[:2]}")
    assert words in note


def test_a_block_that_other_cells_lack_is_no_gap_of_these():
    table = scores(3)
    table[:2, 4] = np.nan  # the third cell has one block more
    found = rows_of(tabulate(table), block="seed").query("level == 'b'")
    assert methods(found) == {"E1 crossed"}
    expected = stats.ttest_rel(table[1, :4].mean(-1), table[0, :4].mean(-1))
    assert found.p.iloc[0] == pytest.approx(expected.pvalue, rel=1e-12)


@pytest.mark.parametrize("block", [None, "seed"])
def test_the_mixed_model_is_the_closed_form_on_balanced_data(block):
    frame = tabulate(scores(3))
    options = {"variances": "pooled", "block": block}
    closed, mixed = (rows_of(frame, **options, engine=engine) for engine in ("crossed", "mixed"))
    assert methods(closed) == {"E1 crossed"}
    assert methods(mixed) == {"E3 mixed"}
    assert mixed.estimate.to_numpy() == pytest.approx(closed.estimate.to_numpy(), abs=1e-12)
    these = closed.target == "these_domains"
    assert mixed[these].se.to_numpy() == pytest.approx(closed[these].se.to_numpy(), rel=1e-8)
    assert mixed[these].df.to_numpy() == pytest.approx(closed[these].df.to_numpy(), rel=1e-6)
    forced = rows_of(frame, **options, engine="crossed")
    assert forced.p.tolist() == rows_of(frame, **options).p.tolist()


@pytest.mark.parametrize(
    ("frame", "options", "code"),
    [
        (tabulate(gaps(scores())), {"engine": "crossed"}, "R19"),
        (tabulate(scores(), nested=True), {"engine": "crossed"}, "R19"),
        (tabulate(scores()), {"engine": "nested"}, "R04"),
        (tabulate(gaps(scores())), {"engine": "nested"}, "R04"),
        (tabulate(scores(), nested=True), {"engine": "mixed"}, "R10"),
        (tabulate(scores()), {"engine": "summaries"}, "R17"),
        (tabulate(scores()).assign(se=0.1), {"engine": "summaries", "se": "se"}, "R17"),
        (tabulate(gaps(scores())), {"engine": "summaries"}, "R17"),
    ],
)
def test_an_engine_that_the_design_contradicts_is_refused(frame, options, code):
    found = rows_of(frame, **options)
    assert (found.refusal == code).all()
    assert found[["p", "p_adjusted", "low", "high"]].isna().all(axis=None)
    assert rows_of(frame, **{**options, "engine": "auto"}).refusal.eq("").all()


def test_summaries_by_domain_are_pooled():
    frame = summaries()
    found = rows_of(frame, run=None, se="se").set_index("target")
    a, b = (frame[frame.x == cell].sort_values("domain") for cell in "ab")
    contrast, se = b.y.to_numpy() - a.y.to_numpy(), np.hypot(a.se.to_numpy(), b.se.to_numpy())
    pooled = pool(contrast, se)
    new, these = found.loc["new_domains"], found.loc["these_domains"]
    assert (new.estimate, new.se, new.df) == pytest.approx((pooled.estimate, pooled.se, pooled.df), rel=1e-12)
    assert (new.low + new.high) / 2 == pytest.approx(new.estimate)
    assert (these.estimate, these.se) == pytest.approx((contrast.mean(), np.sqrt((se**2).sum()) / 5), rel=1e-12)
    assert these.p == pytest.approx(2 * stats.norm.sf(abs(contrast.mean()) / these.se))


def test_summaries_of_runs_of_their_own_know_their_errors_from_these_runs():
    table = scores()
    frame = tabulate(table, nested=True).assign(se=1e-3)  # of one score on its test set: not the run's
    summed = rows_of(frame, engine="summaries", se="se").set_index("target")
    nested = rows_of(frame).set_index("target")
    for column in ("estimate", "se", "df", "p"):
        assert summed[column]["these_domains"] == pytest.approx(nested[column]["these_domains"], rel=1e-12)
    squares = (table.var(1, ddof=1) / 5).sum(0)
    pooled = pool(table[1].mean(0) - table[0].mean(0), np.sqrt(squares))
    assert summed.se["new_domains"] == pytest.approx(pooled.se, rel=1e-12)


def test_summaries_with_two_rows_of_a_domain_are_refused():
    frame = summaries()
    doubled = pd.concat([frame, frame.iloc[:1]])
    assert (rows_of(doubled, run=None, se="se").refusal == "R04").all()


@pytest.mark.parametrize(("seeds", "code"), [(1, "R01"), (2, "R02")])
@pytest.mark.parametrize("block", [None, "seed"])
def test_few_runs_of_their_own_in_every_domain_speak_of_new_domains_alone(seeds, code, block):
    table = scores(seeds=seeds, domains=8)
    found = rows_of(tabulate(table, nested=True), block=block).set_index("target")
    assert found.refusal.to_dict() == {"these_domains": code, "new_domains": ""}
    assert np.isnan(found.p["these_domains"])
    expected = stats.ttest_1samp(table[1].mean(0) - table[0].mean(0), 0)
    if seeds == 1:
        assert found.p["new_domains"] == pytest.approx(expected.pvalue)
    assert found.p["new_domains"] >= expected.pvalue * (1 - 1e-9)
    assert found.df["new_domains"] == 7
    shared = rows_of(tabulate(table), block=block)  # one run on all domains replicates nothing
    assert (shared.refusal == code).all()
    two = rows_of(tabulate(table[:, :, :2], nested=True), block=block).set_index("target")
    assert two.refusal["new_domains"] == "R12"
    same = table.copy()
    same[1] = same[0] + 1
    if seeds == 1:
        assert rows_of(tabulate(same, nested=True)).set_index("target").refusal["new_domains"] == "R05"


def test_one_run_in_one_domain_of_a_nested_study():
    table = scores(domains=6)
    table[1, 1:, 3] = np.nan
    found = rows_of(tabulate(table, nested=True)).set_index("target")
    assert found.refusal.to_dict() == {"these_domains": "R01", "new_domains": ""}
    expected = stats.ttest_1samp(np.nanmean(table[1], 0) - table[0].mean(0), 0)
    assert found.p["new_domains"] == pytest.approx(expected.pvalue)
    assert "t over domains" in found.method["new_domains"]


def test_sign_flips_take_whole_blocks_and_runs_on_every_domain():
    table = scores(seeds=9)
    table[1, 3] = table[0, 5, 1] = np.nan
    found = rows_of(tabulate(table), block="seed", test="sign_flip").set_index("target").loc["these_domains"]
    whole = np.delete(table, [3, 5], axis=1)
    assert found.p == SignFlips((whole[1] - whole[0]).mean(-1)).p_value()
    assert (found.n_seeds, found.method) == (7, "E1 crossed, blocked by seed, sign flips")
    with pytest.raises(PlanError, match="sign flips need runs on every domain"):
        rows_of(tabulate(scores(), nested=True), block="seed", test="sign_flip")


def test_the_form_of_nested_runs_is_welchs_whatever_was_declared():
    frame = tabulate(scores(), nested=True)
    plain, declared = (rows_of(frame, variances=variances) for variances in ("welch", "pooled"))
    assert declared.method.tolist() == plain.method.tolist()
    assert plain.method.str.startswith("E2 nested, Welch").all()
    assert declared.p.tolist() == plain.p.tolist()
    columns = {"factors": ["x"], "run": "run", "domain": "domain", "value": "y"}
    notes = ab.attribute(frame, **columns, variances="pooled").notes
    (nested,) = (note for note in notes if note.startswith("Engine E2"))
    assert "(Welch)" in nested
    (crossed,) = (note for note in notes if note.startswith("Engine E1"))  # of each domain for itself
    assert "each run has one score in its domain group" in crossed


def test_folds_of_one_data_set_are_corrected_for_what_they_share():
    frame = tabulate(scores(domains=1, seeds=10)).rename(columns={"seed": "fold"})
    sides = [frame[frame.x == cell].sort_values("fold").y.to_numpy() for cell in "ba"]
    expected: Student = correlated_t(sides[0] - sides[1], 0.1)
    found = rows_of(frame, run=None, fold="fold").set_index("target").loc["these_domains"]
    assert (found.estimate, found.se, found.df) == pytest.approx((expected.estimate, expected.se, 9), rel=1e-12)
    assert found.p == pytest.approx(expected.p_value(), rel=1e-12)
    assert "corrected for shared training data" in found.method


def test_folds_of_a_data_set_among_several_are_corrected_too():
    frame = tabulate(scores(seeds=10), nested=True).rename(columns={"seed": "fold"})
    found = rows_of(frame, run=None, fold="fold", families=["domain"]).set_index("domain")
    one = frame[frame.domain == "d01"].pivot(index="fold", columns="x", values="y")
    assert found.p["d01"] == pytest.approx(correlated_t(one.b - one.a, 0.1).p_value(), rel=1e-12)


@pytest.mark.parametrize("engine", ["crossed", "mixed", "summaries"])
def test_folds_are_judged_by_no_engine_that_does_not_correct_them(engine):
    frame = tabulate(scores(), nested=True).rename(columns={"seed": "fold"})
    found = rows_of(frame, run=None, fold="fold", engine=engine)
    assert (found.refusal == "R18").all()
