"""Prices: ratios within rounds, refusals in words, and a module that is left as it was."""

import pytest
import torch

from lightning_mtl.callbacks import FixedWeighting
from lightning_mtl.diagnosis import prices
from lightning_mtl.diagnosis.families import Family, families
from lightning_mtl.diagnosis.prices import Turn, first_sentence, measure_prices, preserved
from tests.diagnosis.patients import Healthy, PatientData, make_trainer

REFUSED = Family("strange", "Fixed", lambda: FixedWeighting({"other": 1.0}))


def test_every_family_has_its_turn_and_the_module_is_left_as_it_was():
    module = Healthy()
    before = [parameter.clone() for parameter in module.parameters()]
    found = measure_prices(make_trainer, module, PatientData(), families(), rounds=2, steps=2)
    assert [price.family.place for price in found] == ["", "", "features", "last_layer", "shared"]
    assert found[0].quartiles == (1, 1, 1)
    for price in found:
        assert price.quartiles is not None, price.refusal
        assert price.quartiles[0] > 0
        assert price.memory is None
    for one, other in zip(module.parameters(), before, strict=True):
        assert torch.equal(one, other)


def test_a_refused_family_is_told_of_and_the_others_have_prices():
    chosen = [families()[0], REFUSED]
    plain, refused = measure_prices(make_trainer, Healthy(), PatientData(), chosen, 1, 1)
    assert plain.quartiles is not None
    assert refused.quartiles is None
    assert "should name the tasks" in refused.refusal


def test_nothing_has_a_price_where_no_weighting_is_refused():
    plain = families()[0]
    refused = plain._replace(build=REFUSED.build)
    found = measure_prices(make_trainer, Healthy(), PatientData(), [refused, families()[1]], 1, 1)
    assert all(price.refusal for price in found)


def test_ratios_are_taken_within_rounds(monkeypatch):
    times = {"no weighting": [1.0, 2.0, 4.0], "losses": [2.0, 4.0, 8.0]}

    def turn(make_trainer, module, data, family, steps):
        return Turn(times[family.name].pop(0), 100 if family.member is None else 150)

    monkeypatch.setattr(prices, "_turn", turn)
    _, losses = measure_prices(make_trainer, Healthy(), None, families()[:2], rounds=3)
    assert losses.quartiles == (2, 2, 2)
    assert losses.memory == pytest.approx(1.5)


def test_a_module_is_preserved_through_an_error():
    module = Healthy()
    before = module.trunk[0].weight.clone()
    with pytest.raises(RuntimeError), preserved(module):
        with torch.no_grad():
            module.trunk[0].weight.zero_()
        raise RuntimeError
    assert torch.equal(module.trunk[0].weight, before)


def test_of_a_message_the_first_sentence_is_told():
    assert first_sentence(ValueError("`a.b` is wrong.\n Do it.")) == "`a.b` is wrong."
    assert first_sentence(ValueError()) == "ValueError"
