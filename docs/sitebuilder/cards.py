"""The docstring of a weighting, taken apart: what it is, its labelled facts, arguments, example."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import dedent

LABELS = ("Scale", "Heads", "Memory", "Deviations")
"""What docstrings say of every weighting, in this order; "Memory" only where there is any."""

_ARGUMENT = re.compile(r"^    (?P<name>\w+): (?P<text>.*(?:\n {5,}.*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """The parts of a class's docstring.

    Attributes:
        summary: the first sentence, without its full stop.
        description: the paragraphs between the summary and the first label.
        facts: the text of each label that the docstring has.
        arguments: what the docstring says of each argument, by its name.
        example: a session of the interpreter; empty if there is none.
    """

    summary: str
    description: tuple[str, ...]
    facts: Mapping[str, str]
    arguments: Mapping[str, str]
    example: str


def card(kind: type) -> Card:
    """The parts of the docstring of a class."""
    text = inspect.getdoc(kind) or ""
    text, _, example = text.partition("\nExample:\n")
    text, _, arguments = text.partition("\nRaises:")[0].partition("\nArgs:")
    text, *facts = re.split(rf"^({'|'.join(LABELS)}):", text, flags=re.MULTILINE)
    summary, *description = re.split(r"\n\n(?! {4})", text.strip())
    return Card(
        summary=_one_line(summary).rstrip("."),
        description=tuple(paragraph.strip("\n") for paragraph in description),
        facts=dict(zip(facts[::2], map(_one_line, facts[1::2]), strict=True)),
        arguments={m["name"]: _one_line(m["text"]) for m in _ARGUMENT.finditer(arguments)},
        example=dedent(example).strip(),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
