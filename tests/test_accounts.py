"""The account of every attempt: what ran, what was deleted, copied, edited, or read too early stays visible."""

import json
import shutil
from dataclasses import replace

import pytest

import ablate as ab
from ablate.accounts import ACCOUNT_FILE, Account, Duplicate, Launch, read_account, sign
from ablate.engine import run
from ablate.errors import StudyError
from ablate.runs import Runs
from ablate.signals import note_reading
from tests import toys

PLAN = ab.plan({"data": ["raw", "clean"]}, seeds=3, metric="accuracy", name="toy")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study in which one trial failed at first, and was mended."""
    folder = tmp_path_factory.mktemp("account") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MENDED", raising=False)
        run(PLAN, toys.failing, folder=folder, progress=False)
        patch.setenv("MENDED", "1")
        run(PLAN, toys.failing, folder=folder, progress=False)
    read_account(folder).write(folder)
    return folder


@pytest.fixture
def study(made, tmp_path):
    return shutil.copytree(made, tmp_path / "study")


def trial_of(**wanted):
    return next(t for t in PLAN.trials if t.cell["data"] == wanted["data"] and t.seed == wanted["seed"])


def edit(path, **values):
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **values}))


def test_every_attempt_is_there_with_how_it_ended(study):
    account = read_account(study)
    assert len(account.launches) == 7
    failed, mended = account.of_trial[trial_of(data="clean", seed=1).id]
    assert (failed.status, failed.reason, failed.attempt) == ("failed", "ValueError: a planted failure", 1)
    assert (mended.status, mended.attempt) == ("complete", 2)
    assert failed.cell == "data=clean"
    assert failed.started < mended.started
    assert {launch.plan for launch in account.launches} == {PLAN.hash[:16]}
    assert account.duplicates() == account.foreign == account.superseded(PLAN) == ()


def test_an_attempt_names_the_commit_of_its_code_and_older_accounts_are_read_without(study):
    first, second = PLAN.trials[:2]
    for trial, said in ((first, {"commit": "a" * 40, "dirty": False}), (second, {"commit": "b" * 40, "dirty": True})):
        edit(Runs(study).folder_of(trial.id, 1) / "record.json", environment=said)
    account = read_account(study)
    assert [account.of_trial[t.id][0].commit for t in (first, second)] == ["a" * 12, f"{'b' * 12}+"]
    older = [line.rpartition(",")[0] for line in account.to_csv().splitlines()]
    (study / ACCOUNT_FILE).write_text("\n".join(older))
    assert Account.read(study).launches == tuple(replace(launch, commit="") for launch in account.launches)


def test_the_account_outlives_its_runs_and_is_the_same_from_its_file(study):
    account = read_account(study)
    assert Account.read(study) == account
    shutil.rmtree(study / "runs")
    assert read_account(study) == account
    before = (study / ACCOUNT_FILE).stat().st_mtime_ns
    account.write(study)
    assert (study / ACCOUNT_FILE).stat().st_mtime_ns == before


def test_a_deleted_attempt_stays_in_the_account(study):
    trial = trial_of(data="clean", seed=1)
    shutil.rmtree(Runs(study).folder_of(trial.id, 1))
    assert [each.status for each in read_account(study).of_trial[trial.id]] == ["failed", "complete"]


def test_an_attempt_that_nobody_ended_is_running(study):
    attempt = Runs(study).claim(trial_of(data="raw", seed=0))
    last = read_account(study).of_trial[attempt.trial.id][-1]
    assert (last.status, last.attempt, last.cell, last.seed) == ("running", 2, "data=raw", 0)


def test_a_clone_that_goes_on_keeps_both_first_attempts(study):
    old = read_account(study)
    shutil.rmtree(study / "runs")
    (study / "records.csv").unlink()
    run(PLAN, toys.surface, folder=study, progress=False)
    account = read_account(study)
    assert len(account.launches) == 13
    assert set(old.launches) < set(account.launches)


def test_a_copied_log_is_found_with_its_two_trials(study):
    source, target = trial_of(data="raw", seed=0), trial_of(data="clean", seed=2)
    home = Runs(study).folder_of(target.id, 1)
    shutil.copy(Runs(study).folder_of(source.id, 1) / "record.json", home)
    (launch,) = read_account(study).foreign
    assert launch.foreign == f"the record of trial {source.id}, attempt 1"
    # a careful forger names the trial and the cell
    edit(home / "record.json", trial=target.id, cell=dict(target.cell), seed=target.seed)
    assert read_account(study).foreign == ()
    (found,) = read_account(study).duplicates()  # four scores of many digits do not agree by accident
    assert set(found.trials) == {source.id, target.id}


def test_a_record_of_another_cell_or_seed_is_foreign(study):
    trial = trial_of(data="raw", seed=0)
    path = Runs(study).folder_of(trial.id, 1) / "record.json"
    edit(path, seed=7)
    assert read_account(study).foreign[0].foreign == "says data=raw seed=7, which is another trial"


def rows(*values, n=None, metric="accuracy"):
    return [{"domain": f"d{i}", "metric": metric, "value": v, "n_examples": n} for i, v in enumerate(values)]


def launches(*signatures, seconds=(), **values):
    spent = seconds or [1.5 + k for k in range(len(signatures))]
    made = (Launch(f"t{k}", seed=k, status="complete", signature=s) for k, s in enumerate(signatures))
    return Account(tuple(replace(each, seconds=s, **values) for each, s in zip(made, spent, strict=True)))


def test_equal_scores_of_two_trials_are_duplicates_and_equal_seconds_make_them_copies():
    strong = sign(rows(*[0.7 + k / 500 for k in range(12)], n=500))
    assert launches(strong, strong).duplicates() == (Duplicate(("t0", "t1"), copied=False),)
    assert launches(strong, strong, seconds=[2.25, 2.25]).duplicates() == (Duplicate(("t0", "t1"), copied=True),)
    three = launches(strong, strong, strong, seconds=[2.25, 2.25, 3.5])
    assert three.duplicates() == (Duplicate(("t0", "t1", "t2"), copied=False),)
    assert launches(strong, strong, cell="a=1").duplicates()  # another seed that changes nothing
    same_place = launches(strong, strong)
    same_place = Account(tuple(replace(each, seed=0) for each in same_place.launches))
    assert same_place.duplicates() == ()  # a trial that an amendment had run anew


def test_coarse_scores_that_agree_accuse_nobody_unless_the_time_agrees_too():
    weak = sign(rows(0.5, 0.75, n=20))
    assert weak.startswith("~")
    assert launches(weak, weak).duplicates() == ()
    assert launches(weak, weak, seconds=[0.000012, 0.000012]).duplicates() == ()
    assert launches(weak, weak, seconds=[61.000012, 61.000012]).duplicates()[0].copied
    assert sign(rows(*[1.0] * 40, n=500)).startswith("~")  # a ceiling


def test_a_signature_knows_no_clock_no_order_and_every_digit_of_a_score():
    first, clock = (
        rows(0.1, 0.2, 0.3),
        [{"metric": "train_seconds", "value": 3.0}, {"metric": "latency_ms", "value": 1}],
    )
    assert sign([*first, *clock]) == sign(reversed(first))
    assert sign(first) != sign(rows(0.1, 0.2, 0.3000000001))
    assert sign(clock) == ""


def test_readings_of_test_sets_are_counted_by_phase(study):
    early = replace(trial_of(data="raw", seed=0), phase="search")
    note_reading(Runs(study).claim(early).folder, "a")  # and its record is never written
    assert read_account(study).readings == {"search": 1, "confirm": 0}
    assert Account((Launch("c", phase="confirm", readings=5),)).readings == {"search": 0, "confirm": 5}


def test_trials_that_the_plan_no_longer_has_are_superseded(study):
    other = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy", name="toy")
    left = {t.id for t in PLAN.trials if t.seed == 2}
    assert set(read_account(study).superseded(other)) == left


def test_a_damaged_account_is_said_to_be(study):
    (study / ACCOUNT_FILE).write_text("trial,plan\nx,y\n")
    with pytest.raises(StudyError, match="the account cannot be read"):
        read_account(study)


def test_scores_that_are_no_share_of_their_examples_say_much():
    rows = [
        {"domain": d, "metric": "nll", "value": v, "n_examples": 1000}
        for d, v in zip("ab", (0.12345678, 1.3123456), strict=True)
    ]
    share = [{**row, "value": 0.123} for row in rows]
    assert not sign(rows).startswith("~")
    assert sign(share).startswith("~")
