"""The tables of all weightings and of all networks, made from their docstrings.

`python -m lightning_mtl.catalogue FILE ...` renews them in files that mark their places.
"""

import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_mtl import callbacks, models
from lightning_mtl.callbacks import LossWeighting, Weighting
from lightning_mtl.models import DenseNetwork, MultiTaskNetwork

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


def networks() -> list[type[MultiTaskNetwork]]:
    """All networks of the package by name, those for images first."""
    kinds = [
        kind
        for kind in vars(models).values()
        if isinstance(kind, type)
        and issubclass(kind, MultiTaskNetwork)
        and not inspect.isabstract(kind)
    ]
    return sorted(kinds, key=lambda kind: (_inputs(kind) != "images", kind.__name__.lower()))


def needs_arguments(kind: type[Weighting]) -> bool:
    """Whether a weighting is none by its name alone."""
    packed = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return any(
        parameter.default is inspect.Parameter.empty and parameter.kind not in packed
        for parameter in inspect.signature(kind).parameters.values()
    )


def fixed_weights() -> type[Weighting]:
    """The weighting that is given one number for each task, as its argument `weights`."""
    return next(
        kind
        for kind in weightings()
        if issubclass(kind, LossWeighting) and "weights" in inspect.signature(kind).parameters
    )


def weightings_markdown() -> str:
    """A Markdown table: name, what it needs, what it is, where it is from, what a step costs."""
    rows = [
        (f"`{kind.__name__}`", _needs(kind), summary(kind), citations(kind), price(kind))
        for kind in weightings()
    ]
    return _table(("weighting", "needs", "what it is", "paper", "a step costs"), rows)


def networks_markdown() -> str:
    """A Markdown table: name, input, what it is, where it is from."""
    rows = [
        (f"`{kind.__name__}`", _inputs(kind), summary(kind), citations(kind)) for kind in networks()
    ]
    return _table(("network", "input", "what it is", "paper"), rows)


TABLES = {"weightings": weightings_markdown, "networks": networks_markdown}
"""What makes the table between `<!-- <name>:begin -->` and `<!-- <name>:end -->`."""


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
    """The text with the current tables between their marks.

    Raises:
        ValueError: if there is no table, or an end without a beginning or the reverse.
    """
    marked = [name for name in TABLES if f"<!-- {name}:" in text]
    if not marked:
        raise ValueError(
            "The place of a table should be marked by `<!-- weightings:begin -->` and, after it,"
            " `<!-- weightings:end -->`, or by those of `networks`. Found no such marks. Add both"
            " where the table belongs."
        )
    for name in marked:
        text = _renewed(text, name)
    return text


def _renewed(text: str, name: str) -> str:
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(
            f"The place of the table should be marked by `{begin}` and, after it, `{end}`. Found"
            " one of them only, or the reverse order. Add both where the table belongs."
        )
    return f"{before}{begin}\n{TABLES[name]()}\n{end}{after}"


def main(files: list[str]) -> None:
    """Write the current tables into each file. Called from the command line."""
    for file in map(Path, files):
        file.write_text(renewed(file.read_text(encoding="utf-8")), encoding="utf-8")


def _short(authors: str) -> str:
    names = re.split(r", | & ", authors)
    return authors if len(names) < 3 else f"{names[0]} et al."


def _needs(kind: type[Weighting]) -> str:
    return "losses" if issubclass(kind, LossWeighting) else "gradients"


def _inputs(kind: type[MultiTaskNetwork]) -> str:
    return "images" if issubclass(kind, DenseNetwork) else "features"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    table = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_escaped(row)) + " |" for row in table)


def _escaped(row: tuple[str, ...]) -> list[str]:
    return [cell.replace("|", r"\|") for cell in row]


if __name__ == "__main__":
    main(sys.argv[1:])
