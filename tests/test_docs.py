"""The pages of docs: every example runs, every analysis is valid, tables are what the code and simulations say."""

import re
import runpy
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from ablate.analyses import Analysis, Family
from ablate.stats.families import ANSWERS
from ablate.stats.summaries import pool

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


# --- coverage ---------------------------------------------------------------------------------------------------------

coverage = runpy.run_path(str(DOCS / "coverage.py"))
PRACTISED = coverage["PRACTISED"]


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(DOCS / "coverage.csv")


def cautious(setting):
    """Three blocks in which nothing varies: wider than promised, for the sake of families' far tails."""
    blocked = setting.method == "E1 in seed blocks" and setting.target == "new_domains"
    return blocked and (setting.seeds, setting.tau, setting.run_sd) == (3, 0, 0)


def test_our_intervals_cover_as_promised(table):
    ours = table[table["method"].str.startswith("E1") & (table["tails"] == "normal")]
    assert len(ours) == 24 * 5 + 6 * 3
    for row in ours.itertuples():
        low, high = coverage["GATES"][row.target]
        assert low <= row.share <= (0.995 if cautious(row) else high), row
        assert row.replicates >= 20_000


def test_incomplete_runs_are_covered_as_promised(table):
    mixed = table[table["method"].str.startswith("E3")]
    assert len(mixed) == 15 * 2
    for row in mixed.itertuples():
        (low, high), error = coverage["GATES"][row.target], (0.95 * 0.05 / row.judged) ** 0.5
        assert low - 3 * error <= row.share <= high + 3 * error, row
        assert row.replicates >= 2000
        refused = 2 * row.domains * row.missing**row.seeds  # a cell without score on some domain
        assert row.judged >= (1 - 1.5 * refused) * row.replicates


def test_families_err_as_promised(table):
    errors = table[table["kind"] == "family-wise error"]
    assert len(errors) == 30 * 5
    for row in errors.itertuples():
        assert row.share <= 0.055, row


def test_common_practice_is_judged_by_what_it_computes():
    """The closed forms against another spelling: a meta-analysis, and a bootstrap that resamples one run at a time."""
    rng = np.random.default_rng(0)
    scores = coverage["draw"](rng, 3, coverage["Setting"](5, 6, 1, 0.7)).scores
    low, high = coverage["pool_effects"](scores, rng)
    for i, (old, new) in enumerate(scores):
        se = np.sqrt((old.var(0, ddof=1) + new.var(0, ddof=1)) / 5)
        assert (low[i], high[i]) == pytest.approx(pool((new - old).mean(0), se, method="DL", test="z").interval)
    low, high = coverage["resample_runs"](scores, rng)
    for i, (old, new) in enumerate(scores):
        pick = rng.integers(0, 5, (2, 4000, 5, 6))
        means = new[pick[0], np.arange(6)].mean((1, 2)) - old[pick[1], np.arange(6)].mean((1, 2))
        width = high[i] - low[i]
        assert (low[i], high[i]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.1 * width)


@pytest.mark.slow
def test_random_intercepts_are_those_of_a_fitted_model():
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(0)
    scores = coverage["draw"](rng, 1, coverage["Setting"](5, 6, 1, 0.7)).scores
    low, high = coverage["fit_intercepts"](scores, rng)
    cell, _, domain = np.indices(scores[0].shape)
    fit = MixedLM(scores[0].ravel(), np.c_[np.ones(60), cell.ravel()], groups=domain.ravel()).fit()
    half = stats.t.isf(0.025, 2 * 30 - 2 - 5) * fit.bse[1]
    assert (low[0], high[0]) == pytest.approx((fit.params[1] - half, fit.params[1] + half), rel=1e-4)


def test_the_table_holds_on_a_small_sample(table):
    methods = [*coverage["CROSSED"], *coverage["BLOCKED"], *coverage["PRACTICE"]]
    settings = [coverage["Setting"](3, 6, 1, 0.7), coverage["Setting"](5, 20, 0, 0.7)]
    rows = [row for setting in settings for row in coverage["cover"](methods, setting, 500)]
    assert coverage["compare"](pd.DataFrame(rows), table) == []


@pytest.mark.parametrize("page", ["coverage.md", "intervals.md"])
def test_tables_are_what_the_file_says(page, table):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert coverage["write_tables"](text, table) == text


def test_a_table_that_does_not_hold_is_found(table):
    methods, setting = coverage["BLOCKED"], coverage["Setting"](3, 6, 1, 0.7)
    sample = pd.DataFrame(coverage["cover"](methods, setting, 500))
    wrong = table.assign(share=table["share"] - 0.1)
    assert len(coverage["compare"](sample, wrong)) == len(methods)
    assert len(coverage["compare"](sample.assign(seeds=4), table)) == len(methods)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "replicates"), [("grid", 2000), ("tails", 2000), ("errors", 1000), ("mixed", 600)])
def test_the_table_holds(part, replicates, capsys):
    assert coverage["main"]([part, "--check", "--replicates", str(replicates)]) == 0, capsys.readouterr().out
