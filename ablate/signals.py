"""Signals: what a running trial leaves in its attempt's folder for the driver, and the driver's word to stop.

Files, so that they cross every launcher. An attempt has one writer and one reader of each.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

VALUES = "values.jsonl"  # intermediate values, a line each
READINGS = "readings.jsonl"  # a line for each time a test set began to be read
STOP = "stop"


def tell(folder: Path, value: float, step: int) -> None:
    """Leave an intermediate value; steps rise."""
    _append(folder / VALUES, {"step": step, "value": value})


def told(folder: Path) -> list[tuple[int, float]]:
    """The (step, value) pairs told so far; a line that is still being written is left for later."""
    return [(line["step"], line["value"]) for line in _lines(folder / VALUES)]


def stop(folder: Path) -> None:
    """Ask the trial to end."""
    (folder / STOP).touch()


def stopped(folder: Path) -> bool:
    """Whether the trial was asked to end."""
    return (folder / STOP).exists()


def note_reading(folder: Path, domain: str) -> None:
    """Note that a domain's test set begins to be read."""
    _append(folder / READINGS, {"domain": domain})


def readings(folder: Path) -> dict[str, int]:
    """How often each domain's test set was read."""
    return dict(Counter(line["domain"] for line in _lines(folder / READINGS)))


def _append(path: Path, values: dict[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole]
