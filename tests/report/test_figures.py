"""Figures show the effects, are the same twice, and let no name become markup or mathematics."""

import re
import warnings
from xml.etree import ElementTree as ET

import pytest

import ablate as ab
from ablate.report import figures
from tests.report.studies import HOSTILE, make_effects, make_plan, make_records

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def study():
    records = make_records()
    return ab.attribute(records), records


def words(text: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ET.fromstring(text).iter(f"{SVG}text")]


def test_the_forest_draws_both_targets_and_the_margin(study):
    effects, records = study
    (axes,) = figures.forest(effects, records).axes
    wanted = effects.frame[effects.frame["family"].isin(["main", "interaction"])]
    markers = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    for target, marker in [("these_domains", "o"), ("new_domains", "D")]:
        drawn = [float(line.get_xdata()[0]) for line in markers if line.get_marker() == marker]
        assert drawn == list(wanted[wanted["target"] == target]["estimate"])
    reaches = {tuple(map(float, line.get_xdata())) for line in axes.lines if len(line.get_xdata()) == 2}
    assert set(zip(wanted["low"], wanted["high"], strict=True)) <= reaches
    styles = {line.get_linestyle() for line in axes.lines if tuple(map(float, line.get_xdata())) in reaches}
    assert {"-", "--"} <= styles  # told apart without colour
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((-0.01, 0.02))


def test_panels_are_filled_where_the_test_decides(study):
    effects, records = study
    panels = figures.domains(effects, records).axes
    frame = effects.frame[effects.frame["family"] == "domain"]
    markers = [line for axes in panels for line in axes.lines if line.get_marker() == "o"]
    assert [float(m.get_xdata()[0]) for m in markers] == list(frame["estimate"])
    filled = [m.get_markerfacecolor() == figures.PRIMARY for m in markers]
    assert filled == list(frame["verdict"].isin(["better", "worse", "equivalent"]))
    assert len(set(filled)) == 2


def test_without_domain_effects_there_are_no_panels():
    assert figures.domains(make_effects({})) is None


def test_a_refused_effect_has_its_code_and_no_marker():
    refused = make_effects({"refusal": "R02", "verdict": "refused"})
    (axes,) = figures.forest(refused).axes
    assert not [line for line in axes.lines if line.get_marker() == "o"]
    assert "R02" in [text.get_text() for text in axes.texts]


def test_a_noninferiority_question_has_its_own_margin():
    rows = make_effects(
        {"family": "noninferiority", "factor": "small enough", "margin": 0.02, "verdict": "non-inferior"}, {}
    )
    (axes,) = figures.forest(rows).axes
    assert [-0.02, -0.02] in [list(map(float, line.get_xdata())) for line in axes.lines]


@pytest.mark.slow
def test_svg_and_pdf_are_the_same_twice_and_carry_the_stamp(study):
    one, two = (figures.forest(*study) for _ in range(2))
    text = figures.svg(one, "stamp-1")
    assert text == figures.svg(two, "stamp-1")
    assert "stamp-1" in text
    pdfs = [figures.pdf(figures.forest(*study), "stamp-1") for _ in range(2)]
    assert pdfs[0] == pdfs[1]
    assert b"stamp-1" in pdfs[0]


def test_hostile_and_foreign_names_stay_text():
    records = make_records(make_plan({**HOSTILE, "size": ["漢字", "$x_1$"]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = figures.svg(figures.forest(ab.attribute(records), records), "s")
    said = words(text)
    assert any("onerror=document" in word for word in said)
    assert any("$x_1$" in word for word in said)
    inside = figures.inline(text)
    assert not re.search(r"<(script|img|iframe|foreignObject)\b", inside)
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", inside)
    assert figures.INK not in inside
    assert "var(--ink)" in inside
