import csv
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import RecordsError
from ablate.readers.columns import as_numbers
from ablate.readers.tables import read_tables
from tests.readers.files import read


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
    start = time.process_time()
    frame = read_tables([tmp_path / "x.csv"])
    assert time.process_time() - start < 2.5
    assert (frame["value"] == columns["value"]).all()
