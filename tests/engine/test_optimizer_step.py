"""What a weighting remembers moves once for each step that an optimizer takes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.utils.data import DataLoader

from tests.support.toy import Graded, Toy, parameters, quiet_trainer, toy_loader, validation
from tests.support.weightings import EXAMPLES

every_weighting = pytest.mark.parametrize("name", EXAMPLES)


class Twice(torch.optim.SGD):
    """Evaluates the closure several times, and steps with the last gradients."""

    evaluations = 3

    def step(self, closure: Callable[[], Tensor] | None = None) -> Any:
        assert closure is not None
        for _ in range(self.evaluations - 1):
            with torch.enable_grad():
                closure()
        return super().step(closure)


class Once(Twice):
    """The same optimizer, with one evaluation."""

    evaluations = 1


def remembered(rule: Any) -> dict[str, Tensor]:
    return {name: value.double() for name, value in rule.memory.tensors.items()}


# AdaTask steps task by task, with gradients that it has, and so refuses to evaluate losses again.
@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "AdaTask"])
def test_state_moves_once_however_often_the_losses_are_evaluated(name: str) -> None:
    rules, modules = [], []
    for optimizer in (Once, Twice):
        module, rule = Graded(optimizer, lr=0.05), EXAMPLES[name]()
        trainer = quiet_trainer(callbacks=[rule], limit_train_batches=4, max_epochs=2)
        trainer.fit(module, toy_loader(), validation())
        rules.append(remembered(rule))
        modules.append(parameters(module))
    # The parameters do not change between the evaluations of one step, nor should anything else.
    assert torch.equal(*modules)
    assert rules[0].keys() == rules[1].keys()
    for key, value in rules[0].items():
        assert torch.equal(rules[1][key].nan_to_num(), value.nan_to_num()), key


def test_accumulated_batches_are_refused_where_losses_are_evaluated_again() -> None:
    trainer = quiet_trainer(accumulate_grad_batches=2, max_steps=2)
    with pytest.raises(ValueError, match=r"evaluates the losses several times.*Found 2"):
        trainer.fit(Toy(Twice), toy_loader())


class Scaler:
    """A loss scaler on the host that finds an infinite gradient at some steps."""

    def __init__(self, skipped: set[int]) -> None:
        self.skipped, self.steps = skipped, 0

    def scale(self, loss: Tensor) -> Tensor:
        return loss * 2.0**16

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad *= 2.0**-16

    def step(self, optimizer: torch.optim.Optimizer, **kwargs: Any) -> None:
        if self.steps not in self.skipped:
            optimizer.step()
        self.steps += 1

    def update(self) -> None:
        pass


class Precision(MixedPrecision):
    """Lightning's mixed precision, in float32 and with a scaler of our own."""

    def __init__(self, scaler: Scaler) -> None:
        super().__init__("bf16-mixed", "cpu")
        self.scaler: Any = scaler

    def forward_context(self) -> Any:
        return torch.autocast("cpu", enabled=False)


def trained_with(name: str, skipped: set[int], batches: list, plugin: bool = True):
    module, rule = Graded(lr=0.05), EXAMPLES[name]()
    plugins = [Precision(Scaler(skipped))] if plugin else []
    trainer = quiet_trainer(callbacks=[rule], plugins=plugins)
    trainer.fit(module, DataLoader(batches, batch_size=None), validation())
    return parameters(module), remembered(rule)


@every_weighting
def test_a_skipped_step_teaches_nothing(name: str) -> None:
    batches = list(toy_loader())[:4]
    skipping = trained_with(name, {1}, batches)
    without = trained_with(name, set(), [batches[0], *batches[2:]])
    torch.testing.assert_close(skipping[0], without[0], atol=1e-7, rtol=1e-6)
    assert skipping[1].keys() == without[1].keys()
    for key, value in without[1].items():
        torch.testing.assert_close(skipping[1][key], value, equal_nan=True, atol=1e-9, rtol=1e-6)


@every_weighting
def test_a_loss_scale_changes_nothing(name: str) -> None:
    batches = list(toy_loader())[:4]
    scaled, plain = (trained_with(name, set(), batches, plugin) for plugin in (True, False))
    torch.testing.assert_close(scaled[0], plain[0], atol=1e-6, rtol=1e-5)
