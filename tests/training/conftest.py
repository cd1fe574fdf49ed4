"""Puts the stranger's parts where `_target_` finds them, as a study's folder would be."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _guests_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "guests"))
