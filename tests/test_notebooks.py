"""Every notebook runs from top to bottom, on fewer steps than a reader would take."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

# What replaces the cell that is tagged "parameters"; threads would only wait for other tests.
SMALL = {
    "choosing": 'SAMPLES, EPOCHS, STEPS, SEEDS, RATES = 256, 3, 20, 1, "1"',
    "energy_and_forces": "FRAMES, EPOCHS, SEEDS = 64, 1, (0,)",
    "first_module": "STEPS = 20; torch.set_num_threads(1)",
    "gradient_noise": "STEPS, SEEDS = 8, (0,)",
    "gradnorm_toy": "STEPS = 10; torch.set_num_threads(1)",
    "own_images": (
        'EPOCHS, FRAMES = 1, {"train": 16, "val": 4, "test": 4}; torch.set_num_threads(1)'
    ),
    "own_tables": "HOMES, EPOCHS, SEEDS = 200, 1, (0,)",
    "own_weighting": "THROWS, EPOCHS, SEEDS = 64, 1, (0,)",
    "physics_informed": "STEPS, REFINEMENTS = 10, 2; torch.set_num_threads(1)",
    "recommender": "IMPRESSIONS, SEEDS = 1024, (0,)",
    "rooms": "EPOCHS, TRAIN_FRAMES, VAL_FRAMES = 1, 32, 4; torch.set_num_threads(1)",
    "text": "SENTENCES, EPOCHS, SEEDS = 256, 1, (0,)",
    "two_tasks": "STEPS, STARTS = 6, [(0.3, 2.4)]",
}

SLOW = ("choosing",)
"""Those whose commands are processes of their own, each of which imports torch."""

# Runs before each notebook, so that no name, filter or log level of another one is left.
FRESH = """
%reset -f
import logging, warnings
warnings.resetwarnings()
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.INFO)
%reset -f
"""


def test_every_notebook_is_run() -> None:
    assert {notebook.stem for notebook in NOTEBOOKS.glob("*.ipynb")} == set(SMALL)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookClient]:
    """One kernel for all notebooks: most of their time would be the imports of the package."""
    resources = {"metadata": {"path": tmp_path_factory.mktemp("notebooks")}}
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=300, resources=resources)
    with client.setup_kernel():
        yield client


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SMALL]
)
def test_a_notebook_runs(name: str, client: NotebookClient) -> None:
    """Prints nothing outside of cells that are tagged "command": a command, or a file to write."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    cells[0].source = SMALL[name]
    commands = [c for c in notebook.cells if "command" in c.metadata.get("tags", [])]
    for cell in commands:
        if cell.source.startswith("!"):
            cell.source += "\nassert _exit_code == 0"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FRESH))
    client.nb = notebook
    client.execute(cleanup_kc=False)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    quiet = [cell for cell in notebook.cells if cell not in commands]
    outputs = [output for cell in quiet for output in cell.get("outputs", [])]
    noise = [output.text for output in outputs if output.output_type == "stream"]
    assert not noise
