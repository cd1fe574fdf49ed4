"""The notebooks run from top to bottom, and nothing of theirs imports torch or Hydra."""

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*:UserWarning:nbclient")
def test_a_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    check = "import sys\nprint([name for name in ('torch', 'hydra', 'lightning') if name in sys.modules])"
    notebook.cells.append(nbformat.v4.new_code_cell(check))
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert "".join(part["text"] for part in notebook.cells[-1].outputs) == "[]\n"
    assert "Main effects" in str(notebook.cells)


def test_there_is_a_first_study():
    assert NOTEBOOKS[0].stem == "01-first-study"
