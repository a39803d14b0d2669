"""The code blocks of pages, as they are printed."""

from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

NOT_RUN = ":class: not-run\n"
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Printed:
    """What stands on a page.

    Attributes:
        place: page and line.
    """

    place: str

    @property
    def page(self) -> str:
        return self.place.partition(":")[0]


@dataclass(frozen=True)
class Block(Printed):
    """A code block of a page.

    Attributes:
        language: as it stands behind the fence, that of a directive in braces in front of it; empty
            for a block that is only indented.
        code: what stands between the fences.
    """

    language: str
    code: str


def all_blocks(text: str, page: str = "") -> list[Block]:
    """Every block of a page, wherever it is nested, as a parser of Markdown sees them."""
    return [
        Block(f"{page}:{token.map[0] + 1}", token.info.strip(), token.content)
        for token in MarkdownIt("commonmark").parse(text)
        if token.type in ("fence", "code_block")
    ]


def blocks(text: str, language: str, run: bool = True) -> list[str]:
    """The blocks of a page in one language.

    Args:
        text: of the page.
        language: as it stands behind the fence.
        run: whether those that are run, or those that are marked as not to be run.
    """
    languages = (language, f"{{code-block}} {language}")
    found = [block.code for block in all_blocks(text) if block.language in languages]
    return [code.replace(NOT_RUN, "") for code in found if (NOT_RUN in code) != run]


def run_python(text: str, name: str) -> dict:
    """Run the Python blocks of a page one after the other; returns the names that they define."""
    names: dict = {"__name__": "page"}
    for code in blocks(text, "python"):
        exec(compile(code, name, "exec"), names)
    return names


def pages() -> dict[str, str]:
    """The text of every page that is written by hand, by its path from the top of the project.

    Pages that are made when the site is built are those that git ignores. The history in the
    changelog tells of commands that are gone.
    """
    ignored = [
        line.strip("/")
        for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("/docs/")
    ]
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    names = sorted(str(file.relative_to(ROOT)) for file in files)
    return {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in names
        if not name.startswith(tuple(ignored)) and name != "CHANGELOG.md"
    }
