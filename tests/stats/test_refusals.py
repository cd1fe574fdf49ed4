"""Every refusal is triggered once, and once nearly: no p and no verdict beside it, the estimate kept."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import ablate as ab
from ablate.analyses import Comparison
from ablate.plans import plan
from ablate.stats import refusals
from ablate.stats.folds import correlated_t
from ablate.stats.sequential import Spending
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
    few = doubled[doubled.domain < "d2"]  # on two scores a coincidence is possible
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


def test_r07_a_cell_chosen_by_its_tuning_trials():
    data = frame(5)
    data["phase"] = data.data.map({"raw": "confirm", "clean": "search"})
    found = judge(data, phase="phase")
    for target in found.index:
        assert_refused(found.loc[target], "R07")
        assert "data=clean" in found.loc[target].note
    rerun = data[data.data == "clean"].assign(phase="confirm", seed=data.seed + 5, score=frame(5, rng=1).score)
    found = judge(pd.concat([data, rerun]), phase="phase")
    expected = judge(pd.concat([data[data.data == "raw"], rerun]))
    for target in found.index:
        assert_tested(found.loc[target])
        assert found.loc[target].p == expected.loc[target].p


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_r08_a_number_of_seeds_that_is_no_look(spending):
    found = judge(frame(5), looks=(4, 8), spending=spending, margin=0.5)
    for target in found.index:
        assert_refused(found.loc[target], "R08")
        assert "5 seeds, looks at 4, 8" in found.loc[target].note
    for look, seeds in enumerate((4, 8)):
        near = judge(frame(seeds), looks=(4, 8), spending=spending).loc["these_domains"]
        assert_tested(near)
        rule = Spending(spending, 0.05, (4, 8))
        assert near.p == pytest.approx(rule.repeated_p(judge(frame(seeds)).loc["these_domains"].p, look))
        assert near.level_ci == pytest.approx(rule.interval_level(look))
        assert (near.p < 0.05) == (near.low > 0 or near.high < 0)


def test_r08_holds_for_every_family():
    data = frame(5, domains=6, cells=("raw", "clean", "more"), run_sd=5.0)  # so that no arm always wins
    families = ("omnibus", "improvement", "best", "prediction", "shapley", "iqm", "domain", "pairs")
    options = {"factors": ["data"], "run": "seed", "domain": "domain", "value": "score", "families": families}
    found = ab.attribute(data, **options, looks=(4, 8)).frame
    assert set(found.family) == set(families)
    for row in found.itertuples():
        assert (row.refusal, row.verdict) == ("R08", "refused"), row.family
        assert np.isnan([row.p, row.p_adjusted, row.low, row.high]).all(), row.family
    near = ab.attribute(data, **options, looks=(5, 8)).frame
    assert (near.refusal == "").all()
    wider = near.level_ci[near.family == "best"] > 1 - 0.05
    assert wider.all()


def test_r09_unequal_tuning():
    data = frame(5)
    for tried in ({"raw": 0, "clean": 50}, {"raw": np.nan, "clean": 50}):
        found = judge(data.assign(tuned=data.data.map(tried)), hpo_trials="tuned")
        assert_refused(found.loc["these_domains"], "R09")
        assert_refused(found.loc["new_domains"], "R09")
    assert "data=clean: 50" in found.loc["new_domains"].note
    for tried in ({"raw": 50, "clean": 50}, {"raw": np.nan, "clean": np.nan}):
        assert_tested(judge(data.assign(tuned=data.data.map(tried)), hpo_trials="tuned").loc["these_domains"])


def test_r13_heterogeneity_without_the_error_of_the_test_set():
    data = frame(5, domains=6)
    data["score"] += 9 * (data.data == "clean") * data.domain.map(lambda name: int(name[1:]))
    row = judge(data, families=("heterogeneity",)).iloc[0]
    assert_refused(row, "R13")
    near = judge(data.assign(se=0.5), families=("heterogeneity",), se="se").iloc[0]
    assert_tested(near)
    assert (near.verdict, near.quantity) == ("varies", "sd")
    few = data[data.domain < "d4"].assign(se=0.5)
    assert_refused(judge(few, families=("heterogeneity",), se="se").iloc[0], "R12")
    lacking = data.assign(se=np.where(data.index == 7, np.nan, 0.5))
    assert_refused(judge(lacking, families=("heterogeneity",), se="se").iloc[0], "R13")


def test_r14_is_a_flag_beside_a_test():
    rng = np.random.default_rng(0)
    data = frame(5, domains=6)
    flat = data.assign(score=data.score - data.groupby(["data", "domain"]).score.transform("mean"))
    flat["score"] += rng.normal(size=len(flat)) * 1e-3
    found = judge(flat)
    assert_tested(found.loc["new_domains"])
    assert "R14" in found.loc["new_domains"].method
    assert "R14" not in found.loc["these_domains"].method
    assert found.loc["new_domains"].se == found.loc["these_domains"].se  # the largest variance stands
    varied = data.assign(score=data.score + 9 * (data.data == "clean") * data.domain.map(lambda d: int(d[1:])))
    assert "R14" not in judge(varied).loc["new_domains"].method


def test_r15_shares_of_nothing():
    rng = np.random.default_rng(3)

    def table(gain):
        rows = [
            {"a": a, "b": b, "run": f"{a}{b}{s}", "y": gain * (a + 2 * b) + rng.normal()}
            for a in (0, 1)
            for b in (0, 1)
            for s in range(6)
        ]
        columns = {"factors": ["a", "b"], "run": "run", "value": "y", "families": ["share", "shapley"]}
        return ab.attribute(pd.DataFrame(rows), **columns).select(target="these_domains").frame

    nothing, near = table(0.0), table(3.0)
    for row in nothing[nothing.family == "share"].itertuples():
        assert_refused(row, "R15")
    for row in nothing[nothing.family == "shapley"].itertuples():
        assert_tested(row)
    assert (near.refusal == "").all()
    assert np.isfinite(near[["low", "high"]]).all(axis=None)


def test_r16_other_test_data():
    data = frame(5)
    by_cell = judge(data.assign(kind=data.data), eval_hash="kind")
    for target in by_cell.index:
        assert_refused(by_cell.loc[target], "R16")
    one_run = data.data + ((data.seed == 2) & (data.domain == "d1")).map(str)
    assert_refused(judge(data.assign(kind=one_run.str[-5:]), eval_hash="kind").loc["these_domains"], "R16")
    for near in (data.domain, "a+b/c=", None):  # hashes are of a domain; some have signs in them; some are unknown
        assert_tested(judge(data.assign(kind=near), eval_hash="kind").loc["these_domains"])


def test_one_model_per_cell_speaks_of_its_examples_alone():
    rng = np.random.default_rng(0)
    rows = [
        {"data": data, "seed": seed, "item": item, "score": rng.normal() + (data == "clean"), "kind": data}
        for data in ("raw", "clean")
        for seed in range(3)
        for item in range(40)
    ]
    data = pd.DataFrame(rows)
    one = data[data.seed == 0]
    found = judge(one, domain=None, example="item")
    assert_refused(found.loc["these_domains"], "R01")
    expected = stats.ttest_rel(*(one[one.data == level].score for level in ("clean", "raw")))
    assert_tested(found.loc["new_items"])
    assert found.loc["new_items"].p == pytest.approx(expected.pvalue)
    assert_refused(judge(one, domain=None, example="item", eval_hash="kind").loc["new_items"], "R16")
    assert_refused(judge(one, domain=None, engine="examples").loc["new_items"], "R04")  # examples that are not named
    assert_refused(judge(frame(1, 1), engine="examples").loc["new_items"], "R10")
    assert_refused(judge(data, domain=None, example="item", engine="examples").loc["new_items"], "R10")  # which run?
    assert "new_items" not in judge(data, domain=None, example="item").index


def test_r17_summaries_of_shared_runs():
    data = frame(5, domains=4).assign(se=0.1)
    found = judge(data, engine="summaries", se="se")
    for target in found.index:
        assert_refused(found.loc[target], "R17")
    alone = data[data.seed == 0].drop(columns="seed")
    near = ab.attribute(alone, factors=["data"], domain="domain", value="score", se="se", families=["main"]).frame
    for row in near.itertuples():
        assert_tested(row)


@pytest.mark.parametrize("name", ["fold", "cv_fold", "kfold", "Fold-id", "folds", "cv", "outer_fold", "fold1"])
def test_r18_folds_are_no_replicates(name):
    data = frame(5, domains=1).drop(columns="domain").rename(columns={"seed": name})
    columns = {"factors": ["data"], "value": "score", "families": ["main"]}
    found = ab.attribute(data, run=name, **columns).select(target="these_domains").frame.iloc[0]
    assert_refused(found, "R18")
    paired = data.assign(run=data.data + data[name].map(str))
    assert_refused(ab.attribute(paired, run="run", block=name, **columns).frame.iloc[0], "R18")
    near = ab.attribute(data, fold=name, **columns).select(target="these_domains").frame.iloc[0]
    assert_tested(near)
    sides = [data[data.data == level].sort_values(name).score.to_numpy() for level in ("clean", "raw")]
    assert near.p == pytest.approx(correlated_t(sides[0] - sides[1], 1 / 5).p_value())


@pytest.mark.parametrize("name", ["seed", "folder", "unfolded", "recv", "run"])
def test_r18_is_about_folds_alone(name):
    data = frame(5, domains=1).drop(columns="domain").rename(columns={"seed": name})
    found = ab.attribute(data, factors=["data"], run=name, value="score", families=["main"]).frame.iloc[0]
    assert_tested(found)


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
    assert sorted(r.code for r in named) == [f"R{n:02}" for n in range(1, len(named) + 1)]
    assert all(r.sentence and r.remedy for r in named)
