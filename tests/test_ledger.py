"""The ledger: Optuna's books follow the records, survive torn files, and can be rebuilt."""

import json
import warnings

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import ablate as ab
from ablate.errors import StudyError
from ablate.ledger import JOURNAL, DriverLock, Ledger, repair_journal
from ablate.runs import Runs
from tests import toys

LEVELS = {"data": ["raw", "clean"], "size": ["small", "large"]}


def declare(**changes):
    return ab.plan(LEVELS, **{"seeds": 2, "metric": "accuracy", "name": "toy", **changes})


def run(plan, task, folder):
    return ab.run(plan, task, folder=folder, progress=False)


def book(folder):
    """The study as anybody's Optuna reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = JournalStorage(JournalFileBackend(str(folder / "runs" / JOURNAL)))
        (name,) = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=name, storage=storage)


def states(folder):
    return [(t.params["data"], t.params["size"], t.params.get("seed"), t.state) for t in book(folder).trials]


def test_every_trial_is_in_the_books_with_levels_seed_state_and_value(tmp_path):
    plan = declare()
    records = run(plan, toys.surface, tmp_path)
    study = book(tmp_path)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert len(study.trials) == 8
    means = records.frame.groupby("trial")["value"].mean()
    for entry in study.trials:
        assert entry.state == TrialState.COMPLETE
        assert entry.value == pytest.approx(means[entry.user_attrs["trial"]])
        trial = next(t for t in plan.trials if t.id == entry.user_attrs["trial"])
        assert entry.params == {**trial.cell, "seed": trial.seed}


def test_levels_that_are_equal_and_print_differently_stay_apart_in_the_books(tmp_path):
    plan = ab.plan({"x": [1, True, 1.0], "y": [0, 0.5]}, seeds=1, metric="accuracy", name="toy")
    run(plan, toys.surface, tmp_path)
    assert {(t.params["x"], t.params["y"]) for t in book(tmp_path).trials} == {
        (x, y) for x in ("1", "true", "1.0") for y in (0, 0.5)
    }


def test_excluded_and_failed_trials_are_in_the_books_with_their_reason(tmp_path):
    plan = declare(exclude=[{"data": "raw", "size": "large"}])
    run(plan, toys.failing, tmp_path)
    trials = book(tmp_path).trials
    assert [t.user_attrs["status"] for t in trials].count("excluded") == 1
    failed = [t for t in trials if t.state == TrialState.FAIL]
    assert {t.user_attrs["reason"] for t in failed} == {"ValueError: a planted failure"}


def test_deleted_books_are_rebuilt_from_the_records(tmp_path):
    plan = declare()
    run(plan, toys.surface, tmp_path)
    before = {t.user_attrs["trial"]: (t.params, t.value, t.state) for t in book(tmp_path).trials}
    (tmp_path / "runs" / JOURNAL).unlink()
    run(plan, toys.surface, tmp_path)
    assert {t.user_attrs["trial"]: (t.params, t.value, t.state) for t in book(tmp_path).trials} == before


def test_reconciling_twice_changes_nothing(tmp_path):
    plan = declare()
    with Ledger(tmp_path, plan) as ledger:
        ledger.reconcile({})
        first = [(t.params, t.state) for t in ledger.study.trials]
        ledger.reconcile({})
        assert [(t.params, t.state) for t in ledger.study.trials] == first
        assert [ledger.claim() for _ in range(9)] == [*plan.trials, None]


def test_claims_of_a_dead_driver_are_closed_as_lost_and_queued_again(tmp_path):
    plan = declare()
    with Ledger(tmp_path, plan) as ledger:
        ledger.reconcile({})
        first = ledger.claim()
    with Ledger(tmp_path, plan) as ledger:
        ledger.reconcile({})
        closed = ledger.study.trials[0]
        assert (closed.state, closed.user_attrs["status"]) == (TrialState.FAIL, "lost")
        assert first in [ledger.claim() for _ in range(8)]
        assert ledger.claim() is None


def test_a_record_written_after_its_driver_died_is_booked(tmp_path):
    plan = declare()
    with Ledger(tmp_path, plan) as ledger:
        ledger.reconcile({})
        trial = ledger.claim()
    outcome = {"status": "complete", "reason": None, "rows": [row(0.5)]}
    with Ledger(tmp_path, plan) as ledger:
        ledger.reconcile({trial.id: outcome})
        assert (ledger.study.trials[0].state, ledger.study.trials[0].value) == (TrialState.COMPLETE, 0.5)
        assert trial not in [ledger.claim() for _ in range(7)]


def row(value):
    return {"domain_group": "all", "domain": "all", "shift": "none", "metric": "accuracy", "value": value}


@pytest.mark.parametrize("tail", [b'{"op_code": 4, "wor', b"garbage\n", b"\x00" * 64, b"[1]\n", b""])
def test_a_torn_journal_is_cut_kept_aside_and_goes_on(tmp_path, tail):
    plan = declare()
    run(plan, toys.surface, tmp_path)
    journal = tmp_path / "runs" / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + tail)
    run(plan, toys.surface, tmp_path)
    assert len(book(tmp_path).trials) == 8
    kept = [p.read_bytes() for p in journal.parent.glob("*.torn-*")]
    assert kept == ([tail] if tail else [])


def test_damage_in_the_middle_is_rebuilt_from_the_records(tmp_path):
    plan = declare()
    run(plan, toys.surface, tmp_path)
    journal = tmp_path / "runs" / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:7]) + b"%$&!\n" + b"".join(lines[8:]))
    run(plan, toys.surface, tmp_path)
    done = {t.user_attrs["trial"] for t in book(tmp_path).trials if t.state == TrialState.COMPLETE}
    assert done == {t.id for t in plan.trials}


def test_repair_counts_what_it_cuts(tmp_path):
    path = tmp_path / "journal"
    assert repair_journal(path) == 0
    path.write_bytes(b'{"a": 1}\n{"b"')
    assert repair_journal(path) == 4
    assert path.read_bytes() == b'{"a": 1}\n'


def test_the_lock_names_its_holder_and_goes_with_it(tmp_path):
    lock = DriverLock(tmp_path)
    with pytest.raises(StudyError, match="another driver"):
        DriverLock(tmp_path)
    holder = json.loads((tmp_path / "runs" / "driver.lock").read_text())
    assert set(holder) == {"pid", "host", "since"}
    lock.release()
    DriverLock(tmp_path).release()


def test_strangers_in_the_queue_are_not_run(tmp_path):
    plan = declare()
    with Ledger(tmp_path, plan) as ledger:
        ledger.study.enqueue_trial({"data": "raw", "size": "small", "seed": 7})
        ledger.reconcile({})
        assert None not in [ledger.claim() for _ in range(8)]
        assert len(Runs(tmp_path).outcomes(plan)) == 0
