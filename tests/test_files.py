"""A file is written whole or not at all."""

import os

import pytest

from ablate.files import write_whole


def test_text_arrives_byte_for_byte_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, "old")
    write_whole(path, "é\r\n\n")
    assert path.read_bytes() == "é\r\n\n".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_on_the_way_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, call):
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
