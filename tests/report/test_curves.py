"""The figure of tuning: dots are the proposals, lines what is to be expected of so many."""

import numpy as np
import pytest

from ablate.records import Records
from ablate.report import curves
from tests.report.studies import make_records


@pytest.fixture(scope="module")
def records(tuned):
    return Records.read(tuned / "records.csv")


def test_values_are_those_of_the_records_in_the_order_of_the_proposals(records):
    rows = records.frame[records.frame["metric"] == "val_accuracy"]
    for cell, values in curves.search_values(records).items():
        own = rows[rows["data"] == cell["data"]].set_index("proposal")["value"]
        assert values.tolist() == [own[k] for k in range(4)]


def test_a_lost_proposal_stands_at_the_worst_value(records):
    frame = records.frame.copy()
    trial = frame[(frame["metric"] == "val_accuracy") & (frame["data"] == "raw") & (frame["proposal"] == 2)]["trial"]
    frame.loc[frame["trial"].isin(trial), "status"] = "diverged"
    found = curves.search_values(Records(frame, records.plan))
    worst = min(values.min() for values in curves.search_values(records).values())
    assert found[records.plan.cells[0]][2] == pytest.approx(max(worst, min(v.min() for v in found.values())))


def test_the_line_ends_at_the_best_and_starts_at_the_mean(records):
    figure = curves.tuning(records)
    for axes, values in zip(figure.axes, curves.search_values(records).values(), strict=False):
        dots, line = axes.get_lines()
        assert dots.get_ydata().tolist() == values.tolist()
        assert line.get_ydata()[[0, -1]] == pytest.approx([values.mean(), values.max()])
        assert np.all(np.diff(line.get_ydata()) > 0)


def test_what_was_not_tuned_has_no_figure():
    assert curves.tuning(make_records()) is None
    assert not curves.has_search(make_records())
