"""Noise runs: every source varies alone, planted apps are told apart, and `ablate plan` knows what was measured."""

import ast
import itertools
import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ablate as ab
from ablate.commands import show_plan
from ablate.errors import PlanError, StudyError
from ablate.expectations import read_expectation
from ablate.launchers import InProcess
from ablate.noises import (
    FIXED_SEED,
    STREAM_SEEDS,
    STREAMS,
    AtBaseline,
    finish_noise,
    plan_noise,
    prepare_noise,
    read_noise,
    run_noise,
    see,
    summarise,
)
from ablate.report.figures import svg
from ablate.report.noises import draw_noise, tell_noise
from ablate.runs import Runs
from ablate.signals import note_reading
from ablate.stats.crossed import Crossed
from ablate.stats.power import Claim, compute_power, smallest_effect
from ablate.stats.prospects import Prospect
from ablate.stats.spreads import NEW, SAME, measure_spread
from tests.toys import DOMAINS, surface

ROOT = Path(__file__).parents[1]
STUDY = ab.plan({"data": ["raw", "clean"], "size": ["s", "m", "l"]}, metric="accuracy", domains=DOMAINS, margin=0.02)
BASE = 0.6


def measure(folder, task, runs=4, streams=(), study=STUDY):
    own = prepare_noise(study, folder, runs, streams)
    return run_noise(study, own, AtBaseline(task, study.cells[0]), folder, InProcess(), progress=False)


def streamed(trial):
    """Every stream has a deviation of its own, that of `label` zero; order and init have one generator."""
    rows = dict.fromkeys(DOMAINS, BASE)
    for stream, sd in {"init": 0.02, "augmentation": 0.01, "split": 0.04}.items():
        seed = trial.settings.get(f"++streams.{stream}", trial.seed)
        shared = sd * random.Random(f"{stream}/{seed}").gauss(0, 1)
        rows = {d: v + shared + sd * random.Random(f"{stream}/{seed}/{d}").gauss(0, 1) for d, v in rows.items()}
    return [{"domain": d, "metric": "accuracy", "value": v} for d, v in rows.items()]


def seedless(trial):
    return [{"domain": d, "metric": "accuracy", "value": BASE} for d in DOMAINS]


def drifting():
    """A task that no seed can hold."""
    count = itertools.count()

    def task(trial):
        jolt = 0.001 * next(count)
        return [{**row, "value": row["value"] + jolt} for row in surface(trial)]

    return task


def test_every_source_varies_alone_and_what_has_no_effect_is_said(tmp_path):
    found = measure(tmp_path, streamed, 6, STREAMS)
    sds = {source: spread.whole**0.5 for source, spread in found.noise.spreads.items()}
    planted = {"init": 0.02, "augmentation": 0.01, "split": 0.04}
    for source, sd in planted.items():
        low, high = found.noise.spreads[source].stretch(0.999)
        assert low * sds[source] < sd * (1 + 1 / len(DOMAINS)) ** 0.5 < high * sds[source]
    assert found.noise.idle == ("order", "label", "data")
    assert (found.noise.reproduces, sds[SAME]) == (True, 0)
    rest, error = found.noise.rest
    assert abs(rest) < 3 * error
    text = tell_noise(summarise(found, STUDY))
    assert "Without effect: order, label and data" in text
    assert "cannot be told apart" in text


def test_trials_get_the_seeds_of_their_source(tmp_path):
    seen = {}

    def task(trial):
        assert dict(trial.cell) == {"data": "raw", "size": "s"}
        seen[trial.id] = (trial.seed, dict(trial.settings))
        return surface(trial)

    own = measure(tmp_path, task, 2, ("init",)).own
    for trial in own.trials:
        k, source = trial.seed - FIXED_SEED, trial.cell["source"]
        assert k in (1, 2)
        settings = {} if source in (NEW, SAME) else {"++streams.init": FIXED_SEED + STREAM_SEEDS + k}
        assert seen[trial.id] == (trial.seed if source == NEW else FIXED_SEED, settings)


def test_a_tuned_cell_runs_with_its_frozen_settings_and_says_so(tmp_path):
    tuning = {"space": {"lr": {"low": 0.1, "high": 1.0}}, "trials": 3}
    fixed = {**tuning, "scope": "fixed", "setting": {"lr": 0.25}}
    settings = set()

    def task(trial):
        settings.add(tuple(trial.settings.items()))
        return surface(trial)

    for folder, declared, said in (
        ("a", fixed, "with the settings that the study uses: lr=0.25."),
        ("b", tuning, "not tuned yet"),
    ):
        study = ab.plan({"data": ["raw", "clean"]}, metric="accuracy", tuning=declared)
        assert said in tell_noise(summarise(measure(tmp_path / folder, task, 2, study=study), study))
    assert settings == {(("lr", 0.25),), ()}
    later = ab.plan({"data": ["raw", "clean"]}, metric="accuracy", tuning=fixed)
    assert any("settings" in line for line in read_noise(later, tmp_path / "b").changed), "measured before it was tuned"


def test_streams_are_those_of_training():
    module = ast.parse((ROOT / "ablate/training/streams.py").read_text(encoding="utf-8"))
    (names,) = [n.value for n in module.body if isinstance(n, ast.Assign) and n.targets[0].id == "STREAMS"]
    assert {*ast.literal_eval(names)} - {"attack"} == set(STREAMS), (
        "attacks follow the trained model, whatever moved it"
    )


def test_an_app_that_ignores_its_seed_is_told_so(tmp_path):
    found = measure(tmp_path, seedless)
    assert found.noise.reproduces
    assert found.spread.is_nil
    text = tell_noise(summarise(found, STUDY))
    assert "New seeds change nothing" in text
    assert "Smallest difference" not in text
    assert read_expectation({}, None, STUDY, found) is None


def test_an_app_that_does_not_reproduce_is_told_so(tmp_path):
    found = measure(tmp_path, drifting())
    assert found.noise.reproduces is False
    assert 0.001 <= found.noise.apart <= 0.008
    text = tell_noise(summarise(found, STUDY))
    assert "The same seed does not reproduce" in text
    assert "% of that of new seeds" in text


def test_an_app_without_streams_is_told_so(tmp_path):
    text = tell_noise(summarise(measure(tmp_path, surface, 2, STREAMS), STUDY))
    assert "No single source changes anything though new seeds do" in text


def test_runs_are_resumed_and_added_to_and_another_config_is_refused(tmp_path):
    ran = []

    def task(trial):
        ran.append(trial.id)
        note_reading(trial.folder, "a")
        return surface(trial)

    first = measure(tmp_path, task, 3)
    assert measure(tmp_path, task, 3).noise == first.noise
    assert measure(tmp_path, task, 2).noise == first.noise, "what is there stays"
    assert len(ran) == 6
    more = measure(tmp_path, task, 5)
    assert (len(ran), more.spread.runs) == (10, 5)
    shutil.rmtree(Runs(tmp_path / "noise").root)
    again = read_noise(STUDY, tmp_path)
    assert (again.noise, again.readings) == (more.noise, 10), "the tables alone hold all"
    other = ab.plan({"data": ["raw", "clean"], "size": ["m", "l"]}, metric="accuracy", domains=DOMAINS)
    with pytest.raises(StudyError, match=r"(?s)noise that was measured is that of another config.*size: s -> m"):
        measure(tmp_path, task, 5, study=other)
    assert read_noise(other, tmp_path).changed


def test_failed_runs_are_counted(tmp_path):
    def task(trial):
        if trial.seed == FIXED_SEED + 1 or "++streams.init" in trial.settings:
            raise ValueError("planted")
        return surface(trial)

    found = measure(tmp_path, task, streams=("init",))
    assert found.spread.runs == 3
    text = tell_noise(summarise(found, STUDY))
    assert "Runs without a score, which leaves the spread too small if they went astray: new seeds 1." in text
    assert "With fewer than two scores, and so without a row: init." in text


def test_seeds_of_the_study_are_not_used_again():
    with pytest.raises(PlanError, match=f"the study uses seed {FIXED_SEED + 3}"):
        plan_noise(ab.plan({"a": [0, 1]}, seeds=[0, FIXED_SEED + 3]), 2)
    with pytest.raises(PlanError, match="runs is 1"):
        plan_noise(STUDY, 1)


@pytest.mark.parametrize("blocking", ["seed", "none"])
def test_the_smallest_visible_effect_is_seen_with_the_promised_chance(blocking):
    study = ab.plan({"data": ["raw", "clean"], "size": ["s", "m", "l"]}, domains=DOMAINS, blocking=blocking)
    scores = 0.02 * np.random.default_rng(0).normal(size=(8, 4)) + 0.01 * np.random.default_rng(1).normal(size=(8, 1))
    spread = measure_spread(scores, DOMAINS)
    seen = see(study, spread, domain_sd=0.01)
    assert (seen["tests"], [row["seeds"] for row in seen["rows"]]) == (5, list(range(3, 31)))
    row = seen["rows"][4]
    study_of_7 = Prospect(7, 4, spread.run**0.5, spread.error**0.5, 0.01, engine=Crossed(blocking == "seed"))
    for target in ("these_domains", "new_domains"):
        claim = Claim("difference", target, 0.05, 5)
        assert row[target] == smallest_effect(study_of_7, claim)
        assert compute_power(study_of_7, row[target], claim) == pytest.approx(0.8, abs=1e-6)
        effects = [each[target] for each in seen["rows"]]
        assert effects == sorted(effects, reverse=True)
    assert see(study, spread)["rows"][0]["new_domains"] is None


def test_a_plan_expects_what_noise_runs_have_shown(tmp_path, capsys):
    found = measure(tmp_path, surface, 8)
    expected = read_expectation({"effect": 0.01}, None, STUDY, found)
    assert (expected.run_sd, expected.error_sd) == (found.spread.run**0.5, found.spread.error**0.5)
    undeclared = replace(STUDY, domains={})
    assert read_expectation({}, None, undeclared, found).run_sd == found.spread.whole**0.5
    show_plan(STUDY, tmp_path)
    said = capsys.readouterr().out
    assert f"from noise, 8 runs of one cell: run_sd {expected.run_sd:.4g}" in said
    assert "will cancel: more will be seen than this" in said
    assert "device-hours for all 30 trials" in said
    show_plan(STUDY, tmp_path, {"expect": {"run_sd": 0.5}})
    said = capsys.readouterr().out
    assert "stated run_sd 0.5" in said
    assert "from noise" not in said


def test_what_was_measured_is_written_and_drawn(tmp_path, capsys):
    found = measure(tmp_path, surface, 8)
    finish_noise(found, STUDY, tmp_path, {"domain_sd": 0.01})
    printed = capsys.readouterr().out
    values = json.loads((tmp_path / "noise/noise.json").read_text())
    assert printed.startswith((tmp_path / "noise/noise.md").read_text())
    assert values["sources"][0]["variance"] == found.spread.whole
    assert [row["seeds"] for row in values["visible"]["rows"] if row["new_domains"]] == list(range(3, 31))
    assert (tmp_path / "noise/noise.svg").read_text().count("new seeds") == 1
    assert svg(draw_noise(values), "stamp") == svg(draw_noise(values), "stamp")


@pytest.mark.slow
def test_the_command_measures_the_digits_and_the_plan_uses_it(tmp_path):
    folder = shutil.copytree(ROOT / "studies/digits_shift", tmp_path / "digits_shift", ignore=lambda *_: {"runs"})
    (folder / "plan.json").unlink()
    (folder / "records.csv").unlink()
    small, sources = "size.steps=15", 2 + len(STREAMS)

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-m", "ablate", words[0], str(folder), *words[1:], small],
            capture_output=True,
            text=True,
            timeout=280,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    printed = command("noise", "--runs", "2")
    assert "The same seed reproduces bit for bit" in printed
    assert "Without effect: augmentation" in printed, "the baseline has none"
    values = json.loads((folder / "noise/noise.json").read_text())
    sds = {source["source"]: source["variance"] for source in values["sources"]}
    assert min(sds[source] for source in (NEW, "init", "order", "split", "label")) > 0
    assert values["readings"] == sources * 2 * 25
    assert not (folder / "plan.json").exists()
    assert "from noise, 2 runs of one cell" in command("plan")
    batch = command("noise", "--runs", "3", "hydra/launcher=basic")
    assert f"{3 * sources} of {3 * sources} noise runs complete" in batch
    assert "The same seed reproduces bit for bit" in batch
