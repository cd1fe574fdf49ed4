"""How trials ended, and what differs from the plan, follows from plan, records and account."""

from ablate.records import Records
from ablate.report import reckonings
from tests.report.studies import make_records


def test_no_deviations_where_there_are_none():
    assert reckonings.deviations(make_records()) == []


def test_deviations_name_the_trials():
    records = make_records(failed=1, missing=2)
    frame = records.frame.copy()
    again = records.complete["trial"].iloc[0]
    frame.loc[frame["trial"] == again, "attempt"] = 2
    frame.loc[frame["trial"] == again, "hardware"] = "1 GPU"
    short = records.complete["trial"].iloc[-1]
    frame = frame[(frame["trial"] != short) | (frame["shift"] != "noise-1")]
    said = "\n".join(reckonings.deviations(Records(frame, records.plan)))
    assert f"1 trial without a complete run: {records.plan.trials[0].id}." in said
    assert "2 planned trials not run yet." in said
    assert f"more than one attempt: {again}." in said
    assert "different hardware (1 GPU; 2 CPU)" in said
    assert f"not measured on every domain: {short}." in said


def test_reasons_are_the_last_line_of_a_traceback():
    assert reckonings.short_reason("Traceback\n  x\nValueError: no\n") == "ValueError: no"
    assert reckonings.short_reason("x" * 500).endswith("…")
    assert reckonings.short_reason(None) == ""
