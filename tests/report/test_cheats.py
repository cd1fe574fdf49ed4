"""Planted cheats, one at a time, in a study that is sound; and the line of the report that exposes each."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import ablate as ab
from ablate.accounts import ACCOUNT_FILE, Account, read_account
from ablate.amendments import AMENDMENTS_FILE, amend
from ablate.engine import load, read_outcomes, run
from ablate.errors import StudyError
from ablate.factors import digest
from ablate.plans import Plan
from ablate.records import Records
from ablate.report.budgets import budget_table
from ablate.report.integrity import contamination_table, find_integrity
from ablate.report.papers import CONTAMINATION_FILE, Papers, read_papers
from ablate.report.reckonings import accounted, breaches, deviations
from ablate.report.tables import table
from ablate.runs import Runs
from ablate.safeguards import RETRY_SEEDS
from ablate.signals import note_reading
from tests.report.studies import make_tuned_plan, read_markdown, tuned_task


@pytest.fixture
def study(tuned, tmp_path):
    return Path(shutil.copytree(tuned, tmp_path / "study"))


def report(study):
    """What the report says, from committed files alone: runs are not kept in version control."""
    records = Records.read(study / "records.csv")
    papers = read_papers(study, records.plan)
    said = [*deviations(records, papers), accounted(records, papers)]
    for finding in find_integrity(records, papers):
        said += [finding.text, *finding.details] if finding.state == "broken" else []
    return "\n".join(said), records, papers


def cheat(study, trial, **values):
    """Change the record of a trial's first attempt."""
    path = Runs(study).folder_of(trial.id, 1) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def collect(study):
    """What a driver leaves at its end."""
    load(study).write(study / "records.csv")
    read_account(study).write(study)


def test_a_sound_study_has_nothing_to_tell(study):
    said, records, papers = report(study)
    assert said == "2 of 2 cells complete, 6 of 6 trials complete, 8 of 8 tuning trials complete."
    states = {finding.topic: finding.state for finding in find_integrity(records, papers)}
    assert states == {"Lock": "held", "Seal": "held", "Account": "held", "Budgets": "held", "Contamination": "told"}
    seal = next(f.text for f in find_integrity(records, papers) if f.topic == "Seal")
    assert seal == "Readings of test sets during tuning: 0. Test sets were read 72 times by trials that report."


def test_code_that_was_committed_to_meanwhile_is_told(study):
    for k, trial in enumerate(Plan.read(study).trials):
        cheat(study, trial, environment={"commit": ("a" if k else "b") * 40, "dirty": not k})
    collect(study)
    _, records, papers = report(study)
    (lock,) = (f.text for f in find_integrity(records, papers) if f.topic == "Lock")
    assert f"{'a' * 12} (5 attempts), {'b' * 12}+ (1 attempt)" in lock


def test_an_edited_plan_does_not_open(study):
    path = study / "plan.json"
    path.write_text(path.read_text().replace('"margin": 0.01', '"margin": 0.05'))
    with pytest.raises(StudyError, match="the plan was edited after it was locked"):
        report(study)


def test_a_margin_changed_with_a_new_hash_is_not_the_plan_that_ran(study):
    old = Plan.read(study).hash
    make_tuned_plan(margin=0.05).write(study)
    assert f"14 attempts launched under a plan ({old[:8]}) that no amendment tells of." in report(study)[0]


def test_an_amended_margin_sets_its_verdicts_apart(study):
    amended(study)
    _, records, papers = report(study)
    shown = table(ab.attribute(records), records, papers)
    headings = [row[0].text for row in shown.rows if len(row) == 1]
    assert [heading.startswith("Exploratory, amendment 1") for heading in headings] == [False]  # better stays better
    effect = {"verdict": "equivalent", "family": "main", "trials": ()}
    assert papers.explores(effect) == (1,)


def amended(study):
    plan = Plan.read(study)
    wider = make_tuned_plan(margin=0.05)
    object.__setattr__(wider, "provenance", plan.provenance)
    return amend(study, wider, "a referee asked", read_outcomes(study, plan, Runs(study)))


def test_an_amendment_that_understates_what_was_seen_is_told_by_the_account(study):
    made = amended(study)
    path = study / AMENDMENTS_FILE
    (link,) = json.loads(path.read_text())
    link |= {"complete": 0, "time": "2999-01-01T00:00:00+00:00"}
    link["hash"] = digest(["", {key: link[key] for key in link if key != "hash"}])
    path.write_text(json.dumps([link]))
    assert made.complete == 6
    assert "Amendment 1 says that 0 trials had been measured by then; the account has 6." in report(study)[0]


def test_a_failure_that_was_dropped_is_in_the_account(study):
    trial = Plan.read(study).trials[0]
    cheat(study, trial, status="failed", reason="ValueError: a planted failure", rows=[])
    (study / "records.csv").unlink()
    collect(study)
    frame = Records.read(study / "records.csv").frame
    assert set(frame["status"]) == {"complete", "failed"}
    Records(frame[frame["status"] == "complete"], Plan.read(study)).write(study / "records.csv")
    shutil.rmtree(Runs(study).root / trial.id)
    read_account(study).write(study)
    said = report(study)[0]
    assert f"1 trial launched, and not in the records (failed (1×)): {trial.id}." in said
    assert "1 of 2 cells complete, 5 of 6 trials complete, 1 not run" in said


def test_a_duplicated_log_is_named_with_both_trials(study):
    first, second = Plan.read(study).trials[:2]
    source = json.loads((Runs(study).folder_of(first.id, 1) / "record.json").read_text())
    cheat(study, second, rows=source["rows"], seconds=source["seconds"])
    collect(study)
    said = report(study)[0]
    assert f"Duplicates: trials {' and '.join(sorted([first.id, second.id]))} are one run, copied" in said
    assert ", 2 duplicates." in said


def test_a_test_set_that_was_read_while_tuning_breaks_the_seal(study):
    trial = next(Plan.read(study).search_trials())
    note_reading(Runs(study).folder_of(trial.id, 1), "d0")
    collect(study)
    said = report(study)[0]
    assert f"Test sets were read 1 time during tuning, by 1 trial: {trial.id}." in said
    assert "Readings of test sets during tuning: 1." in said


def test_readings_that_nobody_tells_of_hold_no_seal(study):
    for path in Runs(study).root.glob("*/*/readings.jsonl"):
        path.unlink()
    for trial in (*Plan.read(study).trials, *Plan.read(study).search_trials()):
        cheat(study, trial, readings={})
    collect(study)
    _, records, papers = report(study)
    (seal,) = (f for f in find_integrity(records, papers) if f.topic == "Seal")
    assert (seal.state, "the task does not tell" in seal.text) == ("told", True)


def reseal(path, change):
    """Edit a sealed file and give it the hash that it would have had."""
    values = json.loads(path.read_text())
    del values["hash"]
    change(values)
    path.write_text(json.dumps({**values, "hash": digest(values)}))


def test_a_setting_by_hand_is_not_what_was_selected(study):
    def choose(values):
        values["choices"][1]["settings"]["lr"] = 0.4

    reseal(study / "tuning.json", choose)
    said = report(study)[0]
    assert "The selection in data=clean is not what its trials give: proposal " in said
    own = [trial.id for trial in Plan.read(study).trials if trial.cell["data"] == "clean"]
    line = next(line for line in said.splitlines() if line.startswith("Run with another setting than was selected"))
    assert all(trial in line for trial in own)


def test_a_proposal_that_is_not_the_best_was_not_selected(study):
    frame = Records.read(study / "records.csv").frame
    best = json.loads((study / "tuning.json").read_text())["choices"][0]["proposal"]
    worse = next(n for n in range(4) if n != best)
    own = frame[(frame["data"] == "raw") & (frame["proposal"] == worse) & (frame["metric"] == "val_accuracy")].iloc[0]

    def choose(values):
        values["choices"][0] |= {"proposal": worse, "values": [own["value"]], "settings": {"lr": own["lr"]}}

    reseal(study / "tuning.json", choose)
    said = f"The selection in data=raw is not what its trials give: proposal {best} is better."
    assert said in report(study)[0]


def test_a_search_of_other_size_than_its_trials_is_told(study):
    def claim(values):
        values["choices"][0] |= {"proposals": 99, "runs": 99}

    reseal(study / "tuning.json", claim)
    assert "it tells of 99 proposals and 99 runs, the records of 4 and 4" in report(study)[0]


def forget(study, trial):
    """Delete what is known of a trial but its line in the account."""
    shutil.rmtree(Runs(study).root / trial.id)
    frame = Records.read(study / "records.csv").frame
    Records(frame[frame["trial"] != trial.id], Plan.read(study)).write(study / "records.csv")


def test_a_run_that_was_deleted_and_run_again_for_a_better_score_is_told(study):
    plan = Plan.read(study)
    trial = next(trial for trial in plan.trials if trial.cell["data"] == "clean")
    forget(study, trial)
    run(plan, tuned_task, folder=study, progress=False)
    rows = json.loads((Runs(study).folder_of(trial.id, 1) / "record.json").read_text())["rows"]
    cheat(study, trial, rows=[{**row, "value": row["value"] + 0.002 * (row["metric"] == "accuracy")} for row in rows])
    collect(study)
    said = report(study)[0]
    assert f"1 trial run again, with other scores than before: {trial.id}." in said
    assert f"1 trial needed more than one attempt: {trial.id}." in said


def test_a_diverged_run_that_was_run_until_it_fitted_is_told(study):
    plan = Plan.read(study)
    trial = plan.trials[0]
    cheat(study, trial, status="diverged", reason="Diverged: loss is nan", rows=[])
    read_account(study).write(study)
    forget(study, trial)
    run(plan, tuned_task, folder=study, progress=False)
    assert f"1 trial diverged, and run again until complete: {trial.id}." in report(study)[0]


def test_retries_beyond_the_cap_or_on_the_seed_that_diverged_are_told(study):
    account = read_account(study)
    plan = make_tuned_plan(divergence={"treatment": "retry", "retries": 1})
    records = Records(Records.read(study / "records.csv").frame.query("phase == 'none'"), plan)
    (first, *_), trial = account.of_trial[Plan.read(study).trials[0].id], plan.trials[0]

    def said(*seeds):
        """Of a trial that completed on the last of these seeds and diverged on those before."""
        launches = [
            replace(first, trial=trial.id, attempt=k, seed=seed, status="diverged" if k < len(seeds) else "complete")
            for k, seed in enumerate(seeds, 1)
        ]
        return f"1 trial diverged, and run again until complete: {trial.id}." in [
            *breaches(records, Papers(account=Account(tuple(launches))))
        ]

    assert not said(trial.seed)
    assert not said(trial.seed, trial.seed + RETRY_SEEDS)
    assert said(trial.seed, trial.seed)
    assert said(trial.seed, trial.seed + RETRY_SEEDS, trial.seed + 2 * RETRY_SEEDS)


def test_a_domain_that_was_put_into_another_group_is_named(study):
    path = study / "records.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[frame["domain"] == "d1", "domain_group"] = "d0"
    frame.to_csv(path, index=False, lineterminator="\n")
    assert "Domains in other groups than the plan's: d1 in d0." in report(study)[0]


def test_a_study_without_its_account_says_so(study):
    (study / ACCOUNT_FILE).unlink()
    assert f"There is no {ACCOUNT_FILE}: nothing tells which runs were launched" in report(study)[0]


def test_more_tuning_for_one_arm_is_refused_and_marked(study):
    frame = Records.read(study / "records.csv").frame
    favoured = (frame["phase"] == "confirm") & (frame["data"] == "clean")
    frame.loc[favoured, "hpo_trials"] = 40
    Records(frame, Plan.read(study)).write(study / "records.csv")
    said, records, _ = report(study)
    assert (
        "1 cell spent other than the baseline; what compares them is refused (R09).\ndata=clean: tuning trials" in said
    )
    rows = read_markdown(repr(budget_table(records)))
    assert [row["against the baseline"] for row in rows] == ["–", "–", "equal", "R09: tuning trials"]
    assert set(ab.attribute(records).frame["refusal"]) == {"R09"}


def test_proposals_beyond_the_plan_are_of_no_plan(study):
    plan = Plan.read(study)
    extra = plan.search_trial(plan.cells[1], 4, plan.tuning.seeds[0])
    shutil.copytree(Runs(study).root / next(plan.search_trials()).id, Runs(study).root / extra.id)
    collect(study)
    said = report(study)[0]
    assert "1 of no plan of the study" in said
    assert f"Foreign record in trial {extra.id}, attempt 1: the record of trial" in said


def test_scores_that_were_edited_are_not_those_that_were_measured(study):
    path = study / "records.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    place = frame.index[(frame["metric"] == "accuracy") & (frame["data"] == "clean")][0]
    frame.loc[place, "value"] = str(float(frame.loc[place, "value"]) + 0.002)
    frame.to_csv(path, index=False, lineterminator="\n")
    assert f"1 trial with other scores than were measured: {frame.loc[place, 'trial']}." in report(study)[0]


def test_a_contaminated_domain_is_named_with_its_share(study):
    found = {"items": 500, "exact": [3, 4], "normalised": [3, 4, 5], "near": [*range(3, 28)], "skipped": None}
    path = study / CONTAMINATION_FILE
    path.write_text(json.dumps({"d0": found, "d1": {**found, "exact": [], "normalised": [], "near": []}}))
    said, _, papers = report(study)
    assert "Test items found in training data, in 1 of 2 domains: d0 25." in said
    (first, second) = read_markdown(repr(contamination_table(papers)))
    assert (first["Exact"], first["Near"], second["Near"]) == ("2 (0.4 %)", "25 (5 %)", "0 (0 %)")
    path.write_text("[]")
    with pytest.raises(StudyError, match="the audit cannot be read"):
        report(study)


def test_an_audit_that_was_edited_tells_less_than_was_left_out(study):
    path = study / "records.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    own = frame[(frame["domain"] == "d0") & (frame["metric"] == "accuracy")]
    pd.concat([frame, own.assign(metric="clean examples", value="475.0")]).to_csv(path, index=False)
    audit = {"items": 500, "exact": [], "normalised": [], "near": [], "skipped": None}
    said = "Trials left out contaminated items of which the audit does not tell: d0."
    for near, told in (([*range(25)], False), ([*range(24)], True)):
        (study / CONTAMINATION_FILE).write_text(json.dumps({"d0": {**audit, "near": near}}))
        assert (said in report(study)[0]) == told
    (study / CONTAMINATION_FILE).unlink()
    assert said in report(study)[0]


def test_an_account_that_was_thinned_out_lacks_what_the_records_hold(study):
    lines = (study / ACCOUNT_FILE).read_text().splitlines(keepends=True)
    trial = lines[-1].split(",")[0]
    (study / ACCOUNT_FILE).write_text("".join(lines[:-1]))
    said, records, papers = report(study)
    assert f"1 trial in the records, of which no attempt is known: {trial}." in said
    assert len(list(breaches(records, papers))) == 1
