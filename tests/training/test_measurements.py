"""Measurements: every reading of a test set is noted, and rows carry its fingerprint."""

from importlib import import_module
from pathlib import Path

import pytest

from ablate import signals
from ablate.training import preflight, run_trial
from ablate.training.fingerprints import fingerprint

from .configs import MOVED, measured, trial_config


def test_each_reading_of_a_test_set_is_noted(attempt: Path) -> None:
    config = trial_config(domains={"clean": {"home": None}, "moved": {"home/moved": MOVED}})
    preflight(config)
    assert signals.readings(attempt) == {}, "one batch, before anything trains, is no reading"
    for times in (1, 2):
        run_trial(config)
        assert signals.readings(attempt) == {"home": times, "home/moved": times}


def test_a_reading_is_noted_before_it_begins(attempt: Path) -> None:
    config = trial_config(model="FailsWhenTested")
    with pytest.raises(ZeroDivisionError):
        run_trial(config)
    assert signals.readings(attempt) == {"home": 1}


def test_rows_carry_the_fingerprint_of_their_test_set() -> None:
    points = import_module("stranger").Points()
    rows = measured(run_trial(trial_config()))
    expected = {("home", "none"): fingerprint(points.home), ("home", "far"): fingerprint(points.away)}
    assert {(r["domain"], r["shift"]): r["eval_hash"] for r in rows} == expected
    assert len(set(expected.values())) == 2
