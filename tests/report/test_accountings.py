"""Every trial ever planned or launched stands in the accounting, once."""

from ablate.report.accountings import accounting_table, trials_table
from tests.report.studies import make_plan, make_records, read_markdown


def test_every_planned_trial_is_accounted_for():
    records = make_records(failed=2, missing=3)
    *cells, total = read_markdown(repr(accounting_table(records)))
    assert (total["planned"], total["complete"], total["failed"], total["not run"]) == ("36", "31", "2", "3")
    assert sum(int(row["planned"]) for row in cells) == 36
    lost = records.plan.trials[0]
    assert any(f"{lost.id}: ValueError: loss is nan" in row["reasons"] for row in cells)
    listed = read_markdown(repr(trials_table(records)))
    assert [row["trial"] for row in listed] != [t.id for t in records.plan.trials]  # by cell, not by shuffled block
    assert {row["trial"]: row["status"] for row in listed}.keys() == {t.id for t in records.plan.trials}
    assert sorted(row["status"] for row in listed) == ["complete"] * 31 + ["failed"] * 2 + ["not run"] * 3


def test_excluded_cells_stay_in_the_accounting():
    records = make_records(make_plan(exclude=[{"data": "augmented", "size": "small"}]))
    rows = read_markdown(repr(accounting_table(records)))
    rule = "excluded by a rule of the plan (data: augmented, size: small)"
    assert [row["reasons"] for row in rows].count(rule) == 2
