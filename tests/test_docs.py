"""The pages of docs: every example runs, every analysis is valid, tables are what the code and simulations say."""

import re
import runpy
from pathlib import Path
from typing import get_args

import pytest
import yaml

from ablate.analyses import Analysis, Family
from ablate.stats.families import ANSWERS

DOCS = Path(__file__).parents[1] / "docs"
METHODS = sorted((DOCS / "methods").glob("*.md"))
PAGES = [*sorted(DOCS.glob("*.md")), *METHODS]


def name(path):
    return path.stem


def read_blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_script(file, *arguments):
    return runpy.run_path(str(DOCS / file))["main"](arguments)


@pytest.fixture(scope="module")
def preamble():
    """What the first block of the index makes, for every page alike."""
    names = {}
    exec(compile("".join(read_blocks(DOCS / "README.md", "python")), "README.md", "exec"), names)
    return names


@pytest.mark.parametrize("path", METHODS, ids=name)
def test_examples_run(path, preamble):
    code = read_blocks(path, "python")
    assert code, "a page shows how to ask"
    names = dict(preamble)
    for block in code:
        exec(compile(block, path.name, "exec"), names)


@pytest.mark.parametrize("path", METHODS, ids=name)
def test_analyses_are_valid(path):
    for block in read_blocks(path, "yaml"):
        values = yaml.safe_load(block)
        assert list(values) == ["analysis"]
        Analysis.from_dict(values["analysis"])


def test_every_family_and_every_setting_has_its_place():
    text = "".join(path.read_text(encoding="utf-8") for path in METHODS)
    shown = [yaml.safe_load(block)["analysis"] for path in METHODS for block in read_blocks(path, "yaml")]
    asked = {family for values in shown for family in values.get("families", [])}
    assert asked <= set(get_args(Family))
    for family in ANSWERS:
        assert f"`{family}`" in text or family in asked, f"no page tells of the family {family}"
    for setting in Analysis.__dataclass_fields__:
        assert re.search(rf"\b{setting}\b", text), f"no page tells of analysis.{setting}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_refusals_are_those_of_the_code(capsys):
    assert run_script("refusals.py", "--check") == 0, capsys.readouterr().out
