"""The verbs of the command line beside Hydra's own, and what a finished study prints."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ablate.accounts import ACCOUNT_FILE, Account, read_account
from ablate.carriers import list_launches
from ablate.drifts import drift
from ablate.engine import load
from ablate.errors import AblateError, StudyError
from ablate.factors import level_name
from ablate.files import write_whole
from ablate.locks import RECORDS_FILE
from ablate.plans import PLAN_FILE, Plan
from ablate.records import Records
from ablate.rules import absent
from ablate.states import print_status


def run_verb(verb: str, words: Sequence[str], run_study: Callable[[list[str]], None]) -> int:
    """Run a verb with its words; the exit status. `run_study` is Hydra's app, for a plan that must be composed."""
    if verb == "judge":
        return _judge(words)
    parser = argparse.ArgumentParser(prog=f"ablate {verb}", description=VERBS[verb])
    parser.add_argument("study", type=Path, help="the study's folder")
    if verb in COMPOSED:
        parser.add_argument("-cn", "--config-name", default="study", help="the study's config (default: study)")
        parser.add_argument("overrides", nargs="*", help="Hydra overrides, as for the study itself")
    if verb == "amend":
        parser.add_argument("--why", required=True, help="the reason, for whoever reads the report")
        parser.add_argument("--data", action="store_true", help="training data have changed: fingerprint them anew")
    if verb == "noise":
        parser.add_argument("--runs", type=int, default=8, help="runs of every source of randomness (default: 8)")
        parser.add_argument("--domain-sd", type=float, help=EXPECTED["domain_sd"])
    if verb == "plan":
        parser.add_argument("--json", nargs="?", const="-", metavar="PATH", help="write it as JSON (default: print it)")
        parser.add_argument("--pilot", type=Path, help="records of a pilot, for power and cost")
        for name, text in EXPECTED.items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=float, help=text)
    if verb == "report":
        parser.add_argument("--check", action="store_true", help="only say what is missing or stale; 1 if anything is")
    given = parser.parse_intermixed_args(words)
    try:
        if not given.study.is_dir():
            raise StudyError("no such folder", where=str(given.study), remedy="name a study's folder")
        if verb in COMPOSED:
            _require_config(given.study, given.config_name)
            words = [*given.overrides, *COMPOSED[verb](given)]
            run_study(["-m", "-cd", str(given.study), "-cn", given.config_name, *words])
            return 0
        if verb == "report":
            return _report(given.study, given.check)
        print_status(given.study)
        return 0
    except (AblateError, OSError) as error:  # a full disk, a folder that cannot be written
        print(f"ablate: {error}", file=sys.stderr)
        return 2


VERBS = {
    "plan": "Print a study's cells, aliases, tests, power and cost. Runs nothing and writes nothing but its JSON.",
    "noise": "Rerun the baseline with new seeds, the same seed, and one source of randomness at a time.",
    "status": "Say how far a study is: trials complete, failed with reasons, running, left.",
    "amend": "Change a locked plan, for a reason that is kept; what becomes exploratory is said and marked.",
    "report": "Write a study's tables, figures and report from its records, or check that they are fresh.",
    "judge": "Judge anybody's results: CSV, Parquet, Optuna, Lightning, W&B, MLflow, lm-evaluation-harness, ...",
}


EXPECTED = {
    "run_sd": "standard deviation over seeds, for power",
    "error_sd": "standard deviation of a score around its run and domain",
    "domain_sd": "standard deviation of an effect over domains",
    "effect": "the effect to be found (default: the margin)",
}


def _judge(words: Sequence[str]) -> int:
    from ablate.judgements import run_judge

    try:
        return run_judge(words)
    except (AblateError, OSError) as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2


def _require_config(folder: Path, config_name: str) -> None:
    if not any((folder / f"{config_name}{suffix}").is_file() for suffix in (".yaml", ".yml")):
        raise StudyError(
            f"there is no {config_name}.yaml",
            where=str(folder),
            allowed=sorted(p.stem for p in folder.glob("*.y*ml")),
            remedy="name the study's config with --config-name",
            word=config_name,
        )


def _noise(given: argparse.Namespace) -> list[str]:
    stated = [] if given.domain_sd is None else [f"++hydra.sweeper.expect.domain_sd={given.domain_sd}"]
    return [*stated, f"hydra.sweeper.noise={given.runs}"]


def _amend(given: argparse.Namespace) -> list[str]:
    return [f"++hydra.sweeper.amend.why={_quote(given.why)}", f"++hydra.sweeper.amend.data={str(given.data).lower()}"]


def _plan(given: argparse.Namespace) -> list[str]:
    stated = [
        f"++hydra.sweeper.expect.{name}={getattr(given, name)}" for name in EXPECTED if getattr(given, name) is not None
    ]
    paths = {"pilot": given.pilot, "json": given.json}
    named = [f"++hydra.sweeper.{key}={_quote(str(path))}" for key, path in paths.items() if path is not None]
    return [*stated, *named, "hydra.sweeper.dry_run=true"]


# verbs for which Hydra composes the study -> the overrides that tell the sweeper what is wanted of it
COMPOSED: dict[str, Callable[[argparse.Namespace], list[str]]] = {"plan": _plan, "noise": _noise, "amend": _amend}


def _quote(text: str) -> str:
    """A text as one value of Hydra's grammar, in which nothing is interpolated."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", " ".join(text.splitlines()))
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def show_plan(plan: Plan, folder: Path, settings: Mapping[str, Any] | None = None, allowed: Sequence[str] = ()) -> None:
    """Print a plan: cells, what will be run and judged, at what power and cost, and how the locked plan stands to it.

    Args:
        plan: the study.
        folder: where it is kept.
        settings: of the sweeper: `expect`, `pilot`, and `json`, a path or `-`, which prints JSON alone.
        allowed: packages that a `_target_` may name.

    Raises:
        PlanError: after printing, where the design cannot answer the declared analysis.
    """
    from ablate.expectations import read_expectation, read_pilot
    from ablate.noises import read_noise
    from ablate.previews import describe, preview, require_estimable

    settings = settings or {}
    pilot = Path(settings["pilot"]) if settings.get("pilot") else None
    noise = None if pilot else read_noise(plan, folder)
    expectation = read_expectation(settings.get("expect") or {}, pilot, plan, noise)
    records = read_pilot(pilot, plan) if pilot else _measured(folder)
    if records is None and noise is not None:
        records = noise.records.complete
    found = preview(plan, expectation, records, allowed)
    target = settings.get("json")
    text = json.dumps(found, indent=1, ensure_ascii=False, default=level_name) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        if target:
            write_whole(Path(target), text)
        _print_plan(plan, [*_plan_lines(plan, folder), *describe(found)])
    require_estimable(plan)


def _measured(folder: Path) -> Any:
    """The complete trials of a study that was begun, for what one costs; None before."""
    if not (folder / PLAN_FILE).is_file():
        return None
    complete = load(folder).complete
    return complete if len(complete) else None


def _print_plan(plan: Plan, lines: Sequence[str]) -> None:
    console = Console()
    grid = Grid(title=f"{plan.name}: {len(plan.cells)} cells × {len(plan.seeds)} seeds", title_justify="left")
    grid.add_column("cell", justify="right")
    for factor in plan.factors:
        grid.add_column(factor.key + (f" ({factor.role})" if factor.role != "factor" else ""))
    for number, cell in enumerate(plan.cells):
        mark = " (baseline)" if cell == plan.baseline else ""
        there = [Text("–" if absent(plan.conditional, f, cell) else level_name(cell[f.key])) for f in plan.factors]
        grid.add_row(str(number) + mark, *there)
    console.print(grid)
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _plan_lines(plan: Plan, folder: Path) -> list[str]:
    analysis = plan.analysis
    domains = "as the task measures them"
    if plan.domains:
        domains = f"{len(plan.domains)} groups: " + ", ".join(
            group if len(members) == 1 else f"{group} ({len(members)})" for group, members in plan.domains.items()
        )
    margin = "none declared" if plan.margin is None else f"{plan.margin:g}"
    options = ", ".join(f"{key} {value}" for key, value in plan.options.items())
    design = plan.design + (f" ({options})" if options else "")
    lines = [
        f"trials:    {len(plan.trials)} (seeds {', '.join(map(str, plan.seeds))}; blocked by seed, shuffled within)",
        f"design:    {design}; {len(plan.excluded)} cells excluded by {len(plan.exclude)} rules",
        f"metric:    {plan.metric}, {plan.direction}; margin {margin}",
        f"domains:   {domains}",
        f"analysis:  {', '.join(plan.families)}; target {analysis.target}, alpha {analysis.alpha:g}, "
        f"{analysis.correction}, blocking {plan.blocking}",
        f"folder:    {folder}",
        f"plan hash: {plan.hash[:16]}",
    ]
    if plan.evaluation:
        shared = f"{len(list_launches(plan, plan.trials))} training runs, each measured under the levels of"
        lines.insert(1, f"           {shared} {', '.join(plan.evaluation)}")
    if (folder / PLAN_FILE).is_file():
        changed = drift(Plan.read(folder), plan)
        lines.append(f"locked:    {f'differs in {len(changed)} places' if changed else 'the same plan'}")
        lines += [f"    {line:.200}" for line in changed[:20]]
    else:
        lines.append("locked:    not yet; nothing was run or written")
    return lines


def _report(folder: Path, check: bool) -> int:
    from ablate.report.reports import check_report

    records, table = load(folder), folder / RECORDS_FILE
    if not (records.complete["phase"] == "confirm").any():
        remedy = "run the study; `ablate status` says what failed"
        raise StudyError("no trial is complete: there is nothing to judge", where=str(folder), remedy=remedy)
    if check:
        held = records.frame.to_csv(index=False, lineterminator="\n").encode()
        stale = [f"{RECORDS_FILE}: not what the runs hold; `ablate report` writes it"]
        if table.is_file() and table.read_bytes() == held:
            behind = read_account(folder) != Account.read(folder)
            stale = [f"{ACCOUNT_FILE}: not what the runs hold; `ablate report` writes it"] if behind else []
            stale += check_report(folder)
        print("\n".join(stale) if stale else f"{folder}: tables, figures and report are fresh")
        return 1 if stale else 0
    records.write(table)
    read_account(folder).write(folder)
    finish_study(records, folder)
    return 0


def finish_study(records: Records, folder: Path) -> None:
    """Write a study's tables, figures and report, print the ablation table, and name every file."""
    console = Console(soft_wrap=True)
    confirmed = records.complete[records.complete["phase"] == "confirm"]
    if not len(confirmed):
        owed = f"none of {len(records.plan.trials)} trials"
        console.print(f"{records.plan.name}: {owed} is complete: nothing to judge; see `ablate status`")
        return
    from ablate.report.papers import read_papers
    from ablate.report.reckonings import accounted
    from ablate.report.reports import write_report
    from ablate.report.screens import show
    from ablate.report.tables import table
    from ablate.stats.attribution import attribute

    files, papers = write_report(records, folder), read_papers(folder, records.plan)
    effects = attribute(records)
    if "main" in records.plan.families:  # a screen has no room for every cell against the baseline
        effects = effects.without("simple")
    show(table(effects, records, papers))
    console.print(f"{accounted(records, papers)} Files:", markup=False, highlight=False)
    for file in [folder / PLAN_FILE, folder / RECORDS_FILE, *files]:
        console.print(f"  {file}", markup=False, highlight=False)
