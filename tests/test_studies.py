"""The committed studies: their tables follow from their records, and their READMEs from their tables."""

import subprocess
import sys
from pathlib import Path

import pytest

import ablate as ab
from ablate.courses import Course
from ablate.driving import is_finished
from ablate.report.reports import check_report

ROOT = Path(__file__).parents[1]
DECLARED = sorted(path.parent for path in ROOT.glob("studies/*/study.yaml"))
STUDIES = [path for path in DECLARED if (path / "plan.json").is_file()]
STATES = ("decided", "needs domains", "ended", "futile")
NOT_RUN = "This study has not been run yet."


@pytest.mark.parametrize("path", DECLARED, ids=lambda path: path.name)
def test_every_study_asks_and_predicts_before_it_tells(path):
    text = (path / "README.md").read_text(encoding="utf-8")
    question, prediction, verdict = (text.find(f"## {name}") for name in ("Question", "Prediction", "Verdict"))
    assert 0 <= question < prediction
    if path in STUDIES:
        assert prediction < verdict
    else:
        assert NOT_RUN in text[verdict:]
        assert verdict > prediction


@pytest.fixture(params=STUDIES, ids=lambda path: path.name)
def study(request):
    return request.param


def test_every_study_is_whole(study):
    for name in ("README.md", "study.yaml", "plan.json", "records.csv", "tables/effects.md", "figures/forest.svg"):
        assert (study / name).is_file(), name


def test_its_plan_is_complete_and_from_a_clean_commit(study):
    records = ab.load(study)
    assert is_finished(records, study)
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


def test_the_verdict_of_digits_fair_is_what_its_table_says():
    folder = ROOT / "studies" / "digits_fair"
    records = ab.load(folder)
    overall = ab.attribute(records).frame.query("domain == 'all'").set_index(["family", "factor", "level", "target"])
    new, these = "new_domains", "these_domains"

    def points(*key):
        return round(100 * overall.loc[key, "estimate"], 1)

    def verdict(*key):
        return overall.loc[key, "verdict"]

    assert (points("main", "data", "cleaned", new), verdict("main", "data", "cleaned", new)) == (5.1, "better")
    augmented = ("main", "data", "cleaned_augmented", new)
    assert (points(*augmented), verdict(*augmented)) == (5.3, "undecided")
    assert "needs domains: about 22 further ones" in overall.loc[augmented, "note"]
    domains = ab.attribute(records).frame.query("domain != 'all' and level == 'cleaned_augmented'").set_index("domain")
    assert list(domains.index[domains["verdict"] != "undecided"]) == ["rotation"]
    scattered = (100 * domains["estimate"].drop("rotation")).round(1)
    assert (scattered.min(), scattered.max(), round(100 * domains.loc["rotation", "estimate"], 1)) == (-7.4, 12.8, 17.3)
    smoothing = ("objective", "label_smoothing", new)
    assert (points("simple", *smoothing), verdict("simple", *smoothing)) == (6.7, "better")
    assert points("main", *smoothing) == 0.4
    assert [points("main", "size", size, new) for size in ("medium", "small")] == [-2.1, -2.7]
    assert {verdict("main", "size", size, new) for size in ("medium", "small")} == {"undecided"}
    assert verdict("main", "size", "small", these) == "worse"
    question = overall.loc["noninferiority"].reset_index().set_index("target")
    assert question["verdict"].to_dict() == {new: "not shown", these: "non-inferior"}
    assert records.complete.groupby("phase")["trial"].nunique().to_dict() == {"confirm": 222, "search": 288}
    last = Course.read(folder, records.plan).taken[-1].lines[1:]
    states = {state: sum(f": {state} at " in line for line in last) for state in STATES}
    assert states == {"decided": 11, "needs domains": 18, "ended": 1, "futile": 1}
