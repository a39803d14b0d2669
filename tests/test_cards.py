"""Every weighting's docstring is a card that says the same things in the same order."""

import inspect
import re

import pytest

from lightning_mtl.callbacks import Weighting
from lightning_mtl.catalogue import citations, price, weightings

LABELS = ("Scale:", "Heads:", "Deviations:")
MEMORY = "Memory:"
OF_NO_PAPER = ("EqualWeighting", "FixedWeighting")
every_card = pytest.mark.parametrize("kind", weightings(), ids=lambda kind: kind.__name__)


def text_of(kind: type[Weighting]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


@every_card
def test_scale_heads_and_deviations_are_said_once_in_this_order(kind) -> None:
    places = [text_of(kind).find(label) for label in LABELS]
    assert -1 not in places, [label for label in LABELS if label not in text_of(kind)]
    assert places == sorted(places)
    assert [text_of(kind).count(label) for label in LABELS] == [1] * len(LABELS)


@every_card
def test_every_label_starts_a_line(kind) -> None:
    lines = (inspect.getdoc(kind) or "").splitlines()
    for label in (*LABELS, MEMORY):
        assert sum(line.startswith(label) for line in lines) == text_of(kind).count(label)


@every_card
def test_memory_is_said_between_heads_and_deviations_where_the_price_has_any(kind) -> None:
    text = text_of(kind)
    if re.search(r"\b(numbers|states)\b", price(kind)):
        assert MEMORY in text
    if MEMORY in text:
        assert text.count(MEMORY) == 1
        assert text.find("Heads:") < text.find(MEMORY) < text.find("Deviations:")


@every_card
def test_the_price_names_forward_heads_and_backward_and_no_docstring_repeats_it(kind) -> None:
    assert {"F", "H", "B"} <= set(re.findall(r"\w+", price(kind)))
    assert price(kind) not in text_of(kind)
    assert not re.search(r"\bCost:|\bF \+ |\+ H\b", text_of(kind))


@every_card
def test_an_example_ends_the_card(kind) -> None:
    *_, example = (inspect.getdoc(kind) or "").partition("\nExample:\n")
    assert re.search(rf">>> .*\b{kind.__name__}\(", example)
    assert all(line.startswith("    ") for line in example.splitlines() if line)


@every_card
def test_the_source_is_cited_with_its_venue(kind) -> None:
    assert (citations(kind) == "") == (kind.__name__ in OF_NO_PAPER)
