"""Reference cases and simulated scores for the tests of the statistics."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablate.factors import Trial
from ablate.plans import Plan
from ablate.records import Records, measurements
from ablate.stats.attribution import attribute

CASES = Path(__file__).parents[1] / "cases"
FACTORS = ("data", "objective", "size")


def case(name: str) -> Any:
    path = CASES / name
    return json.loads(path.read_text()) if path.suffix == ".json" else pd.read_csv(path)


def cube(frame: pd.DataFrame, keys: list[str], run: str, domain: str, value: str) -> tuple[list[tuple], np.ndarray]:
    """Cells and their scores, cells × runs × domains, by the plainest loop."""
    cells = sorted(set(map(tuple, frame[keys].to_numpy())))
    runs, domains = sorted(frame[run].unique()), sorted(frame[domain].unique())
    scores = np.full((len(cells), len(runs), len(domains)), np.nan)
    for row in frame.to_dict("records"):
        place = cells.index(tuple(row[k] for k in keys)), runs.index(row[run]), domains.index(row[domain])
        scores[place] = row[value]
    return cells, scores


def bench(name: str) -> tuple[list[tuple], np.ndarray]:
    return cube(case(name), list(FACTORS), "seed", "domain", "score")


def draw(
    rng: np.random.Generator,
    n: int,
    seeds: int,
    domains: int,
    *,
    effects: tuple[float, ...] = (0.0, 0.0),
    tau: float = 0.0,
    run_sd: float = 0.0,
    block_sd: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """n replicates of cells × seeds × domains with error SD 1, and each cell's true mean over its domains.

    The first cell is the baseline; the others have an effect of their own in every domain (SD tau).
    """
    cells = len(effects)
    own = rng.normal(0, tau, (n, cells, 1, domains)) if tau else np.zeros((n, cells, 1, domains))
    own[:, 0] = 0
    own = own + np.asarray(effects)[:, None, None]
    shared = rng.normal(0, 3, (n, 1, 1, domains)) + block_sd * rng.normal(size=(n, 1, seeds, 1))
    runs = run_sd * rng.normal(size=(n, cells, seeds, 1))
    return own + shared + runs + rng.normal(size=(n, cells, seeds, domains)), own.mean((-1, -2))


def make_records(
    plan: Plan,
    score: Callable[[Trial], Any],
    failed: Mapping[str, str] | Callable[[Trial], bool] = lambda trial: False,
    missing: Callable[[Trial], bool] = lambda trial: False,
    diverged: Callable[[Trial], bool] = lambda trial: False,
    tried: Callable[[Trial], int | None] = lambda trial: None,
) -> Records:
    """Records of a plan whose trials, tuning ones too, score what `score` says; `tried` tells their `hpo_trials`."""
    outcomes: dict[str, dict[str, Any]] = {}
    for trial in [*plan.trials, *plan.search_trials()]:
        if missing(trial):
            continue
        head = {"status": "complete", "reason": None, "attempt": 1, "seconds": 1.0, "hardware": "cpu"}
        head |= {"hpo_trials": tried(trial)}
        if failed(trial) or diverged(trial):
            status = "diverged" if diverged(trial) else "failed"
            outcomes[trial.id] = {**head, "status": status, "reason": "diverged", "rows": []}
        else:
            outcomes[trial.id] = {**head, "rows": measurements(score(trial), plan, trial.phase)}
    return Records.of(plan, outcomes)


def noisy(
    effects: Mapping[tuple[str, Any], float], *, sd: float = 0.01, domains: int = 4, seed: int = 0
) -> Callable[[Trial], list[dict[str, Any]]]:
    """A task: additive effects of levels, domains of different difficulty, noise of the run and of every score."""

    def score(trial: Trial) -> list[dict[str, Any]]:
        rng = np.random.default_rng([seed, int(trial.id, 16)])
        level = 0.7 + sum(effects.get(item, 0.0) for item in trial.cell.items()) + sd * rng.normal()
        return [
            {"domain": f"d{d}", "metric": "accuracy", "value": level - 0.05 * d + sd * rng.normal()}
            for d in range(domains)
        ]

    return score


def tabulate(scores: np.ndarray, *, nested: bool = False, key: str = "x") -> pd.DataFrame:
    """A row per score of cells × seeds × domains, NaN left out; cells are named a, b, ...; runs are named apart."""
    rows = [
        {
            key: "abcdefgh"[cell],
            "seed": seed,
            "run": f"{cell}.{seed}.{domain}" if nested else f"{cell}.{seed}",
            "domain": f"d{domain:02}",
            "y": scores[cell, seed, domain],
        }
        for cell, seed, domain in np.argwhere(~np.isnan(scores))
    ]
    return pd.DataFrame(rows)


def rows_of(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """What `attribute` says of a frame of `tabulate`; None leaves a column out."""
    options = {"factors": ["x"], "run": "run", "domain": "domain", "value": "y", "families": ["main"], **options}
    return attribute(frame, **{key: value for key, value in options.items() if value is not None}).frame


def item_covariance(
    items: Sequence[np.ndarray], weights: Sequence[float], *, blocked: bool = False, shared: bool = False
) -> np.ndarray:
    """What `examples.estimate_sampling` gives as `net`, for cells × runs × items of each domain, by plain moments."""
    scale = np.asarray(weights, float)
    parts = [scale[:, None, None] * np.asarray(cube, float) for cube in items]
    parts = [cube.sum(0, keepdims=True) if blocked else cube for cube in parts]
    if shared:
        return _item_moments(np.stack(parts))
    return np.diag([float(_item_moments(cube[None])[0, 0]) for cube in parts])


def _item_moments(parts: np.ndarray) -> np.ndarray:
    runs, items = parts.shape[2:]
    means = parts.mean(2)
    of_items = np.atleast_2d(np.cov(means.sum(1))) / items
    residuals = parts - means[:, :, None] - parts.mean(3, keepdims=True) + means.mean(2)[..., None, None]
    of_runs = np.einsum("dcri,ecri->de", residuals, residuals) / ((runs - 1) * (items - 1) * runs * items)
    return np.asarray(of_items - of_runs)
