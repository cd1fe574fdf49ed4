"""Evaluators: what measures a trained module by means of its own, beside the test dataloaders.

An evaluator is a callable (module, few) -> rows of domain, metric, value, by `_target_` under the config's
`evaluators`; with `few` two examples are enough, for a trial run. Rows with an `example` are scores of single examples.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from omegaconf import DictConfig

from ablate import signals
from ablate.errors import TrialError
from ablate.training.measurements import Row
from ablate.training.parts import build

ITEMS = "items.parquet"
Evaluator = Callable[[LightningModule, bool], list[Row]]


def build_evaluators(config: DictConfig) -> dict[str, Evaluator]:
    """The evaluators of a trial, by name.

    Raises:
        TrialError: one cannot be built, or called.
    """
    made: dict[str, Evaluator] = {}
    for name in config.get("evaluators") or ():
        made[name] = build(config, f"evaluators.{name}")
        if not callable(made[name]):
            what = f"a {type(made[name]).__name__} cannot be called"
            raise TrialError(what, where=f"evaluators.{name}", allowed=["(module, few) -> rows"])
    return made


def evaluate(
    evaluators: Mapping[str, Evaluator],
    model: LightningModule,
    device: torch.device,
    folder: Path | None = None,
    *,
    few: bool = False,
    keep: bool = True,
) -> Iterator[Row]:
    """The rows of a trained module, without those of single examples.

    Args:
        evaluators: by name.
        model: trained; it is evaluated where it was trained, and comes back as it was.
        device: where that is.
        folder: of the attempt, where the readings of each domain are noted.
        few: whether two examples are enough.
        keep: whether single examples are written there, as `items.parquet`.

    Raises:
        TrialError: a row has no domain of its own.
    """
    items: list[Row] = []
    before = next((p.device for p in model.parameters()), device)
    for name, evaluator in evaluators.items():
        rows = evaluator(model.to(device), few)
        if nameless := [row for row in rows if row.get("domain", "all") == "all"]:
            raise TrialError(f"a row without a domain: {nameless[0]!r:.80}", where=f"evaluators.{name}")
        if folder is not None:
            for domain in dict.fromkeys(row["domain"] for row in rows):
                signals.note_reading(folder, domain)
        items += [row for row in rows if "example" in row]
        yield from (row for row in rows if "example" not in row)
    model.to(before)
    if folder is not None and keep and items:
        from pyarrow import Table, parquet

        parquet.write_table(Table.from_pylist(items), folder / ITEMS)
