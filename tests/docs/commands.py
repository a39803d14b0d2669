"""The commands that pages, configs and notebooks print, as they are printed."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt

from lightning_mtl.command_line.commands import PROGRAM
from tests.docs.site.blocks import ROOT, Block, Printed, all_blocks, pages

PROGRAMS = (
    PROGRAM,
    "python",
    "pip",
    "pytest",
    "sphinx-build",
    "jupyter",
    "pre-commit",
    ".ci/run",
)
"""What a piece of code in prose starts with if it is a command."""


@dataclass(frozen=True)
class Command(Printed):
    """A command as it is printed.

    Attributes:
        text: with its variables, and with names in angle brackets for what readers fill in.
    """

    text: str

    @property
    def words(self) -> list[str]:
        """The program and its arguments, as a shell splits them."""
        return [word for word in shlex.split(self.text) if not _is_variable(word)]

    @property
    def variables(self) -> dict[str, str]:
        """What it sets in the environment, by names."""
        return dict(word.split("=", 1) for word in shlex.split(self.text) if _is_variable(word))

    @property
    def name(self) -> str:
        """Its beginning, without the signs that a shell reads."""
        return re.sub(r"[^\w .,:+*/()=-]", "", self.text)[:57].strip()


def printed() -> dict[str, str]:
    """The Markdown in which commands stand: pages, templates of pages, cells of notebooks."""
    templates = sorted((ROOT / "docs" / "sitebuilder" / "templates").glob("*.md.jinja"))
    texts = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in templates}
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        prose = ["".join(each["source"]) for each in cells if each["cell_type"] == "markdown"]
        texts[str(file.relative_to(ROOT))] = "\n\n".join(prose)
    return pages() | texts


def commands_of(block: Block) -> list[Command]:
    """The commands of a block, each with the variables that are exported before it."""
    exported, found = "", []
    for line in block.code.splitlines():
        for part in line.split(" && "):
            if part.startswith("export "):
                exported += part.removeprefix("export ") + " "
            elif part.strip():
                found.append(Command(block.place, exported + part))
    return found


def in_blocks() -> list[Block]:
    """All blocks of commands."""
    return [
        block
        for page, text in printed().items()
        for block in all_blocks(text, page)
        if block.language == "bash"
    ]


def in_prose() -> Iterator[Command]:
    """Pieces of code within prose that are commands, or options with a value."""
    for page, text in printed().items():
        for token in MarkdownIt("commonmark").enable("table").parse(text):
            codes = [each.content for each in token.children or () if each.type == "code_inline"]
            for code in codes:
                for part in code.split(" && "):
                    if re.match(r"--[\w.]+(\+?=| )", part) or _names_a_program(part):
                        yield Command(f"{page}:{token.map[0] + 1}", part)


def in_configs() -> Iterator[Command]:
    """Commands in the comments of configs; those that end in an ellipsis are left to the reader."""
    for folder in ("configs", "docs/evidence"):
        for file in sorted((ROOT / folder).rglob("*.yaml")):
            lines = re.findall(r"^#   (\S.*[^.])$", file.read_text(encoding="utf-8"), re.MULTILINE)
            shown = [line for line in lines if line.startswith("export ") or _names_a_program(line)]
            place = f"{file.relative_to(ROOT)}:1"
            yield from commands_of(Block(place, "bash", "\n".join(shown)))


def _names_a_program(code: str) -> bool:
    words = [word for word in code.split() if not _is_variable(word)]
    return (len(words) > 1 and words[0] in PROGRAMS) or code == ".ci/run"


def _is_variable(word: str) -> bool:
    return re.match(r"[A-Z_]+=", word) is not None
