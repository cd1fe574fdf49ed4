"""Nuisances are tuned in every cell on one budget, reproducibly, and what is selected is what was best."""

import json
import math

import pytest

import ablate as ab
from ablate import tuners
from ablate.errors import StudyError
from ablate.factors import Cell
from ablate.runs import Runs
from ablate.searches import Search
from ablate.tuners import Tuner
from ablate.tunings import Selection
from tests.tunable import BEST, broken_hill, hill, killed_hill, make_plan, slow_hill, stepped_hill, two_hills

RAW, CLEAN = Cell({"data": "raw"}), Cell({"data": "clean"})


def run(plan, folder, task=hill, **options):
    return ab.run(plan, task, folder=folder, progress=False, **options)


def proposals(plan, folder):
    """Cell and proposal -> settings, of every tuning trial on disk."""
    found = {}
    for trial in plan.search_trials():
        record = Runs(folder).outcome(trial.id)
        if record:
            found[str(trial.cell), trial.proposal] = record["settings"]
    return found


@pytest.mark.parametrize(
    ("sampler", "trials", "within"),
    [("tpe", 16, 0.6), ("qmc", 16, 0.35), pytest.param("random", 16, 0.8, marks=pytest.mark.slow)],
)
def test_every_sampler_finds_the_best_region_of_each_cell(tmp_path, sampler, trials, within):
    plan = make_plan(trials, sampler=sampler)
    run(plan, tmp_path)
    for choice in Selection.read(tmp_path, plan).choices:
        assert abs(math.log10(choice.settings["lr"]) - BEST[choice.cell["data"]]) < within
        assert (choice.proposals, choice.runs, choice.hpo_trials, choice.resource) == (trials,) * 4


@pytest.mark.slow  # its sampler loads torch
def test_a_gaussian_process_finds_the_best_region(tmp_path):
    plan = make_plan(14, sampler="gp")
    run(plan, tmp_path)
    for choice in Selection.read(tmp_path, plan).choices:
        assert abs(math.log10(choice.settings["lr"]) - BEST[choice.cell["data"]]) < 0.1


def test_records_tell_budget_phase_and_settings(tmp_path):
    plan = make_plan(4, seeds=2)
    frame = run(plan, tmp_path).frame
    search, confirm = frame[frame["phase"] == "search"], frame[frame["phase"] == "confirm"]
    assert search.groupby("data")["trial"].nunique().tolist() == [8, 8]
    assert set(search["seed"]) == {2**31, 2**31 + 1}
    assert not {*search["seed"]} & {*confirm["seed"]}
    assert set(search["metric"]) == {"val_accuracy"}
    assert confirm["hpo_trials"].tolist() == [4] * 4
    for (data, rate), rows in confirm.groupby(["data", "lr"]):
        own = search[search["data"] == data]
        values = own.groupby("lr")["value"].mean()
        assert values.idxmax() == rate
        assert len(rows) == len(plan.seeds)


def test_a_best_proposal_is_best_in_the_mean_over_tuning_seeds(tmp_path):
    plan = make_plan(5, seeds=3, sampler="qmc")

    def task(trial):
        if trial.phase == "confirm":
            return 0.5
        return {"val_accuracy": 10.0 if trial.proposal == 1 and trial.seed == 2**31 else 4.0 * (trial.proposal == 3)}

    run(plan, tmp_path, task)
    choice = Selection.read(tmp_path, plan).of(RAW)
    assert (choice.proposal, choice.values) == (3, (4.0,))


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("qmc", marks=pytest.mark.slow)])
def test_proposals_do_not_depend_on_workers_time_or_interruption(tmp_path, sampler):
    plan = make_plan(12 if sampler == "tpe" else 5, sampler=sampler)
    run(plan, tmp_path / "alone")
    run(plan, tmp_path / "pool", slow_hill, workers=2)
    calls = 0

    def interrupted(trial):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return hill(trial)

    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "halves", interrupted)
    (tmp_path / "halves" / "runs" / "ledger.journal").unlink()
    assert not (tmp_path / "halves" / "tuning.json").exists()
    run(plan, tmp_path / "halves", interrupted)
    expected = proposals(plan, tmp_path / "alone")
    assert len({settings["lr"] for settings in expected.values()}) == len(expected)
    for folder in (tmp_path / "pool", tmp_path / "halves"):
        assert proposals(plan, folder) == expected
        assert (folder / "tuning.json").read_text() == (tmp_path / "alone" / "tuning.json").read_text()


@pytest.mark.slow
def test_rounds_of_several_proposals_do_not_depend_on_who_is_first(tmp_path):
    plan = make_plan(14, parallel=4)
    run(plan, tmp_path / "alone")
    run(plan, tmp_path / "pool", slow_hill, workers=3)
    assert proposals(plan, tmp_path / "pool") == proposals(plan, tmp_path / "alone")


def test_a_search_goes_on_from_the_table_of_records_alone(tmp_path):
    plan = make_plan(12)
    records = run(plan, tmp_path)
    (tmp_path / "other" / "runs").mkdir(parents=True)
    tuner = Tuner(tmp_path / "other", plan, ab.Records.read(tmp_path / "records.csv").outcomes())
    assert (tuner.left, tuner.total) == (0, 24)
    assert tuner.claim() is None
    assert tuner.select() == Selection.read(tmp_path, plan)
    assert len(records) == 28


def test_a_lost_tuning_trial_is_launched_again_with_the_same_settings(tmp_path):
    plan = make_plan(3)
    run(plan, tmp_path / "pool", killed_hill, workers=1)
    run(plan, tmp_path / "alone")
    assert proposals(plan, tmp_path / "pool") == proposals(plan, tmp_path / "alone")
    again = next(t for t in plan.search_trials() if t.proposal == 1)
    assert [a["status"] for a in Runs(tmp_path / "pool").attempts(again.id)] == ["lost", "complete"]


def test_tuning_that_lost_trials_for_good_is_not_selected_from(tmp_path):
    plan = make_plan(3)
    with pytest.raises(StudyError, match=r"(?s)tuning has not ended in 2 cells: data=raw; data=clean.*same command"):
        run(plan, tmp_path, killed_hill, workers=1, retries=0)
    run(plan, tmp_path, killed_hill, workers=1)
    assert Selection.read(tmp_path, plan).of(RAW).runs == 3


def test_failed_and_diverged_proposals_count_and_are_never_selected(tmp_path):
    plan = make_plan(7)
    records = run(plan, tmp_path, broken_hill)
    for choice in Selection.read(tmp_path, plan).choices:
        assert choice.proposal % 3 == 0
        assert (choice.runs, choice.failed, choice.hpo_trials) == (7, 4, 7)
    search = records.frame[records.frame["phase"] == "search"]
    assert search["status"].value_counts().to_dict() == {"complete": 6, "failed": 4, "diverged": 4}


def test_a_cell_without_a_single_value_is_named_with_the_reasons(tmp_path):
    def task(trial):
        if trial.cell["data"] == "clean":
            raise ValueError("no such column")
        return hill(trial)

    with pytest.raises(StudyError, match=r"(?s)no proposal of cell data=clean has a value: ValueError: no such column"):
        run(make_plan(3), tmp_path, task)
    assert not (tmp_path / "tuning.json").exists()


def test_a_task_without_the_objective_fails_with_what_it_gave(tmp_path):
    with pytest.raises(StudyError, match=r"objective 'val_accuracy' was never logged"):
        run(make_plan(2), tmp_path, lambda trial: {"val_loss": 1.0})
    record = Runs(tmp_path).outcome(next(make_plan(2).search_trials()).id)
    assert "allowed: val_loss" in record["traceback"]


def test_inherited_settings_are_the_baselines_and_cost_its_search_alone(tmp_path):
    plan = make_plan(8, scope="inherited")
    records = run(plan, tmp_path)
    raw, clean = (Selection.read(tmp_path, plan).of(cell) for cell in (RAW, CLEAN))
    assert (clean.settings, clean.tuned_in, clean.hpo_trials) == (raw.settings, RAW, 8)
    frame = records.frame
    assert set(frame["data"][frame["phase"] == "search"]) == {"raw"}
    assert frame["hpo_trials"][frame["phase"] == "confirm"].tolist() == [8] * 4


def test_fixed_settings_are_the_declared_ones_and_nothing_is_searched(tmp_path):
    plan = make_plan(scope="fixed", setting={"lr": 0.01})
    frame = run(plan, tmp_path).frame
    assert set(frame["phase"]) == {"confirm"}
    assert frame[["lr", "hpo_trials"]].drop_duplicates().to_numpy().tolist() == [[0.01, 0]]


def test_whole_numbers_and_several_nuisances_stay_within_their_ranges(tmp_path):
    space = {
        "width": {"low": 2, "high": 4, "integer": True},
        "depth": {"low": 1, "high": 64, "log": True, "integer": True},
        "decay": {"low": 0, "high": 1},
    }
    for sampler in ("random", "qmc"):
        plan = make_plan(12, space=space, sampler=sampler)
        run(plan, tmp_path / sampler, lambda trial: {"val_accuracy" if trial.phase == "search" else "accuracy": 1.0})
        found = proposals(plan, tmp_path / sampler).values()
        assert {type(s["width"]) for s in found} == {type(s["depth"]) for s in found} == {int}
        assert {s["width"] for s in found} == {2, 3, 4}
        assert all(1 <= s["depth"] <= 64 and 0 <= s["decay"] <= 1 for s in found)
        assert sum(s["depth"] <= 8 for s in found) >= 6  # half of a logarithmic range


def test_sobol_points_fill_the_range_evenly_and_differ_between_cells(tmp_path):
    plan = make_plan(8, sampler="qmc")
    run(plan, tmp_path)
    for cell in ("data=raw", "data=clean"):
        rates = [s["lr"] for (name, _), s in proposals(plan, tmp_path).items() if name == cell]
        assert sorted(int((math.log10(rate) + 5) / 5 * 8) for rate in rates) == list(range(8))
    assert len({s["lr"] for s in proposals(plan, tmp_path).values()}) == 16


# --- several objectives ----------------------------------------------------------------------------------------------

BOTH = [{"metric": "val_accuracy"}, {"metric": "latency", "direction": "minimize"}]


def two(trial):
    found = two_hills(trial)
    return found if trial.phase == "search" else {"accuracy": found["accuracy"]}


def test_the_second_objective_decides_within_the_tolerance_of_the_first(tmp_path):
    plan = make_plan(16, objectives=BOTH, tolerance=0.05, sampler="qmc")
    frame = run(plan, tmp_path, two).frame
    search = frame[(frame["phase"] == "search") & (frame["data"] == "raw")]
    wide = search.pivot(index="proposal", columns="metric", values="value")
    near = wide[wide["val_accuracy"] >= wide["val_accuracy"].max() - 0.05]
    choice = Selection.read(tmp_path, plan).of(RAW)
    assert choice.proposal == near["latency"].idxmin() != wide["val_accuracy"].idxmax()
    assert choice.values == tuple(wide.loc[choice.proposal, ["val_accuracy", "latency"]])
    beaten = [
        any((a != b).any() and a["val_accuracy"] >= b["val_accuracy"] and a["latency"] <= b["latency"]
            for _, a in wide.iterrows())
        for _, b in wide.iterrows()
    ]  # fmt: skip
    assert list(choice.front) == [n for n, lost in zip(wide.index, beaten, strict=True) if not lost]


def test_tpe_weighs_several_objectives(tmp_path):
    plan = make_plan(12, objectives=BOTH)
    run(plan, tmp_path, two)
    assert Selection.read(tmp_path, plan).of(CLEAN).proposals == 12


# --- pruners ---------------------------------------------------------------------------------------------------------


def simulate(plan, folder, most_steps=6):
    """Play the tuning of a plan through its searches, one value at a time, and give the tuner with what was run."""
    folder.mkdir(exist_ok=True)
    (folder / "runs").mkdir(exist_ok=True)
    tuner = Tuner(folder, plan, {})
    runs = []
    while trial := tuner.claim():
        search, values, status = tuner._searches[trial.cell], [], "complete"
        value = hill(trial)["val_accuracy"]
        for step in range(1, most_steps + 1):
            values.append([step, value - 1 / step])
            if plan.tuning.pruner != "wilcoxon" and search.follow(trial.proposal, values):
                status = "pruned"
                break
        rows = [{"metric": "val_accuracy", "value": value}] if status == "complete" else []
        record = {"status": status, "settings": trial.settings, "values": values, "rows": rows}
        runs.append((trial, record))
        tuner.tell(trial, record)
    return tuner, runs


@pytest.mark.parametrize(("pruner", "seeds"), [("median", 1), ("hyperband", 1), ("wilcoxon", 6)])
def test_what_a_pruner_saves_buys_proposals_until_the_budget_is_spent(tmp_path, pruner, seeds):
    plan = make_plan(8, pruner=pruner, seeds=seeds, sampler="random")
    tuner, runs = simulate(plan, tmp_path)
    selection = tuner.select()
    for choice in selection.choices:
        own = [(t, r) for t, r in runs if t.cell == choice.cell]
        spent = len(own) / 6 if pruner == "wilcoxon" else sum(len(r["values"]) for _, r in own) / 6
        assert choice.resource == pytest.approx(spent)
        assert 8 <= choice.resource < 9
        assert choice.pruned > 0
        assert choice.proposals > 8
        assert choice.hpo_trials == 8
    assert not selection.unequal
    assert tuner.done


@pytest.mark.parametrize("pruner", ["median", pytest.param("hyperband", marks=pytest.mark.slow)])
def test_a_search_with_a_pruner_is_brought_back_from_its_records(tmp_path, pruner):
    plan = make_plan(7, pruner=pruner)
    tuner, runs = simulate(plan, tmp_path)
    again = Tuner(tmp_path, plan, {trial.id: record for trial, record in runs})
    assert again.claim() is None
    assert again.select() == tuner.select()
    half = Tuner(tmp_path, plan, {trial.id: record for trial, record in runs[: len(runs) // 2]})
    following = half.claim()
    assert (following, following.settings) == (runs[len(runs) // 2][0], runs[len(runs) // 2][0].settings)


def test_a_cell_that_cannot_spend_its_budget_has_a_smaller_one_of_its_own(tmp_path, monkeypatch):
    plan = make_plan(4, pruner="median", sampler="random")
    (tmp_path / "runs").mkdir()
    tuner = Tuner(tmp_path, plan, {})
    while trial := tuner.claim():
        thrifty = trial.cell == CLEAN and trial.proposal > 0
        record = {"status": "pruned" if thrifty else "complete", "settings": trial.settings, "reason": "stopped"}
        steps = 1 if thrifty else 10
        tuner.tell(trial, {**record, "values": [[steps, 0.0]], "rows": [{"metric": "val_accuracy", "value": 1.0}]})
    raw, clean = tuner.select().choices
    assert (raw.proposals, raw.resource, raw.hpo_trials) == (4, 4.0, 4)
    assert (clean.proposals, clean.resource, clean.hpo_trials) == (16, 2.5, 2)
    assert tuner.select().unequal == (CLEAN,)


def test_a_running_trial_is_watched_and_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(tuners, "POLL", 0.001)
    plan = make_plan(9, pruner="median", sampler="random")
    records = run(plan, tmp_path, stepped_hill)
    search = records.frame[records.frame["phase"] == "search"]
    stopped = search["trial"][search["status"] == "pruned"].nunique()
    choices = Selection.read(tmp_path, plan).choices
    assert stopped == sum(choice.pruned for choice in choices) > 0
    assert all(9 <= choice.resource < 10 for choice in choices)


def test_a_pruner_that_is_told_nothing_is_refused_at_the_first_trial(tmp_path):
    with pytest.raises(StudyError, match=r"(?s)'median' can stop nothing.*trial\.report"):
        run(make_plan(3, pruner="median"), tmp_path)
    assert len(proposals(make_plan(3, pruner="median"), tmp_path)) == 1


def test_trouble_of_the_watcher_is_raised_in_the_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(tuners, "POLL", 0.001)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(Search, "follow", fail)
    with pytest.raises(OSError, match="disk full"):
        run(make_plan(3, pruner="median"), tmp_path, stepped_hill)


# --- the frozen selection --------------------------------------------------------------------------------------------


def test_a_selection_reads_as_it_was_written_and_not_as_it_was_edited(tmp_path):
    plan = make_plan(3)
    run(plan, tmp_path)
    selection = Selection.read(tmp_path, plan)
    path = tmp_path / "tuning.json"
    text = path.read_text()
    selection.write(tmp_path)
    assert path.read_text() == text
    values = json.loads(text)
    values["choices"][0]["settings"]["lr"] = 0.5
    path.write_text(json.dumps(values))
    with pytest.raises(StudyError, match=r"(?s)edited after it was frozen.*tuning\.json.*delete it"):
        run(plan, tmp_path)
    path.write_text(text[:50])
    with pytest.raises(StudyError, match="the selection cannot be read"):
        Selection.read(tmp_path, plan)
    path.write_text(text)
    with pytest.raises(StudyError, match="the selection is of another search"):
        Selection.read(tmp_path, make_plan(4))
    assert Selection.read(tmp_path / "elsewhere", plan) is None
