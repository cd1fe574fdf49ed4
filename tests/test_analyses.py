"""Analyses are declared whole, refused when they make no sense, and come back from JSON as they were."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.analyses import DEFAULT_FAMILIES, LATER, Analysis, Comparison, Engine, Family, SweetSpot, require_margin
from ablate.designs import OWN, SCREENING
from ablate.errors import PlanError
from ablate.plans import Plan, plan

SMALL_GOOD = {"size": "small", "data": "clean"}
comparisons = st.builds(
    Comparison,
    name=st.uuids().map(str),
    cell=st.just(SMALL_GOOD),
    versus=st.just({"size": "large"}),
    margin=st.none() | st.floats(1e-9, 1e9),
)
corrected = st.sampled_from(
    [("holm", "welch"), ("holm", "pooled"), ("dunnett", "pooled"), ("max_t", "welch"), ("benjamini_hochberg", "pooled")]
)
later = st.fixed_dictionaries(
    {},
    optional={
        "engine": st.sampled_from(get_args(Engine)),
        "looks": st.lists(st.integers(2, 99), unique=True, max_size=4).map(sorted).map(tuple),
        "spending": st.sampled_from(["obrien_fleming", "pocock"]),
        "clean": st.sampled_from(["d0", None]),
        "costs": st.lists(st.sampled_from(["latency", "flops"]), unique=True).map(tuple),
        "threshold": st.none() | st.floats(-1e9, 1e9),
        "sweet_spot": st.none()
        | st.builds(
            SweetSpot,
            st.just("size"),
            st.sampled_from([None, "steps"]),
            st.sampled_from([None, "train_flops"]),
            st.sampled_from([(), ("s", "l")]),
        ),
    },
)
STUDY = Path(__file__).parents[1] / "studies" / "digits_shift"


@given(
    corrected,
    st.sampled_from(["these_domains", "new_domains"]),
    st.floats(1e-6, 0.5),
    st.none() | st.lists(st.sampled_from(get_args(Family)), min_size=1, unique=True).map(tuple),
    st.lists(comparisons, max_size=3).map(tuple),
    later,
)
def test_an_analysis_comes_back_from_json(how, target, alpha, families, questions, settings):
    analysis = Analysis(target, alpha, families, *how, questions, **settings)
    plain = json.loads(json.dumps(analysis.to_dict()))
    assert Analysis.from_dict(plain) == analysis
    for name in LATER:  # a default is left out, so that old plans keep their hash
        assert (name in plain) == (getattr(analysis, name) != getattr(Analysis, name))


def test_every_setting_is_of_the_first_plans_or_left_out_at_its_default():
    first = {"target", "alpha", "families", "correction", "variances", "comparisons"}
    assert {field.name for field in fields(Analysis)} == first | set(LATER)
    assert set(Analysis().to_dict()) == first


def test_a_plan_from_before_the_later_settings_keeps_its_hash():
    written = json.loads((STUDY / "plan.json").read_text())
    assert not set(LATER) & set(written["analysis"])
    read = Plan.read(STUDY)  # which refuses a hash that does not match
    assert read.hash == written["hash"]
    assert read.to_dict()["analysis"] == written["analysis"]
    changed = replace(read, analysis=replace(read.analysis, gatekeeping="serial"))
    assert changed.hash != read.hash
    assert Plan.from_dict(changed.to_dict()).hash == changed.hash


def test_a_retention_question_comes_back_from_json_and_others_stay_as_they_were():
    question = Comparison("kept", {"size": "s"}, {"size": "l"}, base={"size": "xs"}, retain=0.75)
    plain = Comparison("q", {"size": "s"}, {"size": "l"}, 0.1)
    analysis = Analysis(comparisons=(question, plain))
    written = json.loads(json.dumps(analysis.to_dict()))
    assert written["comparisons"][1] == {"name": "q", "cell": {"size": "s"}, "versus": {"size": "l"}, "margin": 0.1}
    assert Analysis.from_dict(written) == analysis


def test_an_empty_declaration_is_the_default_analysis():
    assert Analysis.from_dict({}) == Analysis()
    assert Analysis.from_dict({"families": "main", "looks": 5, "costs": "flops"}) == Analysis(
        families=("main",), looks=(5,), costs=("flops",)
    )


def test_every_own_design_has_families_that_it_can_answer():
    assert {design.__name__ for design in (*OWN, *SCREENING)} == set(DEFAULT_FAMILIES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "new_domain"}, "(?s)analysis.target.*did you mean 'new_domains'"),
        ({"correction": "bonferroni"}, "(?s)unknown value 'bonferroni'.*analysis.correction.*allowed: holm, dunnett"),
        ({"variances": "equal"}, "(?s)analysis.variances.*allowed: welch, pooled"),
        ({"families": ["mian"]}, "(?s)analysis.families.*did you mean 'main'"),
        ({"alpha": 5}, "(?s)alpha is 5.*between 0 and 1"),
        ({"alpha": "0.05"}, "alpha is '0.05'"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"correction": "dunnett"}, "(?s)one run variance.*variances: pooled"),
        ({"levels": 1}, "(?s)unknown key 'levels'.*allowed: target, alpha"),
        ([], "not a mapping"),
        ({"comparisons": [{"name": "a", "cell": SMALL_GOOD}]}, "(?s)incomplete.*versus.*give name, cell, versus"),
        ({"comparisons": [{"name": "a", "margins": 1}]}, "(?s)unknown key 'margins'.*did you mean 'margin'"),
        ({"comparisons": [{"name": "a", "cell": "small", "versus": {}}]}, "(?s)'small' is not a cell.*comparisons.a"),
        ({"comparisons": [{"name": "a", "cell": SMALL_GOOD, "versus": SMALL_GOOD}]}, "with itself"),
        ({"comparisons": [{"name": "a", "cell": SMALL_GOOD, "versus": {}, "margin": 0}]}, "(?s)a.margin.*positive"),
        ({"comparisons": [{"name": "a", "cell": SMALL_GOOD, "versus": {}}] * 2}, "two comparisons of one name"),
        ({"families": ["main", "simple", "main"]}, "(?s)'main' is named twice.*analysis.families"),
        ({"engine": "cross"}, "(?s)analysis.engine.*did you mean 'crossed'"),
        ({"gatekeeping": "series"}, "(?s)analysis.gatekeeping.*allowed: none, serial, parallel"),
        ({"spending": "pococks"}, "(?s)analysis.spending.*did you mean 'pocock'"),
        (
            {"gatekeeping": "serial", "correction": "max_t"},
            "(?s)gatekeeping hands on what Holm leaves.*correction: holm",
        ),
        ({"looks": [10, 5]}, r"(?s)looks are \[10, 5\].*analysis.looks.*rising whole numbers"),
        ({"looks": [5, 5]}, "(?s)looks are.*analysis.looks"),
        ({"looks": [1, 5]}, "(?s)looks are.*from 2"),
        ({"looks": [5.0]}, "(?s)looks are.*analysis.looks"),
        ({"looks": [True]}, "(?s)looks are.*analysis.looks"),
        ({"threshold": "high"}, "(?s)threshold is 'high'.*analysis.threshold.*finite"),
        ({"threshold": float("inf")}, "(?s)threshold is inf"),
        (
            {"comparisons": [{"name": "a", "cell": SMALL_GOOD, "versus": {}, "retain": 0}]},
            "(?s)retain is 0.*fraction above 0",
        ),
        (
            {"comparisons": [{"name": "a", "cell": SMALL_GOOD, "versus": {}, "retain": 1.1}]},
            "(?s)retain is 1.1.*comparisons.a",
        ),
        ({"comparisons": [{"name": "a", "cell": SMALL_GOOD, "versus": {}, "base": "s"}]}, "(?s)'s' is not a cell"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_with_its_place(values, message):
    with pytest.raises(PlanError, match=message):
        Analysis.from_dict(values)


def test_a_margin_is_a_positive_finite_number_or_none():
    for margin in (None, 1, 0.5):
        require_margin(margin, "margin")
    for margin in (0, -1, float("nan"), float("inf"), "1", True):
        with pytest.raises(PlanError, match="positive number"):
            require_margin(margin, "margin")


def test_a_sweet_spot_is_about_factors_that_there_are():
    factors = {"size": [8, 64], "data": ["raw", "clean"]}
    spot = plan(factors, analysis={"sweet_spot": {"size": "size", "sizes": [8, 64]}}).analysis.sweet_spot
    assert spot == SweetSpot("size", sizes=("8", "64"))
    for declared, told in (
        ({"size": "sise"}, "unknown factor 'sise'"),
        ({"size": "size", "budget": "steps"}, "unknown factor 'steps'"),
        ({"size": "size", "costs": "flops"}, "unknown key 'costs'"),
        ({"cost": "flops"}, "sizes of what"),
        ("size", "not a mapping"),
    ):
        with pytest.raises(PlanError, match=told):
            plan(factors, analysis={"sweet_spot": declared})
