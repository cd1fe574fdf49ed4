"""The verbs of the command line beside Hydra's own: plan, status, report; and what a finished study prints."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ablate.drifts import drift
from ablate.engine import RECORDS_FILE, load, read_outcomes
from ablate.errors import AblateError, StudyError
from ablate.factors import level_name
from ablate.plans import PLAN_FILE, Plan
from ablate.records import Records
from ablate.runs import STARTED, Runs


def run_verb(verb: str, words: Sequence[str], run_study: Callable[[list[str]], None]) -> int:
    """Run a verb with its words; the exit status. `run_study` is Hydra's app, for a plan that must be composed."""
    if verb == "judge":
        return _judge(words)
    parser = argparse.ArgumentParser(prog=f"ablate {verb}", description=VERBS[verb])
    parser.add_argument("study", type=Path, help="the study's folder")
    if verb == "plan":
        parser.add_argument("-cn", "--config-name", default="study", help="the study's config (default: study)")
        parser.add_argument("overrides", nargs="*", help="Hydra overrides, as for the study itself")
    if verb == "report":
        parser.add_argument("--check", action="store_true", help="only say what is missing or stale; 1 if anything is")
    given = parser.parse_args(words)
    try:
        if not given.study.is_dir():
            raise StudyError("no such folder", where=str(given.study), remedy="name a study's folder")
        if verb == "plan":
            return _plan(given.study, given.config_name, given.overrides, run_study)
        return _status(given.study) if verb == "status" else _report(given.study, given.check)
    except (AblateError, OSError) as error:  # a full disk, a folder that cannot be written
        print(f"ablate: {error}", file=sys.stderr)
        return 2


VERBS = {
    "plan": "Print every cell and the number of trials of a study. Runs nothing and writes nothing.",
    "status": "Say how far a study is: trials complete, failed with reasons, running, left.",
    "report": "Write a study's tables, figures and report from its records, or check that they are fresh.",
    "judge": "Judge anybody's results: CSV, Parquet, Optuna, Lightning, W&B, MLflow, lm-evaluation-harness, ...",
}


def _judge(words: Sequence[str]) -> int:
    from ablate.judgements import run_judge

    try:
        return run_judge(words)
    except (AblateError, OSError) as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2


def _plan(folder: Path, config_name: str, overrides: Sequence[str], run_study: Callable[[list[str]], None]) -> int:
    if not any((folder / f"{config_name}{suffix}").is_file() for suffix in (".yaml", ".yml")):
        raise StudyError(
            f"there is no {config_name}.yaml",
            where=str(folder),
            allowed=sorted(p.stem for p in folder.glob("*.y*ml")),
            remedy="name the study's config with --config-name",
            word=config_name,
        )
    run_study(["-m", "-cd", str(folder), "-cn", config_name, *overrides, "hydra.sweeper.dry_run=true"])
    return 0


def show_plan(plan: Plan, folder: Path) -> None:
    """Print a plan: its cells, what will be run and judged, and how it stands to the plan locked in the folder."""
    console = Console()
    grid = Grid(title=f"{plan.name}: {len(plan.cells)} cells × {len(plan.seeds)} seeds", title_justify="left")
    grid.add_column("cell", justify="right")
    for factor in plan.factors:
        grid.add_column(factor.key + (" (across)" if factor.role == "across" else ""))
    for number, cell in enumerate(plan.cells):
        mark = " (baseline)" if cell == plan.baseline else ""
        grid.add_row(str(number) + mark, *(Text(level_name(level)) for level in cell.values()))
    console.print(grid)
    for line in _plan_lines(plan, folder):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _plan_lines(plan: Plan, folder: Path) -> list[str]:
    analysis = plan.analysis
    domains = "as the task measures them"
    if plan.domains:
        domains = f"{len(plan.domains)} groups: " + ", ".join(
            group if len(members) == 1 else f"{group} ({len(members)})" for group, members in plan.domains.items()
        )
    margin = "none declared" if plan.margin is None else f"{plan.margin:g}"
    lines = [
        f"trials:    {len(plan.trials)} (seeds {', '.join(map(str, plan.seeds))}; blocked by seed, shuffled within)",
        f"design:    {plan.design}; {len(plan.excluded)} cells excluded by {len(plan.exclude)} rules",
        f"metric:    {plan.metric}, {plan.direction}; margin {margin}",
        f"domains:   {domains}",
        f"analysis:  {', '.join(plan.families)}; target {analysis.target}, alpha {analysis.alpha:g}, "
        f"{analysis.correction}, blocking {plan.blocking}",
        f"folder:    {folder}",
        f"plan hash: {plan.hash[:16]}",
    ]
    if (folder / PLAN_FILE).is_file():
        changed = drift(Plan.read(folder), plan)
        lines.append(f"locked:    {f'differs in {len(changed)} places' if changed else 'the same plan'}")
        lines += [f"    {line:.200}" for line in changed[:20]]
    else:
        lines.append("locked:    not yet; nothing was run or written")
    return lines


def _status(folder: Path) -> int:
    plan = Plan.read(folder)
    runs = Runs(folder)
    outcomes = read_outcomes(folder, plan, runs)
    counts = Counter(outcome["status"] for outcome in outcomes.values())
    open_attempts = [
        (trial, attempt)
        for trial in plan.trials
        if outcomes.get(trial.id, {}).get("status") != "complete"
        for attempt in runs.attempts(trial.id)[-1:]
        if attempt["status"] == "running" and (runs.folder_of(trial.id, attempt["attempt"]) / STARTED).is_file()
    ]
    left = len(plan.trials) - sum(counts.values())
    states = [f"{counts[s]} {s}" for s in ("complete", "failed", "lost", "preempted") if counts[s]]
    print(f"{plan.name}: {', '.join([*states, f'{left} left'])} of {len(plan.trials)} trials")
    print(f"driver: {_driver(folder)}")
    for trial, attempt in open_attempts:
        print(f"  open: {trial.cell} seed={trial.seed} ({trial.id}, attempt {attempt['attempt']})")
    for trial in plan.trials:
        outcome = outcomes.get(trial.id)
        if outcome and outcome["status"] != "complete":
            log = runs.folder_of(trial.id, outcome["attempt"])
            print(f"  {outcome['status']}: {trial.cell} seed={trial.seed}: {outcome['reason']}")
            print(f"    {log}" if log.is_dir() else "    (of a run that is not in this folder)")
    return 0


def _driver(folder: Path) -> str:
    """Who is running the study now."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    path = folder / "runs" / "driver.lock"
    if not path.is_file():
        return "none"
    with path.open("r", encoding="utf-8") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError:
            try:
                holder = json.loads(file.read())
                return f"process {holder['pid']} on {holder['host']}"
            except (ValueError, KeyError):
                return "running"
    return "none"


def _report(folder: Path, check: bool) -> int:
    from ablate.report.reports import check_report

    records, table = load(folder), folder / RECORDS_FILE
    if not len(records.complete):
        remedy = "run the study; `ablate status` says what failed"
        raise StudyError("no trial is complete: there is nothing to judge", where=str(folder), remedy=remedy)
    if check:
        held = records.frame.to_csv(index=False, lineterminator="\n").encode()
        stale = [f"{RECORDS_FILE}: not what the runs hold; `ablate report` writes it"]
        if table.is_file() and table.read_bytes() == held:
            stale = check_report(folder)
        print("\n".join(stale) if stale else f"{folder}: tables, figures and report are fresh")
        return 1 if stale else 0
    records.write(table)
    finish_study(records, folder)
    return 0


def finish_study(records: Records, folder: Path) -> None:
    """Write a study's tables, figures and report, print the ablation table, and name every file."""
    console = Console(soft_wrap=True)
    done, owed = records.complete["trial"].nunique(), len(records.plan.trials)
    if not done:
        console.print(f"{records.plan.name}: none of {owed} trials is complete: nothing to judge; see `ablate status`")
        return
    from ablate.report.reports import write_report
    from ablate.report.screens import show
    from ablate.report.tables import table
    from ablate.stats.attribution import attribute

    files = write_report(records, folder)
    effects = attribute(records)
    if "main" in records.plan.families:  # a screen has no room for every cell against the baseline
        effects = effects.without("simple")
    show(table(effects, records))
    failed = records.failures["trial"].nunique()
    console.print(f"{done} of {owed} trials complete" + (f", {failed} failed" if failed else "") + ". Files:")
    for file in [folder / PLAN_FILE, folder / RECORDS_FILE, *files]:
        console.print(f"  {file}", markup=False, highlight=False)
