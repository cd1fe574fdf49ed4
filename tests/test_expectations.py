"""What is expected of scores: figures that make sense, and what a pilot with planted deviations shows."""

import numpy as np
import pandas as pd
import pytest

from ablate.errors import PlanError, RecordsError
from ablate.expectations import Expectation, measure_pilot, read_expectation, read_pilot
from ablate.factors import Cell
from ablate.plans import plan

FACTORS = {"data": ["raw", "clean"], "size": ["s", "l"]}
RUN, ERROR, DOMAIN, BLOCK = 0.5, 1.0, 2.0, 3.0


def planted(seeds, domains, blocked):
    """A full factorial with known deviations; what a seed does to all cells is none of theirs when blocked."""
    rng = np.random.default_rng(5)
    made = plan(FACTORS, seeds=seeds, metric="acc", blocking="seed" if blocked else "none")
    shift = DOMAIN / np.sqrt(2) * rng.normal(size=(4, domains))  # of a cell; a difference has twice its variance
    rows = []
    common = BLOCK * rng.normal(size=(seeds, domains)) if blocked else np.zeros((seeds, domains))
    for c, cell in enumerate(made.cells):
        for seed in range(seeds):
            run = RUN * rng.normal()
            for d in range(domains):
                value = c + d + run + shift[c, d] + common[seed, d] + ERROR * rng.normal()
                rows.append({**cell, "seed": seed, "domain": f"d{d}", "metric": "acc", "value": value})
    return made, pd.DataFrame(rows)


@pytest.mark.parametrize("blocked", [True, False])
def test_planted_deviations_are_found(blocked):
    made, frame = planted(150, 40, blocked)
    found = measure_pilot(frame, made)
    assert found.run_sd == pytest.approx(RUN, rel=0.1)  # about three standard errors
    assert found.error_sd == pytest.approx(ERROR, rel=0.03)
    assert found.domain_sd == pytest.approx(DOMAIN, rel=0.2)


def test_a_contrast_of_the_pilots_cells_has_its_own_deviation_over_domains():
    made, frame = planted(30, 6, True)
    found = measure_pilot(frame, made)
    a, b = made.cells[0], made.cells[3]
    means = frame.pivot_table("value", index=["data", "size"], columns="domain")
    difference = means.loc[("clean", "l")] - means.loc[("raw", "s")]
    expected = max(difference.var(ddof=1) - 2 * found.error_sd**2 / 30, 0) ** 0.5
    assert found.of({a: -1.0, b: 1.0}).domain_sd == pytest.approx(expected, rel=1e-9)
    assert found.of({Cell({"data": "raw", "size": "huge"}): 1.0, a: -1.0}) is found


def test_incomplete_seeds_are_left_out_and_one_domain_has_no_errors():
    made, frame = planted(5, 4, True)
    gone = frame.drop(index=frame[(frame["seed"] == 2) & (frame["data"] == "raw")].index[0])
    rest = frame[frame["seed"] != 2]
    assert measure_pilot(gone, made) == measure_pilot(rest, made)
    single = measure_pilot(frame[frame["domain"] == "d0"], made)
    assert (single.error_sd, single.domain_sd) == (0, 0)
    assert single.run_sd > 0


def test_a_pilot_is_read_with_what_it_measured(tmp_path):
    made, frame = planted(4, 3, True)
    path = tmp_path / "records.csv"
    lost = frame.iloc[:1].assign(status="failed", value=np.nan, seed=9)
    pd.concat([frame.assign(status="complete"), lost]).to_csv(path, index=False)
    assert len(read_pilot(path, made)) == len(frame)
    found = read_expectation({"effect": 0.3, "domain_sd": 0.1}, path, made)
    assert (found.effect, found.domain_sd, found.means, found.source) == (0.3, 0.1, {}, "pilot records.csv")
    assert read_expectation({}, path, made).run_sd == pytest.approx(measure_pilot(frame, made).run_sd)
    with pytest.raises(RecordsError, match=r"(?s)measured no 'accuracy'.*allowed: acc"):
        read_pilot(path, plan(FACTORS, metric="accuracy"))
    frame.drop(columns="value").to_csv(path, index=False)
    with pytest.raises(RecordsError, match="no column value"):
        read_pilot(path, made)
    frame.drop(columns=["data", "size"]).to_csv(path, index=False)
    with pytest.raises(RecordsError, match="no column of a factor"):
        read_pilot(path, made)
    with pytest.raises(RecordsError, match="there is no pilot"):
        read_pilot(tmp_path / "none.csv", made)
    with pytest.raises(RecordsError, match="too few complete seeds"):
        measure_pilot(frame[frame["seed"] == 0], made)


def test_nothing_expected_is_nothing():
    made = plan(FACTORS)
    assert read_expectation({}, None, made) is None
    assert read_expectation({"run_sd": None}, None, made) is None
    assert read_expectation({"run_sd": 0.1}, None, made) == Expectation(0.1)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"runsd": 0.1}, r"(?s)unknown key 'runsd'.*did you mean 'run_sd'"),
        ({"effect": 0.1}, "power needs run_sd"),
        ({"run_sd": -1}, r"(?s)run_sd is -1.*expect\.run_sd"),
        ({"run_sd": "small"}, "run_sd is 'small'"),
        ({"run_sd": 0.1, "power": 1}, "(?s)power is 1.*between 0 and 1"),
        ({"run_sd": 0}, "everything is certain"),
    ],
)
def test_expectations_that_make_no_sense_are_refused(stated, message):
    with pytest.raises(PlanError, match=message):
        read_expectation(stated, None, plan(FACTORS))
