"""The committed studies: their tables follow from their records, and their READMEs from their tables."""

import subprocess
import sys
from pathlib import Path

import pytest

import ablate as ab
from ablate.report.reports import check_report

ROOT = Path(__file__).parents[1]
STUDIES = sorted(path.parent for path in ROOT.glob("studies/*/study.yaml"))


@pytest.fixture(params=STUDIES, ids=lambda path: path.name)
def study(request):
    return request.param


def test_every_study_is_whole(study):
    for name in ("README.md", "study.yaml", "plan.json", "records.csv", "tables/effects.md", "figures/forest.svg"):
        assert (study / name).is_file(), name


def test_its_plan_is_complete_and_from_a_clean_commit(study):
    records = ab.load(study)
    assert records.complete["trial"].nunique() == len(records.plan.trials)
    assert records.failures.empty
    assert records.plan.provenance["commit"]
    assert records.plan.provenance["dirty"] is False


def test_tables_figures_and_report_follow_from_the_records(study):
    assert check_report(study) == []


def test_readmes_show_the_tables_as_they_are():
    done = subprocess.run([sys.executable, str(ROOT / ".ci" / "embed.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_digits_shift_asks_what_it_says():
    plan = ab.Plan.read(ROOT / "studies" / "digits_shift")
    assert {f.key: len(f.levels) for f in plan.factors} == {"data": 3, "objective": 2, "size": 3}
    assert len(plan.seeds) == 5
    assert len(plan.domains) == 9
    assert sum(map(len, plan.domains.values())) == 25
    (question,) = plan.analysis.comparisons
    assert (dict(question.cell)["size"], dict(question.versus)["size"]) == ("small", "large")


def test_the_verdict_of_digits_shift_is_what_its_table_says():
    """Each claim of the README's verdict, looked up in the effects."""
    effects = ab.attribute(ab.load(ROOT / "studies" / "digits_shift")).frame
    overall = effects[effects["domain"] == "all"].set_index(["family", "factor", "level", "target"])

    def verdict(*key):
        return overall.loc[key, "verdict"]

    new, these = "new_domains", "these_domains"
    assert verdict("main", "data", "cleaned", new) == "better"
    assert verdict("main", "data", "cleaned_augmented", new) == "better"
    assert verdict("main", "objective", "label_smoothing", new) == "undecided"
    assert (verdict("main", "size", "small", these), verdict("main", "size", "small", new)) == ("worse", "undecided")
    estimates = overall.xs(new, level="target")["estimate"]
    assert [round(100 * estimates["main", "data", level], 1) for level in ("cleaned", "cleaned_augmented")] == [
        7.9,
        9.3,
    ]
    assert round(100 * estimates["main", "objective", "label_smoothing"], 1) == 0.7
    assert round(100 * estimates["main", "size", "small"], 1) == -3.3
    question = overall.loc["noninferiority"].xs(new, level="target").iloc[0]
    assert (question["verdict"], round(100 * question["estimate"], 1)) == ("non-inferior", 7.0)
    assert set(overall.loc["simple"]["verdict"]) == {"undecided"}
    domains = effects[effects["domain"] != "all"].set_index(["level", "domain"])
    cleaned, augmented = domains.loc["cleaned"], domains.loc["cleaned_augmented"]
    assert (cleaned["estimate"] > 0).all()
    assert set(cleaned.index[cleaned["verdict"] == "better"]) == {"noise", "stroke"}
    assert list(augmented.index[augmented["verdict"] == "better"]) == ["rotation"]
    assert augmented.loc["occlusion", "estimate"] < 0
    assert augmented["estimate"].idxmax() == "blur"
    assert cleaned.loc["clean", "verdict"] == augmented.loc["clean", "verdict"] == "undecided"
