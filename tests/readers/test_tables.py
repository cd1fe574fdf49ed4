import csv
import gzip
import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import RecordsError
from ablate.readers.columns import as_numbers, as_text, unpivot
from ablate.readers.tables import SUFFIXES, read_tables


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path, content, **options):
    return read_tables([write(path, content)], **options)


def test_names_stay_text_and_numbers_are_numbers(tmp_path):
    frame = read(
        tmp_path / "x.csv",
        "arm,flag,zip,n,gap,value,lr,big,hex,nan\n"
        "null,true,007,1,,0.1,1e-4,18446744073709551615,0x1,nan\n"
        "NA,false,010,-2,3,nan,1.0,1,0x2,inf\n"
        "1.0,true,011,3,4,-inf,0.50,2,0x3,nan\n",
        text=["lr"],
    )
    kinds = {"n": "int64", "gap": "Int64", "value": "float64"}
    assert frame.dtypes.astype(str).to_dict() == {name: kinds.get(name, "str") for name in frame.columns}
    assert frame["arm"].tolist() == ["null", "NA", "1.0"]
    assert frame["lr"].tolist() == ["1e-4", "1.0", "0.50"]
    assert frame["zip"].tolist() == ["007", "010", "011"]
    assert frame["gap"].isna().tolist() == [True, False, False]
    assert np.array_equal(frame["value"], [0.1, np.nan, -np.inf], equal_nan=True)


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=20), st.sampled_from(["%r", "%.17g", "%.17e"]))
def test_every_number_is_read_to_the_last_bit(tmp_path_factory, numbers, form):
    path = tmp_path_factory.getbasetemp() / "bits.csv"
    path.write_text("arm,value\n" + "".join(f"a,{form % x}\n" for x in [0.5, *numbers]))
    assert as_numbers(read_tables([path])["value"]).tolist() == [0.5, *numbers]


names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8).map(str.strip)


@given(st.lists(st.tuples(names.filter(bool), names.filter(bool)), min_size=1, max_size=10))
def test_awkward_names_come_back_as_the_csv_module_wrote_them(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "names.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("arm", "note"), *rows])
    frame = read_tables([path], text=["arm", "note"])
    assert list(frame.itertuples(index=False, name=None)) == rows


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.tsv", "x.tsv.gz", "x.txt"])
def test_suffixes_and_packing(tmp_path, name):
    tab = "\t" if ".tsv" in name else ","
    frame = read(tmp_path / name, f"arm{tab}value\na{tab}1\n")
    assert frame.to_dict("list") == {"arm": ["a"], "value": [1]}


def test_decimal_commas_and_a_byte_order_mark(tmp_path):
    frame = read(tmp_path / "x.csv", "\ufeffarm;value;n\na;0,85;1\nb,c;1;2\nd;1e-3;3\n")
    assert frame.columns.tolist() == ["arm", "value", "n"]
    assert frame["value"].tolist() == [0.85, 1.0, 0.001]
    assert frame["arm"].tolist() == ["a", "b,c", "d"]


@pytest.mark.parametrize("rows", ["a,1\nb\n", "a,1,2\nb,1\n", "a,1\n" * 300 + "b,1,2\n"])
def test_ragged_rows_are_refused_with_their_number(tmp_path, rows):
    with pytest.raises(RecordsError, match=r"Row #\d+: Expected 2 columns, got [13]"):
        read(tmp_path / "x.csv", "arm,value\n" + rows)


def test_a_field_longer_than_a_block_is_refused(tmp_path):
    with pytest.raises(RecordsError, match="cannot be read"):
        read(tmp_path / "x.csv", "arm,value\n" + "a,1\n" * 300 + '"' + "x" * (3 << 20) + '",1\n')


def test_a_field_may_hold_line_ends(tmp_path):
    frame = read(tmp_path / "x.csv", 'note,value\n"two\nlines",1\n"say ""yes"", no",2\n')
    assert frame["note"].tolist() == ["two\nlines", 'say "yes", no']


@pytest.mark.parametrize(("first", "kept"), [("0,1", False), ("1,2", False), ("7,8", True), ("2,1", True)])
def test_a_written_index_is_dropped(tmp_path, first, kept):
    one, two = first.split(",")
    frame = read(tmp_path / "x.csv", f",arm,value\n{one},a,1\n{two},b,2\n")
    assert frame.columns.tolist() == [*["unnamed"] * kept, "arm", "value"]


def test_several_files_are_one_table_that_says_which_row_is_from_where(tmp_path):
    (tmp_path / "a").mkdir()
    paths = [
        write(tmp_path / "a" / "x.csv", "arm,value\n1,0.5\n"),
        write(tmp_path / "y.csv", "value,arm\n2,b\n3,c\n"),
    ]
    frame = read_tables(paths)
    assert frame.to_dict("list") == {
        "arm": ["1", "b", "c"],
        "value": [0.5, 2, 3],
        "file": ["a/x.csv", "y.csv", "y.csv"],
    }
    write(tmp_path / "z.csv", "arm,score\na,1\n")
    with pytest.raises(RecordsError, match="differ in the column 'score'"):
        read_tables([*paths, tmp_path / "z.csv"])
    with pytest.raises(RecordsError, match="several formats"):
        read_tables([paths[0], write(tmp_path / "z.jsonl", "{}\n")])
    with pytest.raises(RecordsError, match="decimal points and decimal commas"):
        read_tables([paths[0], write(tmp_path / "c.csv", "arm;value\na;0,5\n")])


def test_an_unknown_suffix_and_an_unknown_column_are_named(tmp_path):
    with pytest.raises(RecordsError, match=r"unknown suffix '.xlsx'"):
        read(tmp_path / "x.xlsx", "arm,value\na,1\n")
    with pytest.raises(RecordsError, match="did you mean 'value'"):
        read(tmp_path / "x.csv", "arm,value\na,1\n", text=["valeu"])


def test_json_lines(tmp_path):
    lines = [
        {"arm": None, "cfg": {"lr": 0.1, "on": True}, "tags": ["a"], "n": 1, "value": 1},
        {"arm": "b", "cfg": {"lr": None, "on": None}, "tags": [], "n": None, "value": 0.1 + 0.2, "late": 3},
    ]
    text = "\n\n".join(map(json.dumps, lines))
    frame = read(tmp_path / "x.jsonl", text)
    pd.testing.assert_frame_equal(frame, read(tmp_path / "x.jsonl.gz", text))
    pd.testing.assert_frame_equal(frame, read(tmp_path / "x.json", json.dumps(lines)))
    assert frame["arm"].tolist() == ["null", "b"]
    assert frame["cfg.on"].tolist() == ["true", "null"]
    assert frame["value"].tolist() == [1.0, 0.1 + 0.2]
    assert frame[["n", "late"]].dtypes.astype(str).tolist() == ["Int64", "Int64"]
    assert frame["tags"].tolist() == ['["a"]', "[]"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 1}\n{"a": \n', "line 2"),
        ("[1]\n", "is not an object"),
        ("[" * 100_000 + "\n", "not JSON"),
        ("\n\n", "no rows"),
    ],
)
def test_lines_that_are_no_objects_are_refused(tmp_path, text, what):
    with pytest.raises(RecordsError, match=what):
        read(tmp_path / "x.jsonl", text)
    with pytest.raises(RecordsError, match="not a list of rows"):
        read(tmp_path / "x.json", "{}")


def test_json_files_of_different_types_become_names(tmp_path):
    paths = [
        write(tmp_path / f"{i}.jsonl", json.dumps({"arm": arm, "value": 1}) + "\n") for i, arm in enumerate([1, "a"])
    ]
    assert read_tables(paths)["arm"].tolist() == ["1", "a"]


def test_parquet(tmp_path):
    frame = pd.DataFrame(
        {
            "arm": pd.Categorical(["null", "NA"]),
            "flag": [True, False],
            "n": pd.array([1, None], dtype="Int32"),
            "value": np.array([0.1, 0.2], "float32"),
            "when": pd.to_datetime(["2024-01-01", "2024-01-02"]),
            "cfg": [{"lr": 0.1}, {"lr": 0.2}],
        }
    )
    frame.to_parquet(tmp_path / "x.parquet")
    got = read_tables([tmp_path / "x.parquet"])
    assert got["arm"].tolist() == ["null", "NA"]
    assert got["flag"].tolist() == ["true", "false"]
    assert got["cfg.lr"].tolist() == [0.1, 0.2]
    assert got.dtypes[["n", "value", "when"]].astype(str).tolist() == ["Int64", "float64", "str"]
    pd.DataFrame({"a": [[1, 2]]}).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(RecordsError, match="a column of type list"):
        read_tables([tmp_path / "y.parquet"])
    write(tmp_path / "z.parquet", "arm,value\n")
    with pytest.raises(RecordsError, match="no Parquet file"):
        read_tables([tmp_path / "z.parquet"])


def test_a_wide_table_becomes_a_long_one(tmp_path):
    frame = read(tmp_path / "x.csv", "seed,base,full\n0,0.5,NA\n1,0.25,0.75\n")
    long = unpivot(frame, ["base", "full"], ["seed"])
    expected = [(0, "base", 0.5), (1, "base", 0.25), (0, "full", None), (1, "full", 0.75)]
    rows = [(s, a, None if np.isnan(v) else v) for s, a, v in long.itertuples(index=False, name=None)]
    assert rows == expected
    with pytest.raises(RecordsError, match="did you mean 'base'"):
        unpivot(frame, ["bse"], ["seed"])
    with pytest.raises(RecordsError, match="both an arm and a key"):
        unpivot(frame, ["base"], ["base"])
    with pytest.raises(RecordsError, match="'seed' already"):
        unpivot(frame, ["base"], ["seed"], name="seed")
    with pytest.raises(RecordsError, match="no arms"):
        unpivot(frame, [], ["seed"])


def test_scores_and_level_names_of_a_column():
    numbers = as_numbers(pd.Series(["1", "NA", None, " 2.5", "-", "inf"]))
    assert np.array_equal(numbers, [1, np.nan, np.nan, 2.5, np.nan, np.inf], equal_nan=True)
    with pytest.raises(RecordsError, match="'x' is not a number") as error:
        as_numbers(pd.Series(["1", "x"], name="acc"))
    assert "column 'acc', row 1" in str(error.value)
    assert as_text(pd.Series([True, None, 1.5, 2], dtype="object")).tolist()[::2] == ["true", "1.5"]
    assert as_text(pd.Series([1, None], dtype="Int64")).isna().tolist() == [False, True]


PIECES = [*"a1.,;\t|\n\r\"'{}[]:-é ", "null", "NaN", "a,b\n", '{"a": ', "1e9", "\n1,2\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.sampled_from(SUFFIXES))
def test_whatever_a_file_holds_it_is_a_table_or_an_error_that_says_why(tmp_path_factory, content, suffix):
    path = write(tmp_path_factory.getbasetemp() / f"fuzz{suffix}", content)
    try:
        frame = read_tables([path])
    except RecordsError:
        return
    assert len(frame) > 0
    assert {str(dtype) for dtype in frame.dtypes} <= {"str", "int64", "Int64", "float64"}


@pytest.mark.slow
def test_a_million_rows_in_two_and_a_half_seconds(tmp_path):
    rng, n = np.random.default_rng(0), 10**6
    columns = {
        "arm": rng.choice(["base", "dedup", "null"], n),
        "size": rng.choice([1, 10], n),
        "seed": rng.integers(0, 10**5, n),
        "domain": rng.choice([f"d{i}" for i in range(50)], n),
        "metric": "accuracy",
        "value": rng.normal(size=n),
    }
    pd.DataFrame(columns).to_csv(tmp_path / "x.csv", index=False)
    start = time.perf_counter()
    frame = read_tables([tmp_path / "x.csv"])
    assert time.perf_counter() - start < 2.5
    assert (frame["value"] == columns["value"]).all()
