import json
import math
from pathlib import Path

import pytest

from ablate.errors import RecordsError
from ablate.readers.benchmarks import read_amlb, read_lm_eval

SAMPLES = Path(__file__).parent / "samples"


def results(path, **changes):
    """A copy of the genuine sample, changed."""
    content = json.loads(next((SAMPLES / "lm_eval" / "tiny").glob("results_*.json")).read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def test_results_of_lm_eval():
    """The sample is what lm-evaluation-harness 0.4.13 wrote for two tiny models, cut short."""
    reading = read_lm_eval([SAMPLES / "lm_eval"])
    frame = reading.frame
    assert len(frame) == 10
    row = frame[(frame["model"] == "tiny2") & (frame["metric"] == "acc")].iloc[0]
    assert (row["domain"], row["value"], row["n_examples"]) == ("local_mc", 0.46, 50)
    assert row["se"] == pytest.approx(math.sqrt(0.46 * 0.54 / 49), rel=1e-12)
    assert row["eval_hash"].endswith(", version 1.0, shots 0, items 50")
    perplexity = frame[frame["domain"] == "local_ppl"]
    assert perplexity["se"].isna().all()
    assert frame.groupby(["domain", "metric"])["eval_hash"].nunique().max() == 1
    assert reading.directions["word_perplexity"] == "minimize"
    assert reading.directions["acc"] == "maximize"
    assert reading.columns["factors"] == ["model"]


def test_aggregates_over_tasks_and_older_evaluations_are_left_out(tmp_path):
    scores = {"acc,none": 0.5, "acc_stderr,none": 0.1, "acc,strict-match": 1, "alias": " - x"}
    new = {"mmlu": {"acc,none": 0.9}, "mmlu_law": scores}
    subtasks = {"mmlu": ["mmlu_law"], "mmlu_law": []}
    changes = {"results": new, "group_subtasks": subtasks, "groups": {"mmlu": {"acc,none": 0.9}}, "n-samples": {}}
    results(tmp_path / "a" / "results_2.json", **changes, date=2.0)
    old = {"mmlu_law": {"acc,none": 0.1}}
    results(tmp_path / "a" / "results_1.json", **(changes | {"results": old}), date=1.0)
    results(tmp_path / "a" / "results_0.json", **(changes | {"results": old}), date=0.0)
    reading = read_lm_eval([tmp_path])
    assert reading.frame[["domain", "metric", "value"]].values.tolist() == [
        ["mmlu_law", "acc", 0.5],
        ["mmlu_law", "acc,strict-match", 1.0],
    ]
    said = " ".join(reading.notes)
    assert "aggregates over tasks: mmlu" in said
    assert "2 older evaluations" in said


def test_one_name_with_several_arguments_is_several_models(tmp_path):
    for i, arguments in enumerate(["pretrained=x,revision=step1", {"pretrained": "x", "revision": "step2"}]):
        results(tmp_path / f"results_{i}.json", config={"model_args": arguments}, model_name="x")
    assert set(read_lm_eval([tmp_path]).frame["model"]) == {"x (revision=step1)", "x (revision=step2)"}


def test_items_of_lm_eval():
    reading = read_lm_eval([SAMPLES / "lm_eval"], samples=True)
    frame = reading.frame
    assert set(frame["domain"]) == {"local_mc"}
    assert frame.groupby(["model", "metric"])["example"].apply(list).tolist() == [["0", "1", "2"]] * 4
    assert frame.groupby("example")["eval_hash"].nunique().tolist() == [1, 1, 1]
    assert set(frame["value"]) <= {0.0, 1.0}
    assert "local_ppl/bits_per_byte, local_ppl/word_perplexity" in " ".join(reading.notes)
    assert reading.columns["example"] == "example"
    alone = next((SAMPLES / "lm_eval" / "tiny").glob("samples_local_mc*"))
    assert set(read_lm_eval([alone]).frame["model"]) == {"tiny"}


def test_what_lm_eval_did_not_write_is_refused(tmp_path):
    (tmp_path / "results_0.json").write_text('{"a": 1}')
    with pytest.raises(RecordsError, match="no `results`"):
        read_lm_eval([tmp_path])
    with pytest.raises(RecordsError, match="no results of lm-evaluation-harness"):
        read_lm_eval([tmp_path / "none"])
    path = tmp_path / "s" / "samples_x_2026-11-25T02-28-35.1.jsonl"
    path.parent.mkdir()
    path.write_text('{"acc": 1}\n')
    with pytest.raises(RecordsError, match="without doc_id"):
        read_lm_eval([path])


def test_files_of_older_versions_lack_some_parts(tmp_path):
    lacking = {"date": "yesterday", "group_subtasks": None, "groups": [], "config": None, "task_hashes": None}
    path = results(
        tmp_path / "results_0.json", **lacking, **{"n-samples": None, "higher_is_better": {"local_mc": None}}
    )
    reading = read_lm_eval([path])
    assert len(reading.frame) == 5
    assert set(reading.frame["eval_hash"]) == {"version 1.0, shots 0"}
    assert reading.directions == {}


def test_results_of_the_automl_benchmark():
    reading = read_amlb([SAMPLES / "amlb.csv"])
    frame = reading.frame
    assert frame["status"].tolist() == ["complete"] * 3 + ["failed"] + ["complete"] * 2
    assert frame["result"].tolist()[2] == 0.865801
    assert reading.columns["folds"] == reading.columns["run"] == "fold"
    assert reading.columns["domain"] == "task"
    assert reading.columns["factors"] == ["framework"]
    assert reading.directions == {"auc": "maximize", "neg_logloss": "maximize"}
    assert "1 rows have no result" in " ".join(reading.notes)
    assert "Tasks differ in metric (auc, neg_logloss)" in " ".join(reading.notes)


def test_a_table_without_folds_is_not_the_automl_benchmark(tmp_path):
    (tmp_path / "x.csv").write_text("task,framework,result\na,b,1\n")
    with pytest.raises(RecordsError, match="no column 'fold'"):
        read_amlb([tmp_path / "x.csv"])
