"""Every trial ever planned or launched stands in the accounting, once."""

import shutil
from dataclasses import replace
from pathlib import Path

from ablate.amendments import amend
from ablate.courses import Course, Look
from ablate.engine import load, read_outcomes
from ablate.plans import Plan
from ablate.records import Records
from ablate.report.accountings import accounting_table, search_table, trials_table
from ablate.report.integrity import find_integrity
from ablate.report.papers import Papers, read_papers
from ablate.report.reckonings import accounted, deviations
from ablate.runs import Runs
from tests.report.studies import make_plan, make_records, make_tuned_plan, read_markdown


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


def test_trials_that_tune_and_that_are_superseded_stand_apart(tuned, tmp_path):
    study = Path(shutil.copytree(tuned, tmp_path / "study"))
    plan = Plan.read(study)
    fewer = replace(make_tuned_plan(seeds=2), provenance=plan.provenance)
    amend(study, fewer, "too dear", read_outcomes(study, plan, Runs(study)))
    records = load(study)
    papers = read_papers(study, fewer)
    table = accounting_table(records, papers)
    assert [row[0].text for row in table.rows if len(row) == 1] == [
        "Trials that report",
        "Trials that tune, as launched",
        "Trials that are not, or no longer, of the plan",
    ]
    rows = read_markdown(repr(table))
    assert [(row["data"], row["planned"], row["complete"]) for row in rows] == [
        *[("raw", "2", "2"), ("clean", "2", "2"), ("all", "4", "4")],
        *[("raw", "4", "4"), ("clean", "4", "4")],
        *[("data=clean", "1", "1"), ("data=raw", "1", "1")],
    ]
    assert [row["reasons"] for row in rows[-2:]] == ["superseded by amendment 1"] * 2
    assert table.notes[0].endswith("8 of 8 tuning trials complete, 2 superseded by amendment 1.")
    assert "14 attempts were launched in all." in table.notes
    listed = {trial for row in (*trials_table(records).rows, *search_table(records).rows) for trial in row[0].trials}
    assert {trial for row in table.rows for entry in row for trial in entry.trials} == listed


def test_trials_that_a_look_spared_are_not_owed():
    made = make_plan({"data": ["raw", "clean"]}, seeds=2, max_seeds=4, analysis={"stopping": "sequential"})
    records = make_records(made)
    records = records.of_trials([t for t in made.trials if t.seed < 2])
    papers = Papers(course=Course(made, (Look(2, (), ("data: clean vs raw: better",)),)))
    assert accounted(records, papers) == "2 of 2 cells complete, 4 of 8 trials complete, 4 not needed."
    assert accounted(records) == "0 of 2 cells complete, 4 of 8 trials complete, 4 not run."
    *_, total = read_markdown(repr(accounting_table(records, papers)))
    assert (total["planned"], total["not needed"], total["not run"]) == ("8", "4", "0")
    assert deviations(records, papers) == []
    look = next(finding for finding in find_integrity(records, replace(papers, stamp="x")) if finding.topic == "Look 1")
    assert (look.text, look.details) == ("After 2 seeds: no cell got more.", ("data: clean vs raw: better",))


def test_trials_that_no_look_had_asked_for_are_told():
    made = make_plan({"data": ["raw", "clean"]}, seeds=2, max_seeds=4, analysis={"stopping": "sequential"})
    records = make_records(made)
    papers = Papers(course=Course(made, (Look(2, (), ("data: clean vs raw: better",)),)))
    assert any(line.startswith("4 trials run that no look had asked for: ") for line in deviations(records, papers))


def test_what_a_failure_left_open_is_not_called_decided():
    made = make_plan({"data": ["raw", "clean"]}, seeds=2, max_seeds=4, analysis={"stopping": "sequential"})
    records = make_records(made, failed=1)
    records = records.of_trials([t for t in made.trials if t.seed < 2])
    papers = Papers(course=Course(made, (Look(2, (), ("data: clean vs raw: refused",)),)))
    assert ", 1 failed: ValueError: loss is nan (1×), 4 not run." in accounted(records, papers)


def test_diverged_runs_are_told_with_their_treatment():
    made = make_plan(divergence={"treatment": "worst", "value": 0.1})
    frame = make_records(made, failed=1).frame
    frame.loc[frame["status"] == "failed", "status"] = "diverged"
    said = accounted(Records(frame, made))
    assert "35 of 36 trials complete, 1 diverged (counted as 0.1, as declared): ValueError: loss is nan (1×)." in said
