"""Sections of the README within pages of the site, so that each thing is said once.

A page marks the place of one by a line `<!-- README: An example -->`, or, where it shows only the
beginning, by `<!-- README: Weightings until weightings:begin -->`, naming a comment in the README.
"""

import os.path
import re
from pathlib import PurePosixPath

from sphinx.application import Sphinx

from sitebuilder.files import ROOT

MARK = re.compile(r"^<!-- README: (?P<heading>.+?)(?: until (?P<until>\S+))? -->$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?!https?:|#)(?P<target>[^)]+)\)")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"^<!--.*-->\n", re.MULTILINE)


def with_sections(text: str, page: str) -> str:
    """A page with the README's sections in their places.

    Args:
        text: of the page.
        page: its file, relative to the project.
    """
    return MARK.sub(lambda found: section(found["heading"], page, found["until"]), text)


def section(heading: str, page: str, until: str | None = None) -> str:
    """The text under a heading of the README, whose links hold in another file.

    Args:
        heading: of the README, of the second level.
        page: the file for which it is, relative to the project.
        until: the comment before which it ends, if it is not the whole section.

    Raises:
        ValueError: if there is no such heading.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    outside = FENCED.sub(lambda code: re.sub(r"^#", " ", code[0], flags=re.MULTILINE), readme)
    headings = list(re.finditer(r"^## (.+)$", outside, re.MULTILINE))
    for begin, end in zip(headings, [*headings[1:], None], strict=True):
        if begin[1] == heading:
            body = readme[begin.end() : end.start() if end else len(readme)]
            body = body.partition(f"<!-- {until} -->")[0] if until else body
            return LINK.sub(lambda link: _moved(link, page), COMMENT.sub("", body)).strip()
    raise ValueError(
        f"`<!-- README: ... -->` in `{page}` should name one of the README's headings,"
        f" {[found[1] for found in headings]}. Found {heading!r}. Use one of them."
    )


def _moved(link: re.Match[str], page: str) -> str:
    """The link as it is written in another file; what the site does not hold is named only."""
    target = link["target"]
    if PurePosixPath(target).parts[0] != "docs":
        return f"{link['text']} (`{target}`)"
    return f"[{link['text']}]({os.path.relpath(target, PurePosixPath(page).parent)})"


def insert_sections(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the sections in their places. Called by Sphinx as it reads each page."""
    if MARK.search(source[0]):
        app.env.note_dependency(str(ROOT / "README.md"), docname=name)
        source[0] = with_sections(source[0], f"docs/{name}.md")
