"""Estimators as trials: scored as by hand, seeded everywhere, tuned on validation data; a whole ablation of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score

import ablate as ab
from ablate.errors import AblateError, TrialError
from ablate.factors import Trial
from ablate.measurements import measurements
from ablate.signals import readings
from ablate.training.streams import derive_seed
from ablate.zoo.estimators import Samples, fit_and_score, fit_and_validate, split_bundled

FOREST = {"_target_": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 5}
DATA = {"_target_": "ablate.zoo.estimators.split_bundled", "name": "wine", "seed": "${seed}", "noise": [1.0]}


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Path]:
    """The folder of a trial's attempt, as a running Hydra job has one."""
    config = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
    config.hydra.runtime.output_dir = str(tmp_path)
    HydraConfig.instance().set_config(config)
    yield tmp_path
    HydraConfig.instance().cfg = None


def make_config(seed: int = 0, **changes: object) -> DictConfig:
    return OmegaConf.create({"model": FOREST, "data": DATA, "seed": seed, **changes})


def test_it_is_scored_as_by_hand() -> None:
    rows = fit_and_score(make_config(3, scores=["accuracy", "f1_macro"]))
    samples = split_bundled("wine", 3, noise=[1.0])
    model = RandomForestClassifier(5, random_state=derive_seed(3, "init") % 2**32).fit(*samples.train)
    for name, (inputs, targets) in samples.domains.items():
        domain, shift = [*name.split("/"), "none"][:2]
        own = {r["metric"]: r for r in rows if (r["domain"], r.get("shift")) == (domain, shift)}
        assert own["accuracy"]["value"] == pytest.approx(np.mean(model.predict(inputs) == targets))
        assert own["f1_macro"]["value"] == pytest.approx(f1_score(targets, model.predict(inputs), average="macro"))
        assert own["accuracy"]["n_examples"] == len(targets) == 54
    whole = {row["metric"]: row["value"] for row in rows if row["domain"] == "all"}
    assert whole["samples"] == 178 - 54
    assert whole["train_seconds"] > 0


def test_a_seed_makes_the_trial_and_another_seed_another() -> None:
    first, again, other = (fit_and_score(make_config(seed)) for seed in (1, 1, 2))
    kept = [[r["value"] for r in rows if r["metric"] != "train_seconds"] for rows in (first, again, other)]
    assert kept[0] == kept[1] != kept[2]
    assert [r.get("eval_hash") for r in first] == [r.get("eval_hash") for r in other]
    assert len({r["eval_hash"] for r in first if "eval_hash" in r}) == 2
    one, two = split_bundled("wine", 1), split_bundled("wine", 2)
    assert not np.array_equal(one.train[1], two.train[1])
    assert np.array_equal(one.domains["wine"][0], two.domains["wine"][0])


def test_every_random_state_within_follows_the_seed_unless_it_is_set() -> None:
    scaler, forest = {"_target_": "sklearn.preprocessing.StandardScaler"}, FOREST
    steps = [["scale", scaler], ["trees", forest]]
    pipeline = {"_target_": "sklearn.pipeline.Pipeline", "steps": steps}
    fixed = {**pipeline, "steps": [["scale", scaler], ["trees", {**forest, "random_state": 7}]]}
    same_data = {**DATA, "seed": 0}
    values = [
        [r["value"] for r in fit_and_score(make_config(seed, model=model, data=same_data)) if r["domain"] == "wine"]
        for model in (pipeline, fixed)
        for seed in range(4)
    ]
    assert len({tuple(v) for v in values[:4]}) > 1
    assert len({tuple(v) for v in values[4:]}) == 1


def test_a_regressor_is_scored_by_what_it_explains() -> None:
    data = {**DATA, "name": "diabetes", "noise": []}
    rows = fit_and_score(make_config(model={"_target_": "sklearn.linear_model.Ridge"}, data=data))
    assert [row["metric"] for row in rows if row["domain"] == "diabetes"] == ["r2"]


def test_tuning_sees_validation_data_alone(attempt: Path) -> None:
    data = {**DATA, "validation": 0.25}
    rows = fit_and_validate(make_config(data=data))
    assert {row["domain"] for row in rows} == {"all"}
    assert {row["metric"] for row in rows} == {"val_accuracy", "train_seconds", "samples"}
    assert readings(attempt) == {}
    fit_and_score(make_config(data=data))
    assert readings(attempt) == {"wine": 1, "wine/noise-1": 1}
    samples = split_bundled("wine", 0, validation=0.25)
    assert samples.validation is not None
    rows_of = [{tuple(x) for x in pair[0]} for pair in (samples.train, samples.validation, samples.domains["wine"])]
    assert not rows_of[0] & rows_of[1]
    assert not rows_of[1] & rows_of[2]
    with pytest.raises(TrialError, match="no validation data"):
        fit_and_validate(make_config())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scores": ["acuracy"]}, "unknown scorer"),
        ({"model": {"_target_": "builtins.dict"}}, "'model' is a dict"),
        ({"data": {"_target_": "builtins.dict"}}, "'data' is a dict"),
        ({"seed": None}, "no seed"),
        ({"model": {"_target_": "sklearn.ensemble.Forest"}}, "cannot build 'model'"),
        ({"data": {**DATA, "name": "mnist"}}, "unknown data set"),
    ],
)
def test_what_cannot_be_run_is_named(changes: dict[str, object], told: str) -> None:
    with pytest.raises(AblateError, match=told):
        fit_and_score(make_config(**{"seed": 0, **changes}))


def make_blobs(seed: int, scale: float) -> Samples:
    """Two classes, of which one input tells and another, on a far larger scale, does not."""
    rng = np.random.default_rng(seed)

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        targets = rng.integers(0, 2, n)
        return np.column_stack([2.0 * targets + rng.normal(size=n), scale * rng.normal(size=n)]), targets

    return Samples(draw(rng, 60), {"blobs": draw(np.random.default_rng(99), 400)})


def test_an_ablation_without_any_network(tmp_path: Path) -> None:
    """Standardising helps neighbours, whose distances a large input rules, and leaves a linear model as it is."""
    models = {
        "neighbours": {"_target_": "sklearn.neighbors.KNeighborsClassifier"},
        "linear": {"_target_": "sklearn.linear_model.LogisticRegression"},
    }
    scaler = {"raw": "passthrough", "standardised": {"_target_": "sklearn.preprocessing.StandardScaler"}}

    def task(trial: Trial) -> object:
        steps = [["scale", scaler[str(trial.cell["inputs"])]], ["model", models[str(trial.cell["model"])]]]
        blobs = {"_target_": f"{__name__}.make_blobs", "seed": trial.seed, "scale": 50.0}
        pipeline = {"_target_": "sklearn.pipeline.Pipeline", "steps": steps}
        return fit_and_score(OmegaConf.create({"model": pipeline, "data": blobs, "seed": trial.seed}))

    factors = {"model": ["linear", "neighbours"], "inputs": ["raw", "standardised"]}
    plan = ab.plan(factors, seeds=5, metric="accuracy", domains=["blobs"])
    records = ab.run(plan, task, folder=tmp_path, progress=False)
    effects = ab.attribute(records).frame
    simple = effects[(effects["family"] == "simple") & (effects["target"] == "these_domains")]
    assert dict(zip(simple["level"], simple["verdict"], strict=True)) == {
        "standardised": "undecided",
        "neighbours": "worse",
        "neighbours × standardised": "undecided",
    }
    gain = effects[effects["family"] == "interaction"].iloc[0]
    assert gain["verdict"] == "better"
    assert gain["estimate"] > 0.15


def test_the_documented_ablation_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile(page.split("```python\n")[1].split("```")[0], "interop.md", "exec"), names)
    trials = [trial for trial in names["plan"].trials if trial.seed == 0]
    rows = [row for trial in trials for row in measurements(names["task"](trial), names["plan"])]
    assert {row["domain_group"] for row in rows} == {"clean", "noise", "all"}
    assert len({row["value"] for row in rows if row["domain_group"] == "clean"}) > 1
