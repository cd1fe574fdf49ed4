"""Rows that a datamodule kept are written and counted; one that keeps no account has none."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ablate.training.rows import ROWS, record_rows


def test_rows_are_written_and_counted(tmp_path: Path) -> None:
    kept = np.array([4, 2, 2, -1])
    assert record_rows(SimpleNamespace(kept=kept), tmp_path) == {"train_rows": 4.0}
    assert np.array_equal(np.load(tmp_path / ROWS, allow_pickle=False), kept)


def test_without_a_folder_they_are_counted_alone() -> None:
    assert record_rows(SimpleNamespace(kept=np.array([0, 1])), None) == {"train_rows": 2.0}


@pytest.mark.parametrize(
    "kept", [True, [1, 2], np.array([0.5]), np.zeros((2, 2), int)], ids=["flag", "list", "float", "2d"]
)
def test_anything_else_of_that_name_is_the_users_own(kept: object, tmp_path: Path) -> None:
    assert record_rows(SimpleNamespace(kept=kept), tmp_path) == {}
    assert record_rows(SimpleNamespace(), tmp_path) == {}
    assert not list(tmp_path.iterdir())
