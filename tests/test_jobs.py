"""Attempts as batches of Hydra jobs: what is launched together, and what alone."""

import contextlib

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import ablate as ab
from ablate.carriers import list_launches
from ablate.jobs import HydraJobs, override, set_trial
from ablate.runs import STARTED, Runs, conclude, failure
from ablate.sweeps import Study
from tests.test_sweeps import read


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


def test_a_carrier_is_told_the_levels_that_it_is_measured_under_with_the_nodes_that_differ():
    study = read("lr=0.1,0.2", "model=shallow,deep", settings=["evaluation=[model]", "seeds=2"])
    carriers = list_launches(study.plan, study.plan.trials)
    assert len(carriers) == 4
    told = set_trial(study, carriers[0], None)["+evaluations"]
    assert [each["levels"] for each in told] == [{"model": "shallow"}, {"model": "deep"}]
    assert told[0]["config"] == {}
    assert told[1]["config"] == {
        "model": OmegaConf.to_container(study.configs[study.plan.cells[1]].model, resolve=False)
    }
    (word,) = (word for word in override(study, carriers[0]) if word.startswith("+evaluations"))
    (parsed,) = OverridesParser.create().parse_overrides([word])
    assert parsed.value() == told


def test_nobody_is_told_of_evaluations_where_there_are_none():
    study = read("lr=0.1,0.2", "model=shallow,deep")
    assert not any(word.startswith("+evaluations") for word in override(study, study.plan.trials[0]))


def test_tuning_runs_may_train_less_than_those_that_report():
    study = read(
        "model=shallow,deep",
        "lr=interval(0.01,0.1)",
        settings=["tuning.steps=20", "tuning.seconds=1.5", "validate=math.fsum"],
    )
    trial = study.plan.search_trial(study.plan.cells[0], 0, study.plan.tuning.seeds[0])
    told = set_trial(study, trial, None)
    assert told["++trainer.max_steps"] == 20
    assert told["++trainer.max_time"] == {"seconds": 1.5}
    parsed = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(override(study, trial))}
    assert parsed["trainer.max_time"] == {"seconds": 1.5}
    assert not any(key.startswith("++trainer") for key in set_trial(study, study.plan.trials[0], None))
