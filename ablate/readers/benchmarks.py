"""Benchmarks: result files of lm-evaluation-harness and of the AutoML benchmark as readings."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.errors import RecordsError
from ablate.readers.documents import frame_of_rows, read_json, read_json_lines
from ablate.readers.readings import COMPLETE, FAILED, Reading, list_files
from ablate.readers.tables import read_tables

SAMPLES = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")
MINIMIZED = ("logloss", "rmse", "mae", "mse", "rmsle", "smape", "mape", "mase", "wql", "wape", "rmsse", "sql")
MAXIMIZED = ("acc", "auc", "balacc", "f1", "r2", "pac")


@dataclass(frozen=True)
class _Evaluation:
    """One results file of lm-evaluation-harness: its content, the model's label, and when it was written."""

    path: Path
    content: Mapping[str, Any]
    model: str
    date: float


def read_lm_eval(paths: Sequence[Path], samples: bool = False) -> Reading:
    """Results of lm-evaluation-harness: folders of `results_*.json` and `samples_*.jsonl`, or such files.

    Tasks are domains; aggregates over groups of tasks are left out. A model is one training run. Of several
    evaluations of a model on a task, the newest counts. `eval_hash` joins the task's hash, version, number of shots
    and number of items.

    Args:
        paths: folders or files.
        samples: a row per item (`doc_id`), where `eval_hash` is the item's hash; metrics of the whole corpus, which
            have no score per item, are left out.

    Raises:
        RecordsError: no results there, or a file that is none of the harness's.
    """
    files = [file for path in paths for file in (list_files(path, (".json", ".jsonl")) if path.is_dir() else [path])]
    evaluations = _label(sorted({f for f in files if f.name.startswith("results_") and f.suffix == ".json"}))
    logs = sorted({f for f in files if SAMPLES.fullmatch(f.name)})
    sources = tuple(map(str, paths))
    if samples or not evaluations:
        return _read_samples(logs, evaluations, sources)
    newest: dict[tuple[str, str], tuple[float, list[dict[str, Any]]]] = {}
    aggregates, older = set(), 0
    for evaluation in evaluations:
        aggregates |= _groups(evaluation.content)
        for task in evaluation.content["results"]:
            rows = [] if task in _groups(evaluation.content) else list(_score_rows(evaluation, task))
            if rows:
                place = evaluation.model, task
                older += place in newest
                newest[place] = max(newest.get(place, (evaluation.date, rows)), (evaluation.date, rows), key=_first)
    rows = [row for _, made in newest.values() for row in made]
    notes = (
        f"Read {len(evaluations)} result files of lm-evaluation-harness; a model is one training run.",
        "Standard errors are over test items of one run: they say nothing of another training run.",
        *[f"Left out, as aggregates over tasks: {', '.join(sorted(aggregates))}."] * bool(aggregates),
        *[f"Left out {older} older evaluations of the same model and task."] * bool(older),
    )
    frame = frame_of_rows(rows)
    roles = {"factors": ["model"], **{r: r for r in ("run", "domain", "metric", "value", "se", "eval_hash")}}
    return Reading(frame.astype({"value": "float64", "se": "float64"}), roles, notes, sources, _directions(evaluations))


def _first(pair: tuple[float, Any]) -> float:
    return pair[0]


def _label(paths: Sequence[Path]) -> list[_Evaluation]:
    """Every results file with its model's name, and its arguments too where one name has several."""
    read = [(path, read_json(path)) for path in paths]
    for path, content in read:
        if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
            raise RecordsError("no `results` of lm-evaluation-harness", where=str(path))
    named = [(_name_model(path, content), _arguments(content)) for path, content in read]
    several = {name for name, _ in named if len({args for other, args in named if other == name}) > 1}
    return [
        _Evaluation(path, content, f"{name} ({args})" if name in several else name, _date(content))
        for (path, content), (name, args) in zip(read, named, strict=True)
    ]


def _name_model(path: Path, content: Mapping[str, Any]) -> str:
    return str(content.get("model_name") or content.get("model_name_sanitized") or path.parent.name)


def _date(content: Mapping[str, Any]) -> float:
    date = content.get("date")
    return float(date) if isinstance(date, int | float) else 0.0


def _inside(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key; an empty one where older versions of the harness wrote none."""
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def _arguments(content: Mapping[str, Any]) -> str:
    given = _inside(content, "config").get("model_args") or ""
    if isinstance(given, Mapping):
        return ",".join(f"{key}={value}" for key, value in sorted(given.items()) if key != "pretrained")
    return ",".join(sorted(part for part in str(given).split(",") if not part.startswith("pretrained=")))


def _groups(content: Mapping[str, Any]) -> set[str]:
    subtasks = _inside(content, "group_subtasks")
    return {*_inside(content, "groups")} | {task for task, inside in subtasks.items() if inside}


def _score_rows(evaluation: _Evaluation, task: str) -> Iterator[dict[str, Any]]:
    content, scores = evaluation.content, _inside(evaluation.content["results"], task)
    items = _inside(_inside(content, "n-samples"), task).get("effective")
    parts = {
        "": _inside(content, "task_hashes").get(task, ""),
        "version ": _inside(content, "versions").get(task, ""),
        "shots ": _inside(content, "n-shot").get(task, ""),
        "items ": "" if items is None else items,
    }
    eval_hash = ", ".join(f"{name}{value}" for name, value in parts.items() if value != "")
    head = {"model": evaluation.model, "run": evaluation.model, "domain": task}
    for key, value in scores.items():
        metric, _, rest = key.partition(",")
        if rest and _is_number(value) and not metric.endswith("_stderr"):
            se = scores.get(f"{metric}_stderr,{rest}")
            row = {**head, "metric": _name_metric(metric, rest), "value": value, "eval_hash": eval_hash}
            yield {**row, "n_examples": items, "se": se if _is_number(se) else float("nan")}


def _name_metric(metric: str, rest: str) -> str:
    return metric if rest == "none" else f"{metric},{rest}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _directions(evaluations: Sequence[_Evaluation]) -> dict[str, str]:
    """Metric -> direction, of the metrics whose direction all tasks agree on."""
    found: dict[str, set[bool]] = {}
    for evaluation in evaluations:
        tasks = _inside(evaluation.content, "higher_is_better")
        for task in tasks:
            for metric, higher in _inside(tasks, task).items():
                found.setdefault(metric, set()).add(bool(higher))
    return {m: "maximize" if True in both else "minimize" for m, both in found.items() if len(both) == 1}


def _read_samples(logs: Sequence[Path], evaluations: Sequence[_Evaluation], sources: tuple[str, ...]) -> Reading:
    if not logs:
        raise RecordsError("no results of lm-evaluation-harness", where=", ".join(sources), allowed=FILES)
    models = {(e.path.parent, e.path.stem.removeprefix("results_")): e.model for e in evaluations}
    newest: dict[tuple[str, str], tuple[str, Path]] = {}
    for path in logs:
        task, date = _parts(path)
        place = models.get((path.parent, date), path.parent.name), task
        newest[place] = max(newest.get(place, ("", path)), (date, path))
    rows, corpus = [], set()
    for (model, task), (_, path) in newest.items():
        head = {"model": model, "run": model, "domain": task}
        for item in read_json_lines(path):
            if "doc_id" not in item:
                raise RecordsError("a sample without doc_id", where=str(path))
            for metric in item.get("metrics") or [key for key, value in item.items() if isinstance(value, float)]:
                value = item.get(metric)
                if not isinstance(value, int | float):  # a pair of numbers, summed over the corpus
                    corpus.add(f"{task}/{metric}")
                    continue
                name = _name_metric(metric, item.get("filter", "none"))
                own = {"example": str(item["doc_id"]), "eval_hash": item.get("doc_hash")}
                rows.append({**head, **own, "metric": name, "value": float(value)})
    notes = (
        f"Read {len(newest)} sample files of lm-evaluation-harness, a row per item; a model is one training run.",
        *[f"Left out, without a score per item: {', '.join(sorted(corpus))}."] * bool(corpus),
        *[f"Left out {len(logs) - len(newest)} older files of the same model and task."] * (len(logs) > len(newest)),
    )
    roles = {"factors": ["model"], **{r: r for r in ("run", "domain", "metric", "value", "example", "eval_hash")}}
    return Reading(frame_of_rows(rows), roles, notes, sources, _directions(evaluations))


FILES = ("results_*.json", "samples_*.jsonl")


def _parts(path: Path) -> tuple[str, str]:
    found = SAMPLES.fullmatch(path.name)
    assert found, path
    return found[1], found[2]


def read_amlb(paths: Sequence[Path]) -> Reading:
    """The `results.csv` of the AutoML benchmark: a row per task, framework and fold.

    Folds of one data set are not independent runs: the reading declares them (role `folds`). A row without a result
    failed; `info` says why. Each task has its own metric.

    Raises:
        RecordsError: not such a table.
    """
    frame = read_tables(paths, ["task", "framework"])
    missing = [name for name in ("task", "framework", "fold", "result") if name not in frame]
    if missing:
        raise RecordsError(f"there is no column {missing[0]!r}", where=str(paths[0]), allowed=frame.columns)
    frame["status"] = frame["result"].notna().map({True: COMPLETE, False: FAILED}).astype("str")
    several = [name for name in ("constraint",) if name in frame and frame[name].nunique() > 1]
    roles: dict[str, Any] = {"factors": ["framework", *several], "domain": "task", "run": "fold", "folds": "fold"}
    roles |= {"value": "result", "status": "status", **({"metric": "metric"} if "metric" in frame else {})}
    known = {**dict.fromkeys(MINIMIZED, "minimize"), **dict.fromkeys(MAXIMIZED, "maximize")}
    known |= {f"neg_{name}": "maximize" for name in MINIMIZED}
    metrics = sorted(frame["metric"].dropna().unique().tolist()) if "metric" in frame else list[str]()
    failed = int((frame["status"] == FAILED).sum())
    notes = (
        f"Read {len(frame)} rows of the AutoML benchmark: {frame['framework'].nunique()} frameworks, "
        f"{frame['task'].nunique()} tasks, cross-validation folds as they are.",
        *[f"{failed} rows have no result; they stay as failed."] * bool(failed),
        *[f"Tasks differ in metric ({', '.join(metrics)}): judge one at a time."] * (len(metrics) > 1),
    )
    directions = {metric: known[metric] for metric in metrics if metric in known}
    return Reading(frame, roles, notes, tuple(map(str, paths)), directions)
