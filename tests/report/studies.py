"""An invented study for the tests of the report: records by formula, single effects by hand, hostile names."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablate.accounts import read_account
from ablate.engine import run
from ablate.factors import Trial
from ablate.plans import Plan, plan
from ablate.records import Records
from ablate.signals import note_reading
from ablate.stats.effects import COLUMNS, Effects

FACTORS = {"data": ["raw", "clean_labels", "augmented"], "objective": ["ce", "smooth"], "size": ["large", "small"]}
DOMAINS = {
    "clean": ["digits"],
    "noise": ["digits/noise-1", "digits/noise-2"],
    "blur": ["digits/blur-1", "digits/blur-2"],
    "rotation": ["digits/rotation-15"],
}
HOSTILE = {
    "data": ["<script>document.title='pwned'</script>", "\"><img src=x onerror=document.title='pwned'>"],
    "<b>objective</b>": ["=1+1", "$\\input{x}$ & _{~^%#"],
    "size": ["| --- |", "{{ 7*7 }} </style><svg onload=document.title='pwned'>"],
}


def make_plan(factors: dict[str, list[str]] | None = None, **options: Any) -> Plan:
    """3 × 2 × 2 cells and 3 seeds on four domain groups, unless told otherwise."""
    settings: dict[str, Any] = {"seeds": 3, "metric": "accuracy", "domains": DOMAINS, "margin": 0.01, "name": "digits"}
    return plan(factors or FACTORS, **{**settings, **options})


def make_records(made: Plan | None = None, *, failed: int = 0, missing: int = 0) -> Records:
    """Records of the plan's trials by formula; its first trials failed, its last ones were not run."""
    made = made or make_plan()
    rng = np.random.default_rng(7)
    gains = ((0, 0.04, 0.06), (0, 0.002), (0, -0.03))
    outcomes: dict[str, dict[str, Any]] = {}
    for trial in sorted(made.trials, key=lambda t: (made.cells.index(t.cell), t.seed)):
        steps = [f.levels.index(trial.cell[f.key]) for f in made.factors]
        run = 0.8 + sum(gain[k] for gain, k in zip(gains, steps, strict=False)) + 0.004 * rng.standard_normal()
        costs = {"params": 40330.0 if steps[-1] == 0 else 1210.0, "train_seconds": 2.5 + rng.random()}
        rows: list[dict[str, Any]] = [{"domain": "all", "metric": m, "value": v} for m, v in costs.items()]
        for depth, members in enumerate(made.domains.values()):
            for member in members:
                domain, _, shift = member.partition("/")
                value = run - 0.05 * depth + 0.003 * rng.standard_normal()
                rows.append({"domain": domain, "shift": shift or "none", "metric": made.metric, "value": value})
        groups = [{"domain_group": _group(made, row), "shift": "none", **row} for row in rows]
        head = {"reason": None, "attempt": 1, "seconds": 4 + rng.random(), "hardware": "2 CPU"}
        outcomes[trial.id] = {"status": "complete", "rows": groups, **head}
    for trial in made.trials[:failed]:
        outcomes[trial.id] |= {"status": "failed", "reason": "ValueError: loss is nan", "rows": []}
    for trial in made.trials[len(made.trials) - missing :]:
        del outcomes[trial.id]
    return Records.of(made, outcomes)


def _group(made: Plan, row: dict[str, Any]) -> str:
    name = row["domain"] if row.get("shift", "none") == "none" else f"{row['domain']}/{row['shift']}"
    return "all" if name == "all" else made.group_of(name)


def make_effects(*rows: dict[str, Any], notes: tuple[str, ...] = (), **declared: Any) -> Effects:
    """Effects by hand: the columns given, the others as of an ordinary decided main effect of three runs each side."""
    usual: dict[str, Any] = {
        "family": "main", "stratum": "", "factor": "data", "level": "clean", "versus": "raw", "domain": "all",
        "metric": "accuracy", "quantity": "difference", "target": "these_domains", "estimate": 0.0312,
        "se": 0.0041, "df": 4.0,
        "statistic": 7.6, "p": 0.0016, "p_adjusted": 0.0032, "low": 0.0198, "high": 0.0426, "level_ci": 0.975,
        "family_size": 2, "correction": "holm", "n_runs": 6, "n_seeds": 3, "n_domains": 4,
        "method": "E1 crossed, Welch", "margin": np.nan, "p_equivalence": np.nan, "verdict": "better", "note": "",
        "refusal": "", "trials": ("t1", "t2", "t3", "t4", "t5", "t6"),
    }  # fmt: skip
    return Effects(pd.DataFrame([{**usual, **row} for row in rows], columns=list(COLUMNS)), notes, **declared)


def read_markdown(text: str) -> list[dict[str, str]]:
    """The rows of all tables in a Markdown text, as header -> cell; of equal headers the later is counted: `p 2`."""
    rows, header = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if header is None:
            header = [f"{c} {cells[:i].count(c) + 1}" if c in cells[:i] else c for i, c in enumerate(cells)]
        elif set("".join(cells)) - set("-:"):
            rows.append(dict(zip(header, cells, strict=True)))
    return rows


def number(text: str) -> float:
    """A number as tables print it."""
    return float(text.replace("−", "-").replace(",", ""))


def tuned_task(trial: Trial) -> list[dict[str, Any]]:
    """Accuracy with an optimum in lr, twelve scores of 500 examples, and what a run spent; its seed is its noise."""
    rng = random.Random(f"{trial.cell}/{trial.seed}/{trial.proposal}")
    score = 0.8 + 0.05 * (trial.cell["data"] == "clean") - 0.2 * (float(str(trial.settings["lr"])) - 0.4) ** 2
    spent = {"train_steps": 300, "epochs": 10, "train_seconds": 2 + rng.random()}
    rows: list[dict[str, Any]] = [{"metric": metric, "value": value} for metric, value in spent.items()]
    if trial.phase == "search":
        return [*rows, {"metric": "val_accuracy", "value": score + rng.gauss(0, 0.01)}]
    for k in range(12):
        note_reading(Path(str(trial.folder)), f"d{k}")
        value = round(500 * (score + rng.gauss(0, 0.02))) / 500
        rows.append({"domain": f"d{k}", "metric": "accuracy", "value": value, "n_examples": 500})
    return rows


def make_tuned_plan(**changes: Any) -> Plan:
    """Two cells, three seeds, four random proposals of a learning rate."""
    tuning = {"space": {"lr": {"low": 0.1, "high": 1.0}}, "trials": 4, "sampler": "random"}
    usual = {"seeds": 3, "metric": "accuracy", "name": "tuned", "margin": 0.01, "tuning": tuning}
    usual["analysis"] = {"families": ["main"]}
    return plan(**{"factors": {"data": ["raw", "clean"]}, **usual, **changes})


def write_tuned_study(folder: Path) -> Path:
    """A tuned study, run for real, with its account."""
    run(make_tuned_plan(), tuned_task, folder=folder, progress=False)
    read_account(folder).write(folder)
    return folder
