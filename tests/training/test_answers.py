"""Answers: collected in the one reading there is, scored, and kept by example."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ablate import signals
from ablate.errors import TrialError
from ablate.training import preflight, preflight_search, run_trial
from ablate.training.answers import EXAMPLES, Collector

from .configs import MOVED, measured, scores, trial_config

RATE = {"_target_": "stranger.rate", "_partial_": True}
PLACES = {"clean": {"home": None}, "moved": {"home/moved": MOVED}}


def asked(model: str = "Corners", data: str = "Points", **scorers: Any) -> Any:
    config = trial_config(data, model, domains=PLACES)
    config.scores = scorers or {"rating": RATE}
    return config


def test_a_module_that_returns_nothing_is_asked_for_its_answers() -> None:
    rows = run_trial(asked())
    assert scores(rows, "right") == pytest.approx(scores(rows, "hits"))
    assert set(scores(rows, "count").values()) == {40}


def test_what_a_module_returns_counts_and_not_what_it_would_say_if_called() -> None:
    rows = run_trial(asked("Answering"))
    rolled = scores(rows, "right")
    assert rolled["home/none"] < 0.3 < scores(rows, "hits")["home/none"]


def test_answers_are_collected_in_the_reading_that_there_is(attempt: Path) -> None:
    config = asked()
    plain = measured(run_trial(trial_config(domains=PLACES)))
    rows = measured(run_trial(config))
    assert signals.readings(attempt) == {"home": 2, "home/moved": 2}
    assert [r for r in rows if r["metric"] in ("hits", "mean_input")] == plain, "the trial is the same"


def test_single_examples_lie_beside_the_record(attempt: Path) -> None:
    config = asked()
    preflight(config)
    assert not (attempt / EXAMPLES).exists()
    rows = run_trial(config)
    frame = pd.read_parquet(attempt / EXAMPLES)
    assert list(frame) == ["domain", "shift", "example", "metric", "value"]
    assert frame["metric"].unique().tolist() == ["right"], "a number for the whole test set is of no example"
    found = frame.groupby(["domain", "shift"])["value"].mean()
    assert {f"{d}/{s}": v for (d, s), v in found.items()} == pytest.approx(scores(rows, "right"))
    assert frame.groupby("shift")["example"].apply(list).tolist() == [list(range(40))] * 2


def test_single_examples_of_two_arms_are_judged(tmp_path: Path) -> None:
    """The recipe of docs/evaluation.md: the files of several trials, with what they were."""
    from ablate.judgements import judge

    made = torch.Generator().manual_seed(0)
    parts = []
    for arm, shift in (("old", 0.0), ("new", 0.3)):
        for seed in range(4):
            values = torch.rand(50, generator=made) + shift
            single = {
                "domain": "home",
                "shift": "none",
                "example": range(50),
                "metric": "right",
                "value": values.tolist(),
            }
            parts.append(pd.DataFrame(single).assign(arm=arm, seed=seed))
    file = tmp_path / "examples.csv"
    pd.concat(parts).to_csv(file, index=False)
    columns = {"factors": ["arm"], "run": "seed", "block": "seed", "example": "example", "metrics": "metric"}
    found = judge([file], metric="right", direction="maximize", baseline={"arm": "old"}, **columns).effects.frame
    assert found["estimate"].iloc[0] == pytest.approx(0.3, abs=0.1)


def test_scorers_may_be_for_some_places_alone() -> None:
    rows = run_trial(asked(rating={**RATE, "of": "home/moved"}))
    assert set(scores(rows, "right")) == {"home/moved"}


def test_refusals_of_what_writes_texts_are_counted() -> None:
    refusals = {"_target_": "ablate.zoo.evaluations.count_refusals", "_partial_": True, "patterns": ["I cannot"]}
    rows = run_trial(asked("Refusing", refusals=refusals))
    points = import_module("stranger").Points().home.tensors[0]
    assert scores(rows, "refused")["home/none"] == pytest.approx(float((points[:, 0] < 0).double().mean()))
    assert scores(rows, "refused")["home/moved"] == 0.0, "five to the right"


def test_clean_parts_are_scored_too() -> None:
    config = asked()
    config.contaminated = {"home": [0, 1]}
    rows = run_trial(config)
    assert scores(rows, "count (clean part)") == {"home/none": 38}


@pytest.mark.parametrize(
    ("scorers", "model", "word"),
    [
        ({"rating": {**RATE, "of": ["hom"]}}, "Corners", "did you mean 'home'"),
        ({"clash": {"_target_": "stranger.clash", "_partial_": True}}, "Corners", "'hits' is scored, and logged"),
        ({"a": RATE, "b": RATE}, "Corners", "scored by another"),
        (
            {"short": {"_target_": "stranger.shorten", "_partial_": True}},
            "Corners",
            "39 values for 40|15 values for 16",
        ),
        ({"rating": RATE}, "Wordless", "it returns loss"),
        ({"rating": {"_target_": "builtins.dict"}}, "Corners", "_partial_"),
    ],
    ids=["place", "logged", "twice", "short", "wordless", "no callable"],
)
def test_what_cannot_be_scored_is_refused_by_the_preflight(scorers: dict[str, Any], model: str, word: str) -> None:
    with pytest.raises(TrialError, match=word):
        preflight(asked(model, **scorers))


def test_a_search_refuses_scorers_that_the_trials_after_it_would_refuse() -> None:
    config = asked("Judged", "Validated", rating={"_target_": "builtins.dict"})
    with pytest.raises(TrialError, match="_partial_"):
        preflight_search(config)


def test_answers_of_many_shapes_stay_one_per_example() -> None:
    module: Any = import_module("stranger").Corners()
    collector = Collector()
    for steps in (2, 3):
        batch = {"words": ["a", "b"], "where": torch.tensor([steps, 0]), "who": ["x", "y"]}
        collector.on_test_batch_end(
            None,
            module,
            {"outputs": torch.zeros(2, steps), "labels": torch.ones(2)},
            batch,
            0,  # type: ignore[arg-type]
        )
    answers = collector.gather()
    assert [tuple(row.shape) for row in answers.outputs] == [(2,), (2,), (3,), (3,)]
    assert torch.equal(answers.labels, torch.ones(4))  # type: ignore[arg-type]
    assert torch.equal(answers.parts["where"], torch.tensor([2, 0, 3, 0]))  # type: ignore[arg-type]
    assert answers.parts["who"] == ["x", "y", "x", "y"]
    assert "words" not in answers.parts, "contents may be large"
    with pytest.raises(TrialError, match="1 answers to 2 labels"):
        collector.on_test_batch_end(
            None,
            module,
            {"outputs": torch.zeros(1), "labels": torch.ones(2)},
            {},
            0,  # type: ignore[arg-type]
        )
