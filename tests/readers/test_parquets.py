import numpy as np
import pandas as pd
import pytest

from ablate.errors import RecordsError
from ablate.readers.tables import read_tables
from tests.readers.files import write


def test_parquet(tmp_path):
    frame = pd.DataFrame(
        {
            "arm": pd.Categorical(["null", "NA"]),
            "flag": [True, False],
            "n": pd.array([1, None], dtype="Int32"),
            "value": np.array([0.1, 0.2], "float32"),
            "when": pd.to_datetime(["2024-01-01", "2024-01-02"]),
            "cfg": [{"lr": 0.1}, {"lr": 0.2}],
        }
    )
    frame.to_parquet(tmp_path / "x.parquet")
    got = read_tables([tmp_path / "x.parquet"])
    assert got["arm"].tolist() == ["null", "NA"]
    assert got["flag"].tolist() == ["true", "false"]
    assert got["cfg.lr"].tolist() == [0.1, 0.2]
    assert got.dtypes[["n", "value", "when"]].astype(str).tolist() == ["Int64", "float64", "str"]
    pd.DataFrame({"a": [[1, 2]]}).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(RecordsError, match="a column of type list"):
        read_tables([tmp_path / "y.parquet"])
    write(tmp_path / "z.parquet", "arm,value\n")
    with pytest.raises(RecordsError, match="no Parquet file"):
        read_tables([tmp_path / "z.parquet"])
