"""Rows of training data: which ones a trial was trained on, kept beside its record."""

from pathlib import Path
from typing import Any

import numpy as np

ROWS = "rows.npy"


def record_rows(data: Any, folder: Path | None) -> dict[str, float]:
    """Write the rows that a datamodule says it kept into the attempt's folder; `train_rows` is how many they are.

    Args:
        data: a datamodule; `kept`, where it has one, is a row of whole numbers: for every row trained on, its row in
            the training set before changes, -1 for one that is not from there.
        folder: of the attempt; None writes nothing.

    Returns:
        Nothing where the datamodule keeps no account of its rows.
    """
    kept = getattr(data, "kept", None)
    if not isinstance(kept, np.ndarray) or kept.ndim != 1 or kept.dtype.kind != "i":
        return {}
    if folder is not None:
        np.save(folder / ROWS, kept, allow_pickle=False)
    return {"train_rows": float(len(kept))}
