import hashlib
import math
import warnings

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ablate.errors import RecordsError
from ablate.plans import plan
from ablate.readers.studies import read_study

optuna.logging.set_verbosity(optuna.logging.ERROR)


def journal(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return JournalStorage(JournalFileBackend(str(path)))


def objective(trial):
    x = trial.suggest_float("x", 0.1, 1)
    trial.suggest_categorical("opt", ["adam", None, True, 1.0])
    trial.suggest_categorical("one", ["only"])
    trial.suggest_int("value", 1, 3)
    trial.set_user_attr("cost", {"flops": 10, "layers": [1, 2]})
    trial.set_user_attr("x", "taken")
    if trial.number == 3:
        raise optuna.TrialPruned
    if trial.number == 4:
        return math.nan
    return x


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A SQLite file with two studies."""
    path = tmp_path_factory.mktemp("optuna") / "of many.db"
    url = f"sqlite:///{path}"
    study = optuna.create_study(storage=url, study_name="first", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=5)
    optuna.create_study(storage=url, study_name="second")
    return path


def test_trials_are_rows_with_parameters_attributes_and_states(storage):
    reading = read_study(storage, "first")
    frame = reading.frame
    expected = optuna.load_study(storage=f"sqlite:///{storage}", study_name="first").trials
    assert frame["trial"].tolist() == list(range(5))
    assert frame["x"].tolist() == [t.params["x"] for t in expected]
    assert frame["params.value"].tolist() == [t.params["value"] for t in expected]
    names = {"adam": "adam", None: "null", True: "true"}
    assert frame["opt"].tolist() == [
        "1.0" if isinstance(t.params["opt"], float) else names[t.params["opt"]] for t in expected
    ]
    assert frame["status"].tolist() == ["complete"] * 3 + ["pruned", "failed"]
    assert frame["value"].isna().tolist() == [False] * 3 + [True] * 2
    assert frame["value"].tolist()[0] == expected[0].value
    assert frame["seconds"].tolist()[0] == expected[0].duration.total_seconds()
    assert set(frame["phase"]) == {"search"}
    assert frame["cost.flops"].tolist() == [10] * 5
    assert frame["cost.layers"].tolist() == ["[1, 2]"] * 5
    assert set(frame["user_attrs.x"]) == {"taken"}
    assert reading.columns["factors"] == ["opt"]
    assert reading.directions == {"value": "minimize"}
    assert "search phase" in " ".join(reading.notes)


def test_a_storage_is_read_and_never_written(storage):
    before = hashlib.sha256(storage.read_bytes()).hexdigest()
    for source in (storage, str(storage), f"sqlite:///{storage}"):
        assert len(read_study(source, "first").frame) == 5
    assert hashlib.sha256(storage.read_bytes()).hexdigest() == before
    with pytest.raises(RecordsError, match="no such file"):
        read_study(storage.with_name("none.db"))
    assert not storage.with_name("none.db").exists()


def test_the_study_is_named_where_there_are_several(storage, tmp_path):
    with pytest.raises(RecordsError, match="several studies") as error:
        read_study(storage)
    assert error.value.allowed == ("first", "second")
    with pytest.raises(RecordsError, match="did you mean 'first'"):
        read_study(storage, "frist")
    with pytest.raises(RecordsError, match="has no trials"):
        read_study(storage, "second")
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0" + b"junk" * 100)
    (tmp_path / "x.log").write_text("hello\nworld\n")
    for name in ("x.db", "x.log"):
        with pytest.raises(RecordsError, match=r"no storage of Optuna's|holds no study"):
            read_study(tmp_path / name)
    with pytest.raises(RecordsError) as error:
        read_study("nosuchdriver://me:secret@host/db")
    assert "secret" not in str(error.value)


def test_objectives_are_metrics_and_a_torn_journal_still_reads(tmp_path):
    path = tmp_path / "study.journal"
    study = optuna.create_study(storage=journal(path), directions=["minimize", "maximize"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.set_metric_names(["loss", "acc"])
    study.add_trial(optuna.create_trial(values=[0.25, 0.75]))
    study.enqueue_trial({"x": 1})
    study.ask()  # claims it
    study.enqueue_trial({"x": 2})
    path.write_text(path.read_text() + '{"op_co')
    reading = read_study(path)
    rows = reading.frame[["trial", "metric", "value", "status"]].values.tolist()
    assert rows[:2] == [[0, "loss", 0.25, "complete"], [0, "acc", 0.75, "complete"]]
    assert [row[3] for row in rows[2:]] == ["running", "running"]
    assert reading.directions == {"loss": "minimize", "acc": "maximize"}


def test_the_ledger_of_a_study_of_ours_is_in_the_confirm_phase(tmp_path):
    from ablate.ledger import Ledger

    planned = plan({"data": ["raw", "null"]}, seeds=2, metric="accuracy")
    row = {"domain_group": "all", "domain": "all", "shift": "none", "metric": "accuracy", "value": 0.5}
    done = {"status": "complete", "rows": [row]}
    with Ledger(tmp_path, planned) as ledger:
        ledger.reconcile({planned.trials[0].id: done})
    reading = read_study(tmp_path / "runs" / "ledger.journal")
    assert set(reading.frame["phase"]) == {"confirm"}
    assert reading.frame["data"].tolist() == [planned.trials[0].cell["data"]]
    assert reading.frame["value"].tolist() == [0.5]
