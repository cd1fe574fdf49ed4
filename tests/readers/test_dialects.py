import gzip
import os
import pickle

import numpy as np
import pytest

from ablate.errors import RecordsError
from ablate.readers import dialects
from ablate.readers.dialects import BLOCK, Dialect, open_text, peek, sniff


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arm,value\na,0.5\nb,0.25\n", Dialect(",", ".", ("arm", "value"))),
        ("arm;value\na;0,5\nb;0,25\n", Dialect(";", ",", ("arm", "value"))),
        ("arm\tvalue\na, b\t0,5\n", Dialect("\t", ",", ("arm", "value"))),
        ("arm|value\na|5\n", Dialect("|", "", ("arm", "value"))),
        ("arm;n\na;1,234\nb;2,500\n", Dialect(";", "", ("arm", "n"))),  # digit groups: nobody can tell
        ("arm;n;v\na;1,234;0.5\n", Dialect(";", ".", ("arm", "n", "v"))),
        ('arm,note,value\na,"x; y; z",1\n', Dialect(",", ".", ("arm", "note", "value"))),
        ("\n\n arm , value \na,1\n", Dialect(",", ".", ("arm", "value"))),
    ],
)
def test_a_dialect_is_found_from_the_first_rows(text, expected):
    assert sniff(text, "x.csv") == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("value\n1\n2\n", "one column only: 'value'"),
        ("\n \n\n", "only blank lines|one column"),
        ("1,2\n3,4\n", "numbers, not names"),
        ("a,b,a\n1,2,3\n", "two columns are named 'a'"),
        ("a,b\n", "a header and no row"),
        (",".join(f"c{i}" for i in range(6000)) + "\n" + "1," * 5999 + "1\n", "6,000 columns"),
        ('a,b\n"' + "x" * 200_000 + '",1\n', "field larger than field limit"),
    ],
)
def test_what_is_no_table_is_refused(text, what):
    with pytest.raises(RecordsError, match=what):
        sniff(text, "x.csv")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (pickle.dumps({"a": 1}), "a pickle is never opened"),
        (b"PK\x03\x04rest", "a zip archive or a workbook"),
        ("arm,value\n".encode("utf-16"), "text in UTF-16"),
        ("arm,value\né,1\n".encode("latin-1"), r"not UTF-8 \(byte 10\)"),
        (b"a,b\n1,\x00\n", "a binary file"),
        (b"x" * (BLOCK + 2), "the first line is longer than"),
    ],
)
def test_a_file_that_is_no_text_is_refused_from_its_first_block(tmp_path, content, what):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(RecordsError, match=what):
        peek(path)


def test_a_huge_file_costs_one_block(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("wb") as file:
        file.write(b"value\n" + b"1\n" * BLOCK)
        file.truncate(1 << 36)  # sparse
    with pytest.raises(RecordsError, match="one column only"):
        sniff(peek(path), str(path))


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for name, what in [("pipe.csv", "not a regular file"), ("none.csv", "no such file"), (".", "not a regular file")]:
        with pytest.raises(RecordsError, match=what):
            peek(tmp_path / name)


def test_only_whole_lines_are_looked_at_and_a_mark_of_byte_order_is_dropped(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("a,b\n".encode("utf-8-sig") + "é,1\n".encode() * BLOCK)
    text = peek(path)
    assert text.startswith("a,b\né,1\n")
    assert text.endswith("é,1\n")


def test_packed_text_is_unpacked_up_to_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000))
    with open_text(path) as file:
        assert len(file.read()) == 4004
    monkeypatch.setattr(dialects, "LIMIT", 4000)
    with open_text(path) as file, pytest.raises(RecordsError, match="GiB of text"):
        file.read()


@pytest.mark.parametrize("keep", [20, 60])
def test_a_damaged_archive_is_an_error(tmp_path, keep):
    path = tmp_path / "x.csv.gz"
    noise = np.random.default_rng(0).bytes(100).hex().encode()
    path.write_bytes(gzip.compress(b"a,b\n1," + noise)[:keep])
    with pytest.raises(RecordsError, match="cannot be unpacked"):
        peek(path)
