"""A docstring is taken apart into what a page shows."""

import inspect

import pytest
from sitebuilder.cards import card

from lightning_mtl.callbacks import FixedWeighting, GradNorm, GradVac, MaxGNR
from lightning_mtl.catalogue import summary, weightings

every_weighting = pytest.mark.parametrize("kind", weightings(), ids=lambda kind: kind.__name__)


class Described:
    """What it is, in
    one sentence.

    A paragraph with a formula,

        w = 1,

    and its end.

    A source.

    Scale: the sum,
    as ever.
    Heads: weighted.
    Deviations: none.

    Args:
        first: what it is,
            on two lines.
        second: another: with a colon.

    Raises:
        ValueError: if it does.

    Example:
        >>> 1 + 1
        2
    """


def test_all_parts_are_found() -> None:
    found = card(Described)
    assert found.summary == "What it is, in one sentence"
    assert found.description == (
        "A paragraph with a formula,\n\n    w = 1,",
        "and its end.",
        "A source.",
    )
    assert found.facts == {
        "Scale": "the sum, as ever.",
        "Heads": "weighted.",
        "Deviations": "none.",
    }
    assert found.arguments == {
        "first": "what it is, on two lines.",
        "second": "another: with a colon.",
    }
    assert found.example == ">>> 1 + 1\n2"


@every_weighting
def test_no_word_of_a_weighting_is_lost(kind: type) -> None:
    found = card(kind)
    kept = [found.summary, *found.description, *found.facts.values(), *found.arguments.values()]
    words = " ".join([*kept, found.example]).split()
    marks = {*(f"{label}:" for label in found.facts), "Args:", "Example:"}
    marks |= {f"{name}:" for name in found.arguments}
    text, raises, example = (inspect.getdoc(kind) or "").partition("\nRaises:")
    text += example.partition("\nExample:")[2] if raises else ""
    told = [word for word in text.split() if word not in marks]
    lost = set(told) - set(words) - {f"{found.summary.split()[-1]}."}
    # Bases that hand on all of their arguments say where these are described.
    assert lost <= {"see", "`GramianWeighting`."}


@every_weighting
def test_summary_and_facts_are_those_of_the_catalogue(kind: type) -> None:
    found = card(kind)
    assert found.summary == summary(kind)
    assert {"Scale", "Heads", "Deviations"} <= found.facts.keys()
    assert found.example.startswith(">>> ")


def test_arguments_are_those_of_the_constructor() -> None:
    for kind, own in (
        (GradNorm, {"alpha", "lr", "layer", "initial_loss", "theoretical_losses"}),
        (FixedWeighting, {"weights"}),
        (GradVac, {"beta", "seed"}),
        (MaxGNR, {"beta1", "beta2", "objective", "warmup_steps"}),
    ):
        assert own <= card(kind).arguments.keys() & inspect.signature(kind).parameters.keys()
