"""Hooks that a user puts on tensors run as in plain training."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import GradNorm
from tests.support.toy import TASKS, Skipping, Toy, parameters, quiet_trainer, toy_loader
from tests.support.twins import GramianOnes, JacobianOnes

RULES: dict[str, Callable] = {
    "shared": GramianOnes,
    "last_layer": lambda: GramianOnes(gradients="last_layer"),
    "features": lambda: GramianOnes(gradients="features"),
    "Jacobian": JacobianOnes,
    # Its weights are 1 at the first step.
    "GradNorm": GradNorm,
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


class Hooked(Toy):
    """Masks a shared parameter, doubles a head's gradient, reverses that of the features."""

    retained: ClassVar[bool] = False

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__()
        self.places = places
        self.features: list[Tensor] = []
        self.calls = dict.fromkeys(("trunk", "head"), 0)
        if "trunk" in places:
            self.trunk[0].weight.register_hook(self._counted("trunk", _masked))
        if "head" in places:
            self.heads["one"].weight.register_hook(self._counted("head", lambda g: 2 * g))

    def _counted(self, place: str, change: Callable) -> Callable:
        def hook(gradient: Tensor) -> Tensor:
            self.calls[place] += 1
            return change(gradient)

        return hook

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.trunk(x)
        if "features" in self.places:
            features.register_hook(lambda gradient: -0.5 * gradient)
        if "retained" in self.places:
            features.retain_grad()
            self.features.append(features)
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }


def _masked(gradient: Tensor) -> Tensor:
    return gradient * (torch.arange(gradient.shape[1]) % 2)


def trained(places: Sequence[str], *rules: object, **settings) -> Hooked:
    module = Hooked(places)
    quiet_trainer(max_steps=1, callbacks=list(rules), **settings).fit(module, toy_loader())
    return module


@every_rule
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "places", [("trunk",), ("head",), ("features",), ("trunk", "head", "features")], ids="+".join
)
def test_a_hook_changes_a_gradient_once(
    rule: Callable, accumulate: int, places: Sequence[str]
) -> None:
    plain = trained(places, accumulate_grad_batches=accumulate)
    weighted = trained(places, rule(), accumulate_grad_batches=accumulate)
    torch.testing.assert_close(parameters(weighted), parameters(plain), atol=1e-6, rtol=1e-5)
    assert weighted.calls["head"] == plain.calls["head"]
    without = parameters(trained((), rule(), accumulate_grad_batches=accumulate))
    assert not torch.allclose(parameters(weighted), without)


@every_rule
@pytest.mark.parametrize("others", [(), ("trunk", "head")], ids=["alone", "beside hooks"])
def test_retain_grad_keeps_the_gradient_that_enters_the_trunk(
    rule: Callable, others: Sequence[str]
) -> None:
    (expected,) = trained(("retained", *others)).features
    (features,) = trained(("retained", *others), rule()).features
    torch.testing.assert_close(features.grad, expected.grad, atol=1e-7, rtol=1e-5)


@every_rule
def test_the_hooks_stay_where_they_are(rule: Callable) -> None:
    module = trained(("trunk",), rule())
    module.zero_grad()
    module.trunk[0].weight.sum().backward()
    assert torch.equal(module.trunk[0].weight.grad, _masked(torch.ones(16, 6)))


def test_a_shared_parameter_that_heads_use_themselves_runs_its_hook_once() -> None:
    class Tied(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))
            self.scale.register_hook(lambda gradient: 3 * gradient)

        def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
            x, *targets = batch
            features = self.trunk(x)
            return {
                task: nn.functional.mse_loss(self.heads[task](features) * self.scale, target)
                for task, target in zip(TASKS, targets, strict=True)
            }

    ways = []
    for rules in ([], [GramianOnes()], [GramianOnes(gradients="features")], [GradNorm()]):
        module = Tied()
        quiet_trainer(max_steps=1, callbacks=rules).fit(module, toy_loader())
        ways.append(parameters(module))
    for way in ways[1:]:
        torch.testing.assert_close(way, ways[0], atol=1e-6, rtol=1e-5)


@every_rule
@pytest.mark.parametrize("stage", range(3))
def test_a_hook_on_one_of_several_joined_features_changes_its_gradient_once(
    rule: Callable, stage: int
) -> None:
    class HookedStage(Skipping):
        def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
            x, *targets = batch
            stages = self.stages_of(x)
            stages[stage].register_hook(lambda gradient: -2 * gradient)
            low, middle, high = stages
            used = {"one": low + middle * high, "two": low * middle - high, "three": high * low}
            used["three"] = used["three"] + middle
            return {
                task: nn.functional.mse_loss(self.heads[task](used[task]), target)
                for task, target in zip(TASKS, targets, strict=True)
            }

    ways = []
    for rules in ([], [rule()]):
        module = HookedStage(joined=True)
        quiet_trainer(max_steps=1, callbacks=rules).fit(module, toy_loader())
        ways.append(parameters(module))
    torch.testing.assert_close(ways[1], ways[0], atol=1e-6, rtol=1e-5)
