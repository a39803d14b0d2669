"""Every notebook runs from top to bottom, on fewer steps than a reader would take."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

# What replaces the cell that is tagged "parameters".
SMALL = {
    "first_module": "STEPS = 20",
    "gradnorm_toy": "STEPS = 10",
    "rooms": "EPOCHS, FRAMES = 1, 32",
}


def test_every_notebook_is_run() -> None:
    assert {notebook.stem for notebook in NOTEBOOKS.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    cells[0].source = SMALL[name]
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    noise = [output.text for output in outputs if output.output_type == "stream"]
    assert not noise
