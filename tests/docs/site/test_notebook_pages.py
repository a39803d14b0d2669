"""Every notebook has a page that shows its cells and outputs, and is in the list of notebooks."""

import json
import re
from pathlib import Path

import pytest
from sitebuilder.notebooks import Notebook, figures_of, notebook_page, notebooks, write_notebooks

from tests.docs.site.blocks import blocks
from tests.docs.site.conftest import DOCS

FOLDER = DOCS.parent / "notebooks"
NAMES = sorted(file.stem for file in FOLDER.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("notebook", notebooks(), ids=lambda each: each.name)


def test_every_notebook_is_in_the_list_with_its_title_and_what_it_is_about(tmp_path: Path) -> None:
    write_notebooks(tmp_path)
    text = (tmp_path / "index.md").read_text("utf-8")
    listed = re.findall(r"^\[(.+)\]\((\w+)\.md\)\n: (.+)", text, re.MULTILINE)
    assert sorted(name for _, name, _ in listed) == NAMES
    for title, name, about in listed:
        source = (FOLDER / f"{name}.ipynb").read_text("utf-8")
        assert json.loads(source)["cells"][0]["source"][0].strip() == f"# {title}"
        assert about.endswith(".")
        assert f"\n{name}\n" in text.partition(":hidden:")[2]


@every_notebook
def test_a_page_has_all_cells_and_figures_in_their_order(notebook: Notebook) -> None:
    page, place = notebook_page(notebook), 0
    for cell in notebook.cells:
        last = "".join(cell["source"]).rstrip().splitlines()[-1]
        if "](" not in last:
            place = page.index(last, place)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                place = page.index("![", place) + 1
    code = [c["source"][0].startswith("!") for c in notebook.cells if c["cell_type"] == "code"]
    assert len(blocks(page, "python")) == code.count(False)
    assert len(blocks(page, "bash")) == code.count(True)
    assert re.findall(r"^!\[.+\]\((.+)\)$", page, re.MULTILINE) == list(figures_of(notebook))


def test_tables_are_text_without_colours_and_links_lead_to_pages() -> None:
    table = {"text/html": ["<pre>a</pre>"], "text/plain": ["\x1b[1mtask\x1b[0m\n", "depth\n"]}
    cells = [
        {
            "cell_type": "markdown",
            "source": "# Title\n\n[a](rooms.ipynb), [b](../docs/results.md#rules),"
            " [c](../configs/mosd.yaml), [d](https://lightning.ai/a)",
        },
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [{"data": table}]},
    ]
    page = notebook_page(Notebook("some", cells))
    assert "[a](rooms.md), [b](../results.md#rules), [c](../../configs/mosd.yaml)," in page
    assert "[d](https://lightning.ai/a)" in page
    assert page.endswith("```python\n1 + 1\n```\n\n```text\ntask\ndepth\n```\n")


def test_what_is_left_of_a_notebook_that_is_gone_is_removed(tmp_path: Path) -> None:
    files = write_notebooks(tmp_path)
    (tmp_path / "gone.md").write_text("# Gone")
    assert write_notebooks(tmp_path) == files
    assert set(tmp_path.iterdir()) == set(files)
