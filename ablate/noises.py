"""Noise: one cell of a study rerun with new seeds, with the same seed, and with one source of randomness at a time.

It is a study of its own, in the folder `noise` of the study that it is about, and its one factor is the source. Its
seeds are none of the study's, so that nothing that is measured here is judged there.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.accounts import read_account
from ablate.drifts import drift
from ablate.engine import load
from ablate.engine import run as run_engine
from ablate.errors import PlanError, RecordsError, StudyError
from ablate.factors import Cell, Level, Trial, digest, level_name
from ablate.files import write_whole
from ablate.launchers import Launcher, Next
from ablate.locks import RECORDS_FILE
from ablate.plans import PLAN_FILE, Plan, Target, plan
from ablate.previews import ask, count_families
from ablate.records import Records
from ablate.runs import Attempt, Task
from ablate.stats.spreads import NEW, SAME, SOURCE, Noise, Spread, measure_noise
from ablate.tunings import Selection

if TYPE_CHECKING:
    from ablate.sweeps import Study

FOLDER = "noise"
STREAMS = ("init", "order", "augmentation", "split", "label", "data")  # of `ablate.training.streams`, all of training
FIXED_SEED = 3 * 2**30  # on which all else stays; the runs' own seeds follow it
STREAM_SEEDS = 2**20  # from a run's seed to that of its stream, so that single sources share nothing with new seeds
SEEDS = range(3, 31)  # for which the smallest visible effect is told


@dataclass(frozen=True)
class Measured:
    """The noise that was measured for a study.

    Attributes:
        own: the plan of the noise runs.
        records: what they measured.
        noise: what that says.
        changed: what of the study is no longer as it was when they were run, a line each.
        readings: how often they began to read a test set.
    """

    own: Plan
    records: Records = field(repr=False)
    noise: Noise
    changed: tuple[str, ...] = ()
    readings: int = 0

    @property
    def spread(self) -> Spread | None:
        """That of new seeds; None where fewer than two of those runs are complete."""
        return self.noise.spreads.get(NEW)


def plan_noise(
    study: Plan, runs: int, streams: Sequence[str] = STREAMS, settings: Mapping[str, Level] | None = None
) -> Plan:
    """The plan of the noise runs of a study's first cell: its baseline, unless that is excluded.

    Args:
        study: whose noise it is.
        runs: of every source.
        streams: the single sources; none where the task knows of no streams.
        settings: nuisance -> value that tuning selected for the cell; none leaves them as the config has them.

    Raises:
        PlanError: fewer than two runs, or the study uses seeds of these.
    """
    if type(runs) is not int or not 2 <= runs < STREAM_SEEDS:
        raise PlanError(f"runs is {runs!r}", where="noise", allowed=["a whole number from 2"])
    ours = range(FIXED_SEED, FIXED_SEED + STREAM_SEEDS + runs + 1)
    if used := {*study.seeds, *(study.tuning.seeds if study.tuning else ())} & set(ours):
        remedy = f"the noise runs have the seeds from {FIXED_SEED} on: give the study others"
        raise PlanError(f"the study uses seed {min(used)}", where="seeds", remedy=remedy)
    made = plan(
        {SOURCE: [NEW, SAME, *streams]},
        name=f"{study.name} noise",
        seeds=ours[1 : runs + 1],
        metric=study.metric,
        direction=study.direction,
        domains=study.domains,
        blocking="none",
        divergence=study.divergence,
    )
    config: dict[str, Any] = {"cell": dict(study.cells[0]), "config": dict(study.config)}
    config |= {"settings": dict(settings)} if settings else {}
    return replace(made, config=config, provenance=study.provenance)


def prepare_noise(study: Plan, folder: Path, runs: int, streams: Sequence[str] = STREAMS) -> Plan:
    """The plan of the noise runs in a study's folder: with the frozen settings of its tuning, and runs that are there.

    Raises:
        PlanError: as `plan_noise`.
        StudyError: the runs that are there were made under another config.
    """
    settings = _read_settings(study, folder)
    home, made = folder / FOLDER, plan_noise(study, runs, streams, settings)
    if not (home / PLAN_FILE).is_file():
        return made
    locked = Plan.read(home)
    made = plan_noise(study, max(runs, len(locked.seeds)), streams, settings)
    if changed := drift(replace(locked, seeds=made.seeds), made):
        what = "the noise that was measured is that of another config (before -> now):\n    " + "\n    ".join(
            changed[:9]
        )
        raise StudyError(what, where=str(home / PLAN_FILE), remedy=f"remove the folder {FOLDER} to measure it anew")
    return made


def _read_settings(study: Plan, folder: Path) -> Mapping[str, Level]:
    """Those that tuning has frozen, or the plan fixed, for the study's first cell."""
    selection = Selection.read(folder, study)
    return selection.of(study.cells[0]).settings if selection and selection.choices else {}


def run_noise(
    study: Plan,
    own: Plan,
    task: Task,
    folder: Path,
    launcher: Launcher,
    *,
    retries: int = 2,
    progress: bool = True,
) -> Measured:
    """Run what is left of the noise runs, in the study's folder, and say what they show.

    Args:
        study: whose noise it is.
        own: the plan of the noise runs, as `prepare_noise` gives it.
        task: of the noise runs: their trials' cells name the source; see `AtBaseline` for a plain task.
        folder: the study's.
        launcher: where trials run.
        retries: how often a trial whose worker died is launched again.
        progress: show progress.

    Raises:
        StudyError: sources or packages have changed since the first of the runs.
        RecordsError: no source has two complete runs.
    """
    home = folder / FOLDER
    if (home / PLAN_FILE).is_file() and len((locked := Plan.read(home)).seeds) < len(own.seeds):
        replace(locked, seeds=own.seeds).write(home)  # more runs of the same: nothing that was measured changes
    launch = Sourced(launcher, own.config.get("settings", {}))
    run_engine(own, task, folder=home, launcher=launch, retries=retries, progress=progress)
    found = read_noise(study, folder)
    if found is not None:
        return found
    raise RecordsError("no noise run is complete", where=str(home), remedy="`ablate status` says what failed")


def read_noise(study: Plan, folder: Path) -> Measured | None:
    """The noise that was measured in a study's folder; None where there is none."""
    home = folder / FOLDER
    if not (home / PLAN_FILE).is_file():
        return None
    records = load(home)
    own = records.plan
    if not len(records.complete):
        return None
    streams = [str(level) for level in own.factors[0].levels[2:]]
    try:
        settings = _read_settings(study, folder)
    except StudyError:  # of another search: that is told where the study is run
        settings = {}
    now = plan_noise(study, len(own.seeds), streams, settings)
    return Measured(
        own, records, measure_noise(records), tuple(drift(own, now)), read_account(home).readings["confirm"]
    )


@dataclass(frozen=True)
class Sourced:
    """A launcher whose trials vary what their cell's `source` names, and nothing else.

    Attributes:
        launcher: where they run.
        settings: of nuisances.
    """

    launcher: Launcher
    settings: Mapping[str, Level] = field(default_factory=dict)

    def launch(self, task: Task, plan: Plan, claim: Next) -> Iterator[tuple[Attempt, Any]]:
        """Launch every attempt with the seeds of its source."""

        def vary() -> Attempt | None:
            attempt = claim()
            return None if attempt is None else replace(attempt, trial=self._vary(attempt.trial))

        yield from self.launcher.launch(task, plan, vary)

    def check(self, function: Callable[[Any], object], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Check every trial with the seeds of its source."""
        yield from self.launcher.check(function, [self._vary(trial) for trial in items])

    def _vary(self, trial: Trial) -> Trial:
        source, settings = str(trial.cell[SOURCE]), dict(self.settings)
        if source not in (NEW, SAME):
            settings[f"++streams.{source}"] = trial.seed + STREAM_SEEDS
        return replace(trial, seed=trial.seed if source == NEW else FIXED_SEED, settings=settings)


def at_noise(study: "Study", own: Plan) -> "Study":
    """The study of the noise runs, in Hydra's hands: the config of the first cell, whatever the source."""
    first, cells = study.plan.cells[0], own.cells
    made = replace(study, plan=own, folder=study.folder / FOLDER, audit=None, fingerprint=None)
    configs = dict.fromkeys(cells, study.configs[first])
    return replace(made, configs=configs, overrides=dict.fromkeys(cells, study.overrides[first]))


@dataclass(frozen=True)
class AtBaseline:
    """A plain task for noise runs: called with the study's own cell, whatever the source.

    Attributes:
        task: a function of a trial.
        cell: the study's first cell.
    """

    task: Task
    cell: Cell

    def __call__(self, trial: Trial) -> object:
        """Run the task."""
        return self.task(replace(trial, cell=self.cell))


def summarise(found: Measured, study: Plan, domain_sd: float | None = None, power: float = 0.8) -> dict[str, Any]:
    """All that noise runs say, as plain values; variances in squared units of the metric.

    Args:
        found: what was measured.
        study: whose noise it is; its alpha, families, blocking and target decide what is visible.
        domain_sd: standard deviation of an effect over domains, for new domains; None: not known.
        power: with what probability an effect is to be seen.
    """
    noise = found.noise
    parts = None
    if noise.rest is not None:
        parts = {"sum": noise.total, "se": noise.total_se, "rest": noise.rest[0], "rest_se": noise.rest[1]}
    spread = found.spread
    return {
        "study": study.name,
        "plan": found.own.hash,
        "metric": study.metric,
        "cell": dict(study.cells[0]),
        "baseline": study.cells[0] == study.baseline,
        "tuned": study.tuning is not None,
        "settings": dict(found.own.config.get("settings", {})),
        "runs": noise.planned,
        "seeds": list(found.own.seeds),
        "fixed_seed": FIXED_SEED,
        "readings": found.readings,
        "same_seed": {"reproduces": noise.reproduces, "scores": noise.scores, "apart": noise.apart},
        "sources": [{"source": source, **_plain(each)} for source, each in noise.spreads.items()],
        "unmeasured": [level for level in found.own.factors[0].levels if level not in noise.spreads],
        "idle": list(noise.idle),
        "parts": parts,
        "visible": None if spread is None or spread.is_nil else see(study, spread, domain_sd, power),
    }


def _plain(spread: Spread) -> dict[str, Any]:
    low, high = (factor**2 * spread.whole for factor in spread.stretch())
    whole = {"runs": spread.runs, "variance": spread.whole, "low": low, "high": high}
    return {**whole, "run": spread.run, "error": spread.error, "domains": dict(spread.variances)}


def see(study: Plan, spread: Spread, domain_sd: float | None = None, power: float = 0.8) -> dict[str, Any]:
    """The smallest difference of two cells that 3 to 30 seeds show with `power`, at the largest family's Holm step.

    `these_domains` always, `new_domains` where `domain_sd` is known and there are three domain groups or more (else
    null). The cells are taken to be as noisy as the one that was run. Where seeds are blocks, what a seed does to all
    cells alike cancels in a difference, and one cell cannot tell how much that is: the figures are upper bounds.
    """
    from ablate.stats.crossed import Crossed
    from ablate.stats.power import Claim, smallest_effect
    from ablate.stats.prospects import FEWEST, Prospect

    blocked, analysis = study.blocked, study.analysis
    families = {count["family"]: int(count["tests"] or 0) for count in count_families(study, list(ask(study)))}
    family = max(families, key=families.__getitem__, default=None)
    tests = max(families[family], 1) if family else 1
    others = len(study.cells) - 2 if analysis.variances == "pooled" else 0  # they share in the variance
    weights, engine = (-1.0, 1.0, *(0.0,) * others), Crossed(blocked, analysis.variances)
    run_sd, error_sd, domains = spread.run**0.5, spread.error**0.5, len(spread.variances)
    targets: list[Target] = ["these_domains"]
    if domain_sd is not None and domains >= FEWEST:
        targets.append("new_domains")
    rows: list[dict[str, Any]] = []
    for seeds in SEEDS:
        outlook = Prospect(seeds, domains, run_sd, error_sd, domain_sd or 0.0, weights, engine)
        row: dict[str, Any] = {"seeds": seeds, "new_domains": None}
        for target in targets:
            row[target] = smallest_effect(outlook, Claim("difference", target, analysis.alpha, tests), power)
        rows.append(row)
    return {
        "alpha": analysis.alpha,
        "family": family,
        "tests": tests,
        "power": power,
        "blocked": blocked,
        "run_sd": run_sd,
        "error_sd": error_sd,
        "domain_sd": domain_sd,
        "domains": domains,
        "stretch": list(spread.stretch()),
        "rows": rows,
    }


def finish_noise(found: Measured, study: Plan, folder: Path, expected: Mapping[str, Any] | None = None) -> None:
    """Write what was measured, print it, and name every file; `expected` are the sweeper's settings of that name."""
    from ablate.report.noises import tell_noise

    stated = {name: value for name in ("domain_sd", "power") if (value := (expected or {}).get(name)) is not None}
    files = write_noise(summary := summarise(found, study, **stated), folder)
    print(tell_noise(summary))
    done, owed = found.records.complete["trial"].nunique(), len(found.own.trials)
    print(f"{done} of {owed} noise runs complete. Files:")
    for file in [*(folder / FOLDER / name for name in (PLAN_FILE, RECORDS_FILE)), *files]:
        print(f"  {file}")


def write_noise(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write what `summarise` gave as `noise.json`, `noise.md` and `noise.svg` into a study's folder `noise`."""
    from ablate.report.figures import svg
    from ablate.report.noises import draw_noise, tell_noise

    text = json.dumps(found, indent=1, ensure_ascii=False, default=level_name) + "\n"
    figure = svg(draw_noise(found), digest(text))
    contents = {"noise.json": text, "noise.md": tell_noise(found), "noise.svg": figure}
    for name, content in contents.items():
        write_whole(folder / FOLDER / name, content)
    return [folder / FOLDER / name for name in contents]
