"""Prints the matrix of equivalences as a table in Markdown.

Run as `python -m tests.equivalence.table`. A number is the largest difference of two runs'
parameters, which are of the order of 1; 0 is equality to the bit. A number that is larger than
promised is bold.
"""

import io
import logging
import string
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr

import torch

from tests.support.equivalence import EQUIVALENCES, RULES, Equivalence


class Footnotes:
    """Letters for reasons, in the order in which they are first given."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def letter(self, reason: str) -> str:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return string.ascii_lowercase[self.reasons.index(reason)]

    def lines(self) -> Iterator[str]:
        for reason in self.reasons:
            yield f"({self.letter(reason)}) {reason}."


def cell(equivalence: Equivalence, name: str, footnotes: Footnotes) -> str:
    """The difference that a rule reaches, or why there is none."""
    if name in equivalence.exceptions:
        return f"({footnotes.letter(equivalence.exceptions[name])})"
    note = f" ({footnotes.letter(equivalence.notes[name])})" if name in equivalence.notes else ""
    try:
        with redirect_stderr(io.StringIO()):
            difference = equivalence.difference(name)
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        return f"**{type(error).__name__}**{note}"
    reached = f"{difference:.0e}".replace("e-0", "e-") if difference else "0"
    return (reached if difference <= equivalence.tolerance else f"**{reached}**") + note


def table() -> Iterator[str]:
    """The lines of the table, and its footnotes."""
    footnotes = Footnotes()
    yield f"| weighting | {' | '.join(EQUIVALENCES)} |"
    yield "| --- " * (len(EQUIVALENCES) + 1) + "|"
    for name in RULES:
        cells = [cell(equivalence, name, footnotes) for equivalence in EQUIVALENCES.values()]
        yield f"| `{name}` | {' | '.join(cells)} |"
    yield ""
    yield from footnotes.lines()


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for line in table():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
