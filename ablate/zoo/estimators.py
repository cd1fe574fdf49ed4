"""Estimators: anything of scikit-learn's kind (fit, score) as a trial, so that an ablation needs no network.

The config names the estimator and its data by `_target_`; `fit_and_score` is the task, from config to rows.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig

from ablate.errors import TrialError, require_one_of
from ablate.signals import note_reading
from ablate.training.parts import build
from ablate.training.streams import derive_seed, replace_streams, seed_globals

Pair = tuple[Any, Any]  # inputs and targets
Row = dict[str, Any]
BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")


@dataclass(frozen=True)
class Samples:
    """What an estimator learns from, and what it is measured on.

    Attributes:
        train: inputs and targets.
        domains: name, or `domain/shift` -> inputs and targets of a test set.
        validation: what settings are chosen on; None where nothing is tuned.
    """

    train: Pair
    domains: Mapping[str, Pair]
    validation: Pair | None = None


def fit_and_score(config: DictConfig) -> list[Row]:
    """Fit an estimator and score it on every domain: a study's task, all that the function of a Hydra app has to call.

    Args:
        config: a composed config with `model` (an estimator by `_target_`), `data` (by `_target_`, something with the
            attributes of `Samples`), `seed`, and optionally `scores` (names of scikit-learn's scorers; by default
            `accuracy`, of regressors `r2`) and `streams` (as of `run_trial`). Every `random_state` of the estimator
            and of its parts that is not set is drawn from the seed.

    Returns:
        Rows of domain, shift, metric, value, n_examples, eval_hash; and for the whole run (domain `all`)
        `train_seconds` and `samples`.

    Raises:
        TrialError: a part cannot be built or is of another kind, or a scorer is unknown.
    """
    return _run(config, search=False)


def fit_and_validate(config: DictConfig) -> list[Row]:
    """The same on validation data alone, for trials that tune: `val_accuracy`, and no test score.

    Raises:
        TrialError: as `fit_and_score`, or there is no validation data.
    """
    return _run(config, search=True)


def _run(config: DictConfig, search: bool) -> list[Row]:
    with replace_streams(config.get("streams")):
        if config.get("seed") is None:
            raise TrialError("the config has no seed", where="seed", remedy="add it: `seed: 0`")
        seed_globals(int(config.seed), "split")
        samples = build(config, "data")
        if not all(hasattr(samples, name) for name in ("train", "domains", "validation")):
            raise TrialError(f"'data' is a {type(samples).__name__}", where="data", allowed=["Samples"])
        if search and samples.validation is None:
            remedy = "give `validation` beside `train`, of examples that neither training nor the tests hold"
            raise TrialError("there is no validation data", where="data", remedy=remedy)
        model, seconds = _fit(config, samples.train)
        scorers = _find_scorers(config.get("scores"), model)
        if search:
            rows = [_row(f"val_{name}", score(model, *samples.validation)) for name, score in scorers.items()]
        else:
            rows = [row for name, pair in samples.domains.items() for row in _score(scorers, model, name, pair)]
    return [*rows, _row("train_seconds", seconds), _row("samples", len(samples.train[1]))]


def _fit(config: DictConfig, train: Pair) -> tuple[Any, float]:
    """The fitted estimator, and the seconds that took."""
    seed_globals(int(config.seed), "init")  # for what draws from the global generator
    model = build(config, "model")
    if not all(hasattr(model, name) for name in ("fit", "get_params", "set_params")):
        allowed = ["an estimator of scikit-learn"]
        raise TrialError(f"'model' is a {type(model).__name__}", where="model", allowed=allowed)
    state = derive_seed(int(config.seed), "init") % 2**32
    model.set_params(**{name: state for name, value in model.get_params().items() if value is None and _draws(name)})
    start = time.perf_counter()
    model.fit(*train)
    return model, time.perf_counter() - start


def _draws(name: str) -> bool:
    return name == "random_state" or name.endswith("__random_state")


def _find_scorers(names: Sequence[str] | None, model: Any) -> dict[str, Any]:
    """Scorers, (model, inputs, targets) -> number, by name."""
    from sklearn.base import is_regressor
    from sklearn.metrics import get_scorer, get_scorer_names

    names = list(names or ["r2" if is_regressor(model) else "accuracy"])
    for name in names:
        if name not in get_scorer_names():
            raise TrialError(f"unknown scorer {name!r}", where="scores", allowed=get_scorer_names(), word=name)
    return {name: get_scorer(name) for name in names}


def _score(scorers: Mapping[str, Any], model: Any, name: str, pair: Pair) -> list[Row]:
    """The rows of one test set, whose reading is noted in the attempt's folder."""
    if HydraConfig.initialized():
        note_reading(Path(HydraConfig.get().runtime.output_dir), name)
    domain, _, shift = name.partition("/")
    place = {"domain": domain, "shift": shift or "none", "n_examples": len(pair[1]), "eval_hash": _fingerprint(pair)}
    return [{**_row(metric, score(model, *pair)), **place} for metric, score in scorers.items()]


def _fingerprint(pair: Pair) -> str | None:
    """What a test set holds, in 16 hexadecimal digits; None where it holds objects."""
    arrays = [np.ascontiguousarray(part) for part in pair]
    if any(array.dtype.hasobject for array in arrays):
        return None
    parts = [f"{array.dtype.str}{array.shape}".encode() + array.tobytes() for array in arrays]
    return sha256(b"".join(parts)).hexdigest()[:16]


def _row(metric: str, value: float) -> Row:
    return {"domain": "all", "metric": metric, "value": float(value)}


def split_bundled(
    name: str, seed: int, test: float = 0.3, validation: float = 0.0, noise: Sequence[float] = ()
) -> Samples:
    """Examples of a data set that comes with scikit-learn, to learn from, to validate on and to test on.

    The test set is the same for every seed. From the rest a seed draws the training rows with replacement (a bootstrap
    sample, so that seeds differ as new data would make them), and the validation rows from what these leave.

    Args:
        name: of the data set, which is also the domain's.
        seed: the trial's.
        test: share of all rows.
        validation: share of all rows but the test's, at most what training leaves, about a third; 0 for none.
        noise: severities of a shift `noise-<severity>`: Gaussian noise on every input, in its standard deviations.

    Raises:
        PlanError: no such data set.
    """
    pool, (inputs, targets) = _split(name, test)
    rng = np.random.default_rng(derive_seed(seed, "split"))
    rows = rng.choice(len(pool[1]), len(pool[1]))
    left = rng.permutation(np.setdiff1d(np.arange(len(pool[1])), rows))[: round(validation * len(pool[1]))]
    domains = {name: (inputs, targets)}
    for severity in noise:  # the same for every trial
        shaken = inputs + severity * pool[0].std(0) * np.random.default_rng(20).normal(size=inputs.shape)
        domains[f"{name}/noise-{severity:g}"] = (shaken, targets)
    held_out = (pool[0][left], pool[1][left]) if len(left) else None
    return Samples((pool[0][rows], pool[1][rows]), domains, held_out)


@cache
def _split(name: str, test: float) -> tuple[tuple[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    require_one_of(name, BUNDLED, "data.name", "data set")
    inputs, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    classes = targets if name != "diabetes" else None
    parts = train_test_split(inputs, targets, test_size=test, stratify=classes, random_state=20)
    return (parts[0], parts[2]), (parts[1], parts[3])
