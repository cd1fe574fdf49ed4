"""`ablate judge`: what is read, guessed, linted and judged of results that others made, and how it declines."""

import json
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

import ablate as ab
from ablate.commands import run_verb
from ablate.judgements import judge
from tests.stats.samples import case

SAMPLES = Path(__file__).parent / "readers" / "samples"
TASKS = ("cola", "mnli", "qnli", "qqp", "rte", "sst2")


def results(seeds=5, *, effect=0.05, sd=0.01, rng=0):
    """A row per cell, seed and task; `clean` data help."""
    rng = np.random.default_rng(rng)
    rows = []
    for data in ("raw", "clean"):
        for objective in ("ce", "ls"):
            for seed in range(seeds):
                level = 0.7 + effect * (data == "clean") + sd * rng.normal()
                rows += [(data, objective, seed, task, round(level + sd * rng.normal(), 5)) for task in TASKS]
    return pd.DataFrame(rows, columns=["data", "objective", "seed", "task", "acc"])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "results.csv"
    results().to_csv(path, index=False)
    return path


def verb(capsys, *words):
    status = run_verb("judge", [str(word) for word in words], list.clear)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_table_is_what_attribute_gives_with_everything_named(table):
    found = judge([table], margin=0.02)
    named = ab.attribute(
        results(),
        factors=["data", "objective"],
        run="seed",
        domain="task",
        value="acc",
        direction="maximize",
        margin=0.02,
    )
    pd.testing.assert_frame_equal(found.effects.frame, named.frame)
    assert "The column 'seed' is read as run." in found.notes
    assert "Factors: data, objective." in found.notes
    assert "More of acc is taken to be better." in found.notes


def test_the_options_of_the_command_line(table, capsys):
    words = "--factors data,objective --run seed --domain task --metric acc --baseline data=clean --margin 0.02"
    status, out, _ = verb(capsys, table, *words.split(), "--target", "new-domains", "--block", "seed")
    assert status == 0
    assert "Primary target: new domains of this kind" in out
    assert "runs of one seed share randomness" in out
    (line,) = [line for line in out.splitlines() if line.startswith("data  ")]
    assert "raw" in line
    assert "worse" in line
    assert "is read as" not in out


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_formats_of_a_table_are_one_table(tmp_path, suffix):
    path = tmp_path / f"results{suffix}"
    frame = results()
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    effects = judge([path], families=["main"]).effects
    assert effects.frame["verdict"].tolist() == ["better", "better", "undecided", "undecided"]


def test_a_column_per_arm_is_made_long(tmp_path):
    frame = results()[lambda f: f.objective == "ce"]
    wide = frame.pivot_table(index=["seed", "task"], columns="data", values="acc")[["raw", "clean"]].reset_index()
    wide.to_csv(tmp_path / "wide.csv", index=False)
    found = judge([tmp_path / "wide.csv"], wide=["raw", "clean"], block="seed", run="seed", domain="task")
    long = ab.attribute(frame, factors=["data"], run="seed", block="seed", domain="task", value="acc")
    columns = ["estimate", "se", "df", "p", "n_runs"]
    pd.testing.assert_frame_equal(found.effects.frame[columns], long.frame[columns])
    assert set(found.effects.frame["factor"]) == {"arm"}


def test_several_files_are_one_table(tmp_path):
    frame = results()
    for task, part in frame.groupby("task"):
        part.to_csv(tmp_path / f"{task}.csv", index=False)
    found = judge(sorted(tmp_path.glob("*.csv")), factors=["data", "objective"], families=["main"])
    assert (found.effects.frame["n_domains"] == len(TASKS)).all()


def test_what_is_written_holds_the_same_numbers(table, tmp_path, capsys):
    status, out, _ = verb(capsys, table, "--out", tmp_path / "all", "--out", tmp_path / "one.md")
    assert status == 0
    effects = judge([table]).effects
    written = {path.suffix for path in (tmp_path / "all").iterdir()}
    assert written == {".md", ".tex", ".html", ".csv", ".json"}
    assert "one.md" in out
    content = json.loads((tmp_path / "all" / "effects.json").read_text())
    assert [row["estimate"] for row in content["effects"]] == pytest.approx(effects.frame["estimate"].tolist())
    assert [row["p"] for row in content["effects"]] == pytest.approx(effects.frame["p"].tolist(), abs=1e-14)
    assert content["notes"] == list(effects.notes)
    named = [tuple(content["runs"][place] for place in row["runs"]) for row in content["effects"]]
    assert named == effects.frame["trials"].tolist()
    assert "Main effects" in (tmp_path / "one.md").read_text()
    back = pd.read_csv(tmp_path / "all" / "effects.csv")
    assert back["low"].tolist() == pytest.approx(effects.frame["low"].tolist())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--factors", "dta"], ["no column 'dta'", "data, objective, seed, task, acc", "did you mean 'data'"]),
        (["--metric", "accuracy"], ["'accuracy'", "acc"]),
        (["--run", "sed"], ["no column 'sed'", "did you mean 'seed'"]),
        (["--baseline", "data=clen"], ["clen", "did you mean 'clean'"]),
        (["--families", "mian"], ["mian", "did you mean 'main'"]),
        (["--out", "table.xlsx"], [".xlsx", ".md, .tex, .html, .csv, .json"]),
        (["--margin", "-1"], ["positive"]),
    ],
)
def test_wrong_words_are_answered(table, capsys, words, said):
    status, _, err = verb(capsys, table, *words)
    assert status == 2
    for text in said:
        assert text in err


@pytest.mark.parametrize("words", [["--baseline", "data"], ["--comparisons", "data=raw"], ["--kind", "excel"]])
def test_words_of_the_wrong_shape_print_the_usage(table, capsys, words):
    with pytest.raises(SystemExit) as error:
        verb(capsys, table, *words)
    assert error.value.code == 2
    assert "usage: ablate judge" in capsys.readouterr().err


def test_lints_are_said_before_the_table(tmp_path, capsys):
    frame = results()
    copy = frame[(frame.data == "raw") & (frame.objective == "ce") & (frame.seed == 0)].assign(seed=1)
    again = (frame.data == "raw") & (frame.objective == "ce") & (frame.seed == 1)
    pd.concat([frame[~again], copy]).to_csv(tmp_path / "copied.csv", index=False)
    status, out, _ = verb(capsys, tmp_path / "copied.csv")
    assert status == 0
    assert "R05" in out.split("Effects on")[0]
    assert "refused" in out.split("Effects on")[1]


def test_questions_typed_on_the_command_line(table, capsys):
    asked = ["data=clean vs data=raw", "data=clean,objective=ls vs data=clean,objective=ce from data=raw,objective=ce"]
    words = [word for question in asked for word in ("--comparisons", question)]
    status, out, _ = verb(capsys, table, "--margin", "0.02", *words, "--families", "main,noninferiority,retention")
    assert status == 0
    assert "non-inferior" in out
    assert "retained" in out


def test_an_optuna_study_is_tuning_and_no_evidence(tmp_path, capsys):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(
        storage=storage, study_name="s", direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(
        lambda t: t.suggest_float("lr", 0, 1) + (t.suggest_categorical("data", ["raw", "clean"]) == "raw"), 20
    )
    words = ["--factors", "data", "--families", "main,tuning", "--sampler", "random"]
    status, out, err = verb(capsys, storage, *words)
    assert status == 0, err
    assert "R07" in out
    assert "best of 4" in out


def test_other_tools_results_are_judged_end_to_end(capsys):
    status, out, err = verb(capsys, SAMPLES / "lm_eval", "--samples", "--metric", "acc")
    assert (status, err) == (0, "")
    assert "Primary target: new examples of these domains" in out
    status, out, err = verb(capsys, SAMPLES / "amlb.csv", "--metric", "auc")
    assert (status, err) == (0, "")
    assert "R06" in out  # a fold failed in one arm
    assert "2 runs have no row of auc" in out
    status, out, err = verb(capsys, SAMPLES / "mlflow.csv", "--metric", "test_acc", "--factors", "optimizer")
    assert (status, err) == (0, "")
    status, out, err = verb(capsys, SAMPLES / "wandb_runs.csv", "--metric", "test_acc", "--factors", "data.mix")
    assert (status, err) == (0, "")


def test_published_figures_come_out_of_the_file(tmp_path):
    case("ablation6x5.csv").to_csv(tmp_path / "ablation.csv", index=False)
    found = judge([tmp_path / "ablation.csv"], factors=["arm"], baseline={"arm": "base"}, families=["main"])
    rows = found.effects.frame.set_index("target")
    assert rows.loc["new_domains", "se"] == pytest.approx(0.005842593213634, rel=1e-12)
    assert rows.loc["new_domains", "df"] == pytest.approx(8.461291023711, rel=1e-12)


@pytest.mark.slow
def test_a_million_rows_are_judged(tmp_path):
    cells, seeds, tasks = [(d, o) for d in ("raw", "clean") for o in ("ce", "ls")], 2500, 100
    rng = np.random.default_rng(0)
    cell, seed, task = (a.ravel() for a in np.meshgrid(range(4), range(seeds), range(tasks), indexing="ij"))
    frame = pd.DataFrame(
        {
            "data": np.array([c[0] for c in cells])[cell],
            "objective": np.array([c[1] for c in cells])[cell],
            "seed": seed,
            "task": np.char.add("t", task.astype(str)),
            "acc": rng.normal(size=len(cell)) + 0.1 * cell,
        }
    )
    frame.to_csv(tmp_path / "big.csv", index=False)
    found = judge([tmp_path / "big.csv"], families=["main"])
    expected = frame.groupby("data")["acc"].mean()
    row = found.effects.select(factor="data", target="these_domains").frame.iloc[0]
    assert len(frame) == 10**6
    assert row["estimate"] == pytest.approx(expected["clean"] - expected["raw"], abs=1e-12)
    assert row["n_runs"] == 4 * seeds


def test_a_status_nobody_knows_is_an_error_that_lists_the_known(tmp_path, capsys):
    path = tmp_path / "t.csv"
    results().assign(status="FINISHED").to_csv(path, index=False)
    status, _, err = verb(capsys, path)
    assert status == 2
    assert "no run has ended: 120 FINISHED" in err
    assert "complete, failed, lost" in err


def test_formulas_among_names_are_disarmed_in_the_csv_file(tmp_path, capsys):
    path, out = tmp_path / "t.csv", tmp_path / "out.csv"
    results().replace({"clean": "=1+1", "cola": "@cola"}).to_csv(path, index=False)
    assert verb(capsys, path, "--out", out)[0] == 0
    written = pd.read_csv(out)
    assert "'=1+1" in set(written["level"])
    assert "'@cola" in set(written["domain"])
    assert (
        not written[["factor", "level", "versus", "domain"]].map(lambda t: str(t).startswith(("=", "@"))).any(axis=None)
    )


def test_the_score_that_is_no_number_is_named(tmp_path, capsys):
    path = tmp_path / "t.csv"
    frame = results().astype({"acc": object})
    frame.loc[7, "acc"] = "71.2%"
    frame.to_csv(path, index=False)
    assert "'71.2%' is not a number\n  where:   column 'acc', row 7" in verb(capsys, path)[2]
