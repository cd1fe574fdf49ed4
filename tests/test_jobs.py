"""Attempts as batches of Hydra jobs: what is launched together, and what alone."""

import contextlib

import ablate as ab
from ablate.jobs import HydraJobs
from ablate.runs import STARTED, Runs, conclude, failure
from ablate.sweeps import Study


def drive(plan, folder, batches, launch_jobs):
    """Launch every trial once, through a launcher that sees lists of overrides."""
    study = Study(plan, folder, {}, {cell: [str(cell)] for cell in plan.cells}, "seed", None, ())
    waiting, runs = list(plan.trials), Runs(folder)

    def launch(jobs, first):
        batches.append(len(jobs))
        launch_jobs([folder / "runs" / job[-1].partition("=")[2] for job in jobs])

    def claim():
        return runs.claim(waiting.pop(0)) if waiting else None

    launcher = HydraJobs(study, launch)
    ended = list(launcher.launch(None, plan, claim))
    return ended, launcher, claim, waiting


def test_after_a_kill_only_what_had_begun_is_launched_alone(tmp_path):
    plan, batches = ab.plan({"data": ["raw", "clean"]}, seeds=4, metric="accuracy"), []

    def die_at_the_third(folders):
        for folder in folders[:3]:
            (folder / STARTED).touch()
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        drive(plan, tmp_path, batches, die_at_the_third)
    conclude(Runs(tmp_path).claim(plan.trials[7]), plan, failure("failed", "it cannot be"))
    drive(plan, tmp_path, batches, lambda folders: None)
    assert batches == [8, 5, 1, 1, 1]


def test_a_lost_batch_is_launched_again_one_by_one(tmp_path):
    plan, batches = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy"), []

    def lose(folders):
        raise RuntimeError("a worker was lost\nlong story")

    ended, launcher, claim, waiting = drive(plan, tmp_path, batches, lose)
    assert {trouble for _, trouble in ended} == {"the launcher lost its batch: RuntimeError: a worker was lost"}
    waiting += plan.trials
    list(launcher.launch(None, plan, claim))
    assert batches == [4, 1, 1, 1, 1]
