import json

import pandas as pd
import pytest

from ablate.errors import RecordsError
from ablate.readers.tables import read_tables
from tests.readers.files import read, write


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
