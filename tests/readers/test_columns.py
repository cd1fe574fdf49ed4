import numpy as np
import pandas as pd
import pytest

from ablate.errors import RecordsError
from ablate.readers.columns import as_numbers, as_text, unpivot
from tests.readers.files import read


def test_a_wide_table_becomes_a_long_one(tmp_path):
    frame = read(tmp_path / "x.csv", "seed,base,full\n0,0.5,NA\n1,0.25,0.75\n")
    long = unpivot(frame, ["base", "full"], ["seed"])
    expected = [(0, "base", 0.5), (1, "base", 0.25), (0, "full", None), (1, "full", 0.75)]
    rows = [(s, a, None if np.isnan(v) else v) for s, a, v in long.itertuples(index=False, name=None)]
    assert rows == expected
    with pytest.raises(RecordsError, match="did you mean 'base'"):
        unpivot(frame, ["bse"], ["seed"])
    with pytest.raises(RecordsError, match="both an arm and a key"):
        unpivot(frame, ["base"], ["base"])
    with pytest.raises(RecordsError, match="'seed' already"):
        unpivot(frame, ["base"], ["seed"], name="seed")
    with pytest.raises(RecordsError, match="no arms"):
        unpivot(frame, [], ["seed"])


def test_scores_and_level_names_of_a_column():
    numbers = as_numbers(pd.Series(["1", "NA", None, " 2.5", "-", "inf"]))
    assert np.array_equal(numbers, [1, np.nan, np.nan, 2.5, np.nan, np.inf], equal_nan=True)
    with pytest.raises(RecordsError, match="'x' is not a number") as error:
        as_numbers(pd.Series(["1", "x"], name="acc"))
    assert "column 'acc', row 1" in str(error.value)
    assert as_text(pd.Series([True, None, 1.5, 2], dtype="object")).tolist()[::2] == ["true", "1.5"]
    assert as_text(pd.Series([1, None], dtype="Int64")).isna().tolist() == [False, True]


def test_an_arm_may_be_called_as_the_new_columns_are():
    wide = pd.DataFrame({"seed": [0, 1], "value": [0.1, 0.2], "arm": [0.3, 0.4]})
    long = unpivot(wide, ["value", "arm"], ["seed"])
    assert long.to_dict("list") == {
        "seed": [0, 1, 0, 1], "arm": ["value", "value", "arm", "arm"], "value": [0.1, 0.2, 0.3, 0.4]
    }  # fmt: skip
