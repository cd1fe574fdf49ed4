"""Sweet spots in the report: they are shown where the plan asks, and say what the statistics found."""

import numpy as np
import pytest

from ablate.plans import plan
from ablate.report import sweetspots
from ablate.report.reports import check_report, write_report
from tests.report.studies import make_records as plain_records
from tests.stats.samples import make_records

BUDGETS = (10, 100, 1000)
RISING = np.array([-2.0, 0, 2.0])  # the small size overtakes at 100


def measure(trial):
    """Clean data let the small size overtake; with raw ones it is always behind. Sizes of 10 and 50 parameters."""
    rng = np.random.default_rng([trial.seed, trial.cell["size"] == "small", trial.cell["data"] == "raw"])
    small = trial.cell["size"] == "small"
    gap = small * (RISING if trial.cell["data"] == "clean" else RISING - 10)
    curve = 0.5 + 0.02 * gap + 0.01 * rng.normal(size=3)
    whole = {"params": 10.0 if small else 50.0, "train_flops": 1000.0 * (1 if small else 5), "train_steps": 1000.0}
    scores = {"acc": curve[-1], **{f"acc@{b}": v for b, v in zip(BUDGETS, curve, strict=True)}}
    return [{"metric": name, "value": float(value)} for name, value in {**scores, **whole}.items()]


def ask(**options):
    factors = {"data": ["clean", "raw"], "size": ["large", "small"]}
    analysis = {"sweet_spot": {"size": "size", **options.pop("spot", {})}, **options.pop("analysis", {})}
    return make_records(plan(factors, **{"seeds": 6, "metric": "acc", "analysis": analysis, **options}), measure)


@pytest.fixture(scope="module")
def found():
    return sweetspots.read(ask())


def texts(table):
    return [[entry.text for entry in row] for row in table.rows]


def test_the_best_size_of_every_arm_and_budget(found):
    table = sweetspots.best_table(found)
    assert table.header == ("Budget", "Mean small", "Mean large", "Best", "May be best")
    rows = texts(table)
    assert [row[0] for row in rows] == ["data=clean", "10", "100", "1,000", "data=raw", "10", "100", "1,000"]
    assert [rows[k][3] for k in (1, 3, 5, 6, 7)] == ["large", "small", "large", "large", "large"]
    assert rows[3][4] == "small (100 %)"
    assert rows[2][4].count(" %") == 2
    assert len(table.rows[1][1].trials) == 12


def test_where_sizes_overtake(found):
    overtakes, never = (row for row in texts(sweetspots.crossing_table(found)) if len(row) > 1)
    assert overtakes[:3] == ["small", "large", "10 to 1,000"]
    assert 50 < float(overtakes[3]) < 200
    assert overtakes[5] == "small overtakes large"
    low, high = map(float, overtakes[4].strip("[]").split(", "))
    assert low < 100 < high
    assert never[3:] == ["–", "–", "never within the range: large is ahead on every budget"]
    notes = " ".join(sweetspots.crossing_table(found).notes)
    assert "Bonferroni over 2 comparisons" in notes


def test_the_figure_draws_every_run_and_the_band(found):
    figure = sweetspots.curves(found)
    clean, raw = figure.axes[:2]
    assert [line.get_label() for line in clean.get_lines() if not line.get_label().startswith("_")] == [
        "small",
        "large",
    ]
    crossing = next(c for c in found.crossings if c.arm == "data=clean")
    (band,) = clean.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((crossing.low, crossing.high))
    assert not raw.patches
    means = next(line for line in raw.get_lines() if line.get_label() == "large").get_ydata()
    assert means == pytest.approx(next(s for s in found.surfaces if s.arm == "data=raw").scores[1].mean((1, 2)))


def test_along_a_cost_the_axis_is_the_cost():
    found = sweetspots.read(ask(spot={"cost": "train_flops"}))
    rows = texts(sweetspots.crossing_table(found))
    assert rows[1][2] == "50 to 1,000"
    assert sweetspots.best_table(found).header[0] == "Budget (train_flops)"


def test_what_is_refused_says_why():
    found = sweetspots.read(ask(seeds=2))
    for table in (sweetspots.best_table(found), sweetspots.crossing_table(found)):
        assert {row[-1] for row in texts(table) if len(row) > 1} == {"R02"}
        assert sum(note.startswith("R02: two runs") for note in table.notes) == 1
    assert sweetspots.curves(found) is None
    assert not sweetspots.has_curves(found)


def test_sizes_without_a_common_budget_are_not_compared():
    def apart(trial):
        steps = (1, 2) if trial.cell["size"] == 1 else (10, 20)
        return {"acc": 0.5 + trial.seed / 100, **{f"acc@{s}": s + trial.seed / 100 for s in steps}}

    records = make_records(
        plan({"size": [1, 2]}, seeds=4, metric="acc", analysis={"sweet_spot": {"size": "size"}}), apart
    )
    found = sweetspots.read(records)
    best, crossing = sweetspots.best_table(found), sweetspots.crossing_table(found)
    assert not best.rows
    assert best.notes[0].startswith("No two sizes")
    assert texts(crossing) == [["1", "2", "–", "–", "–", "R10"]]
    assert "nan" not in repr(best) + repr(crossing)


def test_the_report_shows_them_where_they_are_asked_for(tmp_path):
    records = ask()
    records.plan.write(tmp_path)
    records.write(tmp_path / "records.csv")
    written = {str(path.relative_to(tmp_path)) for path in write_report(records, tmp_path)}
    assert {"tables/best_sizes.md", "tables/overtaking.tex", "figures/sweet_spots.svg"} <= written
    assert check_report(tmp_path) == []
    page = (tmp_path / "report.html").read_text()
    assert "never within the range: large is ahead on every budget" in page
    (tmp_path / "figures" / "sweet_spots.svg").unlink()
    assert check_report(tmp_path) == ["figures/sweet_spots.svg: missing"]
    assert sweetspots.read(plain_records()) is None
