import numpy as np
import pandas as pd
import pytest

from ablate.errors import RecordsError
from ablate.readers.guesses import ASIDE, NAMES, assign_types, guess, guess_direction
from ablate.readers.readings import ROLES
from tests.stats.samples import case


def table(**columns):
    return pd.DataFrame(columns)


GRID = table(
    data=["raw", "raw", "clean", "clean"] * 2,
    seed=[0, 1] * 4,
    task=["a"] * 4 + ["b"] * 4,
    accuracy=np.linspace(0.5, 0.9, 8),
)


def test_names_say_what_columns_are():
    roles, said = guess(GRID, {})
    assert roles == {"run": "seed", "domain": "task", "value": "accuracy", "factors": ["data"]}
    assert said == (
        "The column 'seed' is read as run.",
        "The column 'task' is read as domain.",
        "The column 'accuracy' is read as value.",
        "Factors: data.",
    )


def test_the_names_cover_the_roles_and_mean_one_thing_each():
    assert set(NAMES) | {"factors"} == set(ROLES)
    words = [word for names in NAMES.values() for word in names.split()]
    assert len(words) == len(set(words))
    assert not ASIDE & set(words)


def test_reference_tables_are_understood():
    """In one of them the column `cell` names the cells of the three factors."""
    own = {"run": "seed", "domain": "domain", "value": "score"}
    assert guess(case("bench600.csv"), {})[0] == {**own, "factors": ["data", "objective", "size"]}
    assert guess(case("ablation6x5.csv"), {})[0] == {**own, "factors": ["arm"]}


def test_what_is_given_is_kept_and_checked():
    roles, said = guess(GRID, {"domain": "data", "factors": ["task"]})
    assert roles["domain"] == "data"
    assert not any("'data'" in sentence for sentence in said)
    with pytest.raises(RecordsError, match="did you mean 'accuracy'"):
        guess(GRID, {"value": "acuracy"})
    with pytest.raises(RecordsError, match="did you mean 'domain'"):
        guess(GRID, {"domian": "task"})


def test_an_identifier_is_the_run_and_the_seed_beside_it_is_no_factor():
    frame = GRID.assign(run_id=[f"r{i}" for i in range(8)], n_examples=100, seconds=range(8), name=list("abcdefgh"))
    roles, said = guess(frame, {})
    assert roles["run"] == "run_id"
    assert roles["factors"] == ["data"]
    assert said[-1] == "Left alone: seed, n_examples, seconds, name."


def test_folds_are_said_to_be_folds():
    roles, said = guess(GRID.rename(columns={"seed": "fold"}), {})
    assert roles["folds"] == roles["run"] == "fold"
    assert "Runs are told apart by the fold 'fold'." in said


def test_the_only_fractions_are_the_scores():
    roles, said = guess(GRID.rename(columns={"accuracy": "quality"}), {})
    assert roles["value"] == "quality"
    assert any("no other holds fractions" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("columns", "what", "allowed"),
    [
        ({"loss": 0.5}, "several columns could be the value: accuracy, loss", ("accuracy", "loss")),
        ({"dataset": "x"}, "several columns could be the domain: task, dataset", ("task", "dataset")),
        ({"alias": ["x", "x", "y", "y"] * 2}, "say the same as others: data, alias", ("data", "alias")),
    ],
)
def test_doubt_is_an_error_that_lists_the_choice(columns, what, allowed):
    with pytest.raises(RecordsError, match=what) as error:
        guess(GRID.assign(**columns), {})
    assert error.value.allowed == allowed


def test_without_factors_or_scores_nothing_is_guessed():
    with pytest.raises(RecordsError, match="no column is left that could be a factor"):
        guess(GRID.drop(columns="data"), {})
    with pytest.raises(RecordsError, match="no column of scores"):
        guess(GRID.drop(columns="accuracy"), {})
    with pytest.raises(RecordsError, match="several columns could be scores: x, y") as error:
        guess(GRID.drop(columns="accuracy").assign(x=0.5, y=0.25, n=3, phase=None), {})
    assert error.value.allowed == ("x", "y", "n")


def test_factors_of_one_factor_at_a_time_are_all_found():
    """Baseline and one removal each: no factor follows from the others."""
    cells = [("on", "on", "on"), ("off", "on", "on"), ("on", "off", "on"), ("on", "on", "off")] * 3
    frame = pd.DataFrame(cells, columns=["a", "b", "c"]).assign(seed=np.repeat([0, 1, 2], 4), loss=0.5)
    assert guess(frame, {})[0]["factors"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("test_acc", "maximize"),
        ("val/loss", "minimize"),
        ("bits_per_byte", "minimize"),
        ("neg_logloss", "maximize"),
        ("word_perplexity", None),
        ("exact_match,strict-match", "maximize"),
        ("RMSE", "minimize"),
        ("glossary", None),
        ("value", None),
        ("accuracy_loss", None),
    ],
)
def test_directions_follow_from_names_that_leave_no_doubt(metric, direction):
    expected = "minimize" if metric == "word_perplexity" else direction
    assert guess_direction(metric) == expected


def test_types_follow_from_roles():
    frame = table(lr=[0.1, 1.0], seed=[0, 1], acc=["0.5", "NA"])
    typed = assign_types(frame, {"factors": ["lr"], "run": "seed", "value": "acc"})
    assert typed["lr"].tolist() == ["0.1", "1.0"]
    assert typed["seed"].tolist() == ["0", "1"]
    assert np.array_equal(typed["acc"], [0.5, np.nan], equal_nan=True)
    assert frame["seed"].tolist() == [0, 1]
    with pytest.raises(RecordsError, match="a level or name is missing"):
        assign_types(table(arm=["a", None], v=[1, 2]), {"factors": ["arm"], "value": "v"})
