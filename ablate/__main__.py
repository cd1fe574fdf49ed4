"""The command `ablate`: a Hydra app for overrides (one trial, or with `-m` a study), and verbs for the rest."""

import sys
from difflib import get_close_matches
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ablate.commands import VERBS, run_verb
from ablate.errors import AblateError
from ablate.sweeps import add_study_to_path, conf_dir


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def trial(config: DictConfig) -> Any:
    """Train and test one trial; its rows, which a single run prints."""
    from ablate.training import run_trial

    add_study_to_path(HydraConfig.get())
    return run_trial(config) if HydraConfig.get().mode == RunMode.MULTIRUN else _run_alone(config)


def _run_alone(config: DictConfig) -> list[dict[str, Any]]:
    """One trial by hand, tried on one batch first, as a study does before its first trial."""
    from ablate.training import preflight, run_trial

    try:
        preflight(config)
        rows = run_trial(config)
    except AblateError as error:
        sys.exit(f"ablate: {error}")
    for row in rows:
        place = row["domain"] if row["shift"] == "none" else f"{row['domain']}/{row['shift']}"
        print(f"{place:<28} {row['metric']:<18} {row['value']:.6g}")
    return rows


def main() -> None:
    """Entry point of the console script and of `python -m ablate`."""
    words = sys.argv[1:]
    first = words[0] if words else ""
    if first in VERBS:
        sys.exit(run_verb(first, words[1:], _run_study))
    if first and first[0] not in "-+~'\"" and "=" not in first:
        near = get_close_matches(first, VERBS, n=1)
        hint = f"; did you mean `ablate {near[0]}`?" if near else ""
        verbs = "\n".join(f"  ablate {verb:<8} {text}" for verb, text in VERBS.items())
        sys.exit(
            f"ablate: {first!r} is neither a verb nor an override (`key=value`){hint}\n{verbs}\nSee `ablate --help`."
        )
    trial()


def _run_study(words: list[str]) -> None:
    sys.argv = [sys.argv[0], *words]
    trial()


if __name__ == "__main__":
    main()
