"""What the docstrings say about the scale of weights here and in other code bases, as one list."""

from sphinx.application import Sphinx

from lightning_mtl.catalogue import weightings
from sitebuilder.cards import card
from sitebuilder.method_pages import linked

MARK = "<!-- SCALES -->"


def scales() -> str:
    """A definition list in MyST Markdown: of every weighting its scale, and what heads receive."""
    return "\n\n".join(
        f"[{kind.__name__}](methods/{kind.__name__}.md)\n: {_said(kind)}" for kind in weightings()
    )


def with_scales(text: str) -> str:
    """A page with the list in its place, if it has one."""
    return text.replace(MARK, scales()) if MARK in text else text


def insert_scales(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the list in its place. Called by Sphinx as it reads each page."""
    source[0] = with_scales(source[0])


def _said(kind: type) -> str:
    facts = card(kind).facts
    parts = [linked(facts[label], kind.__name__, "methods/") for label in ("Scale", "Heads")]
    return f"{parts[0][0].upper()}{parts[0][1:]} Heads: {parts[1]}"
