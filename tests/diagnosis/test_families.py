"""Families are found in the catalogue by what their members need."""

import pytest

from lightning_mtl.callbacks import GramianWeighting, LossWeighting
from lightning_mtl.catalogue import weightings
from lightning_mtl.diagnosis.families import (
    PLACES,
    families,
    takes_place,
    told_by,
)
from lightning_mtl.diagnosis.suggestions import AVOIDS_CONFLICT, BALANCES_NORMS


def test_there_is_no_weighting_then_losses_then_gradients_at_each_place():
    plain, losses, *gradients = families()
    assert plain.build() is None
    assert isinstance(losses.build(), LossWeighting)
    assert [family.place for family in gradients] == list(PLACES)
    for family in gradients:
        built = family.build()
        assert isinstance(built, GramianWeighting)
        assert built.gradients == family.place


@pytest.mark.parametrize("words", [BALANCES_NORMS, AVOIDS_CONFLICT])
def test_the_catalogue_knows_weightings_for_each_suggestion(words):
    names = {kind.__name__ for kind in weightings()}
    assert told_by(words)
    assert set(told_by(words)) <= names


def test_some_weighting_against_conflicts_may_measure_at_every_place():
    for place in PLACES:
        assert any(takes_place(name, place) for name in told_by(AVOIDS_CONFLICT))
