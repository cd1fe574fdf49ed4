from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.errors import PlanError
from ablate.stats.crossed import Crossed
from ablate.stats.ratios import Ratio
from ablate.stats.shares import find_shares, shapley_weights
from tests.stats.samples import case

NAMES = ("data", "loss", "size")


def test_shapley3():
    expected = case("shapley3_expected.json")
    weights, cells = shapley_weights(3)
    names = ["".join(map(str, cell)) for cell in cells]
    means = np.array([expected["cells"][name] for name in names])
    assert weights @ means == pytest.approx(expected["shapley"], abs=1e-12)
    assert weights.sum(0) @ means == pytest.approx(expected["total"], abs=1e-12)
    assert weights @ means / (weights.sum(0) @ means) == pytest.approx(expected["share"], abs=1e-12)
    assert (weights**2).sum(1) == pytest.approx(list(expected["sum_sq_weights"].values()), abs=1e-12)
    for row, of_cell in zip(weights, expected["contrast_weights"].values(), strict=True):
        assert row == pytest.approx([of_cell[name] for name in names], abs=1e-12)


@settings(max_examples=10)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_average_over_all_orders(factors, seed):
    weights, cells = shapley_weights(factors)
    means = dict(zip(cells, np.random.default_rng(seed).normal(size=len(cells)), strict=True))
    added = np.zeros(factors)
    orders = list(permutations(range(factors)))
    for order in orders:
        cell = [0] * factors
        for factor in order:
            before = means[tuple(cell)]
            cell[factor] = 1
            added[factor] += (means[tuple(cell)] - before) / len(orders)
    assert weights @ list(means.values()) == pytest.approx(added, abs=1e-12)
    total = np.zeros(len(cells))
    total[0], total[-1] = -1, 1
    assert weights.sum(0) == pytest.approx(total, abs=1e-12)


def test_levels_are_named_among_many_cells():
    cells = [{"data": d, "loss": x, "size": s} for d, x, s in product("abc", (None, "kl"), (8, 16))]
    off, on = {"size": 16, "data": "a", "loss": None}, {"loss": "kl", "data": "c"}
    weights = find_shares(cells, off, on)
    score = {("a", None): 1.0, ("a", "kl"): 2.0, ("c", None): 4.0, ("c", "kl"): 9.0}
    means = [score.get((c["data"], c["loss"]), 100.0) if c["size"] == 16 else 1000.0 for c in cells]
    assert weights @ means == pytest.approx([(1 + 5) / 2, (3 + 7) / 2])  # loss, data


def test_what_cannot_be_shared_is_refused():
    cells = [{"data": d, "loss": x} for d, x in [(0, 0), (1, 0), (0, 1)]]
    with pytest.raises(PlanError, match=r"all 4 cells.*(?s:.*)data=1, loss=1"):
        find_shares(cells, {"data": 0, "loss": 0}, {"data": 1, "loss": 1})
    with pytest.raises(PlanError, match="two levels"):
        find_shares(cells, {"data": 0}, {"data": 0})
    with pytest.raises(PlanError, match="two levels"):
        find_shares(cells, {"data": 0}, {"loss": 1})


@pytest.mark.parametrize("blocked", [False, True])
def test_shares_of_simulated_studies_hold_the_truth(blocked):
    expected, rng = case("shapley3_expected.json"), np.random.default_rng(4)
    weights, cells = shapley_weights(3)
    means = np.array([expected["cells"]["".join(map(str, cell))] for cell in cells])
    held = []
    for _ in range(80):
        scores = means[:, None, None] + 0.01 * rng.normal(size=(8, 5, 1)) + 0.01 * rng.normal(size=(8, 5, 4))
        scores += blocked * 0.05 * rng.normal(size=(5, 1))
        ratios = [Ratio(scores, row, weights.sum(0), Crossed(blocked)) for row in weights]
        held.append([r.p_value(share) > 0.05 for r, share in zip(ratios, expected["share"], strict=True)])
    assert np.mean(held) == pytest.approx(0.95, abs=0.05)
    assert sum(r.estimate for r in ratios) == pytest.approx(1)
