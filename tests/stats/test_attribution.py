import subprocess
import sys
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import ablate as ab
from ablate.analyses import Analysis, Comparison
from ablate.errors import PlanError, RecordsError
from ablate.plans import plan
from ablate.stats.effects import COLUMNS
from tests.stats.samples import case, make_records, noisy, rows_of, tabulate

EFFECTS = {("data", "clean"): 0.05, ("size", "l"): 0.10}
QUESTION = Comparison("small", {"size": "s", "data": "clean"}, {"size": "l", "data": "raw"}, margin=0.08)
STUDY = plan(
    {"data": ["raw", "clean"], "loss": ["ce", "ls"], "size": ["s", "l"]},
    metric="accuracy",
    margin=0.02,
    seeds=5,
    domains=["d0", "d1", "d2", "d3"],
    analysis=Analysis(comparisons=(QUESTION,)),
)
RECORDS = make_records(STUDY, noisy(EFFECTS))


@cache
def judged():
    """What every test may read, once."""
    return ab.attribute(RECORDS)


def long(records):
    """The records as anybody's frame."""
    return records.complete[["trial", "seed", "data", "loss", "size", "domain", "value"]].rename(
        columns={"value": "acc"}
    )


def verdicts(effects, **values):
    rows = effects.select(domain="all", **values).frame
    return dict(zip(zip(rows.factor, rows.level, strict=True), rows.verdict, strict=True))


def test_planted_effects_are_found_and_absent_ones_are_not():
    effects = judged()
    assert list(effects.frame) == list(COLUMNS)
    for target in ("these_domains", "new_domains"):
        assert verdicts(effects, family="main", target=target) == {
            ("data", "clean"): "better", ("loss", "ls"): "equivalent", ("size", "l"): "better",
        }  # fmt: skip
        assert set(verdicts(effects, family="interaction", target=target).values()) <= {"equivalent", "undecided"}
        assert verdicts(effects, family="noninferiority", target=target) == {
            ("small", "size=s data=clean"): "non-inferior"
        }
    main = effects.select(family="main", target="these_domains", domain="all").frame.set_index("factor")
    assert main.estimate.to_dict() == pytest.approx({"data": 0.05, "loss": 0.0, "size": 0.1}, abs=0.01)
    assert (main.low < main.estimate).all()
    assert set(effects.frame.family) == {"main", "simple", "interaction", "domain", "noninferiority"}


def test_a_row_says_what_is_behind_it():
    effects = judged()
    row = effects.select(family="main", factor="size", target="new_domains").frame.iloc[0]
    assert (row.n_runs, row.n_seeds, row.n_domains, row.family_size) == (40, 5, 4, 3)
    assert len(set(row.trials)) == 40
    assert row.method.startswith("E1 crossed, blocked by seed")
    assert row.level_ci == pytest.approx(1 - 0.05 / 3)
    assert (row.low, row.high) == pytest.approx(stats.t(row.df, row.estimate, row.se).interval(row.level_ci))
    assert row.p == pytest.approx(2 * stats.t.sf(abs(row.statistic), row.df))
    simple = effects.select(family="simple", factor="data", target="these_domains").frame.iloc[0]
    assert set(simple.trials) <= set(RECORDS.complete.trial)
    assert (simple.n_runs, simple.family_size) == (10, 7)


def test_the_blocked_estimate_is_a_paired_t_on_domain_averages():
    means = long(RECORDS).groupby(["data", "seed"]).acc.mean()
    expected = stats.ttest_rel(means["clean"], means["raw"])
    row = judged().select(family="main", factor="data", target="these_domains").frame.iloc[0]
    assert (row.estimate, row.statistic, row.p, row.df) == pytest.approx(
        ((means["clean"] - means["raw"]).mean(), expected.statistic, expected.pvalue, 4)
    )


def test_holm_within_each_family():
    frame = judged().frame
    for (family, _), rows in frame.groupby(["family", "target"]):
        m = len(rows)
        assert (rows.family_size == m).all()
        order = rows.sort_values("p")
        expected = np.minimum(1, np.maximum.accumulate(order.p.to_numpy() * np.arange(m, 0, -1)))
        assert order.p_adjusted.to_numpy() == pytest.approx(expected), family


def test_effects_per_domain_are_those_of_the_domain_alone():
    effects = judged().select(family="domain", domain="d2")
    assert set(effects.frame.target) == {"these_domains"}
    frame = long(RECORDS)
    alone = ab.attribute(
        frame[frame.domain == "d2"], factors=["data", "loss", "size"], run="trial", block="seed", domain="domain",
        value="acc", families=["main"],
    ).select(target="these_domains").frame  # fmt: skip
    for column in ("factor", "level", "estimate", "se", "df", "p"):
        assert effects.frame[column].tolist() == alone[column].tolist()
    assert (effects.frame.family_size == 3 * 4).all()


def test_a_frame_gives_what_the_records_give():
    options = {"margin": 0.02, "comparisons": list(STUDY.analysis.comparisons)}
    mine = ab.attribute(
        long(RECORDS),
        factors=["data", "loss", "size"],
        run="trial",
        block="seed",
        domain="domain",
        value="acc",
        **options,
    )
    theirs = judged()
    numbers = [c for c in COLUMNS if c not in ("metric", "trials")]
    pd.testing.assert_frame_equal(mine.frame[numbers], theirs.frame[numbers])


@settings(max_examples=3)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_is_nothing(random):
    frame = long(RECORDS)[lambda f: f["loss"] == "ce"]
    order = random.sample(range(len(frame)), len(frame))
    columns = {"run": "trial", "block": "seed", "domain": "domain", "value": "acc", "families": ["main", "interaction"]}
    levels = {"data": ["raw", "clean"], "size": ["s", "l"]}
    one, two = (ab.attribute(f, factors=levels, **columns).frame for f in (frame, frame.iloc[order]))
    for column in ("estimate", "se", "df", "p"):
        assert one[column].to_numpy() == pytest.approx(two[column].to_numpy(), rel=1e-9)


def test_swapping_the_baseline_flips_the_sign():
    columns = {"factors": ["data", "loss"], "run": "trial", "block": "seed", "domain": "domain", "value": "acc"}
    frame = long(RECORDS)[lambda f: f["size"] == "s"]
    one = ab.attribute(frame, families=["main"], **columns).frame
    two = ab.attribute(frame, families=["main"], baseline={"data": "clean", "loss": "ls"}, **columns).frame
    for column, sign in (("estimate", -1), ("statistic", -1), ("se", 1), ("p", 1)):
        assert one[column].to_numpy() == pytest.approx(sign * two[column].to_numpy())
    flipped = {"better": "worse", "undecided": "undecided"}
    assert [flipped[v] for v in one.verdict] == two.verdict.tolist()


def test_a_minimised_metric_turns_the_verdicts():
    effects = ab.attribute(RECORDS, direction="minimize", families=["main"])
    assert verdicts(effects, family="main", target="these_domains") == {
        ("data", "clean"): "worse", ("loss", "ls"): "equivalent", ("size", "l"): "worse",
    }  # fmt: skip
    assert "direction 'minimize'" in effects.notes[-1]


def test_strata_are_judged_apart():
    study = plan({"data": ["raw", "clean"], "size": ["s", "l"]}, across=["size"], metric="accuracy", seeds=5)
    records = make_records(study, noisy({("data", "clean"): 0.1}))
    effects = ab.attribute(records)
    assert effects.frame.stratum.unique().tolist() == ["size=s", "size=l"]
    assert (effects.select(family="main").frame.family_size == 1).all()
    small = records.complete[records.complete["size"] == "s"]
    alone = ab.attribute(small, factors=["data"], run="trial", block="seed", domain="domain", value="value")
    together = effects.select(stratum="size=s", family="main").frame
    assert together.p.tolist() == pytest.approx(alone.select(family="main").frame.p.tolist())
    question = Comparison("only small", {"size": "s", "data": "clean"}, {"size": "s", "data": "raw"}, 0.1)
    found = ab.attribute(records, comparisons=[question]).select(family="noninferiority").frame
    assert found.stratum.tolist() == ["size=s"] * 2
    with pytest.raises(PlanError, match="different strata"):
        ab.attribute(records, comparisons=[Comparison("x", {"size": "s"}, {"size": "l"}, 0.1)])


def test_leave_one_out_stands_beside_its_total():
    study = plan({"a": ["on", "off"], "b": ["on", "off"]}, design="leave_one_out", metric="accuracy", seeds=6)
    records = make_records(study, noisy({("a", "on"): 0.1, ("b", "on"): 0.2}))
    effects = ab.attribute(records)
    frame = effects.select(family="leave_one_out", target="these_domains", domain="all").frame.set_index("factor")
    assert frame.estimate.to_dict() == pytest.approx({"a": 0.1, "b": 0.2, "a × b": 0.3}, abs=0.02)
    assert (frame.verdict == "better").all()
    total = (
        f"sum to {frame.estimate['a'] + frame.estimate['b']:.4g} beside a total gain of {frame.estimate['a × b']:.4g}"
    )
    assert any(total in note for note in effects.notes)
    per_domain = effects.select(family="domain").frame
    assert set(per_domain.factor) == {"a", "b", "a × b"}  # no main effects here: the design's own family


def test_a_ladder_is_judged_step_by_step():
    study = plan({"data": ["raw", "clean"], "size": ["s", "l"]}, design="cumulative", metric="accuracy", seeds=6)
    effects = ab.attribute(make_records(study, noisy(EFFECTS)))
    frame = effects.select(family="step", target="these_domains", domain="all").frame
    assert frame.estimate.tolist() == pytest.approx([0.05, 0.1], abs=0.02)


def test_dunnett_for_simple_effects_on_these_domains():
    effects = ab.attribute(RECORDS, correction="dunnett", variances="pooled")
    simple = effects.select(family="simple", target="these_domains").frame
    assert (simple.correction == "dunnett").all()
    assert (effects.select(family="simple", target="new_domains").frame.correction == "holm").all()
    assert (effects.select(family="main", target="new_domains").frame.correction == "holm").all()
    assert (simple.df == 4 * 7).all()
    assert (simple.level_ci < 1 - 0.05 / 7).all()
    assert (simple.p <= simple.p_adjusted).all()
    assert ((simple.p_adjusted < 0.05) == ((simple.low > 0) | (simple.high < 0))).all()


def test_dunnett_of_plantgrowth_end_to_end():
    frame = case("plantgrowth.csv").assign(run=range(30))
    expected = case("tests_expected.json")["plantgrowth_dunnett"]
    effects = ab.attribute(
        frame,
        factors=["group"],
        run="run",
        value="weight",
        families=["simple"],
        correction="dunnett",
        variances="pooled",
    ).select(target="these_domains")
    assert effects.frame.statistic.tolist() == pytest.approx(expected["t"], rel=1e-8)
    assert effects.frame.p_adjusted.tolist() == pytest.approx(expected["p"], abs=3e-4)


def test_sign_flips_end_to_end():
    study = plan({"data": ["raw", "clean"]}, metric="accuracy", seeds=8, margin=0.08, domains=["d0", "d1", "d2", "d3"])
    effects = ab.attribute(make_records(study, noisy(EFFECTS)), test="sign_flip", families=["main"])
    row = effects.select(target="these_domains").frame.iloc[0]
    assert (row.p, row.verdict) == (2 / 2**8, "equivalent")
    assert row.note == "non-zero"
    assert row.p_equivalence == 1 / 2**8
    assert np.isnan(row.statistic)
    assert "sign flips" in row.method


@pytest.mark.parametrize(
    "options", [{"block": None}, {"block": "seed", "correction": "dunnett", "variances": "pooled"}]
)
def test_sign_flips_need_blocks_and_holm(options):
    with pytest.raises(PlanError):
        ab.attribute(long(RECORDS), factors=["data"], run="trial", value="acc", test="sign_flip", **options)


def test_only_what_is_evidence_counts():
    space = {"lr": {"low": 0.1, "high": 1.0}}
    tuned = plan({"data": ["raw", "clean"]}, metric="accuracy", tuning={"space": space, "trials": 4})
    effects = ab.attribute(make_records(tuned, lambda t: 1e6 if t.phase == "search" else noisy(EFFECTS)(t)))
    assert (effects.frame.n_seeds == 5).all()
    assert effects.frame.estimate.abs().max() < 1
    assert any("8 tuning trials" in note for note in effects.notes)


def test_the_whole_run_is_no_domain():
    def score(trial):
        return [
            *noisy(EFFECTS)(trial),
            {"domain": "all", "metric": "accuracy", "value": 1.0},
            {"metric": "params", "value": 7},
        ]

    with_whole = ab.attribute(make_records(STUDY, score))
    assert with_whole.frame.estimate.tolist() == judged().frame.estimate.tolist()
    alone = plan({"data": ["raw", "clean"]}, metric="accuracy")
    effects = ab.attribute(make_records(alone, lambda t: np.random.default_rng(int(t.id, 16)).random()))
    assert set(effects.frame.domain) == {"all"}  # one score per run: no effects per domain


def test_options_override_the_plan_and_say_so():
    effects = ab.attribute(RECORDS, target="new_domains", alpha=0.1)
    assert effects.notes[1].startswith("Primary target: new domains")
    assert any("Not as the plan declares: target 'new_domains', alpha 0.1" in note for note in effects.notes)
    assert not any("Not as" in note for note in ab.attribute(RECORDS, alpha=0.05).notes)


def test_notes_tell_engine_target_correction_and_margin():
    notes = judged().notes
    for note, words in zip(
        notes, ["all 4 domain groups", "Primary target: these domains", "main 3, simple 7", "±0.02"], strict=False
    ):
        assert words in note


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"run": "sed"}, "did you mean 'seed'"),
        ({"factors": ["dta"]}, "did you mean 'data'"),
        ({"value": None}, "`value` is not named"),
        ({"baseline": {"data": "clen"}}, "did you mean 'clean'"),
        ({"baseline": {"dat": "raw"}}, "is not a factor"),
        ({"across": ["dat"]}, "is not a factor"),
        ({"factors": {"data": ["raw"], "size": ["s", "l"]}}, "clean"),
        ({"target": "new"}, "new_domains"),
        ({"direction": "up"}, "maximize"),
        ({"margin": -1.0}, "positive"),
        ({"test": "wilcoxon"}, "sign_flip"),
        ({"families": ["mian"]}, "main"),
        ({"correction": "dunnett"}, "variances: pooled"),
        ({"block": "size"}, "two runs of the cell"),
    ],
)
def test_wrong_words_are_answered(options, words):
    columns = {"factors": ["data", "loss"], "run": "seed", "value": "acc", "domain": "domain"}
    frame = long(RECORDS).assign(seed=lambda f: f.seed.astype(str) + f["size"] if "block" in options else f.seed)
    frame = frame if "block" in options else frame[frame["size"] == "s"]
    with pytest.raises((PlanError, RecordsError)) as error:
        ab.attribute(frame, **{**columns, **options})
    assert words in str(error.value)


def test_records_name_their_own_columns():
    with pytest.raises(PlanError, match="their own columns"):
        ab.attribute(RECORDS, run="trial")
    with pytest.raises(RecordsError, match="no complete trial has the metric"):
        ab.attribute(RECORDS, metric="acuracy")


def test_diverged_scores_are_failures():
    frame = long(RECORDS)[lambda f: f["size"] == "s"]
    frame.loc[(frame.data == "clean") & (frame.seed == 0) & (frame.domain == "d1"), "acc"] = np.nan
    effects = ab.attribute(
        frame, factors=["data", "loss"], run="trial", domain="domain", value="acc", families=["main"]
    )
    assert (effects.frame.refusal == "R06").all()


def test_seeds_that_recur_are_said_to():
    rows = [
        {"data": d, "seed": s, "y": np.random.default_rng([s, i]).random()}
        for i, d in enumerate("ab")
        for s in range(4)
    ]
    effects = ab.attribute(pd.DataFrame(rows), factors=["data"], run="seed", value="y")
    assert any('say `block="seed"`' in note for note in effects.notes)
    assert (effects.frame.n_runs == 8).all()


def test_level_types_of_a_frame():
    rows = [
        {
            "depth": depth,
            "flag": flag,
            "run": f"{depth}{flag}{s}",
            "y": np.random.default_rng([depth, flag, s]).random(),
        }
        for depth, flag, s in product([1, 2], [False, True], range(3))
    ]
    effects = ab.attribute(pd.DataFrame(rows), factors=["depth", "flag"], run="run", value="y", baseline={"flag": True})
    main = effects.select(family="main", target="these_domains").frame
    assert list(zip(main.factor, main.level, main.versus, strict=True)) == [
        ("depth", "2", "1"),
        ("flag", "false", "true"),
    ]


def test_the_front_page_stays_light():
    code = "import sys, ablate; print({'scipy', 'statsmodels', 'pandas'} & set(sys.modules)); ablate.attribute"
    code += "; print({'statsmodels', 'torch', 'hydra', 'lightning', 'optuna', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "set()"]


def test_factors_are_named_once_and_one_is_compared():
    frame = tabulate(np.random.default_rng(0).normal(size=(2, 4, 3)))
    with pytest.raises(PlanError, match="a factor stands twice"):
        rows_of(frame, factors=["x", "x"])
    with pytest.raises(PlanError, match="nothing is compared"):
        rows_of(frame, factors=["x"], across=["x"])


def test_the_seed_of_a_max_t_correction_is_used():
    frame = tabulate(np.random.default_rng(0).normal(size=(4, 4, 3)))
    asked = {"families": ["simple"], "correction": "max_t"}
    one, again, other = (rows_of(frame, **asked, rng=rng).p_adjusted.to_numpy() for rng in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    assert one == pytest.approx(other, abs=0.02)
