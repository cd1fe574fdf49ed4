"""Cells and costs against plain pandas."""

import pandas as pd
import pytest

from ablate.records import Records
from ablate.report.accountings import accounting_table, trials_table
from ablate.report.inventories import cells_table, cost_table, run_scores
from tests.report.studies import make_records, number, read_markdown


def test_cells_are_means_of_runs_of_means_of_groups():
    records = make_records()
    wide = records.frame[records.frame["metric"] == "accuracy"]
    shown = read_markdown(repr(cells_table(records)))
    for row in shown:
        cell = wide[
            (wide["data"] == row["data"]) & (wide["objective"] == row["objective"]) & (wide["size"] == row["size"])
        ]
        by_run = cell.groupby(["trial", "domain_group"])["value"].mean().unstack()
        assert number(row["noise"]) == pytest.approx(by_run["noise"].mean(), abs=5.1e-5)
        assert number(row["Mean accuracy"]) == pytest.approx(by_run.mean(axis=1).mean(), abs=5.1e-5)
        assert number(row["Run SD"]) == pytest.approx(by_run.mean(axis=1).std(ddof=1), abs=5.1e-5)
        assert row["Runs"] == "3 of 3"
    assert "±" not in repr(cells_table(records))


def test_a_group_averages_its_severities_first():
    records = make_records()
    trial = records.plan.trials[0].id
    rows = records.frame[(records.frame["trial"] == trial) & (records.frame["metric"] == "accuracy")].set_index("shift")
    by_hand = (rows["value"]["noise-1"] + rows["value"]["noise-2"]) / 2
    assert run_scores(records).loc[trial, "noise"] == pytest.approx(by_hand, abs=1e-12)


def test_a_run_without_a_domain_has_no_overall_mean_and_is_counted():
    records = make_records()
    trial = records.plan.trials[0].id
    frame = records.frame[(records.frame["trial"] != trial) | (records.frame["domain_group"] != "blur")]
    shown = cells_table(Records(frame, records.plan))
    (row,) = [r for r in shown.rows if trial in r[3].trials]
    assert [("(n=2)" in entry.text) for entry in row[4:]] == [True, False, False, False, True, False]


def test_costs_are_exact_where_shared_and_medians_elsewhere():
    records = make_records(failed=1)
    shown = read_markdown(repr(cost_table(records)))
    assert {row["params"] for row in shown} == {"40,330", "1,210"}
    frame = records.complete
    for row in shown:
        cell = frame[
            (frame["data"] == row["data"]) & (frame["objective"] == row["objective"]) & (frame["size"] == row["size"])
        ]
        median = cell[cell["metric"] == "train_seconds"]["value"].median()
        assert number(row["train seconds"]) == pytest.approx(median, abs=5.1e-3)
    assert sum(row["Runs"] == "2 of 3" for row in shown) == 1


def test_no_table_depends_on_who_finished_first():
    records = make_records(failed=1)
    shuffled = Records(records.frame.sample(frac=1, random_state=3), records.plan)
    assert not pd.DataFrame.equals(records.frame, shuffled.frame)
    for make in (cells_table, cost_table, accounting_table, trials_table):
        assert make(records) == make(shuffled)
