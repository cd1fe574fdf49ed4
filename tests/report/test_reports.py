"""The written report: complete, self-contained, the same from the same records, and stale when it should be."""

import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import ablate as ab
from ablate.errors import StudyError
from ablate.records import Records
from ablate.report import figures, reports
from ablate.report.papers import Papers
from tests.report.studies import HOSTILE, make_plan, make_records, write_tuned_study


def write_study(folder: Path, records: Records) -> Path:
    folder.mkdir()
    records.plan.write(folder)
    records.write(folder / "records.csv")
    reports.write_report(records, folder)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("made") / "study", make_records(failed=1))


@pytest.fixture
def study(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "elsewhere"))


def test_it_writes_every_file_and_they_are_fresh_elsewhere_too(study):
    found = {p.relative_to(study).as_posix() for p in study.rglob("*") if p.is_file()}
    tables = [
        f"tables/{t}{s}"
        for t in ("effects", "domains", "cells", "costs", "accounting")
        for s in (".md", ".tex", ".csv", ".html")
    ]
    drawn = [f"figures/{name}{suffix}" for name in ("forest", "domains") for suffix in (".svg", ".pdf")]
    assert found == {"plan.json", "records.csv", "report.html", "tables/effects_full.csv", *tables, *drawn}
    assert reports.check_report(study) == []


def test_the_same_records_in_another_order_give_the_same_files(study, tmp_path):
    records = Records.read(study / "records.csv")
    parts = [rows for _, rows in records.frame.groupby("trial", sort=False)]
    random.Random(5).shuffle(parts)
    shuffled = Records(pd.concat(parts, ignore_index=True), records.plan)
    effects = ab.attribute(shuffled)
    for name, text in reports._table_files(effects, reports.make_tables(effects, shuffled, Papers())).items():
        assert (study / name).read_bytes() == text.encode(), name
    assert reports.make_stamp(effects, shuffled, Papers()) in (study / "figures/forest.svg").read_text()


def test_one_changed_digit_of_the_records_makes_all_stale(study):
    path = study / "records.csv"
    lines = path.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if ",accuracy,0.7" in line)
    lines[place] = lines[place].replace(",accuracy,0.7", ",accuracy,0.6")
    path.write_text("".join(lines))
    stale = {line.split(":")[0] for line in reports.check_report(study)}
    assert {
        "tables/effects.md",
        "tables/effects_full.csv",
        "tables/cells.csv",
        "figures/forest.svg",
        "report.html",
    } <= stale
    assert "tables/accounting.md" not in stale


@pytest.mark.parametrize("name", ["tables/domains.tex", "tables/effects_full.csv", "report.html"])
def test_a_changed_file_is_named_with_its_line(study, name):
    path = study / name
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    place = max(i for i, line in enumerate(lines) if re.search(r"0\.\d", line))
    lines[place] = re.sub(r"0(?=\.\d)", "9", lines[place])
    path.write_text("".join(lines), encoding="utf-8")
    if name == "report.html":  # lines are counted without the figures
        place -= "".join(lines).count("\n") - reports._SVG.sub("", "".join(lines)).count("\n")
    assert reports.check_report(study) == [
        f"{name}: stale, from line {place + 1} on it is not what plan and records give"
    ]


def test_missing_files_and_foreign_figures_are_named(study):
    (study / "tables/costs.md").unlink()
    (study / "report.html").unlink()
    other = make_records(make_plan(margin=0.02))
    effects = ab.attribute(other)
    stamp = reports.make_stamp(effects, other, Papers())
    (study / "figures/forest.svg").write_text(figures.svg(figures.forest(effects, other), stamp))
    found = reports.check_report(study)
    assert [line.split(",")[0] for line in found] == [
        "tables/costs.md: missing", "figures/forest.svg: stale", "report.html: missing"
    ]  # fmt: skip


def test_the_full_csv_holds_every_effect(study):
    records = Records.read(study / "records.csv")
    frame = ab.attribute(records).frame
    read = pd.read_csv(study / "tables/effects_full.csv", keep_default_na=False, na_values=[""])
    assert list(read.columns) == list(frame.columns)
    for column in ("estimate", "se", "low", "high", "p_adjusted"):
        pd.testing.assert_series_equal(read[column], frame[column], rtol=1e-9)
    assert [tuple(ids.split()) for ids in read["trials"]] == list(frame["trials"])


def test_the_page_loads_nothing_and_links_only_to_itself(study):
    page = (study / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|iframe|img|object|embed|base)\b", page)
    targets = re.findall(r'(?:href|src|srcset|data|action)="([^"]*)"', page)
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert not re.search(r"url\((?!#)|@import", page)
    anchors = re.findall(r'\bid="([^"]*)"', page)
    assert {t[1:] for t in targets if t != "#"} <= set(anchors)
    assert len([a for a in anchors if a.startswith("trial-")]) == 36
    for part in ("1 failed: ValueError: loss is nan", "We varied data", "R06", "confirmatory", "Run SD", "params"):
        assert part in page


def test_a_study_without_domains_is_reported(tmp_path):
    plan = make_plan({"data": ["raw", "clean"]}, domains=(), seeds=4)
    row = {"domain_group": "all", "domain": "all", "shift": "none", "metric": "accuracy"}
    values = {t.id: 0.8 + 0.013 * (i % 5) for i, t in enumerate(plan.trials)}
    outcomes = {i: {"status": "complete", "rows": [{**row, "value": value}]} for i, value in values.items()}
    folder = write_study(tmp_path / "study", Records.of(plan, outcomes))
    assert not (folder / "figures/domains.svg").exists()
    assert reports.check_report(folder) == []


def hostile_study(folder: Path) -> Path:
    name = "</title><script>document.title='pwned'</script>"
    plan = make_plan(HOSTILE, name=name, metric="<svg/onload=document.title='pwned'>")
    return write_study(folder, make_records(plan, failed=1))


@pytest.mark.slow
def test_hostile_names_are_escaped_everywhere(tmp_path):
    folder = hostile_study(tmp_path / "study")
    assert reports.check_report(folder) == []
    for path in [folder / "report.html", *folder.glob("tables/*.html"), *folder.glob("figures/*.svg")]:
        tags = set(re.findall(r"<([a-zA-Z]\w*)", path.read_text(encoding="utf-8")))
        assert not tags & {"script", "img", "b"}, path.name
        assert "onload=document" not in re.sub(r">[^<]*<", "><", path.read_text(encoding="utf-8")), path.name


@pytest.mark.browser
def test_no_name_executes_in_a_browser(tmp_path):
    folder = hostile_study(tmp_path / "study")
    page = (folder / "report.html").read_text(encoding="utf-8")
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert open_page != page
    (folder / "open.html").write_text(open_page, encoding="utf-8")  # the escaping must hold without the policy, too
    (folder / "control.html").write_text("<title>t</title><script>document.title='pwned'</script>", encoding="utf-8")
    assert "<title>pwned" in dump(folder / "control.html", tmp_path)
    for path in [folder / "report.html", folder / "open.html", *folder.glob("tables/*.html")]:
        dom = dump(path, tmp_path)
        assert "<title>pwned" not in dom, path.name
        assert "onerror=document.title" in dom, path.name  # it is there, as text


def dump(page: Path, home: Path) -> str:
    """The page's document after its scripts, if it has any, have run in Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "Chromium is not installed (Debian: chromium)"
    flags = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
             "--disable-component-update", "--no-sandbox", f"--user-data-dir={home / 'profile'}"]  # fmt: skip
    command = [browser, *flags, "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=True)
    return done.stdout


def test_the_plan_beside_the_records_is_what_is_checked(study):
    path = study / "plan.json"
    values = json.loads(path.read_text())
    values["margin"] = 0.5
    path.write_text(json.dumps(values))
    with pytest.raises(StudyError, match="edited"):
        reports.check_report(study)


@pytest.mark.slow
def test_the_report_of_a_tuned_study_is_fresh_and_stale_with_each_of_its_papers(tmp_path):
    folder = write_tuned_study(tmp_path / "tuned")
    reports.write_report(Records.read(folder / "records.csv"), folder)
    assert reports.check_report(folder) == []
    assert {"budgets.md", "tuning.md"} <= {path.name for path in (folder / "tables").iterdir()}
    assert (folder / "figures" / "tuning.svg").is_file()
    page = (folder / "report.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r' id="([^"]+)"', page))
    assert {link[1:] for link in re.findall(r'href="(#[^"]+)"', page)} <= anchors
    for words in ("Readings of test sets during tuning: 0.", "Every trial that tuned (8)", "What tuning selected"):
        assert words in page
    account = folder / "attempts.csv"
    account.write_text(account.read_text().replace(",search,", ",confirm,", 1))
    stale = reports.check_report(folder)
    assert any(line.startswith("report.html: stale") for line in stale)
    assert any(line.startswith("figures/forest.svg: stale") for line in stale)
