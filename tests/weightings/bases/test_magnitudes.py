"""The warning of optimizers whose steps do not grow with the gradients."""

import re
import warnings
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim import SGD, AdamW, Optimizer, Rprop

from lightning_mtl.callbacks import (
    DWA,
    MGDA,
    AlternatingUpdates,
    EqualWeighting,
    GradNorm,
    PCGrad,
    UncertaintyWeighting,
    Weighting,
)
from lightning_mtl.weightings.bases.magnitudes import discards_magnitudes
from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader

MUON = [optim.Muon] if hasattr(optim, "Muon") else []
"""Muon, which came to torch with 2.9."""


class Lion(SGD):
    """Steps by the signs of the gradients."""

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None if parameter.grad is None else parameter.grad.sign()
        super().step()
        return loss


class PagedLion8bit(Lion):
    pass


def named(name: str, *bases: type) -> Optimizer:
    return type(name, bases or (SGD,), {})([nn.Parameter(torch.zeros(2, 2))], lr=0.1)


@pytest.mark.parametrize(
    "name", ["Lion", "PagedLion8bit", "Lion8bit", "SignSGD", "Signum", "Rprop", "Tiger"]
)
def test_steps_by_signs_are_known_by_the_name_of_the_class(name: str) -> None:
    assert discards_magnitudes(named(name)) == "signs"


@pytest.mark.parametrize("name", ["Muon", "AdaMuon", "MuonWithAuxAdam", "Dion", "Scion"])
def test_orthogonal_steps_are_known_by_the_name_of_the_class(name: str) -> None:
    assert discards_magnitudes(named(name)) == "orthogonalised matrices"


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lionel", "Designer", "Scions", "Adafactor"])
def test_others_are_not(name: str) -> None:
    assert discards_magnitudes(named(name)) == ""


def test_the_optimizers_of_torch_and_classes_derived_from_them_are_known() -> None:
    for optimizer in MUON:
        assert discards_magnitudes(named("Mine", optimizer)) == "orthogonalised matrices"
    assert discards_magnitudes(named("Mine", Rprop)) == "signs"
    assert discards_magnitudes(named("Mine", AdamW)) == ""


class Matrices(Toy):
    """A toy without vectors, which Muon does not take."""

    def __init__(self, optimizer: type[Optimizer]) -> None:
        super().__init__(optimizer, lr=0.01)
        self.trunk = nn.Sequential(
            nn.Linear(6, 16, bias=False), nn.Tanh(), nn.Linear(16, 8, bias=False)
        )
        self.heads = nn.ModuleDict({task: nn.Linear(8, 2, bias=False) for task in self.scales})


def warned(rule: Weighting, optimizer: type[Optimizer]) -> list[str]:
    """The warnings of two epochs; training goes on."""
    module = Matrices(optimizer)
    start = parameters(module)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        quiet_trainer(callbacks=[rule], max_epochs=2).fit(module, toy_loader(samples=16))
    assert not torch.equal(parameters(module), start)
    return [text for text in (str(each.message) for each in found) if "grow with" in text]


@pytest.mark.parametrize("optimizer", [*MUON, Lion, PagedLion8bit])
def test_a_run_warns_once_and_says_what_is_left_and_what_to_do(optimizer: type[Optimizer]) -> None:
    texts = warned(GradNorm(), optimizer)
    assert len(texts) == 1
    assert "`GradNorm` should have an optimizer whose steps grow with the gradients" in texts[0]
    assert re.search(rf"Found `{optimizer.__name__}`, whose steps are .*: weights have", texts[0])
    assert "Use SGD or `torch.optim.AdamW`" in texts[0]


@pytest.mark.parametrize(
    "rule",
    [
        DWA(),
        UncertaintyWeighting(),
        MGDA(weight_heads=True),
        MGDA(gradients="probes"),
        EqualWeighting(prior={"one": 2.0}),
        PCGrad(prior={"one": 2.0}),
        AlternatingUpdates(prior={"one": 2.0}),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_whatever_multiplies_losses_is_warned_of(rule: Weighting) -> None:
    assert len(warned(rule, Lion)) == 1


@pytest.mark.parametrize(
    "rule",
    [EqualWeighting(), PCGrad(), MGDA(), AlternatingUpdates()],
    ids=lambda rule: type(rule).__name__,
)
def test_what_changes_nothing_or_the_shared_direction_is_not(rule: Weighting) -> None:
    assert not warned(rule, Lion)


@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_an_optimizer_whose_steps_grow_with_the_gradients_is_not(
    optimizer: type[Optimizer],
) -> None:
    assert not warned(GradNorm(prior={"one": 2.0}), optimizer)
