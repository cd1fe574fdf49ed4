"""Judgements: the statistics on results that somebody else made, as `ablate judge` gives them."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from ablate.analyses import Correction, Engine, Family, Gatekeeping
from ablate.errors import PlanError, RecordsError, require_one_of
from ablate.files import write_whole
from ablate.readers import KINDS, assign_types, guess, guess_direction, read, unpivot
from ablate.stats.attribution import Options, attribute
from ablate.stats.effects import Effects
from ablate.stats.lints import Lint, lint

OPTION_OF = {"folds": "fold", "metric": "metrics"}  # role of a column -> option of `attribute`, where they differ
# role of a column -> what stands in it
HELP = {
    "run": "what tells the training runs of a cell apart: a run id or a seed",
    "block": "what runs of different cells share: a seed, a split",
    "domain": "where a run was scored: a task, a data set",
    "shift": "severities or variants within a domain, averaged first",
    "status": "how a run ended; `complete` counts",
    "se": "the standard error of a score",
    "example": "the item that was scored, where a row is one item's score",
    "cluster": "what examples have in common",
    "phase": "`search` marks tuning trials, which are no evidence",
    "hpo_trials": "tuning trials spent on the row's cell",
    "eval_hash": "test data and metric code",
    "folds": "cross-validation folds, where the runs are those",
    "budget": "examples or steps at which a score was measured",
}
FORMATS = (".md", ".tex", ".html", ".csv", ".json")
OVER = ("complete", "failed", "lost")  # how a run ends; the others go on, or were stopped by a pruner
WIDE = "arm"  # the factor of a wide table: a column per arm


@dataclass(frozen=True)
class Judgement:
    """What was made of somebody's results.

    Attributes:
        effects: the judged effects.
        lints: what is wrong with the table, or may be.
        notes: what was read and what was guessed, a sentence each.
    """

    effects: Effects
    lints: tuple[Lint, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; numbers that are missing are null. A run is its place among `runs`."""
        frame = self.effects.frame
        place = {run: i for i, run in enumerate(dict.fromkeys(run for runs in frame["trials"] for run in runs))}
        rows = json.loads(frame.drop(columns="trials").to_json(orient="records", double_precision=15))
        for row, runs in zip(rows, frame["trials"], strict=True):
            row["runs"] = [place[run] for run in runs]
        told = {"notes": [*self.effects.notes], "read": [*self.notes], "runs": [*place]}
        return {"effects": rows, "lints": [asdict(found) for found in self.lints], **told}


def judge(paths: Sequence[str | Path], **options: Any) -> Judgement:
    """Read results, say what was guessed, lint them and judge them.

    Args:
        paths: files or folders of one kind, or the URL of an Optuna storage.
        options: `kind`, `study_name`, `samples` for the reader; `wide` (the columns of a table with a column per arm);
            columns by role (`factors`, `run`, `domain`, ...; `value` and `metrics`); and what `attribute` takes.

    Raises:
        RecordsError: the results cannot be read, or a column is not there.
        PlanError: an option does not exist or does not fit.
    """
    wide, factors = options.pop("wide", None), options.get("factors") or ()
    reader = {key: options.pop(key) for key in ("kind", "study_name", "samples") if key in options}
    reading = read(paths, text=() if wide else tuple(factors), curve="budget" in options, **reader)
    frame, notes = reading.frame, [*reading.notes]
    roles: dict[str, Any] = dict(reading.columns)
    if wide:
        frame = unpivot(frame, list(wide), [c for c in frame.columns if c not in set(wide)], WIDE, "value")
        roles = {"factors": [WIDE, *factors], "value": "value"}
        options.pop("factors", None)
    metric = options.pop("metric", None)
    roles |= {role: options.pop(role) for role in ("factors", "value", *HELP) if options.get(role)}
    roles |= {"metric": options.pop("metrics")} if options.get("metrics") else {}
    if metric is not None and "value" not in roles and metric in frame.columns:
        roles["value"], metric = metric, None
    roles, guessed = guess(frame, roles)
    notes += guessed
    frame, left = _leave_open_runs(assign_types(frame, roles), roles)
    notes += left
    metric = _choose_metric(frame, roles, metric)
    given = {key: value for key, value in options.items() if value is not None}
    if "direction" not in given:
        direction = reading.directions.get(metric) or guess_direction(metric)
        given["direction"] = direction or "maximize"
        notes.append(f"{'Less' if given['direction'] == 'minimize' else 'More'} of {metric} is taken to be better.")
    lints = lint(frame, roles)
    columns = {OPTION_OF.get(role, role): column for role, column in roles.items()}
    if columns.get("run") == columns.get("fold"):
        columns.pop("run", None)
    chosen: Options = {**columns, **given, "metric": metric}  # type: ignore[typeddict-item]
    return Judgement(attribute(frame, **chosen), lints, tuple(notes))


def _leave_open_runs(frame: pd.DataFrame, roles: Mapping[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """Without the runs that have not ended, or that a pruner ended."""
    if "status" not in roles:
        return frame, []
    open_rows = ~frame[roles["status"]].isin(OVER)
    said = frame.loc[open_rows, roles["status"]].value_counts()
    counts = ", ".join(f"{n:,} {status}" for status, n in said.items())
    if open_rows.all():
        remedy = f"say {OVER[0]!r} of runs that count, or leave the column out"
        raise RecordsError(f"no run has ended: {counts}", where=str(roles["status"]), allowed=OVER, remedy=remedy)
    return frame[~open_rows], [f"Rows of runs that did not end by themselves were left out: {counts}."] * bool(counts)


def _choose_metric(frame: pd.DataFrame, roles: Mapping[str, Any], metric: str | None) -> str:
    """The metric judged: the one named, or the only one there is."""
    if "metric" not in roles:
        if metric is not None:
            raise RecordsError(f"no column {metric!r}", where="--metric", allowed=frame.columns, word=metric)
        return str(roles["value"])
    known = sorted(map(str, frame[roles["metric"]].dropna().unique()))
    if metric is None and len(known) == 1:
        return known[0]
    if metric is None:
        remedy = "name one with --metric"
        raise RecordsError(
            "there are several metrics", where=f"column {roles['metric']!r}", allowed=known, remedy=remedy
        )
    require_one_of(metric, known, "--metric", "metric")
    return metric


def run_judge(words: Sequence[str]) -> int:
    """`ablate judge`: print what was read, guessed and found, and the table; the exit status."""
    given = vars(_parser().parse_args(list(words)))
    paths, out = given.pop("files"), given.pop("out")
    for path in out or ():
        if Path(path).suffix and Path(path).suffix not in FORMATS:
            raise PlanError(f"cannot write {Path(path).suffix!r}", where="--out", allowed=[*FORMATS, "a folder"])
    if given.get("target"):
        given["target"] = given["target"].replace("-", "_")
    found = judge(paths, **{key: value for key, value in given.items() if value is not None})
    _show(found)
    for path in out or ():
        for written in _write(found, Path(path)):
            print(f"  {written}")
    return 0


def _show(found: Judgement) -> None:
    from rich.console import Console

    from ablate.report.screens import show
    from ablate.report.tables import table

    console = Console(soft_wrap=True)
    for note in found.notes:
        console.print(note, markup=False, highlight=False)
    for made in found.lints:
        console.print(f"{made.severity}: {made}. To do: {made.remedy}.", markup=False, highlight=False)
    effects = found.effects
    if (effects.frame["family"] == "main").any():  # a screen has no room for every cell against the baseline
        effects = effects.without("simple")
    show(table(effects))


def _write(found: Judgement, path: Path) -> list[Path]:
    """The table, in the format of the suffix, or in all of them in a folder."""
    from ablate.report.rendering import files
    from ablate.report.tables import table

    formats = [path.suffix] if path.suffix else list(FORMATS)
    paths = [path] if path.suffix else [path / f"effects{suffix}" for suffix in formats]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    shown = files(table(found.effects)) if set(formats) - {".csv", ".json"} else {}
    for suffix, target in zip(formats, paths, strict=True):
        if suffix == ".json":
            text = json.dumps(found.to_dict(), separators=(",", ":")) + "\n"
        else:
            text = _csv(found.effects.frame) if suffix == ".csv" else shown[suffix]
        write_whole(target, text)
    return paths


def _csv(frame: pd.DataFrame) -> str:
    """Every column of the effects; names are foreign, so that formulas among them are disarmed."""
    from ablate.report.rendering import disarm

    plain = {c: frame[c].map(disarm) for c in ("stratum", "factor", "level", "versus", "domain", "metric")}
    return frame.assign(**plain).to_csv(index=False, lineterminator="\n")


def _names(text: str) -> list[str]:
    """`a,b` as its words."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _levels(text: str) -> dict[str, str]:
    """`data=raw,size=small` as levels by factor."""
    pairs = [word.partition("=") for word in _names(text)]
    if not pairs or not all(sign and key for key, sign, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: give factor=level, e.g. data=raw,size=small")
    return {key.strip(): level.strip() for key, _, level in pairs}


def _comparison(text: str) -> dict[str, Any]:
    """`size=small vs size=large` as a non-inferiority question; with `from size=tiny` one of what is retained."""
    rest, _, base = text.partition(" from ")
    cell, versus, against = rest.partition(" vs ")
    if not versus:
        raise argparse.ArgumentTypeError(f"{text!r}: give 'size=small vs size=large'")
    sides = {"name": text, "cell": _levels(cell), "versus": _levels(against)}
    return {**sides, "base": _levels(base)} if base else sides


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ablate judge", description=DESCRIPTION)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="results: files or folders of one kind, or a storage URL"
    )
    add = parser.add_argument
    add("--kind", choices=KINDS, help="what the files are; found by itself where it can be")
    add("--factors", type=_names, metavar="A,B", help="what is switched")
    add("--across", type=_names, metavar="A,B", help="factors at which everything is repeated, judged apart")
    add("--baseline", type=_levels, metavar="A=LEVEL,...", help="baseline levels other than the first that appear")
    add("--wide", type=_names, metavar="ARM,ARM", help="a table with a column per arm: these columns")
    add("--metric", help="the column of scores, or one metric of a column that names several")
    add("--value", metavar="COLUMN", help="the column of scores, where --metric names a metric")
    add("--metrics", metavar="COLUMN", help="the column that names the metric of a row")
    for role, text in HELP.items():
        flag = "--fold" if role == "folds" else f"--{role.replace('_', '-')}"
        add(flag, dest=role, metavar="COLUMN", help=text)
    group = parser.add_argument_group("how it is judged")
    add = group.add_argument
    add("--direction", choices=("maximize", "minimize"), help="which way is better; guessed from the metric's name")
    add("--margin", type=float, help="the smallest difference that matters, in units of the metric")
    add(
        "--target",
        choices=("these-domains", "new-domains", "these_domains", "new_domains"),
        help="what effects are about",
    )
    add("--alpha", type=float, help="family-wise error rate (.05)")
    add("--families", type=_names, metavar="F,...", help=f"questions: {', '.join(get_args(Family))}")
    add("--comparisons", type=_comparison, action="append", metavar="'A=X vs A=Y [from A=Z]'",
        help="non-inferiority within the margin, or what is retained of a gain")  # fmt: skip
    add("--correction", choices=get_args(Correction), help="holm unless said otherwise")
    add("--gatekeeping", choices=get_args(Gatekeeping), help="families tested in their order")
    add("--variances", choices=("welch", "pooled"))
    add("--engine", choices=get_args(Engine), help="auto: what the design of the data asks for")
    add(
        "--looks",
        type=lambda text: [int(word) for word in _names(text)],
        metavar="N,N",
        help="declared looks, in seeds",
    )
    add("--spending", choices=("obrien_fleming", "pocock"))
    add("--clean", metavar="DOMAIN", help="what shifted domains are compared with (family robustness)")
    add("--costs", type=_names, metavar="C,...", help="columns or metrics that are costs (family cost)")
    add("--threshold", type=float, help="the score to be reached (family efficiency)")
    add("--sampler", help="what proposed the tuning trials (family tuning)")
    group = parser.add_argument_group("reading and writing")
    group.add_argument("--study-name", help="which Optuna study")
    group.add_argument("--samples", action="store_true", default=None, help="lm-evaluation-harness: per-sample logs")
    group.add_argument(
        "--out", action="append", metavar="PATH", help=f"write {', '.join(FORMATS)}, or all into a folder"
    )
    return parser


DESCRIPTION = (
    "Judge results that somebody else made: CSV, TSV, JSON lines, Parquet, an Optuna study, Lightning's CSVLogger "
    "runs, W&B or MLflow exports, lm-evaluation-harness folders, AutoML-benchmark results. What is unambiguous is "
    "guessed and said; what is wrong with the table is said before it is judged."
)
