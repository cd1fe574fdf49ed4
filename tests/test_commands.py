"""The command: verbs, help, wrong words, completion."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import ablate as ab
from ablate import commands
from ablate.amendments import read_amendments
from ablate.commands import run_verb
from ablate.runs import Runs
from tests import toys

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "studies" / "digits_shift"


def ablate(*words, status=0, cwd=None, module=False, env=None):
    """Run the command; what it printed."""
    command = [sys.executable, "-m", "ablate"] if module else [str(Path(sys.executable).with_name("ablate"))]
    done = subprocess.run(
        [*command, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("module", [pytest.param(True, marks=pytest.mark.slow), False])
def test_help_names_verbs_groups_and_settings(tmp_path, module):
    printed = ablate("--help", cwd=tmp_path, module=module)
    for words in (*(f"ablate {verb} " for verb in commands.VERBS), "data:", "objective:", "size:", "margin"):
        assert words in printed


@pytest.mark.slow
def test_help_plan_and_status_import_no_torch(tmp_path):
    toy = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy")
    ab.run(toy, toys.surface, folder=tmp_path / "toy", progress=False)
    for words in (["--help"], ["plan", STUDY], ["status", tmp_path / "toy"]):
        printed = ablate(*words, cwd=tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert "| torch\n" not in printed
        assert "| lightning\n" not in printed
        assert "| statsmodels\n" not in printed


@pytest.mark.slow
def test_plan_prints_every_cell_and_spends_nothing(tmp_path):
    shutil.copytree(
        STUDY, tmp_path / "study", ignore=shutil.ignore_patterns("plan.json", "runs", "records.csv", "tables")
    )
    printed = ablate("plan", tmp_path / "study", "hydra.sweeper.seeds=3", cwd=tmp_path)
    assert "18 cells × 3 seeds" in printed
    assert "trials:    54" in printed
    assert "cleaned_augmented" in printed
    assert "small_good" in printed or "noninferiority" in printed
    assert not (tmp_path / "study" / "plan.json").exists()
    assert not (tmp_path / "study" / "runs").exists()


@pytest.mark.slow
def test_the_committed_study_is_the_one_its_plan_locks(tmp_path):
    assert "locked:    the same plan" in ablate("plan", STUDY, cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plna", "x"], "did you mean `ablate plan`?"),
        (["status", "no/such/folder"], "no such folder"),
        (["report", "."], "no plan is locked here"),
        (["plan", "."], "there is no study.yaml"),
        (["status"], "the following arguments are required: study"),
    ],
)
def test_wrong_words_are_helpful(tmp_path, words, said):
    command = [sys.executable, "-m", "ablate", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_status_counts_and_gives_reasons(tmp_path):
    toy = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy", name="toy")
    ab.run(toy, toys.failing, folder=tmp_path / "toy", progress=False)
    printed = ablate("status", tmp_path / "toy", cwd=tmp_path)
    assert "toy: 3 complete, 1 failed, 0 left of 4 trials" in printed
    assert "driver: none" in printed
    assert "ValueError: a planted failure" in printed


def interruptible():
    """A task that somebody may stop: the same code, before and after."""
    stop = {0, 1}

    def task(trial):
        if trial.seed in stop:
            raise KeyboardInterrupt
        return toys.surface(trial)

    return task, stop


def test_a_study_that_goes_on_from_its_table_counts_both_and_its_report_says_when_there_is_nothing(tmp_path, capsys):
    toy, (task, stop) = ab.plan({"data": ["raw", "clean"]}, seeds=2, metric="accuracy", name="toy"), interruptible()

    def verb(*words):
        return run_verb(words[0], [str(tmp_path), *words[1:]], list.clear), "".join(capsys.readouterr())

    with pytest.raises(KeyboardInterrupt):
        ab.run(toy, task, folder=tmp_path, progress=False)
    for words in (["report"], ["report", "--check"]):
        status, printed = verb(*words)
        assert (status, "no trial is complete" in printed) == (2, True)
    stop.remove(0)
    with pytest.raises(KeyboardInterrupt):
        ab.run(toy, task, folder=tmp_path, progress=False)
    assert "toy: 1 complete, 2 preempted, 1 left of 4 trials" in verb("status")[1]
    status, printed = verb("report", "--check")
    assert (status, printed) == (1, "records.csv: not what the runs hold; `ablate report` writes it\n")
    ab.load(tmp_path).write(tmp_path / "records.csv")
    shutil.rmtree(tmp_path / "runs")
    Runs(tmp_path).claim(toy.trials[3])
    printed = verb("status")[1]
    assert "toy: 1 complete, 2 preempted, 1 left of 4 trials" in printed
    assert "open" not in printed, "what was claimed and never began is not open"
    stop.clear()
    ab.run(toy, task, folder=tmp_path, progress=False)
    assert "toy: 4 complete, 0 left of 4 trials" in verb("status")[1]
    (tmp_path / "records.csv").unlink()
    (tmp_path / "records.csv").mkdir()
    status, printed = verb("report")
    assert (status, "records.csv" in printed) == (2, True)


@pytest.mark.slow
def test_report_writes_and_checks(tmp_path):
    toy = ab.plan({"data": ["raw", "clean"]}, seeds=3, metric="accuracy", name="toy", domains=toys.DOMAINS)
    folder = tmp_path / "toy"
    ab.run(toy, toys.surface, folder=folder, progress=False)
    ablate("report", folder, "--check", status=1, cwd=tmp_path)
    printed = ablate("report", folder, cwd=tmp_path)
    for name in (
        "tables/effects.md",
        "tables/effects.tex",
        "tables/effects.csv",
        "report.html",
        "plan.json",
        "records.csv",
    ):
        assert str(folder / name) in printed
        assert (folder / name).is_file()
    assert "fresh" in ablate("report", folder, "--check", cwd=tmp_path)
    table = folder / "tables" / "effects.md"
    table.write_text(table.read_text().replace("clean", "cleen", 1))
    assert "effects.md" in ablate("report", folder, "--check", status=1, cwd=tmp_path)


@pytest.mark.parametrize(("line", "offered"), [("ablate obj", "objective"), ("ablate size=", "size=small")])
def test_hydras_tab_completion_works(tmp_path, line, offered):
    env = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_CWORD": "1"}
    assert offered in ablate("-sc", "query=bash", cwd=tmp_path, env=env)


@pytest.mark.slow
def test_help_is_quick(tmp_path):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import hydra, rich"], check=True)
    imports = time.perf_counter() - start
    start = time.perf_counter()
    ablate("--help", cwd=tmp_path)
    assert time.perf_counter() - start < 10 * imports, "help takes much longer than importing Hydra"


@pytest.mark.slow
def test_amend_changes_the_locked_plan_and_says_what_is_exploratory(tmp_path):
    """The committed study, its margin changed after the fact; then the report, which tells."""
    folder = tmp_path / "digits_shift"
    shutil.copytree(STUDY, folder, ignore=shutil.ignore_patterns("runs"))
    why = "it's a \"referee's\" ${wish} \\ no more"
    ablate("amend", folder, "--why", "", "hydra.sweeper.margin=0.05", status=2, cwd=tmp_path)
    assert not (folder / "former").exists()
    printed = ablate("amend", folder, "--why", why, "hydra.sweeper.margin=0.05", cwd=tmp_path)
    assert "margin: 0.02 -> 0.05" in printed
    assert "exploratory from here on: verdicts that rest on the margin, since 90 trials" in printed
    (made,) = read_amendments(folder)
    assert made.why == why
    assert "nothing to amend" in ablate(
        *["amend", folder, "--why", "again", "hydra.sweeper.margin=0.05"], status=2, cwd=tmp_path
    )
    assert "amended: once" in ablate("status", folder, cwd=tmp_path)
    printed = ablate("report", folder, cwd=tmp_path)
    assert "Exploratory, amendment 1: " in printed
    assert "fresh" in ablate("report", folder, "--check", cwd=tmp_path)
    assert "Exploratory: amendment 1 came after results." in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    "text", ['it\'s "so"', "a\\b", "end\\", "${x} and \\${y}", "\\'", "comma, [brackets] {k: v} = %", " "]
)
def test_any_reason_reaches_the_sweeper_as_it_was_typed(text):
    (override,) = OverridesParser.create().parse_overrides([f"why={commands._quote(text)}"])
    config = OmegaConf.create({"why": override.value()})
    assert config.why == text
