"""An invented study for the tests of the report: records by formula, effects by plain arithmetic."""

import numpy as np
import pandas as pd

from ablate.plans import Plan, plan
from ablate.records import Records
from ablate.stats.effects import COLUMNS, Effects

DOMAINS = {
    "clean": ["digits"],
    "noise": ["digits/noise-1", "digits/noise-2"],
    "blur": ["digits/blur-1", "digits/blur-2"],
    "rotation": ["digits/rotation-15"],
}
GAIN = {
    "raw": 0.0,
    "clean_labels": 0.04,
    "augmented": 0.06,
    "ce": 0.0,
    "smooth": 0.002,
    "large": 0.0,
    "small": -0.03,
}


def make_plan(names: dict[str, str] | None = None, **options: object) -> Plan:
    """3 × 2 × 2 cells and 3 seeds; `names` replaces level names (to try hostile ones)."""
    names = names or {}
    factors = {
        "data": ["raw", "clean_labels", "augmented"],
        "objective": ["ce", "smooth"],
        "size": ["large", "small"],
    }
    renamed = {key: [names.get(level, level) for level in levels] for key, levels in factors.items()}
    settings = {
        "seeds": 3,
        "metric": "accuracy",
        "domains": DOMAINS,
        "margin": 0.01,
        "name": "digits",
        **options,
    }
    return plan(renamed, **settings)  # type: ignore[arg-type]  # settings are a plain dict here


def make_records(made: Plan | None = None, *, failed: int = 1) -> Records:
    """Records of every trial of the plan; the last `failed` of them have failed."""
    made = made or make_plan()
    rng = np.random.default_rng(7)
    place = {f.key: {level: i for i, level in enumerate(f.levels)} for f in made.factors}
    levels = {"data": (0, 0.04, 0.06), "objective": (0, 0.002), "size": (0, -0.03)}
    outcomes = {}
    for trial in sorted(made.trials, key=lambda t: (list(made.cells).index(t.cell), t.seed)):
        base = 0.8 + sum(levels[key][place[key][level]] for key, level in trial.cell.items())
        run = base + 0.004 * rng.standard_normal()
        rows = [
            {"domain_group": "all", "domain": "all", "shift": "none", "metric": m, "value": v}
            for m, v in {
                "params": 40330.0 if "large" in str(trial.cell) else 1210.0,
                "train_seconds": 2.5 + rng.random(),
                "latency_p50_ms": 0.21 + rng.random() / 100,
            }.items()
        ]
        for group, members in made.domains.items():
            for member in members:
                domain, _, shift = member.partition("/")
                value = run - 0.05 * list(made.domains).index(group) + 0.003 * rng.standard_normal()
                rows.append(
                    {
                        "domain_group": group,
                        "domain": domain,
                        "shift": shift or "none",
                        "metric": "accuracy",
                        "value": value,
                    }
                )
        head = {"reason": None, "attempt": 1, "seconds": 4 + rng.random(), "hardware": "2 CPU"}
        outcomes[trial.id] = {"status": "complete", "rows": rows, **head}
    for trial in list(made.trials)[-failed:] if failed else []:
        outcomes[trial.id] |= {"status": "failed", "reason": "Traceback\nValueError: loss is nan", "rows": []}
    return Records.of(made, outcomes)


def make_effects(records: Records) -> Effects:
    """Main effects and interactions under both targets, and main effects per domain: plain differences."""
    made, frame = records.plan, records.complete
    frame = frame[frame["metric"] == made.metric]
    rows = []
    for f in made.factors:
        for level in f.alternatives:
            high, low = frame[frame[f.key] == level], frame[frame[f.key] == f.baseline]
            head = {"family": "main", "factor": f.key, "level": str(level), "versus": str(f.baseline)}
            trials = tuple(dict.fromkeys([*high["trial"], *low["trial"]]))
            for target in ("these_domains", "new_domains"):
                wider = 1.0 if target == "these_domains" else 1.7
                rows.append(effect(head, _mean(high) - _mean(low), 0.0021 * wider, trials, target=target, m=4))
            for group in made.domains:
                one, two = high[high["domain_group"] == group], low[low["domain_group"] == group]
                head_d = {**head, "family": "domain"}
                rows.append(effect(head_d, _mean(one) - _mean(two), 0.004, trials, domain=group, m=16, n_domains=1))
    for target in ("these_domains", "new_domains"):
        head = {
            "family": "interaction",
            "factor": "data × size",
            "versus": "raw × large",
            "level": f"{made.factors[0].levels[1]} × small",
        }
        rows.append(effect(head, -0.0012, 0.0042, tuple(dict.fromkeys(frame["trial"])), target=target, m=2))
    refused = {
        "family": "interaction",
        "factor": "objective × size",
        "level": "smooth × small",
        "versus": "ce × large",
    }
    for target in ("these_domains", "new_domains"):
        row = effect(refused, 0.0031, 0.004, tuple(frame["trial"].unique()), target=target, m=2)
        rows.append({**row, "p": np.nan, "p_adjusted": np.nan, "verdict": "refused", "refusal": "R12"})
    made_frame = pd.DataFrame(rows, columns=list(COLUMNS))
    order = {"main": 0, "interaction": 1, "domain": 2}
    made_frame = made_frame.sort_values("family", key=lambda c: c.map(order), kind="stable", ignore_index=True)
    return Effects(made_frame, ("R12: fewer than 3 domains; measure on more of them.",))


def effect(
    head: dict[str, str],
    estimate: float,
    se: float,
    trials: tuple[str, ...],
    *,
    target: str = "these_domains",
    domain: str = "all",
    m: int = 1,
    n_domains: int = 4,
    margin: float = 0.01,
) -> dict[str, object]:
    """One row of an Effects frame, with a normal interval at the Bonferroni level."""
    from scipy import stats

    t = estimate / se
    p = float(2 * stats.norm.sf(abs(t)))
    reach = float(stats.norm.ppf(1 - 0.025 / m)) * se
    adjusted = min(1.0, m * p)
    inside = abs(estimate) + reach < margin
    verdict = "equivalent" if inside else "undecided" if adjusted > 0.05 else "better" if estimate > 0 else "worse"
    return {
        "stratum": "",
        "domain": domain,
        "metric": "accuracy",
        "target": target,
        "estimate": estimate,
        "se": se,
        "df": 12.0,
        "statistic": t,
        "p": p,
        "p_adjusted": adjusted,
        "low": estimate - reach,
        "high": estimate + reach,
        "level_ci": 1 - 0.05 / m,
        "family_size": m,
        "correction": "holm",
        "n_runs": len(trials),
        "n_seeds": 3,
        "n_domains": n_domains,
        "method": "E1 crossed, blocked by seed",
        "margin": margin,
        "p_equivalence": 0.5,
        "verdict": verdict,
        "note": "9 further seeds" if verdict == "undecided" else "",
        "refusal": "",
        "trials": trials,
        **head,
    }


def _mean(rows: pd.DataFrame) -> float:
    return float(rows.groupby(["trial", "domain_group"])["value"].mean().groupby("trial").mean().mean())
