"""Drift is empty for one and the same study, and names every key that changed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ablate.analyses import Analysis
from ablate.drifts import differences, drift, flatten
from ablate.plans import plan
from tests.strategies import factor_lists

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
words = st.text("abc", min_size=1, max_size=3)
trees = st.dictionaries(
    words, st.recursive(leaves, lambda inner: st.dictionaries(words, inner, max_size=3)), max_size=3
)


@given(trees)
def test_flat_keys_lead_to_the_same_leaves(tree):
    for key, leaf in flatten(tree).items():
        value = tree
        for part in key.split("."):
            value = value[part]
        assert value == leaf


@given(trees, trees)
def test_differences_are_none_exactly_when_the_flat_mappings_are_the_same(one, other):
    one, other = flatten(one), flatten(other)
    lines = list(differences(one, other))
    assert (not lines) is (repr(sorted(one.items())) == repr(sorted(other.items())))
    assert list(differences(one, one)) == []


def test_types_count_where_a_digest_sees_them_and_containers_do_not():
    assert list(differences({"a": 1}, {"a": 1.0})) == ["a: 1 -> 1.0"]
    assert list(differences({"a": 1}, {"a": True})) == ["a: 1 -> True"]
    assert list(differences({"a": [1]}, {"a": (1,)})) == []
    assert list(differences({"a": 1}, {"b": 1})) == ["a: 1 -> (absent)", "b: (absent) -> 1"]


@given(factor_lists())
def test_a_plan_does_not_drift_from_itself(factors):
    assert drift(plan(factors, seeds=2), plan(factors, seeds=2)) == []


def made(**changes):
    settings = {"seeds": 2, "metric": "accuracy", **changes}
    return plan(settings.pop("factors", {"data": ["raw", "clean"], "size": ["s", "l"]}), **settings)


def test_every_change_of_a_plan_is_named():
    was = made()
    assert drift(was, made(seeds=3)) == ["seeds: [0, 1] -> [0, 1, 2]"]
    assert drift(was, made(metric="loss", direction="minimize")) == [
        "metric: accuracy -> loss",
        "direction: maximize -> minimize",
    ]
    assert drift(was, made(margin=0.1)) == ["margin: None -> 0.1"]
    assert drift(was, made(analysis=Analysis(alpha=0.01))) == ["analysis.alpha: 0.05 -> 0.01"]
    assert "factors.data.baseline: raw -> clean" in drift(was, made(baseline={"data": "clean"}))
    assert "factors.size.role: factor -> across" in drift(was, made(across=["size"]))
    assert "cells.data=noisy size=s: (absent) -> as the base" in drift(
        was, made(factors={"data": ["raw", "clean", "noisy"], "size": ["s", "l"]})
    )


def test_a_changed_config_is_named_by_its_key():
    was = replace(made(), config={"lr": 0.1, "data": {"noise": 0}})
    assert drift(was, replace(was, config={"lr": 1, "data": {"noise": 0}})) == ["config.lr: 0.1 -> 1"]
    changes = ({}, {"data.noise": 1}, {}, {"data.noise": 1})
    assert drift(was, replace(was, changes=changes)) == [
        "cells.data=raw size=l: as the base -> (absent)",
        "cells.data=clean size=l: as the base -> (absent)",
        "cells.data=raw size=l.data.noise: (absent) -> 1",
        "cells.data=clean size=l.data.noise: (absent) -> 1",
    ]


def test_order_alone_is_drift_too_because_tables_follow_it():
    turned = made(factors={"size": ["s", "l"], "data": ["raw", "clean"]})
    assert drift(made(), turned) == ["the order of the factors or of the cells"]


def test_provenance_is_beside_the_identity():
    was = made()
    now = replace(was, provenance={"commit": "abc"})
    assert drift(was, now) == []
    assert was.hash == now.hash
