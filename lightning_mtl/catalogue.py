"""The table of all weightings, made from their docstrings.

`python -m lightning_mtl.catalogue README.md` renews it in a file that marks its place.
"""

import inspect
import re
import sys
from pathlib import Path

from lightning_mtl import callbacks
from lightning_mtl.callbacks import LossWeighting, Weighting

BEGIN, END = "<!-- weightings:begin -->", "<!-- weightings:end -->"

# Authors, "Title", venue and year: the form in which docstrings cite.
CITATION = re.compile(
    r'(?P<authors>[A-Z][^"“”.;:()]*?(?: et al\.)?), ["“](?P<title>[^"”]+)["”],'
    r" (?P<venue>arXiv \d{4}\.\d+|[^\".;()]*?\d{4})"
)


def weightings() -> list[type[Weighting]]:
    """All weightings of the package by name, those that need only the losses first."""
    kinds = [
        kind
        for kind in vars(callbacks).values()
        if isinstance(kind, type) and issubclass(kind, Weighting) and not inspect.isabstract(kind)
    ]
    return sorted(kinds, key=lambda kind: (_needs(kind) != "losses", kind.__name__.lower()))


def catalogue_markdown() -> str:
    """A Markdown table: name, what it needs, what it is, where it is from, what a step costs."""
    rows = [
        (f"`{kind.__name__}`", _needs(kind), summary(kind), citations(kind), price(kind))
        for kind in weightings()
    ]
    header = ("weighting", "needs", "what it is", "paper", "a step costs")
    table = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_escaped(row)) + " |" for row in table)


def summary(kind: type) -> str:
    """The first line of the class's docstring, without its full stop."""
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")


def citations(kind: type) -> str:
    """Authors, venue and year of the works that the docstring cites; empty if there are none."""
    text = " ".join((inspect.getdoc(kind) or "").split())
    return "; ".join(
        f"{_short(match['authors'])}, {match['venue']}" for match in CITATION.finditer(text)
    )


def price(kind: type[Weighting]) -> str:
    """The cost of a step, with the default arguments."""
    cost = kind.price
    return cost if isinstance(cost, str) else kind().price


def renewed(text: str) -> str:
    """The text with the current table between its two marks.

    Raises:
        ValueError: if the marks are not there, in their order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"The place of the table should be marked by `{BEGIN}` and, after it, `{END}`. Found"
            f" {'only the first' if begin else 'no such marks'}. Add both where the table belongs."
        )
    return f"{before}{BEGIN}\n{catalogue_markdown()}\n{END}{after}"


def main(files: list[str]) -> None:
    """Write the current table into each file. Called from the command line."""
    for file in map(Path, files):
        file.write_text(renewed(file.read_text(encoding="utf-8")), encoding="utf-8")


def _short(authors: str) -> str:
    names = re.split(r", | & ", authors)
    return authors if len(names) < 3 else f"{names[0]} et al."


def _needs(kind: type[Weighting]) -> str:
    return "losses" if issubclass(kind, LossWeighting) else "gradients"


def _escaped(row: tuple[str, ...]) -> list[str]:
    return [cell.replace("|", r"\|") for cell in row]


if __name__ == "__main__":
    main(sys.argv[1:])
