"""R as an oracle: one script, JSON in and out; for tests marked `r`."""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

FRAME = """
suppressPackageStartupMessages(library(jsonlite))
paths <- commandArgs(trailingOnly = TRUE)
values <- fromJSON(paths[1])
{script}
writeLines(toJSON(answer, digits = NA, auto_unbox = TRUE, na = "null", null = "null"), paths[2])
"""


def run_r(script: str, values: dict[str, Any]) -> dict[str, Any]:
    """What the script puts into the list `answer`, given `values` under that name.

    A mapping of equally long lists can become a data frame by `as.data.frame(values$name)`. Numbers pass at full
    precision; arrays become nested lists; NaN becomes NA. Raises RuntimeError with R's own words if the script fails.
    """
    with TemporaryDirectory() as folder:
        program, given, found = (Path(folder) / name for name in ("script.R", "values.json", "answer.json"))
        program.write_text(FRAME.replace("{script}", script), encoding="utf-8")
        given.write_text(json.dumps(_plain(values)), encoding="utf-8")
        command = ["Rscript", "--vanilla", str(program), str(given), str(found)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(found.read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
