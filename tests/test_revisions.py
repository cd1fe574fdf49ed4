"""Amending a study: what is printed, what goes on, and what is refused."""

import shutil
from dataclasses import replace

import pytest

import ablate as ab
from ablate.accounts import Account
from ablate.engine import run
from ablate.errors import StudyError
from ablate.ledger import DriverLock
from ablate.plans import Plan
from ablate.revisions import amend_study
from tests import toys

PLAN = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy", name="toy", margin=0.01)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("revised") / "study"
    run(PLAN, toys.surface, folder=folder, progress=False)
    return folder


@pytest.fixture
def study(made, tmp_path):
    return shutil.copytree(made, tmp_path / "study")


def declare(**changes):
    return ab.plan(
        **{"factors": {"data": ["raw", "clean"]}, "seeds": 2, "metric": "accuracy", "name": "toy", **changes}
    )


def test_it_prints_the_difference_and_what_is_exploratory_now(study, capsys):
    plan = declare(margin=0.05)
    with pytest.raises(StudyError, match=r"margin: 0\.01 -> 0\.05"):
        run(plan, toys.surface, folder=study, progress=False)
    amend_study(plan, study, "a referee asked", task=toys.surface)
    printed = capsys.readouterr().out
    assert f"toy: amendment 1, plan {PLAN.hash[:8]} -> {plan.hash[:8]}" in printed
    assert "    margin: 0.01 -> 0.05" in printed
    assert "exploratory from here on: verdicts that rest on the margin, since 4 trials had been measured" in printed
    assert len(run(plan, toys.surface, folder=study, progress=False).complete) == 16


def test_trials_that_an_amendment_drops_stay_in_the_account(study, capsys):
    fewer = declare(factors={"data": ["raw", "cleaner"]})
    amend_study(fewer, study, "clean was a duplicate")
    assert "superseded: 2 launched trials" in capsys.readouterr().out
    shutil.rmtree(study / "runs")
    assert len(Account.read(study).superseded(fewer)) == 2


def test_code_that_changed_is_an_amendment(study, capsys):
    mended = declare(margin=0.01)
    mended = replace(mended, provenance={"sources": {"surface": "0" * 64}})
    amend_study(mended, study, "the loss was wrong")
    printed = capsys.readouterr().out
    assert "sources: surface: " in printed
    assert "every effect, since 4 trials" in printed


def test_a_running_driver_an_unlocked_folder_and_an_untouched_plan_are_refused(study, tmp_path):
    lock = DriverLock(study)
    with pytest.raises(StudyError, match="another driver"):
        amend_study(declare(margin=0.05), study, "why")
    lock.release()
    assert Plan.read(study).margin == 0.01
    (tmp_path / "new").mkdir()
    with pytest.raises(StudyError, match="no plan is locked here"):
        amend_study(declare(), tmp_path / "new", "why")
    PLAN.write(tmp_path / "new")
    with pytest.raises(StudyError, match="nothing was run under the plan yet"):
        amend_study(declare(), tmp_path / "new", "why")
