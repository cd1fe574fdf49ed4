import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ablate.stats.rosters import combine, enrol, number


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_combinations_are_numbered_as_a_dictionary_would(pairs):
    parts = [np.array(part, dtype=np.int64) for part in zip(*pairs, strict=True)]
    seen: dict[tuple[int, int], int] = {}
    expected = [seen.setdefault(pair, len(seen)) for pair in pairs]
    made, first = combine(parts, len(pairs))
    assert made.tolist() == expected
    assert [pairs[row] for row in first] == list(seen)
    assert number(pd.Series(["b", None, "a", "b"]))[0].tolist() == [0, 1, 2, 0]


def roster(**roles):
    frame = pd.DataFrame(
        {
            "arm": ["a", "a", "b", "b", "b", "a"],
            "seed": [0, 0, 0, 1, 1, 1],
            "task": ["x", "y", "x", "x", "y", None],
            "status": ["complete"] * 5 + ["failed"],
            "acc": [0.1, 0.2, 0.3, 0.4, 0.5, np.nan],
        }
    )
    return enrol(frame, {"factors": ["arm"], "value": "acc", "domain": "task", "status": "status", **roles})


def test_cells_runs_and_places_are_counted():
    made = roster(run="seed")
    assert made.cell.tolist() == [0, 0, 1, 1, 1]
    assert made.unit.tolist() == [0, 0, 1, 2, 2]
    assert made.place.tolist() == [0, 1, 0, 0, 1]
    assert made.value.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert made.runs_per_cell.tolist() == [1, 2]
    assert [counts.tolist() for counts in made.failed_per_cell] == [[1, 0], [2, 2]]
    assert made.name_unit(2) == "arm=b run 1"
    assert made.name_place(1) == "y"
    assert made.name_metric(0) == "acc"
    assert list(made.levels("domain")) == ["x", "y"]
    assert made.levels("shift") == ()


def test_without_names_the_kth_row_of_a_place_is_of_run_k():
    made = roster()
    assert made.runs_per_cell.tolist() == [1, 2]
    assert made.unit.tolist() == [0, 0, 1, 2, 1]
    assert [counts.tolist() for counts in made.failed_per_cell] == [[1, 0], [2, 2]]
    assert made.name_unit(2) == "arm=b run no. 2"
