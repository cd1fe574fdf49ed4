from dataclasses import replace
from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Crossed
from ablate.stats.equivalence import compute_p, judge, noninferiority, tost
from ablate.stats.pivots import Student
from ablate.stats.refusals import ONE_RUN
from ablate.stats.results import Result
from tests.stats.samples import case


def compare(engine, *groups):
    scores = np.full((2, max(map(len, groups)), 1), np.nan)
    for i, group in enumerate(groups):
        scores[i, : len(group), 0] = group
    found = engine(scores, np.array([1, -1]))
    return Student(float(found.estimate), float(found.run) ** 0.5, float(found.df_run))


def test_ncss():
    frame, expected = case("ncss_tost.csv"), case("ncss_tost_expected.json")
    groups = frame.yieldA.dropna(), frame.yieldB.dropna()
    for variances, key in (("pooled", "student"), ("welch", "welch")):
        pivot, want = compare(Crossed(variances=variances), *groups), expected[key]
        assert (pivot.se, pivot.df) == pytest.approx((want["se"], want["df"]), rel=1e-9)
        assert pivot.interval(0.95) == pytest.approx(want["ci95"], rel=1e-9)
        assert pivot.p_value(-110, "greater") == pytest.approx(want["p_lower"], abs=1e-9)
        assert pivot.p_value(110, "less") == pytest.approx(want["p_upper"], abs=1e-9)
        assert tost(pivot, 110) == pytest.approx(max(want["p_lower"], want["p_upper"]), abs=1e-9)


def test_sleep_paired():
    sleep, expected = case("sleep.csv"), case("tests_expected.json")["sleep"]
    pivot = compare(Crossed(blocked=True), *(sleep[sleep.group == g].extra for g in (1, 2)))
    assert (pivot.p_value(), pivot.df) == pytest.approx((expected["paired_t"]["p"], 9), rel=1e-8)
    assert pivot.interval(0.95) == pytest.approx(expected["paired_t"]["ci"], rel=1e-8)
    for key, margin in (("tost_paired_2", 2.5), ("tost_paired_05", 0.5)):
        assert tost(pivot, margin) == pytest.approx(expected[key]["p"], abs=1e-9)


@given(st.floats(-2, 2), st.floats(0.1, 1), st.floats(2, 40), st.floats(0.1, 3))
def test_verdicts_follow_the_interval(estimate, se, df, margin):
    pivot = Student(estimate, se, df)
    low, high = pivot.interval(0.95)
    assert (tost(pivot, margin) < 0.025) == (-margin < low and high < margin)
    assert (noninferiority(pivot, margin, "maximize") < 0.025) == (low > -margin)
    assert (noninferiority(pivot, margin, "minimize") < 0.025) == (high < margin)
    mirrored = noninferiority(replace(pivot, estimate=-estimate), margin, "minimize")
    assert mirrored == pytest.approx(noninferiority(pivot, margin, "maximize"))


CONTRAST = Contrast("main", "data", "clean", "raw", {})


def result(estimate, p, p_equivalence=nan, family="main", refusal=None, se=1.0):
    return Result(
        replace(CONTRAST, family=family), "", "all", "these_domains", estimate, None, Student(estimate, se, 9.0),
        refusal, 1.0, "E1", p_adjusted=p, p_equivalence_adjusted=p_equivalence, level_ci=0.95,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given_result", "direction", "verdict", "note"),
    [
        (result(2.0, 0.01), "maximize", "better", ""),
        (result(2.0, 0.01), "minimize", "worse", ""),
        (result(-2.0, 0.01), "maximize", "worse", ""),
        (result(-2.0, 0.01), "minimize", "better", ""),
        (result(2.0, 0.05), "maximize", "undecided", ""),
        (result(0.1, 0.60, 0.02), "maximize", "equivalent", ""),
        (result(0.1, 0.01, 0.02), "maximize", "equivalent", "non-zero"),
        (result(0.1, 0.60, 0.03), "maximize", "undecided", ""),
        (result(0.1, 0.60, nan), "maximize", "undecided", ""),  # no margin: never equivalent
        (result(0.1, 0.02, family="noninferiority"), "maximize", "non-inferior", ""),
        (result(0.1, 0.03, family="noninferiority"), "maximize", "not shown", ""),
        (result(9.0, 0.001, family="noninferiority"), "maximize", "non-inferior", "and better"),
        (result(9.0, 0.001, family="noninferiority"), "minimize", "non-inferior", ""),
        (result(2.0, nan, refusal=ONE_RUN), "maximize", "refused", str(ONE_RUN)),
    ],
)
def test_verdicts(given_result, direction, verdict, note):
    judged = judge(given_result, 0.05, direction)
    assert (judged.verdict, judged.note) == (verdict, note)


@pytest.mark.parametrize(
    ("fields", "direction", "verdict"),
    [
        ({"family": "omnibus", "quantity": "F", "words": ("differs", "differs")}, "maximize", "differs"),
        ({"family": "omnibus", "quantity": "F", "words": ("differs", "differs")}, "minimize", "differs"),
        ({"family": "heterogeneity", "quantity": "sd", "words": ("varies", "varies")}, "minimize", "varies"),
        (
            {"family": "cost", "quantity": "ratio", "null": 1.0, "words": ("costlier", "cheaper")},
            "maximize",
            "costlier",
        ),
        (
            {"family": "cost", "quantity": "ratio", "null": 1.0, "words": ("costlier", "cheaper")},
            "minimize",
            "costlier",
        ),
        ({"family": "cost", "quantity": "ratio", "null": 3.0, "words": ("costlier", "cheaper")}, "minimize", "cheaper"),
        ({"family": "improvement", "quantity": "probability", "null": 0.5}, "minimize", "better"),
        ({"family": "improvement", "quantity": "probability", "null": 2.5}, "minimize", "worse"),
        ({"family": "robustness", "words": ("worse", "better")}, "maximize", "worse"),  # a larger gap is a larger loss
        ({"family": "robustness", "words": ("worse", "better")}, "minimize", "better"),
        ({"family": "prediction", "verdict": "described"}, "maximize", "described"),
    ],
)
def test_verdicts_have_the_words_of_their_question(fields, direction, verdict):
    family, more = fields["family"], {k: v for k, v in fields.items() if k != "family"}
    made = replace(result(2.0, 0.01, family=family), **more)
    assert judge(made, 0.05, direction).verdict == verdict
    unsure = judge(replace(made, p_adjusted=0.05), 0.05, direction).verdict
    assert unsure == ("described" if verdict == "described" else "undecided")
    assert judge(replace(made, refusal=ONE_RUN), 0.05, direction).verdict == "refused"
    assert judge(replace(made, p_adjusted=nan), 0.05, direction).verdict == unsure


@pytest.mark.parametrize(
    ("p", "verdict"), [(0.02, "retained"), (0.025, "not shown"), (0.03, "not shown"), (nan, "not shown")]
)
def test_what_is_retained_is_shown_at_half_of_alpha(p, verdict):
    made = replace(result(0.95, p, family="retention"), quantity="share", null=0.9)
    for direction in ("maximize", "minimize"):
        judged = judge(made, 0.05, direction)
        assert (judged.verdict, judged.note) == (verdict, "")


def test_p_is_of_one_side_where_the_question_is():
    made = replace(result(0.95, nan, family="retention", se=0.02), quantity="share", null=0.9, margin=None)
    assert compute_p(made, "maximize").p == pytest.approx(made.pivot.p_value(0.9, "greater"))
    ratio = replace(result(2.0, nan, family="cost"), quantity="ratio", null=1.0)
    found = compute_p(ratio, "maximize")
    assert found.p == pytest.approx(ratio.pivot.p_value(1.0))
    assert np.isnan(found.p_equivalence)  # a margin is in units of the metric, which a ratio is not
    assert compute_p(result(2.0, nan), "maximize").p_equivalence == pytest.approx(tost(Student(2.0, 1.0, 9.0), 1.0))
    known = replace(result(2.0, nan), p=0.5)
    for kept in (known, replace(result(2.0, nan), simultaneous=False), result(2.0, nan, refusal=ONE_RUN)):
        assert compute_p(kept, "maximize") == kept
