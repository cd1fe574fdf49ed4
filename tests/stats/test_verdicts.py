"""Verdicts: the families that seeds are added for, earlier looks, and what does not go with adding seeds."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from scipy import stats

import ablate as ab
from ablate.analyses import DECIDING, Family
from ablate.errors import PlanError
from ablate.stats.sequential import Spending
from ablate.stats.sources import read_records
from ablate.stats.verdicts import judge_questions
from tests.stats.samples import make_records

LOOKS = (3, 6, 9)
PLAN = ab.plan(
    {"x": ["a", "b"]}, metric="accuracy", seeds=3, max_seeds=9, margin=8,
    analysis={"stopping": "sequential", "spending": "pocock", "families": ["main"]},
)  # fmt: skip
VALUES = np.random.default_rng(1).normal(2, 1, 9)
RECORDS = make_records(PLAN, lambda t: 20.0 + 3 * (t.seed % 4) + (VALUES[t.seed] if t.cell["x"] == "b" else 0.0))


def judge(plan=PLAN, families=("main",)):
    source = read_records(RECORDS, "accuracy")
    results = judge_questions(replace(source, plan=replace(source.plan, analysis=plan.analysis)), families)[1]
    return [r for r in results if r.target == "these_domains"]


def test_deciding_families_are_families():
    assert set(DECIDING) < set(get_args(Family))


def test_the_smallest_repeated_p_of_all_looks_counts():
    (result,) = judge()
    rule = Spending("pocock", 0.05, LOOKS)
    tests = [stats.ttest_1samp(VALUES[:n], 0) for n in LOOKS]
    assert result.p == pytest.approx(min(rule.repeated_p(float(t.pvalue), look) for look, t in enumerate(tests)))
    sides = [stats.ttest_1samp(VALUES[:n], 8, alternative="less").pvalue for n in LOOKS]
    repeated = [rule.repeated_p(2 * float(p), look) / 2 for look, p in enumerate(sides)]
    assert result.p_equivalence == pytest.approx(min(repeated))


def test_families_that_describe_are_judged_at_their_last_look_alone():
    (result,) = judge(families=("improvement",))
    assert result.n_seeds == 9


def test_pooled_variances_do_not_go_with_cells_that_stop():
    with pytest.raises(PlanError, match="other seeds"):
        judge(replace(PLAN, analysis=replace(PLAN.analysis, variances="pooled")))
