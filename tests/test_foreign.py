"""Somebody's unchanged Hydra app, in a directory of its own, gets studies by one override."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ablate as ab
from ablate.amendments import read_amendments

APP = Path(__file__).parent / "foreign"
STUDY = ["-m", "hydra/sweeper=ablate", "model=shallow,deep", "lr=0.1,0.2", "hydra.sweeper.seeds=2"]
MINIMIZE = ["hydra.sweeper.metric=loss", "hydra.sweeper.direction=minimize"]


@pytest.fixture
def app(tmp_path):
    """Run the app in a copy of its directory; gives what it printed and its exit status."""
    shutil.copytree(APP, tmp_path / "app")

    def run(*words, status=0):
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "app.py", *words],
            cwd=tmp_path / "app",
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.folder = tmp_path / "app"
    return run


def records(app):
    (plan,) = app.folder.glob("multirun/*/plan.json")
    return ab.load(plan.parent)


@pytest.mark.slow
def test_a_float_through_hydras_basic_launcher(app):
    app(*STUDY, "hydra.sweeper.direction=minimize")
    frame = records(app).complete
    assert frame["trial"].nunique() == 8
    assert set(frame["metric"]) == {"value"}
    means = frame.groupby("model")["value"].mean()
    assert means["shallow"] - means["deep"] == pytest.approx(1 / 2 - 1 / 8, abs=0.03)


@pytest.mark.slow
def test_a_mapping_through_our_pool_and_again(app):
    words = [*STUDY, *MINIMIZE, "hydra/launcher=ablate_local", "hydra.launcher.workers=2", "mapping=true"]
    printed = app(*words)
    assert "Ablation of app: effects on loss" in printed, "the ablation table is printed"
    assert "glyph" not in printed, "and nothing of how the figures are made"
    first = records(app)
    assert set(first.frame["metric"]) == {"loss", "steps"}
    trial = first.plan.trials[0]
    (attempt,) = app.folder.glob(f"multirun/*/runs/{trial.id}/1")
    log = (attempt / "output.log").read_text()
    assert f"output goes to {attempt}" in log
    assert (attempt / ".hydra" / "overrides.yaml").read_text().splitlines()[-1] == f"- seed={trial.seed}"
    app(*words)
    assert len(list(app.folder.glob("multirun/*/runs/*/*/record.json"))) == 8, "nothing ran twice"


@pytest.mark.slow
def test_joblib_runs_a_batch_and_a_lost_batch_loses_nothing(app):
    printed = app(
        *STUDY, *MINIMIZE, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "mapping=true", "kill=true", status=1
    )
    assert "lost:" in printed
    frame = records(app).frame
    lost = frame[frame["status"] == "lost"]
    assert set(zip(lost["model"], lost["seed"], strict=True)) == {("deep", 1)}
    assert frame[frame["status"] == "complete"]["trial"].nunique() == 6


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "number"), [("ablate_local", signal.SIGINT), ("basic", signal.SIGTERM)])
def test_an_interrupted_study_says_so_loses_nothing_and_goes_on(app, launcher, number):
    words = [*STUDY, f"hydra/launcher={launcher}", "pause=0.3"]
    with subprocess.Popen(
        [sys.executable, "app.py", *words], cwd=app.folder, stderr=subprocess.PIPE, text=True
    ) as first:
        while len(list(app.folder.glob("multirun/*/runs/*/1/record.json"))) < 3:
            time.sleep(0.02)
        first.send_signal(number)
        said = first.stderr.read()
    assert first.returncode == 128 + number, said
    assert said.endswith("ablate: interrupted; the same command goes on with what is left\n")
    assert "Traceback" not in said
    done = set(app.folder.glob("multirun/*/runs/*/1/record.json"))
    app(*words)
    assert {tuple(row) for row in records(app).frame[["status"]].to_numpy()} == {("complete",)}
    complete = [path for path in done if json.loads(path.read_text())["status"] == "complete"]
    assert len(complete) >= 3
    assert not [path for path in complete if (path.parents[1] / "2").exists()], "nothing that was done ran twice"


@pytest.mark.slow
def test_its_locked_plan_is_amended_by_the_command_that_runs_it(app):
    words = [*STUDY, *MINIMIZE, "mapping=true", "hydra.sweeper.folder=study"]
    app(*words)
    assert "++hydra.sweeper.amend.why" in app(*words, "hydra.sweeper.margin=0.1", status=2)
    app(*words, "hydra.sweeper.margin=0.1", "++hydra.sweeper.amend.why='a referee asked'")
    (made,) = read_amendments(app.folder / "study")
    assert (made.why, made.complete) == ("a referee asked", 8)


@pytest.mark.slow
def test_a_failing_trial_is_reported_and_the_status_is_not_zero(app):
    printed = app(*STUDY, "hydra/launcher=ablate_local", "fail=true", status=1)
    assert "RuntimeError: no convergence" in printed
    assert "6 of 8 trials complete, 2 failed" in printed


def test_a_dry_run_prints_every_cell_and_leaves_nothing(app):
    printed = app(*STUDY, "hydra.sweeper.dry_run=true")
    assert "4 cells × 2 seeds" in printed
    assert printed.count("deep") == 2
    assert not (app.folder / "multirun").exists()


def test_wrong_words_stop_before_anything_runs(app):
    printed = app("-m", "hydra/sweeper=ablate", "model=shallow,deeep", status=2)
    assert "'deeep' is not a level" in printed
    assert "did you mean 'deep'?" in printed
    assert not (app.folder / "multirun").exists()


@pytest.mark.slow
def test_hydras_own_sweeper_may_use_our_pool(app):
    app("-m", "hydra/launcher=ablate_local", "model=shallow,deep")
    assert len(list(app.folder.glob("multirun/*/*/*/.hydra/config.yaml"))) == 2
    printed = app("-m", "hydra/launcher=ablate_local", "model=deep", "seed=1", "kill=true", status=1)
    assert "its worker process died (exit code -9)" in printed


VALIDATION = """
import math
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from ablate.errors import Pruned
from ablate.signals import stopped, tell


def validate(cfg):
    value = -abs(math.log10(cfg.lr) + cfg.model.depth / 2)
    folder = Path(HydraConfig.get().runtime.output_dir)
    for step in range(1, 4):
        tell(folder, value, step)
        if stopped(folder):
            raise Pruned("heeded")
    return {"val_loss": -value}
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["ablate_local", "joblib", "basic"])
def test_a_learning_rate_is_tuned_inside_every_cell(app, launcher):
    """The app itself runs with what was selected; what validates is one function beside it."""
    (app.folder / "validation.py").write_text(VALIDATION)
    tuning = "+hydra.sweeper.tuning={trials: 8, sampler: qmc, pruner: median}"
    words = ["-m", "hydra/sweeper=ablate", "model=shallow,deep", "lr=tag(log,interval(1e-5,1))", "mapping=true"]
    words += [*MINIMIZE, "hydra.sweeper.seeds=2", "hydra.sweeper.validate=validation.validate"]
    words += ["+hydra.sweeper.tuning.objectives=[{metric: val_loss, direction: minimize}]"]
    words.insert(-1, tuning)
    said = app(*words, f"hydra/launcher={launcher}")
    (path,) = app.folder.glob("multirun/*/tuning.json")
    chosen = {c["cell"]["model"]: c["settings"]["lr"] for c in json.loads(path.read_text())["choices"]}
    assert chosen["shallow"] == pytest.approx(0.1, rel=1)  # 10^-1 and 10^-4 are best
    assert chosen["deep"] == pytest.approx(1e-4, rel=2)
    frame = records(app).complete
    confirm = frame[frame["phase"] == "confirm"]
    assert confirm.groupby("model")["lr"].unique().map(list).to_dict() == {m: [lr] for m, lr in chosen.items()}
    assert set(confirm["hpo_trials"]) == {8}
    for trial in confirm["trial"].unique():  # Hydra saved what the app was run with
        typed = (path.parent / "runs" / trial / "1" / ".hydra" / "overrides.yaml").read_text()
        model = "deep" if "model=deep" in typed else "shallow"
        assert f"lr={chosen[model]!r}" in typed
    assert "report.html" in said
