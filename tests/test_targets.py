"""What a study would build is checked before anything is imported, and the override that brought it in is named."""

import sys
from pathlib import Path

import pytest

from ablate.errors import PlanError
from ablate.factors import Cell
from ablate.targets import ALLOWED, check_targets, find_targets, modules_in
from tests.test_sweeps import read

CELLS = [Cell({"model": "a", "size": 1}), Cell({"model": "b", "size": 1}), Cell({"model": "b", "size": 2})]
WORDS = {cell: [f"model={cell['model']}", f"size={cell['size']}"] for cell in CELLS}


def test_targets_are_found_wherever_they_stand():
    values = {"_target_": "a.A", "x": {"list": [1, {"_target_": "b.B", "y": {"_target_": "c.C"}}]}}
    assert find_targets(values) == {"": "a.A", "x.list.1": "b.B", "x.list.1.y": "c.C"}


def check(targets, allowed=ALLOWED, search=()):
    configs = [{"model": {"_target_": target}} for target in targets]
    return check_targets(CELLS, configs, WORDS, allowed, search)


def test_allowed_packages_pass_without_being_imported():
    before = set(sys.modules)
    check(["torch.nn.Linear", "lightning.pytorch.Trainer", "torchmetrics.Accuracy"])
    check(["fractions.Fraction"] * 3, (*ALLOWED, "fractions"))
    check(["xml.sax.handler.ContentHandler"] * 3, (*ALLOWED, "xml.sax"))
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & {"torch", "lightning", "torchmetrics"}
    assert "xml.sax.handler" not in set(sys.modules) - before


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["ablate.A", "os.system", "os.system"], r"(?s)model\._target_ = os\.system: not in an allowed.*from model=b"),
        (["ablate.A", "ablate.A", "os.system"], r"\(from size=2\)"),
        (["os.system", "ablate.A", "os.system"], r"in 2 cells, first model=a size=1"),
        (["os.system"] * 3, "in every cell"),
        (["torchy.nn.Linear"] * 3, "(?s)not in an allowed package.*allowed: ablate, lightning, torch, torchmetrics"),
        (["${which}.x"] * 3, "an interpolation"),
    ],
)
def test_a_target_that_is_not_allowed_is_named_with_what_brought_it_in(targets, message):
    with pytest.raises(PlanError, match=message):
        check(targets)


def test_the_studys_own_modules_are_read_and_not_run(tmp_path):
    (tmp_path / "parts.py").write_text(
        "raise SystemExit('was run')\nclass Net: pass\nfrom x import y as Other\nLoss = 1\n"
    )
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "not-a-name.py").write_text("")
    assert modules_in(tmp_path) == ["pack", "parts"]
    own = (*ALLOWED, *modules_in(tmp_path))
    for name in ("Net", "Other", "Loss"):
        check([f"parts.{name}"] * 3, own, [tmp_path])
    check(["pack.anything"] * 3, own, [tmp_path])
    with pytest.raises(PlanError, match=r"parts\.py defines no 'Nte'"):
        check(["parts.Nte"] * 3, own, [tmp_path])
    with pytest.raises(PlanError, match="there is no module 'no_such_package'"):
        check(["no_such_package.Net"] * 3, (*own, "no_such_package"), [tmp_path])
    (tmp_path / "parts.py").write_text("from somewhere import *")
    check(["parts.Anything"] * 3, own, [tmp_path])


@pytest.fixture
def conf(tmp_path):
    """An app with a part that is nobody's, under one option."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "ours.yaml").write_text("_target_: torch.nn.Linear")
    (tmp_path / "model" / "theirs.yaml").write_text("_target_: fractions.Fraction")
    (tmp_path / "app.yaml").write_text("defaults: [{model: ours}, _self_]\nseed: 0\nlr: 0.1\n")
    return tmp_path


def test_a_study_is_refused_with_the_override_and_let_through_when_its_package_is_allowed(conf):
    with pytest.raises(PlanError, match=r"(?s)model\._target_ = fractions\.Fraction.*from model=theirs.*nothing was"):
        read("model=ours,theirs", "lr=1,2", conf=conf)
    with pytest.raises(PlanError, match=r"from model=theirs, in every cell"):
        read("model=theirs", "lr=1,2", conf=conf)
    study = read("model=ours,theirs", "lr=1,2", settings=["allow=[fractions]"], conf=conf)
    assert {*ALLOWED, "fractions", Path(__file__).stem} <= set(study.allowed), "and what stands beside the app"
