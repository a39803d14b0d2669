"""Every weighting's docstring is a card that says the same things in the same order."""

import inspect
import re

import pytest

from lightning_mtl.callbacks import Weighting
from lightning_mtl.catalogue import citations, price, weightings

LABELS = ("Scale:", "Heads:", "Cost:", "Deviations:")
OF_NO_PAPER = ("EqualWeighting", "FixedWeighting")
every_card = pytest.mark.parametrize("kind", weightings(), ids=lambda kind: kind.__name__)


def text_of(kind: type[Weighting]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


@every_card
def test_scale_heads_cost_and_deviations_are_said_once_in_this_order(kind) -> None:
    places = [text_of(kind).find(label) for label in LABELS]
    assert -1 not in places, [label for label in LABELS if label not in text_of(kind)]
    assert places == sorted(places)
    assert [text_of(kind).count(label) for label in LABELS] == [1] * len(LABELS)


@every_card
def test_the_cost_is_what_the_class_prints_before_training(kind) -> None:
    _, _, cost = text_of(kind).partition("Cost: ")
    assert re.match(rf"{re.escape(price(kind))}\b", cost)


@every_card
def test_the_source_is_cited_with_its_venue(kind) -> None:
    assert (citations(kind) == "") == (kind.__name__ in OF_NO_PAPER)
