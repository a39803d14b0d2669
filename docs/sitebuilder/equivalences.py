"""The matrix of what every weighting is equal to, from the tests that hold it to that."""

import string
from pathlib import Path

from lightning_mtl.catalogue import weightings
from sitebuilder.files import DOCS, template, write
from tests.support.equivalence import EQUIVALENCES, RULES, Equivalence

FILE = DOCS / "tables" / "equivalence.md"


def write_equivalences(file: Path = FILE) -> Path:
    """Write the page of the matrix, and return its file."""
    reasons: list[str] = []
    rows = [
        (_linked(name), *(_cell(each, name, reasons) for each in EQUIVALENCES.values()))
        for name in RULES
    ]
    footnotes = list(zip(string.ascii_lowercase, reasons, strict=False))
    text = template(
        "equivalence.md.jinja", columns=list(EQUIVALENCES), rows=rows, footnotes=footnotes
    )
    write(file, text)
    return file


def _cell(equivalence: Equivalence, name: str, reasons: list[str]) -> str:
    """What is promised of a rule, or the letter of the reason why nothing is."""
    if name in equivalence.exceptions:
        return f"no ({_letter(equivalence.exceptions[name], reasons)})"
    note = equivalence.notes.get(name)
    promised = f"{equivalence.tolerance:.0e}".replace("e-0", "e-") if equivalence.tolerance else "0"
    return f"{promised} ({_letter(note, reasons)})" if note else promised


def _letter(reason: str, reasons: list[str]) -> str:
    if reason not in reasons:
        reasons.append(reason)
    return string.ascii_lowercase[reasons.index(reason)]


def _linked(name: str) -> str:
    kind = name.partition("(")[0]
    known = {each.__name__ for each in weightings()}
    return f"[{name}](../methods/{kind}.md)" if kind in known else name
