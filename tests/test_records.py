"""Records: what a task may return, what the table refuses, and that no file format changes a value or a name."""

import json
import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from ablate.errors import RecordsError, TrialError
from ablate.factors import Factor
from ablate.measurements import name_values
from ablate.plans import plan
from ablate.records import COLUMNS, Records, measurements
from tests.strategies import AWKWARD, level_text

MADE = plan({"data": ["raw", "clean"], "size": [1, 2]}, seeds=2, metric="accuracy")
GROUPED = plan(
    {"data": ["raw", "clean"]},
    seeds=2,
    metric="accuracy",
    domains={"clean": "test", "noise": ["test/low", "test/high"]},
)
numbers = st.floats(allow_nan=False, allow_infinity=False)


def complete(rows, **changes):
    return {
        "status": "complete",
        "reason": None,
        "attempt": 1,
        "seconds": 0.5,
        "hardware": "cpu",
        "rows": rows,
    } | changes


def all_done(made, value=0.5):
    return Records.of(made, {t.id: complete(measurements(value, made)) for t in made.trials})


# --- what a task returns ---------------------------------------------------------------------------------------------


@given(numbers)
def test_a_number_a_mapping_and_rows_say_the_same(value):
    rows = measurements(value, MADE)
    assert (
        rows == measurements({"accuracy": value}, MADE) == measurements([{"metric": "accuracy", "value": value}], MADE)
    )
    assert rows == [{"domain_group": "all", "domain": "all", "shift": "none", "metric": "accuracy", "value": value}]


@pytest.mark.parametrize(
    "value", [1, True + 1, np.float32(0.5), np.float64(0.5), np.int64(3), np.array(0.5), Fraction(1, 4)]
)
def test_every_kind_of_number_is_a_number(value):
    (row,) = measurements(value, MADE)
    assert type(row["value"]) is float
    assert row["value"] == float(value)
    assert measurements({"accuracy": value}, MADE) == [row]


def test_what_stands_beside_a_value_becomes_plain_too():
    beside = {"n_examples": np.int64(7), "score_se": Fraction(1, 4), "eval_hash": b"ab"}
    (row,) = measurements([{"metric": "accuracy", "value": 0.5, **beside}], MADE)
    assert json.loads(json.dumps(row)) == row
    assert (row["n_examples"], row["score_se"], row["eval_hash"]) == (7, 0.25, "b'ab'")


def test_rows_fall_into_the_declared_groups():
    result = [
        {"metric": "accuracy", "value": 1, "domain": "test"},
        {"metric": "accuracy", "value": 0.5, "domain": "test", "shift": "high", "n_examples": 100, "score_se": 0.05},
        {"metric": "parameters", "value": 1000},
    ]
    rows = measurements(iter(result), GROUPED)
    assert [row["domain_group"] for row in rows] == ["clean", "noise", "all"]
    assert (rows[1]["n_examples"], rows[1]["score_se"]) == (100, 0.05)


ROW = {"metric": "accuracy", "value": 1.0}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "returned a NoneType"),
        ("0.5", "(?s)returned a str.*allowed: a number"),
        (b"1", "returned a bytes"),
        (True, "accuracy is True"),
        ({"accuracy": np.bool_(True)}, "accuracy is"),
        (math.nan, r"accuracy is nan \(diverged\)"),
        (math.inf, r"accuracy is inf \(diverged\)"),
        ({"accuracy": np.float32(-np.inf)}, r"accuracy is -inf \(diverged\)"),
        ({"accuracy": 10**400}, "accuracy is"),
        ({"accuracy": "0.5"}, "accuracy is '0.5'"),
        ({"accuracy": np.array([0.5, 0.6])}, r"accuracy is array"),
        ({"accuracy": 1j}, "accuracy is 1j"),
        ({"acuracy": 0.5}, "(?s)primary metric 'accuracy' was never logged.*allowed: acuracy.*did you mean 'acuracy'"),
        ({}, "(?s)was never logged.*nothing"),
        ([], "was never logged"),
        ([0.5], "a row without metric and value: 0.5"),
        ([{"metric": "accuracy"}], "without metric and value"),
        ([{**ROW, "domian": "test"}], "(?s)unknown key 'domian' in a row.*did you mean 'domain'"),
        ([{**ROW, "domain": "tset"}], "(?s)'tset' is in no domain group.*allowed: test, test/low.*did you mean 'test'"),
        ([{**ROW, "domain": "test", "shift": "hihg"}], "(?s)'test/hihg' is in no.*declare it under `domains`"),
        ([ROW, ROW], "accuracy is given twice for domain 'all', shift 'none'"),
        ([{**ROW, "metric": "a\rb"}], "a control character in 'a"),
        ([{**ROW, "n_examples": 2.5}], "n_examples is 2.5"),
        ([{**ROW, "n_examples": 0}], "n_examples is 0"),
        ([{**ROW, "n_examples": 2**63}], "n_examples is 9223372036854775808"),
        ([{**ROW, "eval_hash": "a\x00"}], "a control character in eval_hash"),
        ([{**ROW, "score_se": -1}], "score_se is -1"),
        ([{**ROW, "score_se": math.nan}], "score_se is nan"),
        (pd.DataFrame([ROW]), "returned a DataFrame"),
    ],
)
def test_what_is_no_measurement_is_refused(result, message):
    with pytest.raises(TrialError, match=message):
        measurements(result, GROUPED)


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_follows_the_plan_and_not_the_order_in_which_trials_ended():
    outcomes = {t.id: complete(measurements(0.5, MADE)) for t in MADE.trials}
    table = Records.of(MADE, outcomes).frame
    assert list(table.columns) == ["trial", "data", "size", *list(COLUMNS)[1:]]
    assert list(zip(table["data"], table["size"], table["seed"], strict=True)) == [
        (str(cell["data"]), str(cell["size"]), seed) for cell in MADE.cells for seed in MADE.seeds
    ]
    assert_frame_equal(table, Records.of(MADE, dict(reversed(outcomes.items()))).frame)


def test_failures_stay_as_rows_with_status_and_reason():
    first, second, *rest = MADE.trials
    outcomes = {t.id: complete(measurements(0.5, MADE)) for t in rest}
    outcomes[first.id] = {
        "status": "failed",
        "reason": "ValueError: nan",
        "attempt": 2,
        "seconds": 1.0,
        "hardware": "x",
    }
    records = Records.of(MADE, outcomes)
    assert len(records) == len(MADE.trials) - 1, "a trial without an outcome has no row"
    (row,) = records.failures.to_dict("records")
    assert (row["trial"], row["status"], row["reason"], row["attempt"]) == (first.id, "failed", "ValueError: nan", 2)
    assert pd.isna(row["value"])
    assert second.id not in set(records.frame["trial"])
    assert set(records.complete["trial"]) == {t.id for t in rest}
    assert "6 of 8 trials complete, 1 failed" in repr(records)


def test_a_block_is_the_seed_where_the_plan_blocks_by_it():
    assert list(all_done(MADE).frame["block"]) == list(all_done(MADE).frame["seed"])
    assert all_done(plan({"a": [1, 2]}, blocking="none")).frame["block"].isna().all()


def test_the_caller_keeps_a_frame_of_their_own():
    frame = all_done(MADE).frame
    records = Records(frame, MADE)
    frame["value"] = 9.0
    assert (records.frame["value"] == 0.5).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "one"}, "wrong type"),
        ({"value": "high"}, "wrong type"),
        ({"data": "row"}, "(?s)levels the plan does not have: row.*where:   data.*raw, clean"),
        ({"data": None}, "levels the plan does not have: nan"),
        ({"status": "done"}, "(?s)unknown status: done.*allowed: complete, failed"),
        ({"seed": 7}, r"(?s)is not in the plan: data=raw, size=1, seed=7.*the plan they were"),
        ({"trial": "same"}, "trial same stands for several cells or seeds"),
        ({"trial": None}, "stands for several cells or seeds"),
        ({"value": math.nan}, "is complete, but accuracy is nan"),
        ({"value": math.inf}, "is complete, but accuracy is inf"),
        ({"metric": None}, "is complete, but nan is"),
    ],
)
def test_a_table_that_is_not_the_plans_is_refused(changes, message):
    with pytest.raises(RecordsError, match=message):
        Records(all_done(MADE).frame.assign(**changes), MADE)


@pytest.mark.parametrize("column", ["trial", "size", "seed", "value"])
def test_a_missing_column_is_named(column):
    with pytest.raises(RecordsError, match=f"(?s)columns are missing: {column}.*allowed: "):
        Records(all_done(MADE).frame.drop(columns=[column]), MADE)


def test_a_value_that_stands_twice_is_refused():
    frame = all_done(MADE).frame
    with pytest.raises(RecordsError, match=r"(?s)stands twice: trial .*domain all, shift none, metric accuracy"):
        Records(pd.concat([frame, frame.tail(1)]), MADE)


def test_a_cell_that_the_plan_excludes_cannot_be_in_the_table():
    smaller = plan({"data": ["raw", "clean"], "size": [1, 2]}, seeds=2, exclude=[{"data": "raw", "size": 2}])
    with pytest.raises(RecordsError, match="not in the plan: data=raw, size=2"):
        Records(all_done(MADE).frame, smaller)


# --- files -----------------------------------------------------------------------------------------------------------


@st.composite
def tables(draw):
    """Records with awkward level names, domains, reasons and values, some of the trials failed."""
    levels = draw(st.lists(level_text, min_size=2, max_size=3, unique=True))
    made = plan([Factor("data", tuple(levels)), Factor("flag", (True, None))], seeds=[0, 2**32 - 1], metric="m")
    outcomes = {}
    for trial in made.trials:
        if draw(st.booleans()):
            rows = [{"metric": "m", "value": draw(numbers), "domain": draw(st.sampled_from(AWKWARD)), "n_examples": 7}]
            rows += [{"metric": draw(level_text) + "2", "value": draw(numbers), "score_se": draw(st.floats(0, 1e300))}]
            outcomes[trial.id] = complete(measurements(rows, made), seconds=draw(st.floats(0, 1e6)))
        elif draw(st.booleans()):
            failed = {"status": "failed", "reason": draw(level_text), "attempt": 1, "seconds": None, "hardware": None}
            outcomes[trial.id] = failed
    return Records.of(made, outcomes)


@pytest.mark.slow
@given(table=tables(), suffix=st.sampled_from([".csv", ".parquet"]))
def test_no_file_changes_a_name_or_a_value(tmp_path_factory, table, suffix):
    folder = tmp_path_factory.mktemp("records")
    table.plan.write(folder)
    path = table.write(folder / f"records{suffix}")
    back = Records.read(path)
    assert_frame_equal(back.frame, table.frame, check_exact=True)
    assert back.plan == table.plan
    assert back.write(folder / f"again{suffix}").read_bytes() == path.read_bytes()


def test_a_reason_is_made_fit_for_a_line_of_a_file(tmp_path):
    reason = 'bar\r 10%\r 20%\x1b[0m "quoted", and\nmore\x00\ud800é'
    failed = {"status": "failed", "reason": reason, "attempt": 1, "seconds": 1.0, "hardware": "cpu"}
    records = Records.of(MADE, {MADE.trials[0].id: failed})
    assert records.frame["reason"][0] == 'bar  10%  20% [0m "quoted", and more  é'
    assert_frame_equal(Records.read(records.write(tmp_path / "r.csv"), MADE).frame, records.frame)


@given(tables())
def test_outcomes_are_the_inverse_of_the_table(table):
    assert_frame_equal(Records.of(table.plan, table.outcomes()).frame, table.frame, check_exact=True)


def test_a_parquet_file_carries_its_plan_alone(tmp_path):
    path = all_done(MADE).write(tmp_path / "records.parquet")
    assert Records.read(path).plan == MADE
    assert [p.name for p in tmp_path.iterdir()] == ["records.parquet"]


def test_files_that_cannot_be_records_are_refused(tmp_path):
    with pytest.raises(RecordsError, match=r"(?s)there are no records.*run the study first"):
        Records.read(tmp_path / "records.csv")
    with pytest.raises(RecordsError, match=r"(?s)cannot write '.xlsx'.*allowed: .csv, .parquet"):
        all_done(MADE).write(tmp_path / "records.xlsx")
    all_done(MADE).frame.to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(RecordsError, match="carries no plan"):
        Records.read(tmp_path / "bare.parquet")
    assert len(Records.read(tmp_path / "bare.parquet", MADE)) == 8
    text = all_done(MADE).write(tmp_path / "records.csv").read_text()
    (tmp_path / "records.csv").write_text(text.replace("0.5", "half"))
    with pytest.raises(RecordsError, match=r"(?s)cannot be read.*half.*records\.csv"):
        Records.read(tmp_path / "records.csv", MADE)


def test_the_first_lines_of_a_csv_are_what_the_documents_say(tmp_path):
    head, first, *_ = all_done(MADE).write(tmp_path / "records.csv").read_text().splitlines()
    assert head.split(",") == ["trial", "data", "size", *list(COLUMNS)[1:]]
    assert first.split(",")[1:4] == ["raw", "1", "0"]


def test_intermediate_values_of_a_pruned_trial_stay_in_the_table(tmp_path):
    tuned = plan({"data": ["raw", "clean"]}, metric="accuracy", tuning={"space": {"lr": [0.1, 1]}, "pruner": "median"})
    trial = tuned.search_trial(tuned.cells[0], 3, tuned.tuning.seeds[0])
    record = {
        "status": "pruned",
        "reason": "stopped at step 20",
        "rows": name_values([(10, 0.5), (20, 0.25)], tuned),
        "settings": {"lr": 0.5},
        "hpo_trials": None,
    }
    records = Records.of(tuned, {trial.id: record})
    assert records.frame["metric"].tolist() == ["val_accuracy@10", "val_accuracy@20"]
    assert records.frame[["lr", "proposal", "phase"]].drop_duplicates().values.tolist() == [[0.5, 3, "search"]]
    records.write(tmp_path / "records.csv")
    back = Records.read(tmp_path / "records.csv", tuned).outcomes()[trial.id]
    assert back["values"] == [(10, 0.5), (20, 0.25)]
    assert back["settings"] == {"lr": 0.5}


def test_a_tuning_trial_gives_validation_metrics_and_no_test_score():
    tuned = plan({"data": ["raw", "clean"]}, metric="accuracy", tuning={"space": {"lr": [0.1, 1]}})
    assert measurements(0.5, tuned, "search")[0]["metric"] == "val_accuracy"
    assert measurements({"val_accuracy": 0.5, "latency": 3}, tuned, "search")
    with pytest.raises(TrialError, match="objective 'val_accuracy' was never logged"):
        measurements({"val_loss": 0.5}, tuned, "search")
    with pytest.raises(TrialError, match="gave a test score"):
        measurements({"val_accuracy": 0.5, "accuracy": 0.9}, tuned, "search")
    with pytest.raises(TrialError, match=r"gave a test score.*'home'"):
        measurements([{"metric": "val_accuracy", "value": 0.5, "domain": "home"}], tuned, "search")
