"""The embedded study through the command, made small: typed, by every launcher, killed in the middle; and its books."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

import ablate as ab

pytestmark = pytest.mark.slow
SMALL = ["-m", "data=noisy,cleaned", "size=medium,small", "hydra.sweeper.seeds=3", "hydra.sweeper.name=small"]


def command(*words):
    return [sys.executable, "-m", "ablate", *SMALL, f"hydra.sweeper.folder={words[0]}", *words[1:]]


def run(cwd, *words, status=0):
    done = subprocess.run(command(*words), cwd=cwd, capture_output=True, text=True, timeout=280)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def measured(folder):
    """What must not depend on the launcher: all but clocks, memory and attempts."""
    frame = ab.load(folder).frame
    return frame[frame["domain"] != "all"].drop(columns=["seconds", "attempt", "hardware"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    printed = run(folder, "study")
    assert "Main effects" in printed
    assert "Traceback" not in printed
    assert "Warning" not in printed
    return folder / "study"


def test_a_typed_study_measures_every_domain_and_the_cost(unbroken):
    records = ab.load(unbroken)
    assert records.complete["trial"].nunique() == 12
    frame = records.complete
    assert frame[frame["metric"] == "accuracy"].groupby("trial").size().eq(25).all()
    cost = set(frame[frame["domain"] == "all"]["metric"])
    assert {"params", "train_seconds", "latency_p50_ms", "latency_p95_ms", "peak_memory_mb"} <= cost
    attempt = next(unbroken.glob("runs/*/1/record.json"))
    record = json.loads(attempt.read_text())
    assert {"torch", "lightning", "python"} <= set(record["environment"]["packages"])
    assert record["environment"]["hardware"]


@pytest.mark.parametrize(
    "launcher",
    [
        ["hydra/launcher=basic"],
        ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        ["hydra.launcher.workers=1", "hydra.launcher.threads=1"],
    ],
    ids=["basic", "joblib", "one worker"],
)
def test_every_launcher_measures_the_same(unbroken, tmp_path, launcher, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run(tmp_path, "study", *launcher)
    ours, theirs = measured(unbroken), measured(tmp_path / "study")
    same = ["value"]
    pd.testing.assert_frame_equal(ours.drop(columns=same), theirs.drop(columns=same))
    assert (ours["value"] - theirs["value"]).abs().max() < 0.02, "numerical threads may move the last digits, no more"


def test_killed_in_the_middle_and_run_again_gives_the_same_table(unbroken, tmp_path):
    driver = subprocess.Popen(
        command("study"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    folder = tmp_path / "study"
    while len(list(folder.glob("runs/*/1/record.json"))) < 4:
        time.sleep(0.02)
        assert driver.poll() is None
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert len(list(folder.glob("runs/*/1/record.json"))) < 12
    run(tmp_path, "study")
    for table in ("effects.md", "domains.md", "effects_full.csv"):
        assert (folder / "tables" / table).read_text() == (unbroken / "tables" / table).read_text()


def test_a_part_that_is_changed_is_drift(unbroken, tmp_path):
    printed = run(tmp_path, str(unbroken), "trainer.max_steps=10", status=2)
    assert "config.trainer.max_steps: ${size.steps} -> 10" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra.sweeper.metric=acuracy"], "did you mean 'accuracy'"),
        (["model._target_=ablate.zoo.classifiers.Perceptrn"], "Perceptrn"),
        (["+domains.more={didgits: null}"], "did you mean 'digits'"),
        (["+trainer.max_step=3"], "did you mean 'max_steps'"),
    ],
)
def test_what_cannot_work_is_said_before_anything_trains(tmp_path, words, said):
    printed = run(tmp_path, "study", *words, status=2)
    assert said in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.glob("study/runs/*/1"))


def test_the_books_open_in_optuna_dashboard(unbroken):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tool = Path(sys.executable).with_name("optuna-dashboard")
    server = subprocess.Popen(
        [tool, "--host", "127.0.0.1", "--port", str(port), unbroken / "runs" / "ledger.journal"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as answer:
                    (study,) = json.load(answer)["study_summaries"]
                break
            except OSError:
                time.sleep(0.2)
        assert study["study_name"].startswith("small-")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}", timeout=5) as answer:
            trials = json.load(answer)["trials"]
        assert [t["state"] for t in trials] == ["Complete"] * 12
        assert {p["name"] for p in trials[0]["params"]} == {"data", "size", "seed"}
    finally:
        server.terminate()
        server.wait()
