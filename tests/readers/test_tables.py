import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import RecordsError
from ablate.readers.tables import SUFFIXES, read_tables
from tests.readers.files import read, write


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.tsv", "x.tsv.gz", "x.txt"])
def test_suffixes_and_packing(tmp_path, name):
    tab = "\t" if ".tsv" in name else ","
    frame = read(tmp_path / name, f"arm{tab}value\na{tab}1\n")
    assert frame.to_dict("list") == {"arm": ["a"], "value": [1]}


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
