"""Every refusal is triggered once, and once nearly: no p and no verdict beside it, the estimate kept."""

import numpy as np
import pandas as pd
import pytest

import ablate as ab
from ablate.analyses import Comparison
from ablate.plans import plan
from ablate.stats import refusals
from tests.stats.samples import make_records, noisy


def frame(seeds=5, domains=3, *, cells=("raw", "clean"), rng=0, run_sd=1.0):
    """A row per cell, seed and domain; a clear effect."""
    rng = np.random.default_rng(rng)
    rows = []
    for c, cell in enumerate(cells):
        for seed in range(seeds):
            run = 3 * c + run_sd * rng.normal()
            rows += [
                {"data": cell, "seed": seed, "domain": f"d{d}", "score": run + run_sd * rng.normal()}
                for d in range(domains)
            ]
    return pd.DataFrame(rows)


def judge(data, *, families=("main",), domain="domain", **options):
    return ab.attribute(
        data, factors=["data"], run="seed", domain=domain, value="score", families=families, **options
    ).frame.set_index("target")


def assert_refused(row, code, *, interval=False):
    assert (row.refusal, row.verdict) == (code, "refused")
    assert np.isnan([row.p, row.p_adjusted, row.p_equivalence, row.statistic]).all()
    assert np.isfinite(row.low) == np.isfinite(row.high) == interval
    assert row.note


def assert_tested(row):
    assert row.refusal == ""
    assert np.isfinite([row.p, row.p_adjusted, row.low, row.high]).all()
    assert row.verdict != "refused"


def test_r01_one_run_per_cell_and_r02_two():
    for blocked in ({}, {"block": "seed"}):
        for seeds, code in ((1, "R01"), (2, "R02")):
            found = judge(frame(seeds), margin=0.5, **blocked)
            for target in found.index:
                assert_refused(found.loc[target], code, interval=code == "R02")
                assert found.estimate.notna().all()
        found = judge(frame(3), **blocked)
        assert_tested(found.loc["these_domains"])
        assert_tested(found.loc["new_domains"])


def test_r03_sign_flips_of_five_blocks():
    found = judge(frame(5), block="seed", test="sign_flip")
    assert_refused(found.loc["these_domains"], "R03")
    assert "0.0625" in found.loc["these_domains"].note
    assert_tested(found.loc["new_domains"])  # that one is a t test
    near = judge(frame(6), block="seed", test="sign_flip").loc["these_domains"]
    assert_tested(near)
    assert near.p == 2 / 2**6
    assert_tested(judge(frame(5), block="seed", test="sign_flip", alpha=0.07).loc["these_domains"])


def test_r04_rows_of_one_run_are_not_replicates():
    data = frame(5)
    found = judge(data, domain=None)  # the domains of a run would be its replicates
    for target in found.index:
        assert_refused(found.loc[target], "R04")
    assert found.estimate.iloc[0] == pytest.approx(judge(data).estimate.iloc[0])
    assert_tested(judge(data).loc["these_domains"])
    checkpoints = pd.concat([data, data[data.seed == 0].assign(score=0.0)])
    assert_refused(judge(checkpoints).loc["these_domains"], "R04")


def test_r05_identical_seeds():
    data = frame(5)
    same = data.assign(score=data.groupby(["data", "domain"]).score.transform("first"))
    half = same.where(same.data == "raw", data)
    for bad in (same, half):
        assert_refused(judge(bad).loc["these_domains"], "R05")
        assert_refused(judge(bad).loc["new_domains"], "R05")
    assert_tested(judge(same.assign(score=same.score + 1e-6 * data.score)).loc["these_domains"])


def test_r05_a_run_counted_twice():
    data = frame(5, domains=6)
    copy = data[(data.data == "clean") & (data.seed == 0)].assign(seed=4)
    doubled = pd.concat([data[(data.data == "raw") | (data.seed < 4)], copy])
    assert_refused(judge(doubled).loc["these_domains"], "R05")
    few = doubled[doubled.domain < "d5"]  # on five scores a coincidence is possible
    assert_tested(judge(few).loc["these_domains"])


def test_r05_a_switch_that_is_not_wired():
    raw = frame(5, cells=("raw",))
    found = judge(pd.concat([raw, raw.assign(data="clean")]), block="seed")
    assert_refused(found.loc["these_domains"], "R05")
    assert found.estimate.iloc[0] == 0
    shifted = pd.concat([raw, raw.assign(data="clean", score=raw.score + 0.25)])
    assert_refused(judge(shifted, block="seed").loc["these_domains"], "R05")


def test_one_domain_without_spread_is_not_refused_if_the_seeds_differ():
    data = frame(5)
    saturated = data.assign(score=data.score.mask((data.domain == "d0") & (data.data == "clean"), 1.0))
    found = judge(saturated, families=("domain",))
    assert (found.refusal == "").all()


def failing(n_raw, n_clean):
    study = plan({"data": ["raw", "clean"]}, seeds=6, metric="accuracy", blocking="none", domains=["d0", "d1", "d2"])
    quota = {"raw": n_raw, "clean": n_clean}
    return make_records(study, noisy({}, domains=3), failed=lambda t: t.seed < quota[t.cell["data"]])


def test_r06_failures_that_differ_by_cell():
    found = ab.attribute(failing(0, 2), families=["main"]).frame.set_index("target")
    assert_refused(found.loc["these_domains"], "R06")
    assert "2 of data=clean" in found.loc["these_domains"].note
    near = ab.attribute(failing(2, 2), families=["main"]).frame.set_index("target")
    assert_tested(near.loc["these_domains"])
    assert "8 of 12 trials complete" in near.loc["these_domains"].note
    assert (near.n_runs == 8).all()


def test_r06_gives_the_worst_case_within_bounds():
    records = failing(0, 2)
    found = ab.attribute(records, families=["main"], bounds=(0, 1)).frame.iloc[0]
    means = records.complete.groupby("data").value.mean()
    low, high = ((4 * means["clean"] + 2 * bound) / 6 - means["raw"] for bound in (0, 1))
    assert f"between {low:.4g} and {high:.4g}" in found.note


def test_missing_trials_are_no_failures():
    study = plan({"data": ["raw", "clean"]}, seeds=6, metric="accuracy", domains=["d0", "d1", "d2"])
    records = make_records(study, noisy({}, domains=3), missing=lambda t: t.cell["data"] == "raw" and t.seed > 3)
    row = ab.attribute(records, families=["main"]).frame.iloc[0]
    assert_tested(row)
    assert row.method.startswith("E3 mixed, blocked by seed")
    assert (row.n_seeds, row.n_runs) == (4, 10)
    assert row.note.startswith("10 of 12 trials complete")
    row = ab.attribute(records, families=["main"], engine="crossed").frame.iloc[0]  # only whole blocks
    assert_tested(row)
    assert (row.n_seeds, row.n_runs) == (4, 8)
    assert "10 of 12 trials complete, 8 in blocks" in row.note


def test_r10_a_contrast_without_its_cells():
    study = plan({"data": ["raw", "clean"], "loss": ["ce", "ls"]}, design="one_at_a_time", metric="accuracy")
    records = make_records(study, noisy({}))
    found = ab.attribute(records, families=["main", "simple"])
    for row in found.select(family="main").frame.itertuples():
        assert_refused(row, "R10")
        assert "data=clean loss=ls" in row.note
        assert row.family_size == 0
    for row in found.select(family="simple").frame.itertuples():
        assert_tested(row)
        assert row.family_size == 2


def test_r10_a_cell_that_has_not_run_yet():
    study = plan({"data": ["raw", "clean", "more"]}, metric="accuracy")
    records = make_records(study, noisy({}), missing=lambda t: t.cell["data"] == "more")
    found = ab.attribute(records, families=["main"]).select(target="these_domains").frame.set_index("level")
    assert_refused(found.loc["more"], "R10")
    assert_tested(found.loc["clean"])
    assert (found.family_size == 2).all()  # the family is the declared one


def test_r11_no_margin():
    study = plan({"data": ["raw", "clean"]}, metric="accuracy", domains=["d0", "d1", "d2"])
    question = Comparison("as good", {"data": "clean"}, {"data": "raw"})
    records = make_records(study, noisy({}, domains=3))
    row = ab.attribute(records, families=["noninferiority"], comparisons=[question]).frame.iloc[0]
    assert_refused(row, "R11")
    assert np.isfinite(row.estimate)
    for margins in ({"margin": 0.05}, {"comparisons": [Comparison("x", question.cell, question.versus, 0.05)]}):
        options = {"comparisons": [question], **margins}
        row = ab.attribute(records, families=["noninferiority"], **options).frame.iloc[0]
        assert_tested(row)
        assert row.margin == 0.05
    assert (ab.attribute(records, families=["main"]).frame.verdict != "equivalent").all()


@pytest.mark.parametrize("domains", [1, 2, 3])
def test_r12_fewer_than_three_domains_say_nothing_about_new_ones(domains):
    found = judge(frame(5, domains))
    assert_tested(found.loc["these_domains"])
    if domains < 3:
        assert_refused(found.loc["new_domains"], "R12")
        assert np.isfinite(found.loc["new_domains"].estimate)
    else:
        assert_tested(found.loc["new_domains"])


def test_r19_a_run_that_lacks_a_domain_has_no_closed_form():
    data = frame(5)
    ragged = data[~((data.data == "clean") & (data.seed == 3) & (data.domain == "d1"))]
    assert_refused(judge(ragged, engine="crossed").loc["these_domains"], "R19")
    found = judge(ragged)
    assert_tested(found.loc["these_domains"])
    assert found.method.str.startswith("E3 mixed").all()
    assert judge(data).method.str.startswith("E1 crossed").all()
    three = pd.concat([ragged, frame(5, cells=("more",), rng=9)])
    found = judge(three)
    assert found[found.level == "clean"].method.iloc[0].startswith("E3")
    assert found[found.level == "more"].method.iloc[0].startswith("E1")


def test_a_missing_severity_is_refused():
    study = plan(
        {"data": ["raw", "clean"]},
        metric="accuracy",
        domains={"clean": ["c"], "noise": ["c/n1", "c/n2"], "blur": ["b"]},
    )
    shifts = [("c", "none"), ("c", "n1"), ("c", "n2"), ("b", "none")]

    def score(trial, lacking=()):
        rng = np.random.default_rng(int(trial.id, 16))
        places = [p for p in shifts if not (p in lacking and trial.seed == 1)]
        return [{"domain": d, "shift": s, "metric": "accuracy", "value": rng.random()} for d, s in places]

    whole = ab.attribute(make_records(study, score), families=["main"])
    assert_tested(whole.frame.iloc[0])
    assert any("noise (2)" in note for note in whole.notes)
    row = ab.attribute(make_records(study, lambda t: score(t, [("c", "n2")])), families=["main"]).frame.iloc[0]
    assert_refused(row, "R19")
    assert "lacks c/n2" in row.note


def test_a_refusal_counts_in_its_family():
    data = frame(5, cells=("raw", "clean", "more"))
    flat = data.score.mask(data.data == "more", 5.0)
    found = judge(data.assign(score=flat)).loc["these_domains"].set_index("level")
    assert_refused(found.loc["more"], "R05")
    assert found.loc["clean"].p_adjusted == pytest.approx(2 * found.loc["clean"].p)
    assert found.loc["clean"].level_ci == pytest.approx(0.975)


def test_notes_say_what_to_do():
    effects = ab.attribute(frame(1), factors=["data"], run="seed", domain="domain", value="score")
    assert any(note.startswith("R01") and "three seeds" in note for note in effects.notes)


def test_every_refusal_has_a_code_of_its_own_and_a_remedy():
    named = [value for value in vars(refusals).values() if isinstance(value, refusals.Refusal)]
    assert len({r.code for r in named}) == len(named) == 20
    assert all(r.sentence and r.remedy for r in named)
