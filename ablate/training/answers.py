"""Answers: what a trained module gave for the examples of a test set, collected while it is tested, and scored.

A scorer is a callable, by `_target_`: answers -> {metric: number}, or a vector with a value per example, whose mean is
the metric and which is kept beside the record. So calibration, abstention or exact match come to modules that log none
of them, from the one reading of the test set that there is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor
from torch.utils.data import SequentialSampler

from ablate.errors import TrialError
from ablate.training.domains import CLEAN, Domain
from ablate.training.parts import build

EXAMPLES = "examples.parquet"
GIVEN = ("logits", "outputs")  # what `test_step` may call them
REMEDY = "return {'logits': ..., 'labels': ...} from `test_step`, or {'outputs': [...], 'labels': [...]} of texts"

Column = Tensor | list[Any]  # a row, or an entry, per example


@dataclass(frozen=True)
class Answers:
    """What a module gave for the examples of a test set, in the order in which they were read.

    Attributes:
        outputs: logits (n, classes), tokens (n, steps), whatever was given; a list where shapes differ, or of texts.
        labels: the right answers, likewise.
        parts: the parts of the examples behind the first, by position or key.
    """

    outputs: Column
    labels: Column
    parts: Mapping[int | str, Column]


Scorer = Callable[[Answers], Mapping[str, float | Tensor]]


@dataclass(frozen=True)
class Scores:
    """Scorers, each with the places (`domain`, or `domain/shift`) where it is asked; None: everywhere."""

    scorers: Mapping[str, tuple[Scorer, frozenset[str] | None]]

    @classmethod
    def of(cls, config: DictConfig) -> "Scores":
        """Those of a config's `scores`: name -> a scorer by `_target_`; its `of` lists the places it is for.

        Raises:
            TrialError: one cannot be built, or cannot be called.
        """
        made = {}
        for name, node in (config.get("scores") or {}).items():
            where, of = f"scores.{name}", node.get("of")
            plain = OmegaConf.create({key: node[key] for key in node if key != "of"})
            scorer = build(OmegaConf.create({where: plain}), where)
            if not callable(scorer):
                remedy = "add `_partial_: true`, so that it is called with the answers of each test set"
                raise TrialError(f"{where} is a {type(scorer).__name__}", where=where, remedy=remedy)
            places = None if of is None else frozenset(map(str, of if isinstance(of, ListConfig) else [of]))
            made[str(name)] = (scorer, places)
        return cls(made)

    def at(self, place: str) -> list[Scorer]:
        """The scorers that are asked at a place."""
        return [scorer for scorer, places in self.scorers.values() if places is None or place in places]

    def check(self, domains: Sequence[Domain]) -> None:
        """TrialError where a scorer is for a place that is not among the domains."""
        known = [name_place(domain) for domain in domains]
        for name, (_, places) in self.scorers.items():
            for place in sorted(places or ()):
                if place not in known:
                    where = f"scores.{name}.of"
                    raise TrialError(f"unknown domain {place!r}", where=where, allowed=known, word=place)


def name_place(domain: Domain) -> str:
    """The domain, or `domain/shift`."""
    return domain.name if domain.shift == CLEAN else f"{domain.name}/{domain.shift}"


class Collector(Callback):
    """Collects what a module answers while Lightning tests it.

    That is what its `test_step` returns: a mapping with `labels` and `logits` (or `outputs`). Where it returns no
    mapping, the module is called with the first part of each batch, whose second part are the labels.
    """

    def __init__(self) -> None:
        self._outputs: list[Column] = []
        self._labels: list[Column] = []
        self._parts: dict[int | str, list[Column]] = {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the answers to a batch.

        Raises:
            TrialError: there are none, or not one for each label.
        """
        parts = _name_parts(batch)
        given, labels = _pick(pl_module, outputs, batch, parts)
        if len(given) != len(labels):
            what = f"{len(given)} answers to {len(labels)} labels"
            raise TrialError(what, where=f"test_step of {type(pl_module).__name__}", remedy=REMEDY)
        self._outputs.append(_detach(given))
        self._labels.append(_detach(labels))
        for name, part in list(parts.items())[1:]:
            self._parts.setdefault(name, []).append(_detach(part))

    def gather(self) -> Answers:
        """All that was collected."""
        return Answers(
            _join(self._outputs), _join(self._labels), {name: _join(part) for name, part in self._parts.items()}
        )


def score(
    answers: Answers, scorers: Sequence[Scorer], logged: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Metrics, and values per example of those that have them.

    Args:
        answers: of one test set.
        scorers: asked one after the other.
        logged: what the module logs by itself.

    Raises:
        TrialError: a metric is logged already, or a vector has not a value per example.
    """
    metrics: dict[str, float] = {}
    single: dict[str, list[float]] = {}
    for scorer in scorers:
        for name, value in scorer(answers).items():
            if name in logged or name in metrics:
                what = f"{name!r} is scored, and logged by the module or scored by another"
                raise TrialError(what, where="scores", remedy="leave one of them out")
            if isinstance(value, Tensor) and value.ndim:
                if len(value) != len(answers.labels):
                    what = f"{name!r} has {len(value)} values for {len(answers.labels)} examples"
                    raise TrialError(what, where="scores")
                single[name] = value.double().tolist()
                value = value.double().mean()
            metrics[name] = float(value)
    return metrics, single


class Examples:
    """Values of single examples, as rows of domain, shift, example, metric, value; an example is its row there."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in ("domain", "shift", "example", "metric", "value")}

    def add(self, domain: Domain, values: Mapping[str, list[float]]) -> None:
        """The values of a domain, by metric; nothing where its loader does not go through it in order."""
        loader = domain.loader
        if not isinstance(getattr(loader.batch_sampler, "sampler", loader.sampler), SequentialSampler):
            return
        for metric, column in values.items():
            rows = (domain.name, domain.shift, None, metric)
            for name, value in zip(self._columns, rows, strict=False):
                self._columns[name] += range(len(column)) if name == "example" else [value] * len(column)
            self._columns["value"] += column

    def write(self, folder: Path) -> None:
        """Into the attempt's folder, as Parquet, where there are any."""
        if self._columns["value"]:
            from pyarrow import parquet, table

            parquet.write_table(table(self._columns), folder / EXAMPLES)


def _name_parts(batch: Any) -> dict[int | str, Any]:
    if isinstance(batch, Mapping):
        return dict(batch)
    return dict(enumerate(batch)) if isinstance(batch, list | tuple) else {0: batch}


def _pick(module: LightningModule, returned: Any, batch: Any, parts: Mapping[int | str, Any]) -> tuple[Any, Any]:
    """Answers and labels of a batch."""
    where = f"test_step of {type(module).__name__}"
    if isinstance(returned, Mapping):
        name = next((name for name in GIVEN if name in returned), None)
        if name is None or "labels" not in returned:
            raise TrialError(f"it returns {', '.join(map(str, returned))}", where=where, remedy=REMEDY)
        return returned[name], returned["labels"]
    found = list(parts.values())
    if len(found) < 2:
        raise TrialError("it returns no answers, and batches hold no labels", where=where, remedy=REMEDY)
    try:
        return module(found[0]), found[1]
    except Exception as error:
        what = f"it returns no answers, and the module cannot be called: {type(error).__name__}: {error}"
        raise TrialError(what, where=where, remedy=REMEDY) from error


def _detach(part: Any) -> Column:
    return part.detach().cpu() if isinstance(part, Tensor) else list(part)


def _join(batches: Sequence[Column]) -> Column:
    """One tensor; a list with an entry per example where shapes differ, or some are no tensors."""
    tensors = [batch for batch in batches if isinstance(batch, Tensor)]
    if tensors and len(tensors) == len(batches) and len({batch.shape[1:] for batch in tensors}) == 1:
        return torch.cat(tensors)
    return [row for batch in batches for row in _rows(batch)]


def _rows(batch: Column) -> Iterator[Any]:
    return iter(batch.unbind() if isinstance(batch, Tensor) else batch)
