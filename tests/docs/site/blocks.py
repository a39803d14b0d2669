"""The code blocks of pages, as they are printed."""

import re
from pathlib import Path

FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<directive>\{[\w-]+\})? ?(?P<info>.*?)\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN = ":class: not-run\n"


def blocks(page: str, language: str, run: bool = True) -> list[str]:
    """The blocks of a page in one language.

    Args:
        page: its text.
        language: as it stands behind the fence.
        run: whether those that are run, or those that are marked as not to be run.
    """
    found = [
        match["code"]
        for match in FENCE.finditer(page)
        if match["info"] == language and match["directive"] in (None, "{code-block}")
    ]
    return [code.replace(NOT_RUN, "") for code in found if (NOT_RUN in code) != run]


def run_python(page: str, name: str) -> dict:
    """Run the Python blocks of a page one after the other; returns the names that they define."""
    names: dict = {"__name__": "page"}
    for code in blocks(page, "python"):
        exec(compile(code, name, "exec"), names)
    return names


def pages(docs: Path) -> list[Path]:
    """The pages that are written by hand; figures and evidence have tests of their own."""
    own = [
        *docs.glob("*.md"),
        *(p for each in ("guide", "migration") for p in docs.glob(f"{each}/*")),
        docs / "tables" / "data.md",
        docs / "tables" / "networks.md",
    ]
    return sorted(own)
