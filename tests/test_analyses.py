"""Analyses are declared whole, refused when they make no sense, and come back from JSON as they were."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.analyses import DEFAULT_FAMILIES, Analysis, Comparison, require_margin
from ablate.designs import OWN
from ablate.errors import PlanError

SMALL_GOOD = {"size": "small", "data": "clean"}
comparisons = st.builds(
    Comparison,
    name=st.uuids().map(str),
    cell=st.just(SMALL_GOOD),
    versus=st.just({"size": "large"}),
    margin=st.none() | st.floats(1e-9, 1e9),
)
corrected = st.sampled_from([("holm", "welch"), ("holm", "pooled"), ("dunnett", "pooled")])


@given(
    corrected,
    st.sampled_from(["these_domains", "new_domains"]),
    st.floats(1e-6, 0.5),
    st.none() | st.lists(st.sampled_from(["main", "simple", "interaction"]), min_size=1).map(tuple),
    st.lists(comparisons, max_size=3).map(tuple),
)
def test_an_analysis_comes_back_from_json(how, target, alpha, families, questions):
    analysis = Analysis(target, alpha, families, *how, questions)
    assert Analysis.from_dict(json.loads(json.dumps(analysis.to_dict()))) == analysis


def test_an_empty_declaration_is_the_default_analysis():
    assert Analysis.from_dict({}) == Analysis()
    assert Analysis.from_dict({"families": "main"}).families == ("main",)


def test_every_own_design_has_families_that_it_can_answer():
    assert {design.__name__ for design in OWN} == set(DEFAULT_FAMILIES)


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
