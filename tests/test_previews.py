"""Previews: tests are counted, gaps are refused unless acknowledged, power and cost are what formulas say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from ablate.commands import show_plan
from ablate.errors import PlanError
from ablate.expectations import Expectation
from ablate.plans import plan
from ablate.previews import describe, measure_cost, preview, require_estimable

FACTORS = {"data": ["raw", "clean", "more"], "loss": ["ce", "ls"], "size": ["s", "l"]}
SCREENED = {key: [0, 1] for key in "pqrs"}


def counted(made):
    return {c["family"]: (c["tests"], c["strata"], c["refused"]) for c in preview(made)["families"]}


def test_every_family_counts_its_tests_in_every_stratum():
    assert counted(plan(FACTORS)) == {
        "omnibus": (1, 1, 0), "main": (4, 1, 0), "simple": (11, 1, 0), "interaction": (5, 1, 0), "domain": (None, 1, 0),
    }  # fmt: skip
    strata = plan({**FACTORS, "place": ["lab", "field"]}, across=["place"])
    assert counted(strata)["main"] == (4, 2, 0)
    assert counted(plan(FACTORS, design="cumulative"))["step"] == (4, 1, 0)


def test_comparisons_are_counted_where_they_belong():
    question = {"cell": {"size": "s"}, "versus": {"size": "l"}, "margin": 0.1}
    inside = {
        "name": "lab",
        "cell": {"size": "s", "place": "lab"},
        "versus": {"size": "l", "place": "lab"},
        "margin": 0.1,
    }
    made = plan(
        {**FACTORS, "place": ["lab", "field"]},
        across=["place"],
        analysis={"comparisons": [{"name": "all", **question}, inside], "families": ["noninferiority"]},
    )
    asked = [(e["stratum"]["place"], e["factor"]) for e in preview(made)["effects"]]
    assert asked == [("lab", "all"), ("lab", "lab"), ("field", "all")]


def test_a_design_that_cannot_answer_is_refused_unless_that_is_acknowledged():
    gap = {"data": "more", "size": "l"}
    made = plan(FACTORS, exclude=[gap])
    with pytest.raises(PlanError) as caught:
        require_estimable(made)
    said = str(caught.value)
    assert "main: 3 cannot be estimated" in said
    assert "loss ls: the plan lacks data=more loss=ls size=l" in said
    assert "hydra.sweeper.acknowledge=[main,interaction]" in said
    require_estimable(plan(FACTORS, exclude=[gap], acknowledge=["main", "interaction"]))
    require_estimable(plan(FACTORS, exclude=[gap], analysis={"families": ["simple"]}))
    for design in ("full_factorial", "one_at_a_time", "leave_one_out", "cumulative"):
        require_estimable(plan(FACTORS, design=design))


def test_interactions_of_a_fraction_are_refused_with_their_chain():
    made = plan(SCREENED, design="fractional_factorial", analysis={"families": ["interaction"]})
    with pytest.raises(PlanError, match=r"(?s)interaction: 6 cannot be estimated.*aliased with r=1 × s=1"):
        require_estimable(made)
    assert preview(made)["aliases"]["chains"] == ["AB=CD", "AC=BD", "AD=BC"]
    lines = list(describe(preview(made)))
    assert lines[:2] == ["aliases:   A p, B q, C r, D s; resolution IV", "    AB=CD"]


def test_power_is_that_of_the_paired_t_test():
    """Blocked by seed on one domain, a main effect is a t test on S differences: the noncentral t gives its power."""
    made = plan({"data": ["a", "b"], "size": [1, 2]}, seeds=6, analysis={"families": ["main"]})
    found = preview(made, Expectation(0.5, effect=0.8))["effects"]
    se, df = 0.5 / 6**0.5, 5  # two cells on either side: variance 0.5² (4 / 4) / 6
    critical = stats.t.isf(0.05 / 2 / 2, df)  # two tests
    expected = stats.nct.sf(critical, df, 0.8 / se) + stats.nct.cdf(-critical, df, 0.8 / se)
    assert [e["power"] for e in found] == pytest.approx([expected] * 2, rel=1e-6)
    least = found[0]["smallest_effect"]
    at_least = stats.nct.sf(critical, df, least / se) + stats.nct.cdf(-critical, df, least / se)
    assert at_least == pytest.approx(0.8, rel=1e-5)


def test_the_margin_is_the_effect_unless_one_is_stated_and_some_have_no_power():
    made = plan(FACTORS, margin=0.3, analysis={"families": ["main"]})
    assert preview(made, Expectation(0.5)) == preview(made, Expectation(0.5, effect=0.3)) | {
        "expectation": preview(made, Expectation(0.5))["expectation"]
    }
    none = preview(plan(FACTORS, analysis={"families": ["main"]}), Expectation(0.5))["effects"][0]
    assert none["power"] is None
    assert none["smallest_effect"] > 0
    few = preview(plan(FACTORS, seeds=1, analysis={"families": ["main"]}), Expectation(0.5))["effects"][0]
    assert few["why"].startswith("no power: 1 runs")
    new = plan(FACTORS, domains=["x"], analysis={"families": ["main"], "target": "new_domains"})
    assert "fewer than 3 domain groups" in preview(new, Expectation(0.5))["effects"][0]["why"]


def test_pooled_variances_count_the_other_cells_and_no_worse_has_a_smallest_margin():
    question = {"name": "small", "cell": {"size": "s"}, "versus": {"size": "l"}, "margin": 2.0}
    asked = {"families": ["simple", "noninferiority"], "comparisons": [question]}
    welch = preview(plan(FACTORS, seeds=3, analysis=asked), Expectation(0.5, effect=1.0))["effects"]
    pooled = preview(plan(FACTORS, seeds=3, analysis={**asked, "variances": "pooled"}), Expectation(0.5, effect=1.0))
    assert pooled["effects"][0]["power"] > welch[0]["power"]
    assert welch[-1]["smallest_margin"] > 0
    assert 0.9 < welch[-1]["power"] <= 1


def measured(made, number, seconds=10.0, **metrics):
    rows = []
    for trial in made.trials[:number]:
        for metric, value in {"acc": 0.5, **metrics}.items():
            row = {"trial": trial.id, **{k: str(v) for k, v in trial.cell.items()}, "seconds": seconds}
            rows.append({**row, "metric": metric, "value": value})
    return pd.DataFrame(rows)


def test_cost_is_what_the_first_trials_took():
    made = plan(FACTORS, seeds=3)
    cost = measure_cost(made, measured(made, 5, energy_joule=7.0))
    assert (cost["measured"], cost["left"], cost["trials"]) == (5, 31, 36)
    assert cost["seconds_all"] == pytest.approx(360)
    assert cost["seconds_left"] == pytest.approx(310)
    assert cost["device_hours_all"] == pytest.approx(0.1)
    assert cost["energy"] == {"energy_joule": pytest.approx(7 * 36)}
    counted = measure_cost(made, measured(made, 5, train_energy_cpu_j=7.0, money_energy=1.0))["energy"]
    assert counted == {"train_energy_cpu_j": pytest.approx(7 * 36)}
    assert any(
        "energy_joule 252 for all trials" in line
        for line in describe(preview(made, records=measured(made, 1, energy_joule=7)))
    )


def test_a_measured_cell_costs_its_own_mean():
    made = plan({"size": ["s", "l"]}, seeds=2)
    frame = measured(made, 4).assign(seconds=lambda f: f["size"].map({"s": 1.0, "l": 100.0}))
    cost = measure_cost(plan({"size": ["s", "l", "xl"]}, seeds=10), frame)
    assert cost["seconds_all"] == pytest.approx(10 * 1 + 10 * 100 + 10 * 50.5)


def test_a_plan_is_printed_and_written_as_json_whole(tmp_path, capsys):
    made = plan(FACTORS, conditional={"loss": {"only": {"size": "l"}}})
    path = tmp_path / "preview.json"
    show_plan(made, tmp_path, {"expect": {"run_sd": 0.1, "effect": 0.2}, "json": str(path)}, ["torch", "parts"])
    printed = capsys.readouterr().out
    assert "–" in printed, "a factor that does not exist in a cell"
    assert "smallest effect" in printed
    assert "targets:   torch, parts" in printed
    show_plan(made, tmp_path, {"expect": {"run_sd": 0.1, "effect": 0.2}, "json": "-"}, ["torch", "parts"])
    values = json.loads(capsys.readouterr().out)
    assert values == json.loads(path.read_text())
    assert (values["trials"], len(values["cells"]), values["cells"][0]["baseline"]) == (45, 9, True)
    assert values["hash"] == made.hash


def test_a_plan_that_cannot_answer_is_printed_and_then_refused(tmp_path, capsys):
    made = plan(FACTORS, exclude=[{"data": "more", "size": "l"}])
    with pytest.raises(PlanError, match="cannot answer what the analysis asks"):
        show_plan(made, tmp_path)
    assert "family:    main, 4 tests; 3 cannot be estimated" in capsys.readouterr().out


@pytest.fixture
def app(tmp_path):
    """Somebody's app, with a cell left out: what it says and its exit status."""
    shutil.copytree(Path(__file__).parent / "foreign", tmp_path / "app")

    def run(*words):
        gap = "hydra.sweeper.exclude=[{model: deep, lr: 0.2}]"
        command = ["app.py", "-m", "hydra/sweeper=ablate", "model=shallow,deep", "lr=0.1,0.2", gap, *words]
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path / "app", capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout, done.stderr

    run.folder = tmp_path / "app"
    return run


@pytest.mark.slow
def test_a_study_with_gaps_is_refused_before_it_runs_and_planned_once_they_are_acknowledged(app):
    status, _, said = app()
    assert (status, "this design cannot answer what the analysis asks" in said) == (2, True)
    assert not (app.folder / "multirun").exists()
    known = "hydra.sweeper.acknowledge=[main,interaction]"
    status, printed, _ = app(
        known, "hydra.sweeper.dry_run=true", "hydra.sweeper.json='-'", "+hydra.sweeper.expect.run_sd=0.1"
    )
    values = json.loads(printed)
    assert (status, len(values["cells"]), values["excluded"]) == (0, 3, [{"model": "deep", "lr": 0.2}])
    assert {"app", "torch"} <= set(values["allowed"])
    assert [e["estimable"] for e in values["effects"] if e["family"] == "simple"] == [True, True]
    assert not (app.folder / "multirun").exists()
