"""AdaTask against the authors' optimizer, and what its states promise."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import AdaTask
from tests.support.toy import TASKS, PartlyLabelled, Toy, parameters, quiet_trainer, toy_loader

BETA1, BETA2, EPS, LR = 0.9, 0.999, 1e-8, 0.01


class AdamToy(Toy):
    def __init__(self, build: Callable[..., Any] = torch.optim.Adam, **settings: Any) -> None:
        super().__init__()
        self.build, self.settings = build, settings

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.build(self.parameters(), lr=LR, **self.settings)


def fitted(module: Toy, *callbacks: Any, **settings: Any) -> Tensor:
    quiet_trainer(callbacks=list(callbacks), **settings).fit(module, toy_loader())
    return parameters(module)


class Moments:
    """Adam of one parameter and task, as the authors write it."""

    def __init__(self, parameter: Tensor) -> None:
        self.first, self.second = torch.zeros_like(parameter), torch.zeros_like(parameter)

    def step(self, gradient: Tensor, count: int) -> Tensor:
        self.first = BETA1 * self.first + (1 - BETA1) * gradient
        self.second = BETA2 * self.second + (1 - BETA2) * gradient.square()
        denominator = self.second.sqrt() / (1 - BETA2**count) ** 0.5 + EPS
        return LR / (1 - BETA1**count) * self.first / denominator


def literal() -> Tensor:
    """The parameters after the authors' loop: K backward passes, then the steps of all tasks."""
    module = Toy()
    shared, heads = list(module.trunk.parameters()), list(module.heads.parameters())
    of_shared = [[Moments(parameter) for parameter in shared] for _ in TASKS]
    of_heads = [Moments(parameter) for parameter in heads]
    for count, batch in enumerate(toy_loader(), start=1):
        losses = list(module.task_losses(batch).values())
        rows = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
        own = torch.autograd.grad(sum(losses), heads)
        with torch.no_grad():
            for moments, row in zip(of_shared, rows, strict=True):
                for moment, parameter, gradient in zip(moments, shared, row, strict=True):
                    parameter -= moment.step(gradient, count)
            for moment, parameter, gradient in zip(of_heads, heads, own, strict=True):
                parameter -= moment.step(gradient, count)
    return parameters(module)


def test_a_run_is_the_authors_loop() -> None:
    found = fitted(AdamToy(), AdaTask())
    torch.testing.assert_close(found, literal(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, fitted(AdamToy()), atol=1e-2)


class One(AdamToy):
    task_names = TASKS[:1]

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        return {"one": super().task_losses(batch)["one"]}

    def shared_parameters(self) -> list[torch.nn.Parameter]:
        return list(self.trunk.parameters())


DECAYED = {"weight_decay": 0.1}
OPTIMIZERS = [
    pytest.param(torch.optim.Adam, {}, id="Adam"),
    pytest.param(torch.optim.AdamW, DECAYED, id="AdamW"),
    pytest.param(torch.optim.Adam, {"amsgrad": True}, id="AMSGrad"),
    pytest.param(torch.optim.RMSprop, DECAYED, id="RMSprop"),
]


@pytest.mark.parametrize(("build", "settings"), OPTIMIZERS)
def test_one_task_is_trained_as_without_it(build: Callable[..., Any], settings: dict) -> None:
    found = fitted(One(build, **settings), AdaTask())
    assert torch.equal(found, fitted(One(build, **settings)))


def test_without_moments_it_is_plain_training() -> None:
    plain = fitted(AdamToy(torch.optim.SGD, **DECAYED))
    found = fitted(AdamToy(torch.optim.SGD, **DECAYED), AdaTask())
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-4)


def test_the_scale_of_a_loss_does_not_matter_to_the_trunk() -> None:
    plain, scaled = AdamToy(eps=1e-15), AdamToy(eps=1e-15)
    scaled.scales = {"one": 64.0, "two": 5.0, "three": 0.2 / 64}
    fitted(plain, AdaTask())
    fitted(scaled, AdaTask())
    torch.testing.assert_close(parameters(scaled.trunk), parameters(plain.trunk))


def test_weight_decay_acts_once_and_not_for_each_task() -> None:
    class Still(AdamToy):
        def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
            return {task: 0 * loss for task, loss in super().task_losses(batch).items()}

    found = fitted(Still(torch.optim.AdamW, **DECAYED), AdaTask())
    expected = fitted(Still(torch.optim.AdamW, **DECAYED))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


class Both(AdamToy, PartlyLabelled):
    """With tasks that come and go."""


def test_an_absent_task_takes_no_step_and_its_moments_rest() -> None:
    rule = AdaTask()
    fitted(Both(), rule)
    steps = {task: float(states["trunk.0.weight"]["step"]) for task, states in rule._states.items()}
    batches = list(toy_loader())
    expected = {
        task: float(sum(float(batch[place][0, 0]) < 0.5 for batch in batches))
        for place, task in enumerate(TASKS, start=1)
    }
    alone = sum(all(float(part[0, 0]) >= 0.5 for part in batch[1:]) for batch in batches)
    assert steps == expected | {"one": expected["one"] + alone}
    assert max(steps.values()) < len(batches)


def test_the_gradients_of_the_heads_and_the_decay_are_as_before_the_step() -> None:
    rule, module = AdaTask(), AdamToy(torch.optim.AdamW, **DECAYED)
    optimizer = module.configure_optimizers()
    rule._shared = dict(module.trunk.named_parameters())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = [(p.grad, p.detach().clone()) for p in module.heads.parameters()]
    size = sum(p.numel() for p in module.trunk.parameters())
    rule._step_tasks(optimizer, {"one": torch.ones(size), "two": -torch.ones(size)})
    for parameter, (gradient, value) in zip(module.heads.parameters(), before, strict=True):
        assert parameter.grad is gradient and torch.equal(parameter, value)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1]


@pytest.mark.filterwarnings("ignore:.*as those of one function")
def test_an_optimizer_that_evaluates_the_losses_again_is_refused() -> None:
    module = Toy(torch.optim.LBFGS)
    with pytest.raises(ValueError, match=r"steps from gradients. Found `LBFGS`.*Use"):
        fitted(module, AdaTask())
