from pathlib import Path

import optuna
import pandas as pd
import pytest

from ablate.errors import RecordsError
from ablate.readers import KINDS, Reading, read, sniff_kind
from tests.readers.test_studies import journal

SAMPLES = Path(__file__).parent / "samples"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Kind -> a path of that kind, for every kind."""
    tmp_path = tmp_path_factory.mktemp("sources")
    storage = journal(tmp_path / "x.log")
    optuna.create_study(storage=storage).add_trial(optuna.create_trial(value=1.0))
    run = tmp_path / "logs" / "version_0"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text("epoch,step,val_acc\n0,1,0.5\n")
    (run / "hparams.yaml").write_text("lr: 0.1\n")
    (tmp_path / "x.csv").write_text("arm,value\na,1\n")
    return {
        "table": tmp_path / "x.csv",
        "records": ROOT / "studies" / "digits_shift" / "records.csv",
        "optuna": tmp_path / "x.log",
        "lightning": tmp_path / "logs",
        "wandb": SAMPLES / "wandb_runs.csv",
        "wandb_history": SAMPLES / "wandb_history.csv",
        "mlflow": SAMPLES / "mlflow.csv",
        "lm_eval": SAMPLES / "lm_eval",
        "amlb": SAMPLES / "amlb.csv",
    }


def test_every_kind_is_told_from_the_others_and_read(sources):
    assert set(sources) == set(KINDS)
    for kind, path in sources.items():
        assert sniff_kind(path) == kind
        reading = read([str(path)])
        assert len(reading.frame) > 0
        assert reading.notes
        assert reading.sources == (str(path),)
    assert sniff_kind("sqlite:///x.db") == "optuna"
    assert sniff_kind(sources["lightning"] / "version_0" / "metrics.csv") == "lightning"
    assert sniff_kind(next((SAMPLES / "lm_eval" / "tiny").glob("samples_local_mc*"))) == "lm_eval"


def test_a_kind_can_be_said(sources):
    assert "params.optimizer" in read([sources["mlflow"]], kind="table").frame
    assert read([sources["table"]], text=["value"]).frame["value"].tolist() == ["1"]


def test_records_say_what_they_hold(sources):
    reading = read([sources["records"]])
    assert reading.columns["factors"] == ["data", "objective", "size"]
    assert reading.columns["run"] == "trial"
    assert reading.columns["block"] == "block"
    assert "hpo_trials" not in reading.columns


def test_what_cannot_be_read_together_is_refused(sources, tmp_path):
    with pytest.raises(RecordsError, match="results of several kinds"):
        read([sources["table"], sources["amlb"]])
    with pytest.raises(RecordsError, match="did you mean 'mlflow'"):
        read([sources["table"]], kind="mlflwo")
    with pytest.raises(RecordsError, match="no file is named"):
        read([])
    with pytest.raises(RecordsError, match="several storages"):
        read([sources["optuna"]] * 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordsError, match="no results of a known kind"):
        read([tmp_path / "empty"])


def test_a_reading_holds_what_its_roles_name():
    frame = pd.DataFrame({"arm": ["a"], "seed": [0], "value": [1.0]})
    assert Reading(frame, {"factors": ["arm"], "run": "seed", "block": "seed"}).columns["run"] == "seed"
    with pytest.raises(RecordsError, match="did you mean 'factors'"):
        Reading(frame, {"factor": ["arm"]})
    with pytest.raises(RecordsError, match="did you mean 'value'"):
        Reading(frame, {"value": "valu"})
    with pytest.raises(RecordsError, match="both run and value"):
        Reading(frame, {"run": "seed", "value": "seed"})
    with pytest.raises(RecordsError, match="no rows"):
        Reading(frame.iloc[:0], {})
