from functools import partial
from itertools import product

import numpy as np
import pytest

from ablate.analyses import Comparison
from ablate.designs import cumulative, full_factorial, leave_one_out, one_at_a_time
from ablate.factors import Cell, Factor
from ablate.optima import d_optimal
from ablate.screenings import fractional_factorial, plackett_burman
from ablate.stats.contrasts import build_contrasts

DATA, LOSS, SIZE = Factor("data", ("raw", "clean", "more")), Factor("loss", ("ce", "ls")), Factor("size", ("s", "l"))
FACTORS = (DATA, LOSS, SIZE)
PLANTED = {"clean": 1.0, "more": 3.0, "ls": 0.5, "l": 7.0}


def mean(cell):
    """Additive effects and one interaction: cleaning helps by 2 more with label smoothing."""
    return sum(PLANTED.get(level, 0.0) for level in cell.values()) + 2.0 * (
        cell.get("data") == "clean" and cell.get("loss") == "ls"
    )


def value(contrast, of=mean):
    return sum(weight * of(cell) for cell, weight in contrast.weights.items())


def named(family, design=full_factorial, factors=FACTORS, **options):
    found = build_contrasts(family, factors, design(factors), **options)
    assert all(sum(c.weights.values()) == pytest.approx(0, abs=1e-12) for c in found if c.refusal is None)
    return {(c.factor, c.level): c for c in found}


def test_main_effects_average_over_the_other_factors():
    found = named("main")
    assert {k: value(c) for k, c in found.items()} == pytest.approx(
        {("data", "clean"): 2.0, ("data", "more"): 3.0, ("loss", "ls"): 0.5 + 2 / 3, ("size", "l"): 7.0}
    )
    assert found["data", "clean"].versus == "raw"
    assert sorted(set(found["data", "clean"].weights.values())) == [-0.25, 0.25]
    assert all(c.refusal is None for c in found.values())


def test_the_baseline_is_the_declared_one():
    factors = (Factor("data", DATA.levels, baseline="more"), LOSS)
    found = named("main", factors=factors)
    assert value(found["data", "raw"]) == pytest.approx(-3.0)
    assert list(found) == [("data", "raw"), ("data", "clean"), ("loss", "ls")]


def test_interactions_are_differences_of_differences():
    found = named("interaction")
    none = [("data × loss", "more × ls"), ("data × size", "clean × l"), ("data × size", "more × l")]
    expected = dict.fromkeys(none, 0.0)
    expected |= {("data × loss", "clean × ls"): 2.0, ("loss × size", "ls × l"): 0.0}
    assert {k: value(c) for k, c in found.items()} == pytest.approx(expected, abs=1e-12)
    assert found["data × loss", "clean × ls"].versus == "raw × ce"


def test_simple_effects_name_what_they_switch():
    single = named("simple", one_at_a_time)
    assert {k: value(c) for k, c in single.items()} == pytest.approx(
        {("data", "clean"): 1.0, ("data", "more"): 3.0, ("loss", "ls"): 0.5, ("size", "l"): 7.0}
    )
    every = named("simple")
    assert len(every) == 11
    assert value(every["data × loss × size", "clean × ls × l"]) == pytest.approx(10.5)
    assert every["data × size", "more × l"].versus == "raw × s"


def test_leave_one_out_counts_from_the_full_system():
    on = (Factor("a", ("on", "off")), Factor("b", ("on", "off")))
    found = build_contrasts("leave_one_out", on, leave_one_out(on))
    gain = {("on", "on"): 10.0, ("off", "on"): 9.0, ("on", "off"): 4.0, ("off", "off"): 1.0}
    values = {c.factor: value(c, lambda cell: gain[cell["a"], cell["b"]]) for c in found}
    assert values == pytest.approx({"a": 1.0, "b": 6.0, "a × b": 9.0})
    assert [(c.level, c.versus) for c in found] == [("on", "off"), ("on", "off"), ("on × on", "off × off")]


def test_steps_climb_the_ladder():
    found = build_contrasts("step", FACTORS, cumulative(FACTORS))
    assert [(c.factor, c.level, c.versus) for c in found] == [
        ("data", "clean", "raw"),
        ("data", "more", "clean"),
        ("loss", "ls", "ce"),
        ("size", "l", "s"),
    ]
    assert [value(c) for c in found] == pytest.approx([1.0, 2.0, 0.5, 7.0])


def test_comparisons_average_over_what_they_leave_out():
    question = Comparison("small, clean", {"size": "s", "data": "clean"}, {"size": "l", "data": "raw"}, margin=0.1)
    (found,) = build_contrasts("noninferiority", FACTORS, full_factorial(FACTORS), [question])
    assert value(found) == pytest.approx((1.0 + 3.5) / 2 - (7.0 + 7.5) / 2)
    assert (found.factor, found.level, found.versus, found.margin) == (
        "small, clean", "size=s data=clean", "size=l data=raw", 0.1,
    )  # fmt: skip
    overlapping = Comparison("x", {"size": "s"}, {"data": "raw"})
    (found,) = build_contrasts("noninferiority", FACTORS, full_factorial(FACTORS), [overlapping])
    assert value(found) == pytest.approx(
        sum(map(mean, small := [c for c in full_factorial(FACTORS) if c["size"] == "s"])) / len(small) - (0.25 + 3.5)
    )
    assert Cell({"data": "raw", "loss": "ce", "size": "s"}) in found.weights  # 1/6 - 1/4: shared, not cancelled


@pytest.mark.parametrize("family", ["main", "interaction"])
def test_a_contrast_without_its_cells_is_refused_and_names_them(family):
    cells = [c for c in full_factorial(FACTORS) if c != {"data": "more", "loss": "ls", "size": "l"}]
    refused = {(c.factor, c.level) for c in build_contrasts(family, FACTORS, cells) if c.refusal}
    complete = {(c.factor, c.level) for c in build_contrasts(family, FACTORS, cells)} - refused
    assert all("clean" in level for _, level in complete if "data" in _ or family == "main")
    assert complete
    contrast = next(c for c in build_contrasts(family, FACTORS, cells) if c.refusal)
    assert contrast.refusal.code == "R10"
    assert "data=more loss=ls size=l" in contrast.refusal.detail
    assert not any(c.refusal for c in build_contrasts(family, FACTORS, full_factorial(FACTORS)))


def test_one_at_a_time_has_no_main_effects_or_interactions():
    cells = one_at_a_time(FACTORS)
    for family in ("main", "interaction"):
        assert {c.refusal.code for c in build_contrasts(family, FACTORS, cells)} == {"R10"}


def test_one_factor_at_a_time_is_its_own_main_effect():
    (found,) = build_contrasts("main", (LOSS,), one_at_a_time((LOSS,)))
    assert found.refusal is None


def test_a_half_fraction_names_its_aliases():
    factors = [Factor(key, ("-", "+")) for key in "abc"]
    cells = [c for c in full_factorial(factors) if (c["a"] == "+") ^ (c["b"] == "+") ^ (c["c"] == "+")]
    found = build_contrasts("main", factors, cells)
    assert [c.refusal.detail.split("aliased with ")[1] for c in found] == ["b=+ × c=+", "a=+ × c=+", "a=+ × b=+"]


def test_steps_and_leave_one_out_need_their_own_cells():
    cells = full_factorial(FACTORS)
    assert not any(c.refusal for family in ("step", "leave_one_out") for c in build_contrasts(family, FACTORS, cells))
    steps = build_contrasts("step", FACTORS, one_at_a_time(FACTORS))
    assert [c.refusal is None for c in steps] == [True, True, False, False]


def test_a_huge_design_is_not_enumerated():
    factors = [Factor(f"f{i}", tuple(range(4))) for i in range(12)]  # 4**12 cells
    found = build_contrasts("main", factors, one_at_a_time(factors))
    assert len(found) == 36
    assert all("more" in c.refusal.detail for c in found)


def test_two_level_main_effects_are_the_classical_ones():
    factors = [Factor(key, (0, 1)) for key in "abcd"]
    cells = full_factorial(factors)
    y = {cell: i**2 % 7 for i, cell in enumerate(cells)}
    for f, contrast in zip(factors, build_contrasts("main", factors, cells), strict=True):
        sides = {v: [y[c] for c in cells if c[f.key] == v] for v in (0, 1)}
        assert value(contrast, y.__getitem__) == pytest.approx(sum(sides[1]) / 8 - sum(sides[0]) / 8)
    for (f, g), contrast in zip(
        [(f, g) for f, g in product(factors, factors) if f.key < g.key],
        build_contrasts("interaction", factors, cells),
        strict=True,
    ):
        m = {(v, w): sum(y[c] for c in cells if (c[f.key], c[g.key]) == (v, w)) / 4 for v in (0, 1) for w in (0, 1)}
        assert value(contrast, y.__getitem__) == pytest.approx(m[1, 1] - m[1, 0] - m[0, 1] + m[0, 0])


def test_pairs_of_several_factors_are_told_apart_by_their_cells():
    factors = [Factor("data", ("raw", "clean")), Factor("size", ("s", "l"))]
    found = build_contrasts("pairs", factors, full_factorial(factors))
    assert len({(c.level, c.versus) for c in found}) == len(found) == 6
    (alone,) = build_contrasts("pairs", factors[:1], full_factorial(factors[:1]))
    assert (alone.factor, alone.level, alone.versus) == ("data", "clean", "raw")


def additive(cell):
    return 1.0 + sum((i + 1) * float(level) for i, level in enumerate(cell.values()))


def levels(*sizes):
    return [Factor(f"f{i}", tuple(range(size))) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("design", "factors"),
    [
        (fractional_factorial, levels(2, 2, 2, 2)),
        (partial(fractional_factorial, resolution=3), levels(*[2] * 7)),
        (plackett_burman, levels(*[2] * 11)),
        (partial(d_optimal, cells=9), levels(2, 3, 4)),
    ],
)
def test_screening_designs_have_the_main_effects_of_least_squares(design, factors):
    cells = design(factors)
    found = build_contrasts("main", factors, cells, screens=True)
    assert not any(c.refusal for c in found)
    assert all(c.refusal for c in build_contrasts("main", factors, cells)), "only where that was meant"
    expected = [(i + 1) * float(level) for i, f in enumerate(factors) for level in f.alternatives]
    assert [value(c, additive) for c in found] == pytest.approx(expected)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=len(cells))
    x = [[1.0, *(float(cell[f.key] == level) for f in factors for level in f.alternatives)] for cell in cells]
    fitted = np.linalg.lstsq(np.array(x), scores, rcond=None)[0][1:]
    assert [value(c, dict(zip(cells, scores, strict=True)).__getitem__) for c in found] == pytest.approx(list(fitted))


def test_interactions_of_a_fraction_are_estimated_or_refused_with_their_chain():
    four, five = levels(2, 2, 2, 2), levels(2, 2, 2, 2, 2)
    aliased = build_contrasts("interaction", four, fractional_factorial(four), screens=True)
    assert [c.refusal.detail.split("aliased with ")[1] for c in aliased] == [
        "f2=1 × f3=1", "f1=1 × f3=1", "f1=1 × f2=1", "f0=1 × f3=1", "f0=1 × f2=1", "f0=1 × f1=1",
    ]  # fmt: skip
    clear = build_contrasts("interaction", five, fractional_factorial(five, resolution=5), screens=True)
    planted = [value(c, lambda cell: additive(cell) + 3 * cell["f1"] * cell["f4"]) for c in clear]
    assert planted == pytest.approx([3.0 * (c.factor == "f1 × f4") for c in clear], abs=1e-9)


def test_components_that_are_removed_together_are_one_contribution():
    on = [Factor(key, ("on", "off")) for key in ("augment.flip", "augment.crop", "warmup")]
    found = build_contrasts("leave_one_out", on, leave_one_out(on, groups=["augment.*"]))
    assert [c.factor for c in found] == [
        "augment.flip × augment.crop",
        "warmup",
        "augment.flip × augment.crop × warmup",
    ]
    assert not any(c.refusal for c in found)
    (only,) = build_contrasts("leave_one_out", on[:2], leave_one_out(on[:2], groups=["augment.*"]))
    assert (only.factor, only.refusal) == ("augment.flip × augment.crop", None)
