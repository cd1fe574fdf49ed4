import csv
from pathlib import Path

import numpy as np
import pytest

from ablate.errors import RecordsError
from ablate.readers.trackers import read_history, read_mlflow, read_run_table

SAMPLES = Path(__file__).parent / "samples"


def test_a_run_table_of_wandb():
    reading = read_run_table([SAMPLES / "wandb_runs.csv"], ["lr"])
    frame = reading.frame
    assert frame["run"].tolist() == ["brisk-sun-1", "calm-lake-2 (row 2)", "calm-lake-2 (row 3)", "dry-wood-4"]
    assert frame["status"].tolist() == ["complete", "complete", "lost", "running"]
    assert frame["data.mix"].tolist() == ["null", "null", "dedup", "dedup"]
    assert frame["lr"].tolist() == ["0.0001"] * 4
    assert np.array_equal(frame["test_acc"], [0.8125, 0.78125, np.nan, np.nan], equal_nan=True)
    assert reading.columns == {"run": "run", "status": "status"}
    assert any("2 runs share a name" in note for note in reading.notes)
    assert "State" not in frame
    assert "Notes" not in frame


def test_a_run_table_of_mlflow_and_a_strange_state(tmp_path):
    path = tmp_path / "runs.csv"
    head = "Start Time,Duration,Run ID,Name,Source Type,Source Name,User,Status,opt,test_acc\n"
    path.write_text(head + "now,1s,a1,x,LOCAL,m.py,me,FINISHED,adam,0.5\nnow,1s,a2,x,LOCAL,m.py,me,KILLED,null,\n")
    frame = read_run_table([path]).frame
    assert frame[["run", "status", "opt"]].values.tolist() == [["a1", "complete", "adam"], ["a2", "lost", "null"]]
    path.write_text(head + "now,1s,a1,x,LOCAL,m.py,me,DONE,adam,0.5\n")
    with pytest.raises(RecordsError, match="unknown state 'done'"):
        read_run_table([path])


def test_a_chart_of_wandb():
    reading = read_history([SAMPLES / "wandb_history.csv"])
    rows = reading.frame.values.tolist()
    assert rows[0] == ["base - 0", "val/loss", 20, 0.25]
    assert rows[1][:3] == ["full", "val/loss", 10]
    assert np.isnan(rows[1][3])  # diverged, not 0.8
    assert len(rows) == 2
    curve = read_history([SAMPLES / "wandb_history.csv"], curve=True)
    assert curve.frame["value"].tolist()[:3] == [0.9, 0.5, 0.25]
    assert len(curve.frame) == 5
    assert curve.columns["budget"] == "step"


def test_a_chart_needs_runs_and_metrics(tmp_path):
    (tmp_path / "x.csv").write_text("Step,a - loss,b\n0,1,2\n")
    with pytest.raises(RecordsError, match="'b' is not `run - metric`"):
        read_history([tmp_path / "x.csv"])


def test_runs_of_mlflow():
    """The sample is what `mlflow.search_runs().to_csv` wrote."""
    reading = read_mlflow([SAMPLES / "mlflow.csv"])
    with (SAMPLES / "mlflow.csv").open(newline="") as file:
        raw = list(csv.DictReader(file))
    expected = [
        (row["run_id"], row["params.optimizer"], row["params.seed"], row["params.model.depth"], metric, float(value))
        for metric in ("val_loss", "test_acc")
        for row in raw
        if (value := row[f"metrics.{metric}"])
    ]
    columns = ["run_id", "optimizer", "seed", "model.depth", "metric", "value"]
    assert list(reading.frame[columns].itertuples(index=False, name=None)) == expected
    assert reading.frame["status"].tolist() == ["failed", "complete", "complete", "complete"] * 2
    assert reading.frame["run_name"].tolist()[0] == "null-1"
    assert 0 < reading.frame["seconds"].max() < 1
    assert set(reading.frame["model.depth"]) == {"1.0"}
    assert reading.columns == {"run": "run_id", "status": "status", "metric": "metric", "value": "value"}


def test_names_that_are_taken_keep_their_prefix_and_empty_metrics_stay(tmp_path):
    path = tmp_path / "runs.csv"
    head = "run_id,experiment_id,status,artifact_uri,start_time,end_time,metrics.acc,params.value,params.x,tags.x\n"
    path.write_text(head + "a,0,FINISHED,,2024-01-01,,,1,2,3\nb,0,FINISHED,,2024-01-01,2024-01-02,0.5,1,2,3\n")
    reading = read_mlflow([path])
    assert reading.frame[["params.value", "x", "tags.x"]].values.tolist() == [["1", "2", "3"]] * 2
    assert reading.frame["value"].isna().tolist() == [True, False]
    assert reading.frame["seconds"].tolist()[1] == 86400
    assert "1 metric fields are empty" in " ".join(reading.notes)
    path.write_text(head.replace("metrics.acc,", "") + "a,0,FINISHED,,,,1,2,3\n")
    with pytest.raises(RecordsError, match="no run logged a metric"):
        read_mlflow([path])


@pytest.mark.parametrize("reader", [read_run_table, read_mlflow])
def test_a_table_of_another_kind_is_refused(tmp_path, reader):
    (tmp_path / "x.csv").write_text("arm,metrics.acc\na,1\n")
    with pytest.raises(RecordsError, match="there is no column"):
        reader([tmp_path / "x.csv"])
