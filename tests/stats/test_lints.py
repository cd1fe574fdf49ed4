"""Lints: each defect planted alone is found and named, and nothing else is."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from ablate.errors import RecordsError
from ablate.stats.lints import CHECKS, SHOWN, Lint, lint
from ablate.stats.rosters import enrol
from tests.stats.samples import case

ROLES = {"factors": ["data", "size"], "run": "seed", "domain": "task", "value": "acc"}


def sound(domains=6, seeds=4, rng=None):
    """A table without a defect: 4 cells × seeds × domains."""
    rng = rng or np.random.default_rng(0)
    rows = itertools.product(["raw", "clean"], ["small", "large"], range(seeds), [f"t{i}" for i in range(domains)])
    frame = pd.DataFrame(list(rows), columns=["data", "size", "seed", "task"])
    return frame.assign(acc=rng.uniform(0.5, 0.9, len(frame)))


def codes(frame, roles=ROLES):
    return [made.code for made in lint(frame, roles)]


def only(frame, roles=ROLES):
    """The one lint of a table."""
    made = lint(frame, roles)
    assert len(made) == 1, [str(one) for one in made]
    return made[0]


def cell(frame, data="clean", size="large"):
    return (frame["data"] == data) & (frame["size"] == size)


def test_a_sound_table_has_no_lint():
    assert lint(sound(), ROLES) == ()
    assert lint(sound().sample(frac=1, random_state=1), ROLES) == ()
    assert (
        codes(
            case("bench600.csv"),
            ROLES | {"factors": ["data", "objective", "size"]} | {"domain": "domain", "value": "score"},
        )
        == []
    )


@pytest.mark.parametrize("across", [False, True])
def test_identical_runs_are_found_whatever_the_order_of_rows(across):
    frame = sound()
    source = frame[cell(frame) & (frame["seed"] == 0)]
    target = (cell(frame, "raw") if across else cell(frame)) & (frame["seed"] == 3)
    frame.loc[target, "acc"] = source["acc"].to_numpy()
    made = only(frame.sample(frac=1, random_state=2))
    assert (made.code, made.severity, made.count) == ("R05", "error", 1)
    names = {"data=clean size=large run 0", f"data={'raw' if across else 'clean'} size=large run 3"}
    assert set(made.about[0].split(" = ")) == names


def test_the_same_scores_on_other_domains_are_no_twins():
    frame = sound()
    own = cell(frame) & (frame["seed"] == 0)
    frame.loc[cell(frame) & (frame["seed"] == 3), "acc"] = frame.loc[own, "acc"].to_numpy()[::-1]
    assert codes(frame) == []


def test_a_last_bit_of_difference_makes_runs_two():
    frame = sound()
    own = cell(frame) & (frame["seed"] == 0)
    scores = frame.loc[own, "acc"].to_numpy().copy()
    scores[2] = np.nextafter(scores[2], 1)
    frame.loc[cell(frame) & (frame["seed"] == 3), "acc"] = scores
    assert codes(frame) == []


def test_few_coarse_scores_agree_by_chance_and_few_fine_ones_do_not():
    frame = sound(domains=2, seeds=3)
    assert codes(frame.assign(acc=(frame["acc"] * 10).round() / 10)) == []
    frame.loc[frame.index[-2:], "acc"] = frame["acc"].to_numpy()[:2]
    made = only(frame)
    assert (made.code, made.severity) == ("R05", "warning")


def items(rng, right, n=40):
    """Two cells of three runs, right or wrong on n items."""
    rows = list(itertools.product("ab", range(3), range(n)))
    frame = pd.DataFrame(rows, columns=["arm", "seed", "item"])
    return frame.assign(acc=(rng.uniform(size=len(frame)) < right).astype(float))


def test_items_all_right_agree_by_chance_and_items_half_right_do_not():
    roles = {"factors": ["arm"], "run": "seed", "example": "item", "value": "acc"}
    rng = np.random.default_rng(0)
    for right, found in [(0.98, []), (0.5, ["R05"])]:
        frame = items(rng, right)
        frame.loc[frame.index[-40:], "acc"] = frame["acc"].to_numpy()[:40]
        assert codes(frame, roles) == found
    made = only(items(rng, 1.0), roles)
    assert (made.code, made.severity) == ("R05", "error")  # no score differs from any other


@pytest.mark.slow
def test_runs_of_chance_alone_are_rarely_called_the_same():
    """Nominal: fewer than 5 tables of 100 with a pair named, where scores are right or wrong by chance alone."""
    roles = {"factors": ["arm"], "run": "seed", "example": "item", "value": "acc"}
    rng = np.random.default_rng(1)
    named = sum(
        bool(codes(items(rng, right, n), roles)) for right in (0.5, 0.9) for n in (6, 10, 20, 40, 80) for _ in range(30)
    )
    assert named <= 15


def test_repeated_rows_of_a_run():
    frame = sound()
    frame = pd.concat([frame, frame.iloc[:3].assign(acc=[0.1, 0.2, 0.3])], ignore_index=True)
    made = only(frame)
    assert (made.code, made.about, made.count) == ("R04", ("data=raw size=small run 0",), 1)
    assert "3 rows" in made.sentence
    shifted = frame.assign(shift=["none"] * 96 + ["noise"] * 3)
    assert codes(shifted, ROLES | {"shift": "shift"}) == ["R19"]


def test_one_run_and_unequal_runs():
    frame = sound()
    made = lint(frame[~cell(frame) | (frame["seed"] == 0)], ROLES)
    assert [one.code for one in made] == ["R01", "L02"]
    assert made[0].about == ("data=clean size=large",)
    assert made[1].about == ("data=clean size=large (1)",)


def test_without_a_column_of_runs_the_rows_of_a_place_are_counted():
    roles = {role: column for role, column in ROLES.items() if role != "run"}
    assert codes(sound().drop(columns="seed"), roles) == []
    assert codes(sound(seeds=1).drop(columns="seed"), roles) == ["R01"]


def test_missing_cells_and_missing_scores():
    frame = sound()
    made = only(frame[~cell(frame)])
    assert (made.code, made.severity, made.about, made.count) == ("L01", "note", ("data=clean size=large",), 1)
    gone = cell(frame) & (frame["task"] == "t2") & (frame["seed"] < 3)
    made = only(frame[~gone])
    assert (made.code, made.count) == ("R19", 3)
    assert made.about == ("data=clean size=large on t2 (1 of 4 runs)",)
    made = only(frame[~(cell(frame) & frame["task"].isin(["t0", "t1"]))])
    assert made.about == tuple(f"data=clean size=large on t{i} (0 of 4 runs)" for i in (0, 1))


def test_tuning_and_training_budgets():
    frame = sound().assign(tuned=20, steps=100)
    roles = ROLES | {"hpo_trials": "tuned", "budget": "steps"}
    frame["steps"] += frame["seed"]  # differs within cells, alike in all
    assert codes(frame, roles) == []
    frame.loc[cell(frame), "tuned"] = 50
    frame.loc[cell(frame), "steps"] += 1
    made = lint(frame, roles)
    assert [(one.code, one.severity) for one in made] == [("R09", "error"), ("L08", "warning")]
    assert made[0].about[0] == "data=raw size=small (20)"
    assert made[0].about[3] == "data=clean size=large (50)"
    assert made[1].about[3] == "data=clean size=large (101 to 104)"


def test_along_a_curve_a_score_per_budget_is_no_repetition():
    frame = pd.concat([sound().assign(step=step) for step in (1, 2)])
    frame["acc"] += frame["step"] / 100
    assert codes(frame, ROLES | {"budget": "step"}) == []
    assert codes(frame) == ["R04"]


def test_folds_hashes_and_phases():
    frame = sound()
    made = only(frame.rename(columns={"seed": "fold"}), ROLES | {"run": "fold", "folds": "fold"})
    assert (made.code, made.severity) == ("R18", "error")
    hashed = frame.assign(hash=frame["task"])
    assert codes(hashed, ROLES | {"eval_hash": "hash"}) == []
    hashed.loc[cell(frame) & (frame["task"] == "t4"), "hash"] = "other"
    made = only(hashed, ROLES | {"eval_hash": "hash"})
    assert (made.code, made.about) == ("R16", ("t4",))
    searched = frame.assign(phase=np.where(cell(frame), "search", "confirm"))
    made = only(searched, ROLES | {"phase": "phase"})
    assert (made.code, made.about) == ("R07", ("data=clean size=large",))
    assert made.sentence.startswith("24 rows are from the search phase, mixed")
    assert "all rows" in lint(frame.assign(phase="search"), ROLES | {"phase": "phase"})[0].sentence


def test_failures_that_differ_by_cell():
    frame = sound().assign(status="complete")
    roles = ROLES | {"status": "status"}
    assert codes(frame, roles) == []
    failed = frame["seed"] == 3
    frame.loc[failed, ["status", "acc"]] = ["failed", np.nan]
    assert codes(frame, roles) == []
    frame = frame[~(failed & cell(frame))]
    frame = pd.concat([frame, frame[cell(frame) & (frame["seed"] == 2)].assign(seed=3)], ignore_index=True)
    frame.loc[cell(frame) & (frame["seed"] == 3), "acc"] += 0.01
    made = lint(frame, roles)
    assert [one.code for one in made] == ["L02", "R06"]
    assert made[1].about[0] == "data=raw size=small (1 of 4)"


def test_a_cell_whose_runs_all_failed_has_none():
    frame = sound().assign(status="complete")
    frame.loc[cell(frame), ["status", "acc"]] = ["failed", np.nan]
    made = {one.code: one for one in lint(frame, ROLES | {"status": "status"})}
    assert set(made) == {"L02", "R06"}
    assert made["L02"].about == ("data=clean size=large (0)",)
    assert made["R06"].about == ("data=clean size=large (4 of 4)",)


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite(score):
    frame = sound()
    frame.loc[3, "acc"] = score
    made = only(frame)
    assert (made.code, made.severity, made.about) == ("L05", "error", ("data=raw size=small",))
    assert "1 scores" in made.sentence


def test_scales_and_per_cent():
    frame = sound()
    percent = frame.assign(acc=frame["acc"] * 100)
    made = only(percent)
    assert (made.code, made.severity, made.about) == ("L07", "note", ("acc",))
    mixed = frame.assign(acc=frame["acc"].where(~cell(frame), percent["acc"]))
    made = only(mixed)
    assert (made.code, made.about) == ("L06", ("acc (0 to 1 in 18 places, 0 to 100 in 6)",))
    losses = frame.assign(acc=frame["acc"] * np.where(frame["task"] == "t0", 0.9, 4))
    assert codes(losses) == []
    both = pd.concat([frame.assign(metric="acc"), percent.assign(metric="loss")])
    assert codes(both, ROLES | {"metric": "metric"}) == []


def test_domains_without_a_common_metric():
    frame = sound()
    roles = ROLES | {"metric": "metric"}
    mixed = frame.assign(metric=np.where(frame["task"] == "t5", "auc", "acc"))
    made = only(mixed, roles)
    assert (made.code, made.severity, made.about) == ("L09", "warning", ("acc (5)", "auc (1)"))
    assert codes(pd.concat([mixed, frame[frame["task"] == "t5"].assign(metric="acc")]), roles) == []
    whole = mixed.assign(task=mixed["task"].where(mixed["metric"] == "acc", "all"))  # costs of the whole run
    assert codes(whole, roles) == []


def test_constant_columns():
    frame = sound().assign(note="x", model=np.nan)
    made = only(frame)
    assert (made.code, made.severity, made.about) == ("L04", "note", ("note", "model"))
    made = lint(frame[["data", "size", "seed", "task", "acc"]].query("data == 'raw'"), ROLES)
    assert [(one.code, one.about) for one in made] == [("L03", ("data",))]


def test_errors_come_first_and_lists_are_cut():
    frame = sound(seeds=20)
    frame["acc"] = frame.groupby("task")["acc"].transform("first")
    frame["note"] = "x"
    made = lint(frame, ROLES)
    assert [one.severity for one in made] == sorted((one.severity for one in made), key=["error", "note"].index)
    many = pd.DataFrame({"arm": [f"a{i:02}" for i in range(30)], "seed": 0, "acc": np.linspace(0.1, 0.9, 30)})
    found = {one.code: one for one in lint(many, {"factors": ["arm"], "run": "seed", "value": "acc"})}
    assert len(found["R01"].about) == SHOWN
    assert found["R01"].count == 30
    assert str(found["R01"]).endswith("arm=a11, ...")
    assert str(Lint("L01", "nothing", "", "note")) == "L01 nothing"


def test_levels_that_are_missing_are_levels_of_their_own():
    frame = sound()
    frame["data"] = frame["data"].where(frame["data"] == "raw")
    assert codes(frame) == []


def test_wrong_roles_are_named():
    for roles, what in [
        ({"value": "acc"}, "no column is named as factors"),
        ({"factors": ["data"]}, "no column is named as value"),
        (ROLES | {"run": "sed"}, "did you mean 'seed'"),
        (ROLES | {"value": "task", "domain": "acc"}, "scores are not numbers"),
    ]:
        with pytest.raises(RecordsError, match=what):
            lint(sound(), roles)
    with pytest.raises(RecordsError, match="no rows"):
        lint(sound().iloc[:0], ROLES)


def test_every_check_stands_a_table_of_failures_alone():
    frame = sound().assign(status="failed", acc=np.nan, fold=0, hash="x", phase="confirm", tuned=1, step=1, metric="a")
    roles = ROLES | {"status": "status", "folds": "fold", "eval_hash": "hash", "phase": "phase", "hpo_trials": "tuned"}
    roster = enrol(frame, roles | {"budget": "step", "metric": "metric"})
    for check in CHECKS:
        if check.__name__ != "find_constant_columns":
            assert check(roster) == []


@pytest.mark.slow
def test_a_million_rows_in_two_seconds():
    frame = sound(domains=2500, seeds=100)
    assert len(frame) == 10**6
    start = time.process_time()
    assert lint(frame, ROLES) == ()
    assert time.process_time() - start < 2
