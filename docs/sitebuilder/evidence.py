"""The pages of the evidence, which has as many folders as there are experiments."""

from sphinx.application import Sphinx

MARK = "<!-- EVIDENCE -->"


def insert_evidence(app: Sphinx, name: str, source: list[str]) -> None:
    """Name the pages below the evidence where a page lists others. Called as each is read."""
    if MARK in source[0]:
        pages = sorted(page for page in app.env.found_docs if page.count("/") > 1)
        listed = [f"/{page}" for page in pages if page.startswith("evidence/")]
        source[0] = source[0].replace(MARK, "\n".join(listed))
