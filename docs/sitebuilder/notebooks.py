"""The pages of the notebooks: cells and outputs as they are saved, in Markdown, and their list."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sitebuilder.files import DOCS, ROOT, template, write

SOURCES = ROOT / "notebooks"
FOLDER = DOCS / "notebooks"
FIRST = "first_module"

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Notebook:
    """A notebook as it is saved.

    Attributes:
        name: of its file, without the suffix.
        cells: in their order, as the file has them.
    """

    name: str
    cells: list[dict[str, Any]]

    @property
    def title(self) -> str:
        """Its first heading."""
        return self._opening()[0].removeprefix("# ").strip()

    @property
    def about(self) -> str:
        """Its first paragraph, which a formula may follow."""
        paragraph = " ".join(self._opening()[1].split())
        return paragraph if paragraph.endswith(".") else f"{paragraph.rstrip(',:')}."

    def _opening(self) -> list[str]:
        prose = ("".join(cell["source"]) for cell in self.cells if cell["cell_type"] == "markdown")
        return "\n\n".join(prose).split("\n\n")


def notebooks(folder: Path = SOURCES) -> list[Notebook]:
    """All notebooks by their names, behind the one for beginners."""
    return [
        Notebook(file.stem, json.loads(file.read_text(encoding="utf-8"))["cells"])
        for file in sorted(folder.glob("*.ipynb"), key=lambda file: (file.stem != FIRST, file.stem))
    ]


def write_notebooks(folder: Path = FOLDER) -> list[Path]:
    """Write the list of notebooks, the page of each and its figures, and return all files.

    What is left of notebooks that no longer exist is removed.
    """
    found = notebooks()
    contents: dict[str, str | bytes] = {"index.md": template("notebooks.md.jinja", notebooks=found)}
    contents |= {f"{each.name}.md": notebook_page(each) for each in found}
    contents |= {name: data for each in found for name, data in figures_of(each).items()}
    for name, content in contents.items():
        write(folder / name, content)
    files = [folder / name for name in contents]
    for left in set(folder.iterdir()) - set(files):
        left.unlink()
    return files


def notebook_page(notebook: Notebook) -> str:
    """The page of a notebook in MyST Markdown."""
    figures = iter(figures_of(notebook))
    parts: list[str] = []
    for cell in notebook.cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(_LINK.sub(_from_the_site, source))
        else:
            # Lines with a `!` go to a shell.
            parts.append(_fenced(source, "bash" if source.startswith("!") else "python"))
            for output in cell["outputs"]:
                parts += _shown(output, figures, notebook.title)
    file = f"{notebook.name}.ipynb"
    origin = f"This is [{file}](../../notebooks/{file}) with the outputs that it is saved with."
    return "\n\n".join([parts[0], origin, *parts[1:]]) + "\n"


def figures_of(notebook: Notebook) -> dict[str, bytes]:
    """The pictures among the outputs of a notebook, by the names of their files."""
    pictures = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    return {
        f"{notebook.name}_{number}.png": base64.b64decode("".join(picture))
        for number, picture in enumerate(pictures, start=1)
    }


def _shown(output: dict[str, Any], figures: Iterator[str], title: str) -> list[str]:
    data = output.get("data", {})
    if "image/png" in data:
        return [f"![A figure of the notebook: {title}]({next(figures)})"]
    text = _COLOUR.sub("", "".join(data.get("text/plain", output.get("text", ""))))
    return [_fenced(text, "text")] if text.strip() else []


def _fenced(code: str, language: str) -> str:
    fence = "````" if "```" in code else "```"
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def _from_the_site(link: re.Match[str]) -> str:
    """Where a link of a notebook leads from its page: other notebooks and pages of the site."""
    target = link[1]
    if target.startswith("../docs/"):
        return target.replace("../docs/", "../", 1)
    if target.startswith("../"):
        return f"../{target}"
    return target.replace(".ipynb", ".md")
