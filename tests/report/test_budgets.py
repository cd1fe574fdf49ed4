"""What arms spent and what tuning chose, against sums by hand."""

import pytest

from ablate.factors import Cell
from ablate.records import Records
from ablate.report.budgets import budget_table, find_unequal, tuning_table
from ablate.report.papers import read_papers
from ablate.safeguards import Budget
from ablate.tunings import Choice, Objective, Selection
from tests.report.studies import make_plan, make_records, make_tuned_plan, number, read_markdown


def test_tuning_and_reporting_are_told_apart_and_add_up(tuned):
    records = Records.read(tuned / "records.csv")
    rows = read_markdown(repr(budget_table(records)))
    assert [row["data"] for row in rows] == ["raw", "clean"] * 2
    assert [(row["proposals"], row["runs"], row["epochs"], row["steps"]) for row in rows] == [
        *[("4", "4", "40", "1,200")] * 2,
        *[("4", "3", "10", "300")] * 2,
    ]
    frame = records.frame
    for row, phase in zip(rows, ["search", "search", "confirm", "confirm"], strict=True):
        own = frame[(frame["phase"] == phase) & (frame["data"] == row["data"]) & (frame["metric"] == "train_seconds")]
        wanted = own["value"].sum() if phase == "search" else own["value"].mean()
        assert number(row["train seconds"]) == pytest.approx(wanted, rel=6e-3)


def test_a_study_that_declares_no_budget_and_measures_none_has_no_table():
    assert budget_table(make_records()) is None


@pytest.mark.parametrize(("tolerance", "marked"), [(0.1, []), (0.05, ["large"]), (0.0, ["large"])])
def test_an_arm_beyond_the_tolerance_is_marked(tolerance, marked):
    made = make_plan({"size": ["small", "large"]}, budget=Budget(("train_steps",), tolerance))
    records = make_records(made)
    frame = records.frame[records.frame["metric"] == "params"].assign(metric="train_steps", value=100.0)
    frame.loc[frame["size"] == "large", "value"] = 108.0
    records = Records(frame, made)
    assert [cell["size"] for cell in find_unequal(records)] == marked
    shown = {row["size"]: row["against the baseline"] for row in read_markdown(repr(budget_table(records)))}
    assert shown == {"small": "equal", "large": "R09: steps" if marked else "equal"}


def test_a_quantity_that_one_arm_lacks_is_unequal():
    made = make_plan({"size": ["small", "large"]}, budget={"equal": ["epochs"]})
    frame = make_records(made).frame
    frame = frame[frame["metric"].isin(["params"])].assign(metric="epochs", value=10.0)
    frame.loc[frame["size"] == "large", "metric"] = "other"
    assert [cell["size"] for cell in find_unequal(Records(frame, made))] == ["large"]


def test_the_selected_settings_stand_with_what_they_were_selected_from(tuned):
    records = Records.read(tuned / "records.csv")
    selection = read_papers(tuned, records.plan).selection
    table = tuning_table(records.plan, selection)
    for row, choice in zip(read_markdown(repr(table)), selection.choices, strict=True):
        assert number(row["lr"]) == pytest.approx(choice.settings["lr"], rel=5e-3)
        assert (row["tuned"], row["proposals"], row["pruned"]) == ("here", "4", "0")
        assert number(row["val_accuracy"]) == pytest.approx(choice.values[0], abs=6e-5)
    assert "Tuned in every cell by itself." in table.notes
    assert "Ranges: lr 0.1 to 1." in table.notes


def select(scope, lr, **choice):
    tuning = {"space": {"lr": {"low": 0.01, "high": 1.0, "log": True}}, "scope": scope, "sampler": "random"}
    if scope == "fixed":
        tuning["setting"] = {"lr": lr}
    made = make_tuned_plan(tuning={**tuning, **choice.pop("tuning", {})})
    origin = {"fixed": None, "inherited": made.cells[0]}
    choices = [Choice(cell, {"lr": lr}, tuned_in=origin.get(scope, cell), **choice) for cell in made.cells]
    return tuning_table(made, Selection(made, tuple(choices)))


def test_inherited_and_fixed_settings_say_so():
    inherited, fixed = select("inherited", 0.1), select("fixed", 0.1)
    assert inherited.notes[0] == "Tuned in the baseline; all other cells inherit its setting."
    assert [row["tuned"] for row in read_markdown(repr(inherited))] == ["here", "the baseline"]
    assert fixed.notes[0] == "Not tuned: one declared setting serves all cells."
    assert [row["tuned"] for row in read_markdown(repr(fixed))] == ["declared", "declared"]


@pytest.mark.parametrize(("lr", "edge"), [(0.1, False), (0.99, True), (0.0101, True), (0.9, False)])
def test_a_setting_at_an_end_of_its_range_is_noted_on_the_scale_of_its_search(lr, edge):
    assert any("At an end of its range" in note for note in select("per_cell", lr).notes) is edge


def test_several_objectives_show_the_front():
    goals = (Objective("val_accuracy"), Objective("latency", "minimize"))
    table = select("per_cell", 0.1, values=(0.9, 3.0), front=(1, 4), tuning={"objectives": goals, "tolerance": 0.02})
    assert [row["Pareto front"] for row in read_markdown(repr(table))] == ["2", "2"]
    assert any("within 0.02 of the best val_accuracy, the one of the best latency" in note for note in table.notes)


def test_cells_are_those_of_the_plan_in_its_order(tuned):
    plan = Records.read(tuned / "records.csv").plan
    assert [Cell({"data": row[0].text}) for row in tuning_table(plan, read_papers(tuned, plan).selection).rows] == [
        *plan.cells
    ]
