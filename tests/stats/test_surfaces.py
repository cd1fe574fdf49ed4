"""Surfaces: scores of sizes on budgets, read from learning curves, from levels of a factor, or along a cost."""

import numpy as np
import pytest

from ablate.errors import PlanError, RecordsError
from ablate.plans import plan
from ablate.stats.surfaces import Surface, read_surfaces
from tests.stats.samples import make_records

FACTORS = {"data": ["raw", "clean"], "size": ["large", "small"]}
PARAMS = {"small": 100.0, "large": 900.0}
STEPS = (10, 100, 1000)
DOMAINS = {"plain": ["plain"], "noise": ["noise/1", "noise/2"]}


def score(cell, seed, step, place=0):
    """A number that tells where it is from."""
    return seed + 10 * (cell["data"] == "clean") + 100 * (cell["size"] == "large") + step + place / 100


def curves(made, factor=1.0, params=True, **whole_run):
    """A task whose trials log the metric at every step, on each domain, and what all of it took."""

    def measure(trial):
        rows = [
            {"domain": domain, "shift": shift, "metric": name, "value": score(trial.cell, trial.seed, step, place)}
            for place, (domain, shift) in enumerate([("plain", "none"), ("noise", "1"), ("noise", "2")])
            for name, step in [*((f"accuracy@{s}", s) for s in STEPS), ("accuracy", STEPS[-1])]
        ]
        spent = PARAMS[trial.cell["size"]] * 2 * STEPS[-1] * (factor if trial.seed else 1.0)
        whole = {
            "train_flops": spent,
            "train_steps": 2000.0,
            **whole_run,
            **({"params": PARAMS[trial.cell["size"]]} if params else {}),
        }
        return [*rows, *({"domain": "all", "metric": name, "value": value} for name, value in whole.items())]

    return make_records(made, measure)


def declare(factors=None, **options):
    return plan(factors or FACTORS, **{"seeds": 3, "metric": "accuracy", "domains": DOMAINS, **options})


def test_curves_are_read_by_arm_size_step_seed_and_domain_group():
    raw, clean = read_surfaces(curves(declare()), "size")
    assert (raw.arm, clean.arm) == ("data=raw", "data=clean")
    assert clean.sizes == ("small", "large")  # by their parameters
    assert clean.blocked
    assert clean.refusal is None
    for size, own in zip(clean.sizes, clean.scores, strict=True):
        cell = {"data": "clean", "size": size}
        noise = [[(score(cell, s, b, 1) + score(cell, s, b, 2)) / 2 for s in range(3)] for b in STEPS]
        plain = [[score(cell, s, b) for s in range(3)] for b in STEPS]
        assert own == pytest.approx(np.stack([noise, plain], -1))
    assert [b.tolist() for b in clean.budgets] == [[*STEPS], [*STEPS]]
    assert len(set(clean.trials[0])) == 3


def test_along_a_cost_steps_of_a_larger_size_are_dearer():
    (surface, _) = read_surfaces(curves(declare()), "size", cost="train_flops")
    assert [b.tolist() for b in surface.budgets] == [
        pytest.approx([PARAMS[size] * step for step in STEPS]) for size in ("small", "large")
    ]
    (again, _) = read_surfaces(curves(declare(), samples=4000.0), "size", cost="train_flops", unit="samples")
    assert again.budgets[0] == pytest.approx(surface.budgets[0] / 2)
    for unit, told in (("epochs", "runs without 'epochs'"), ("samples", "goes beyond the samples")):
        with pytest.raises(RecordsError, match=told):
            read_surfaces(curves(declare(), samples=500.0), "size", cost="train_flops", unit=unit)
    assert surface.covers(0, 1e5)
    assert not surface.covers(1, 1000.0)


def test_budgets_that_nearly_agree_are_one():
    near = curves(declare(), factor=1.03)  # within a cell: its mean is the budget
    (surface, _) = read_surfaces(near, "size", cost="train_flops")
    assert surface.budgets[0][-1] == pytest.approx(100 * 1000 * (1 + 2 * 0.03 / 3))
    with pytest.raises(RecordsError, match="differs between the runs"):
        read_surfaces(curves(declare(), factor=1.5), "size", cost="train_flops")
    factors = {"size": [1, 2], "budget": ["a", "b"]}
    spent = {(1, "a"): 100.0, (2, "a"): 101.0, (1, "b"): 200.0, (2, "b"): 230.0}
    records = make_records(
        plan(factors, seeds=3, metric="accuracy"),
        lambda t: {"accuracy": t.seed, "flops": spent[t.cell["size"], t.cell["budget"]]},
    )
    (surface,) = read_surfaces(records, "size", budget="budget", cost="flops")
    assert surface.budgets[0].tolist() == pytest.approx([100.5, 200])
    assert surface.budgets[1].tolist() == pytest.approx([100.5, 230])


def test_a_factor_can_be_the_budget_and_numbers_are_their_own_order():
    made = plan({"size": [64, 8], "steps": [100, 10]}, seeds=3, metric="accuracy", blocking="none")
    records = make_records(made, lambda t: t.cell["size"] + t.cell["steps"] / 1000 + t.seed)
    (surface,) = read_surfaces(records, "size", budget="steps")
    assert (surface.arm, surface.sizes, surface.blocked) == ("", ("8", "64"), False)
    assert surface.scores[0] == pytest.approx(np.array([[[8.01], [9.01], [10.01]], [[8.1], [9.1], [10.1]]]))
    assert read_surfaces(records, "size", budget="steps", sizes=["64", "8"])[0].sizes == ("64", "8")


def test_between_budgets_lines_on_the_logarithmic_axis():
    y = np.arange(12.0).reshape(3, 2, 2) ** 2
    surface = Surface("", ("s", "t"), (np.array([1, 100, 1000.0]), np.array([10.0])), (y, y[:1]), True, ((), ()))
    found = surface.at(0, np.log([1, 10, 100, 1000]))
    assert found == pytest.approx(np.stack([y[0], (y[0] + y[1]) / 2, y[1], y[2]]))
    assert surface.at(1, np.log([10.0])) == pytest.approx(y[:1])


def test_what_has_no_order_budget_or_factor_is_named():
    with pytest.raises(PlanError, match="which is smaller"):
        read_surfaces(curves(declare(), params=False), "size")
    with pytest.raises(PlanError, match="unknown factor 'sise'"):
        read_surfaces(curves(declare()), "sise")
    with pytest.raises(RecordsError, match="no score at two budgets"):
        read_surfaces(make_records(declare(), lambda t: 0.5), "size")
    with pytest.raises(RecordsError, match="no budget: clean, raw"):
        read_surfaces(make_records(declare(), lambda t: 0.5), "size", budget="data")
    with pytest.raises(RecordsError, match="runs without 'energy'"):
        read_surfaces(curves(declare()), "size", cost="energy")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"seeds": 1}, "R01"),
        ({"seeds": 2}, "R02"),
        ({"seeds": 8, "analysis": {"looks": [4, 8]}}, "R08"),
    ],
)
def test_too_few_runs_and_runs_between_looks_are_refused(options, code):
    records = make_records(declare(**options), curves_of, missing=lambda t: t.seed >= 6)
    assert [s.refusal.code for s in read_surfaces(records, "size")] == [code] * 2


def curves_of(trial):
    rows = [{"metric": f"accuracy@{s}", "value": trial.seed + s} for s in STEPS]
    params = {"domain": "all", "metric": "params", "value": PARAMS[trial.cell["size"]]}
    return [
        *({**row, "domain": "plain"} for row in rows),
        {"metric": "accuracy", "value": 1.0, "domain": "plain"},
        params,
    ]


def test_a_failed_run_refuses_its_arm_alone():
    records = make_records(
        declare(seeds=4),
        curves_of,
        failed=lambda t: t.seed == 3 and (t.cell["data"], t.cell["size"]) == ("raw", "small"),
    )
    raw, clean = read_surfaces(records, "size")
    assert raw.refusal.code == "R06"
    assert clean.refusal is None


def test_other_test_data_and_other_tuning_are_refused():
    def hashed(trial):
        return [
            {**row, **({} if row["domain"] == "all" else {"eval_hash": trial.cell["size"]})} for row in curves_of(trial)
        ]

    assert read_surfaces(make_records(declare(), hashed), "size")[0].refusal.code == "R16"
    tuned = make_records(declare(), curves_of, tried=lambda t: 3 if t.cell["size"] == "small" else 9)
    assert read_surfaces(tuned, "size")[0].refusal.code == "R09"


def test_blocks_that_lack_a_cell_are_refused():
    def absent(trial):
        return trial.seed == (0 if trial.cell["size"] == "small" else 1)

    for blocking, code in (("seed", "R19"), ("none", None)):
        records = make_records(declare(seeds=4, blocking=blocking), curves_of, missing=absent)
        refusal = read_surfaces(records, "size")[0].refusal
        assert (refusal and refusal.code) == code
