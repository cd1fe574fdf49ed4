"""The lm-evaluation-harness as an evaluator: its tasks are domains, its scores of single items rows of their own.

The one room of `lm_eval`, which is imported when a model is evaluated, and never goes to a hub: tasks come from a
folder of task files, whose data lie beside them.
"""

import io
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from ablate.errors import TrialError

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
HASHES = ("doc_hash", "prompt_hash", "target_hash")  # of a sample: what was asked, how, and what would be right
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the harness found.

    Attributes:
        rows: domain (the task), metric, value, n_examples, eval_hash; and score_se where the value is a mean of items.
        items: a row per item and metric: domain, shift, example (the item's number), metric, value.
    """

    rows: list[Row]
    items: list[Row]


@dataclass(frozen=True)
class Harness:
    """Tasks of the lm-evaluation-harness.

    Attributes:
        tasks: names of tasks, or of groups of them.
        folder: with the task files (YAML) and their data; paths in these are relative to it.
        tokenizer: of the model.
        batch_size: requests at a time.
        length: tokens that the model takes at most; None asks the model.
        limit: items per task; None takes all.
    """

    tasks: Sequence[str]
    folder: str
    tokenizer: Any
    batch_size: int = 16
    length: int | None = None
    limit: int | None = None

    def __call__(self, module: torch.nn.Module, few: bool = False) -> list[Row]:
        """The rows of a trained module, as an evaluator of a trial gives them: of tasks, and of single items.

        Args:
            module: with the model in `network`, as `Pretrained` has it, or the model itself.
            few: look at two items of each task.

        Raises:
            TrialError: the harness is not installed, or a task cannot be found.
        """
        found = (replace(self, limit=2) if few else self).evaluate(module)
        return [*found.rows, *found.items]

    def evaluate(self, module: torch.nn.Module) -> Evaluation:
        """Evaluate a trained module.

        Raises:
            TrialError: as when called.
        """
        network = getattr(module, "network", module)
        training = network.training
        with _offline(), isolate_rng(), torch.inference_mode(), chdir(self.folder):
            try:
                found = self._run(network.eval())
            finally:
                network.train(training)
        groups = {name for name, inside in found.get("group_subtasks", {}).items() if inside}
        tasks = [task for task in found["results"] if task not in groups]
        rows, items = [], []
        for task in tasks:
            samples = found["samples"][task]
            own = list(_list_items(task, samples))
            rows += list(_list_rows(task, found["results"][task], own, samples))
            items += own
        return Evaluation(rows, items)

    def _run(self, network: torch.nn.Module) -> dict[str, Any]:
        try:
            import lm_eval
            from lm_eval.models.huggingface import HFLM
            from lm_eval.tasks import TaskManager
        except ImportError as error:
            what, remedy = f"lm-evaluation-harness is missing: {error}", "pip install 'ablate-studies[lm]'"
            raise TrialError(what, where="ablate.zoo.harnesses", remedy=remedy) from error
        manager = TaskManager(include_path=".", include_defaults=False)
        known = sorted(manager.all_tasks)
        for task in self.tasks:
            if task not in known:
                raise TrialError(f"no task {task!r}", where=f"Harness.folder {self.folder}", allowed=known, word=task)
        first = begins_only(self.tokenizer)
        options = {"batch_size": self.batch_size, "max_length": self.length, "add_bos_token": first}
        device = str(next(network.parameters()).device)
        model = HFLM(pretrained=network, tokenizer=self.tokenizer, device=device, **options)
        seeds = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), 0)
        found: dict[str, Any] = lm_eval.simple_evaluate(
            model=model, tasks=list(self.tasks), task_manager=manager, limit=self.limit, log_samples=True,
            bootstrap_iters=0, cache_requests=False, confirm_run_unsafe_code=False, **seeds,
        )  # fmt: skip
        return found


def begins_only(tokenizer: Any) -> bool:
    """Whether a tokenizer puts tokens of its own before a text and none behind it.

    One that ends texts, as ByT5's does, must not: the harness takes what a context's tokens leave of the tokens of
    context and answer for the answer's, and the end of the context would swallow the answer's first token.
    """
    whole, plain = (list(tokenizer.encode("a", add_special_tokens=own)) for own in (True, False))
    return whole != plain and whole[-len(plain) :] == plain


def _list_items(task: str, samples: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """The scores that single items have; metrics of the whole corpus have none."""
    for sample in samples:
        place = {"domain": task, "shift": "none", "example": int(sample["doc_id"])}
        for metric in sample["metrics"]:
            value = sample.get(metric)
            if isinstance(value, int | float | np.number) and math.isfinite(value):
                yield {**place, "metric": _name(metric, sample["filter"]), "value": float(value)}


def _list_rows(
    task: str, scores: Mapping[str, Any], items: Sequence[Row], samples: Sequence[Mapping[str, Any]]
) -> Iterator[Row]:
    """The scores of a task; the standard error is over items, where the score is their mean."""
    docs = {int(s["doc_id"]): "".join(str(s.get(name)) for name in HASHES) for s in samples}
    digest = sha256(" ".join(docs[i] for i in sorted(docs)).encode()).hexdigest()[:16]
    for key, value in scores.items():
        metric, comma, rest = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float | np.number):
            continue
        name = _name(metric, rest)
        row = {"domain": task, "metric": name, "value": float(value), "n_examples": len(docs), "eval_hash": digest}
        single = np.array([item["value"] for item in items if item["metric"] == name])
        if len(single) == len(docs) > 1 and abs(single.mean() - value) < 1e-9:
            row["score_se"] = float(single.std(ddof=1) / math.sqrt(len(single)))
        yield row


def _name(metric: str, rest: str) -> str:
    return metric if rest == "none" else f"{metric},{rest}"


@contextmanager
def _offline() -> Iterator[None]:
    """No hub is asked, and the harness says nothing: it would fill a screen per trial."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # progress bars
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
