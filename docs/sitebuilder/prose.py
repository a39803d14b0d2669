"""The prose of docstrings as Markdown, in which signs of formulas are no markup."""

import re
from collections.abc import Collection

_SPECIAL = re.compile(r"([_*<>\[\]|#~$])")


def markdown(text: str, linked: Collection[str] = (), folder: str = "") -> str:
    """A paragraph of a docstring in Markdown; its code in backticks stays as it is.

    Indented lines within it are displayed as they are.

    Args:
        text: the paragraph.
        linked: names of classes that have a page; the name in backticks becomes a link.
        folder: where these pages are, relative to the page that the text is for.
    """
    before, *displayed = re.split(r"\n\n((?: {4}.*\n?)+)", text)
    parts = [_inline(before, linked, folder)]
    for block, after in zip(displayed[::2], displayed[1::2], strict=True):
        parts += [f"```text\n{_dedented(block)}\n```", _inline(after.strip(), linked, folder)]
    return "\n\n".join(part for part in parts if part)


def _inline(text: str, linked: Collection[str], folder: str) -> str:
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(
        _link(piece, linked, folder) if piece.startswith("`") else _SPECIAL.sub(r"\\\1", piece)
        for piece in pieces
    )


def _link(code: str, linked: Collection[str], folder: str) -> str:
    name = code.strip("`")
    return f"[{code}]({folder}{name}.md)" if name in linked else code


def _dedented(block: str) -> str:
    return "\n".join(line[4:] for line in block.rstrip().splitlines())
