"""Evaluation factors: one training run for all of their levels, a record for each; nothing twice, nothing lost."""

import json
import os
import random
import signal
from pathlib import Path

import pandas as pd
import pytest

import ablate as ab
from ablate.accounts import read_account
from ablate.carriers import find_carrier, list_carried, list_launches, share
from ablate.errors import PlanError, TrialError
from ablate.measurements import measurements
from ablate.runs import Runs

FACTORS = {"data": ["raw", "clean"], "inference": ["plain", "int8", "half"]}
DOMAINS = ("a", "b", "c")


def declare(**changes):
    options = {"seeds": 3, "metric": "accuracy", "name": "toy", "evaluation": ["inference"], **changes}
    return ab.plan(changes.pop("factors", FACTORS), **{k: v for k, v in options.items() if k != "factors"})


def task(trial):
    """One run per call: its own luck is shared by all levels; int8 costs .02 of accuracy and halves the latency."""
    luck = random.Random(f"{trial.cell['data']}/{trial.seed}").gauss(0.6 + 0.1 * (trial.cell["data"] == "clean"), 0.02)
    yield {"metric": "train_steps", "value": 100}
    for cell in trial.carries:
        level = cell["inference"]
        yield {"inference": level, "metric": "latency_ms", "value": 1 if level == "int8" else 2}
        for d in DOMAINS:
            noise = random.Random(f"{trial.cell}/{trial.seed}/{level}/{d}").gauss(0, 0.002)
            yield {
                "inference": level,
                "domain": d,
                "metric": "accuracy",
                "value": luck - 0.02 * (level == "int8") + noise,
            }


def killed_once(trial):
    if trial.seed == 1 and Path(str(trial.folder)).name == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return list(task(trial))


def failing(trial):
    assert "MENDED" in os.environ or (trial.cell["data"], trial.seed) != ("clean", 2), "planted"
    return list(task(trial))


def run(plan, function, folder, **options):
    return ab.run(plan, function, folder=folder, progress=False, **options)


def launched(folder):
    return read_account(folder).launches


def test_a_run_is_launched_once_and_every_level_has_its_record(tmp_path):
    plan = declare()
    records = run(plan, task, tmp_path)
    assert records.complete["trial"].nunique() == len(plan.trials) == 18
    assert len(launched(tmp_path)) == 6
    frame = records.frame.drop_duplicates("trial")
    own = frame[frame["carried_by"].isna()]
    assert set(own["inference"]) == {"plain"}
    assert own["seconds"].notna().all()
    rest = frame[frame["carried_by"].notna()]
    assert rest["seconds"].isna().all()
    by_id = own.set_index("trial")
    for row in rest.to_dict("records"):
        carrier = by_id.loc[row["carried_by"]]
        assert (carrier["data"], carrier["seed"], carrier["block"]) == (row["data"], row["seed"], row["block"])
    latency = records.frame[records.frame["metric"] == "latency_ms"].groupby("inference")["value"].unique()
    assert {level: list(values) for level, values in latency.items()} == {"plain": [2], "int8": [1], "half": [2]}
    assert (records.frame["metric"] == "train_steps").sum() == 18


def test_running_again_runs_nothing_also_from_the_table_alone(tmp_path):
    plan = declare()
    first = run(plan, task, tmp_path)
    pd.testing.assert_frame_equal(run(plan, pytest.fail, tmp_path).frame, first.frame)
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    pd.testing.assert_frame_equal(run(plan, pytest.fail, tmp_path).frame, first.frame)
    pd.testing.assert_frame_equal(ab.load(tmp_path).frame, first.frame)


@pytest.mark.slow
def test_a_killed_worker_costs_one_more_attempt_of_its_carrier(tmp_path):
    plan = declare()
    records = run(plan, killed_once, tmp_path, workers=1)
    assert records.complete["trial"].nunique() == 18
    counts = {t.id: len(Runs(tmp_path).attempts(t.id)) for t in plan.trials}
    carriers = {t.id: t for t in list_launches(plan, plan.trials)}
    assert counts == {i: (2 if carriers[i].seed == 1 else 1) if i in carriers else 0 for i in counts}


def test_a_failed_run_fails_in_all_of_its_cells_and_is_retried_once(tmp_path, monkeypatch):
    plan = declare()
    records = run(plan, failing, tmp_path)
    failed = records.failures
    assert failed["trial"].nunique() == 3
    assert set(failed["inference"]) == {"plain", "int8", "half"}
    monkeypatch.setenv("MENDED", "1")
    assert run(plan, failing, tmp_path).complete["trial"].nunique() == 18
    assert len(launched(tmp_path)) == 7


def test_the_ledger_books_what_was_carried(tmp_path):
    from ablate.ledger import Ledger

    plan = declare()
    run(plan, task, tmp_path)
    with Ledger(tmp_path, plan) as ledger:
        entries = ledger.study.get_trials()
    assert {e.user_attrs["trial"] for e in entries} == {t.id for t in plan.trials}
    assert len(entries) == 18
    means = {}
    for entry in entries:
        means.setdefault(entry.params["inference"], []).append(entry.value)
    assert sum(means["plain"]) / 6 - sum(means["int8"]) / 6 == pytest.approx(0.02, abs=0.002)


def test_a_lost_ledger_and_half_the_runs_launch_only_what_is_missing(tmp_path):
    plan = declare()
    run(plan, task, tmp_path)
    (tmp_path / "runs" / "ledger.journal").unlink()
    (tmp_path / "records.csv").unlink()
    gone = list_launches(plan, plan.trials)[2]
    (Runs(tmp_path).folder_of(gone.id, 1) / "record.json").write_text("{")
    assert run(plan, task, tmp_path).complete["trial"].nunique() == 18
    counts = {t.id: len(Runs(tmp_path).attempts(t.id)) for t in list_launches(plan, plan.trials)}
    assert counts == dict.fromkeys(counts, 1) | {gone.id: 2}


def test_cells_of_any_design_share_the_first_run_that_can_carry_them():
    plan = declare(design="one_at_a_time", seeds=1)
    assert [str(cell) for cell in plan.cells] == [
        "data=raw inference=plain",
        "data=clean inference=plain",
        "data=raw inference=int8",
        "data=raw inference=half",
    ]
    carried = {str(cell): len(list_carried(plan, cell)) for cell in plan.cells}
    assert list(carried.values()) == [3, 1, 0, 0]
    assert len(list_launches(plan, plan.trials)) == 2
    assert {find_carrier(plan, t).cell["inference"] for t in plan.trials} == {"plain"}


def test_a_plan_without_evaluation_factors_is_as_it_was():
    plain, other = declare(evaluation=[]), declare()
    assert list_launches(plain, plain.trials) == list(plain.trials)
    assert not any(t.carries for t in plain.trials)
    assert plain.hash != other.hash
    assert {t.id for t in plain.trials}.isdisjoint(t.id for t in other.trials)
    assert ab.Plan.from_dict(json.loads(json.dumps(other.to_dict()))) == other
    assert "carried_by" not in ab.Records.of(plain, {}).frame


def test_another_level_makes_other_runs():
    more = declare(factors={**FACTORS, "inference": ["plain", "int8"]})
    assert {t.id for t in more.trials}.isdisjoint(t.id for t in declare().trials)


def test_rows_about_the_whole_run_count_for_every_level():
    plan = declare(seeds=1)
    trial = plan.trials[0]
    cells = list_carried(plan, plan.carriers[trial.cell])
    rows = [{"metric": "params", "value": 3}]
    rows += [{"metric": "accuracy", "value": i, "inference": cell["inference"]} for i, cell in enumerate(cells)]
    made = measurements(rows, plan, "confirm", cells)
    for i, cell in enumerate(cells):
        assert [(r["metric"], r["value"]) for r in share({"rows": made}, cell, plan)["rows"]] == [
            ("params", 3),
            ("accuracy", i),
        ]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (0.5, "does not say of which level of 'inference'"),
        ([("plain", "accuracy"), ("int8", "accuracy")], "never logged in|never logged"),
        ([("plain", "accuracy"), ("int8", "accuracy"), ("half", "accuracy"), ("half", "accuracy")], "given twice"),
        (
            [("plain", "accuracy"), ("int8", "accuracy"), ("half", "accuracy"), ("int4", "loss")],
            "'int4' is not a level",
        ),
    ],
)
def test_a_result_that_leaves_a_level_out_is_refused(rows, what):
    plan = declare(seeds=1)
    cells = list_carried(plan, plan.cells[0])
    if isinstance(rows, list):
        rows = [{"inference": level, "metric": metric, "value": 1} for level, metric in rows]
    with pytest.raises((TrialError, PlanError), match=what):
        measurements(rows, plan, "confirm", cells)


def test_a_row_about_a_cell_that_the_design_lacks_is_refused():
    plan = declare(seeds=1, design="one_at_a_time")
    clean = next(cell for cell in plan.cells if cell["data"] == "clean")
    rows = [{"inference": level, "metric": "accuracy", "value": 1} for level in ("plain", "int8")]
    with pytest.raises(TrialError, match="not asked for"):
        measurements(rows, plan, "confirm", list_carried(plan, clean))


def test_a_factor_has_one_role():
    with pytest.raises(PlanError, match="two roles"):
        declare(across=["inference"])
    with pytest.raises(PlanError, match="inferense"):
        declare(evaluation=["inferense"])


def test_seeds_that_are_added_until_decided_are_granted_to_whole_runs(tmp_path):
    analysis = {"stopping": "sequential", "target": "these_domains", "families": ["main"], "variances": "welch"}
    plan = declare(seeds=3, max_seeds=6, analysis=analysis, domains=DOMAINS)
    records = run(plan, task, tmp_path)
    seeds = records.complete.groupby(["data", "inference"])["seed"].nunique().unstack()
    assert (seeds.nunique(axis=1) == 1).all()
    assert len(launched(tmp_path)) == seeds["plain"].sum()


def test_nuisances_are_tuned_once_per_training_run(tmp_path):
    def tuned(trial):
        if trial.phase == "search":
            return {"val_accuracy": -abs(trial.settings["lr"] - 0.3)}
        assert set(trial.settings) == {"lr"}
        return task(trial)

    plan = declare(tuning={"space": {"lr": {"low": 0.0, "high": 1.0}}, "trials": 3, "sampler": "random"})
    records = run(plan, tuned, tmp_path)
    assert len([launch for launch in launched(tmp_path) if launch.phase == "search"]) == 2 * 3
    confirmed = records.complete[records.complete["phase"] == "confirm"]
    assert confirmed["trial"].nunique() == 18
    assert set(confirmed["hpo_trials"]) == {3}
    pd.testing.assert_frame_equal(run(plan, pytest.fail, tmp_path).frame, records.frame)


def test_a_plan_says_how_many_runs_it_takes_and_prices_those_alone(tmp_path, capsys):
    from ablate.commands import show_plan
    from ablate.previews import measure_cost

    plan = declare()
    show_plan(plan, tmp_path, {}, ())
    printed = capsys.readouterr().out
    assert "trials:    18" in printed
    assert "6 training runs, each measured under the levels of inference" in printed
    assert "inference (evaluation)" in " ".join(printed.split())
    records = run(plan, task, tmp_path)
    cost = measure_cost(plan, records.complete)
    seconds = records.complete.drop_duplicates("trial")["seconds"]
    assert (cost["trials"], cost["measured"], cost["left"]) == (6, 6, 0)
    assert cost["seconds_all"] == pytest.approx(seconds.sum())


def _complaints(records, folder):
    from ablate.report.papers import read_papers
    from ablate.report.reckonings import breaches

    return list(breaches(records, read_papers(folder, records.plan)))


def test_the_account_and_the_records_agree_until_somebody_swaps_two_levels(tmp_path):
    plan = declare()
    records = run(plan, task, tmp_path)
    assert _complaints(records, tmp_path) == []
    frame = records.frame.copy()
    one = (frame["data"] == "raw") & (frame["seed"] == 1) & (frame["metric"] == "accuracy")
    plain, half = (frame.index[one & (frame["inference"] == level)] for level in ("plain", "half"))
    swapped = frame["value"].to_numpy().copy()
    swapped[plain], swapped[half] = swapped[half].copy(), swapped[plain].copy()
    (said,) = _complaints(ab.Records(frame.assign(value=swapped), plan), tmp_path)
    assert "1 trial with other scores than were measured" in said


@pytest.mark.slow
def test_the_report_of_a_study_with_evaluation_factors_is_written_and_fresh(tmp_path):
    from ablate.commands import finish_study
    from ablate.report.reports import check_report

    factors = {"data": ["raw", "clean"], "inference": ["plain", "int8"]}
    analysis = {"families": ["main", "cost"], "costs": ["latency_ms"]}
    plan = declare(factors=factors, seeds=5, domains=DOMAINS, analysis=analysis)
    records = run(plan, task, tmp_path)
    finish_study(records, tmp_path)
    assert check_report(tmp_path) == []
    assert _complaints(records, tmp_path) == []
    effects = ab.attribute(records).select(target="these_domains", domain="all").frame
    main = effects[effects["family"] == "main"].set_index("factor")
    assert main["estimate"].to_dict() == pytest.approx({"data": 0.1, "inference": -0.02}, abs=0.02)
    assert main["se"]["inference"] < 0.2 * main["se"]["data"]
    ratios = effects[(effects["family"] == "cost") & effects["factor"].str.contains("inference", regex=False)]
    assert 0.5 in set(ratios["estimate"].round(6))
