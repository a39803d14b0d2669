"""The engine behind a module: one attribute, any constructor, one run at a time."""

import copy
from collections.abc import Sequence
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import FAMO, MGDA, EqualWeighting, GradNorm, MoCo, UPGrad
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader

ROUTES = [None, EqualWeighting, FAMO, GradNorm, MGDA, MoCo]
every_route = pytest.mark.parametrize(
    "weighting", ROUTES, ids=lambda kind: kind.__name__ if kind else "none"
)


def trained(module: Toy, weighting: Any, **settings: Any) -> Tensor:
    callbacks = [] if weighting is None else [weighting()]
    quiet_trainer(callbacks=callbacks, **settings).fit(module, toy_loader())
    return parameters(module)


class OwnNames(Toy):
    """Has attributes of its own under the names that the engine's parts have."""

    def __init__(self) -> None:
        super().__init__()
        self._guard = self._window = self._losses = self._partition = self._micro_batch = "mine"
        self.balancer = self.observers = self.log_step = self.engine = "mine"

    def _step(self, batch: Sequence[Tensor], stage: str) -> dict[str, Tensor]:
        assert stage == "train"
        return super().task_losses(batch)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        return self._step(batch, "train")


@every_route
def test_names_of_the_users_own_are_left_alone(weighting: Any) -> None:
    module = OwnNames()
    assert torch.equal(trained(module, weighting), trained(Toy(), weighting))
    assert module._guard == module._window == module._losses == module._partition == "mine"
    assert module.balancer == module.observers == module.log_step == module.engine == "mine"


def test_a_module_has_one_attribute_more_than_lightnings() -> None:
    class Plain(L.LightningModule):
        pass

    class Bare(MultiTaskModule):
        def task_losses(self, batch: Any) -> dict[str, Tensor]:
            return {}

    bare = Bare()
    assert bare.task_weights == {}
    assert set(vars(bare)) - set(vars(Plain())) == {"_multi_task"}


class Theirs(L.LightningModule):
    """Somebody else's module: a constructor with arguments, hooks, a step and a schedule."""

    def __init__(self, width: int, *, lr: float = 0.05) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.lr = lr
        self.trunk = nn.Sequential(nn.Linear(6, width), nn.Tanh())
        self.heads = nn.ModuleDict({task: nn.Linear(width, 2) for task in TASKS})
        self.stages: list[str] = []
        self.steps = 0

    def setup(self, stage: str) -> None:
        self.stages.append(stage)

    def losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = self.trunk(x)
        return {
            task: nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return sum(self.losses(batch).values())

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        self.steps += 1
        optimizer.step(closure=optimizer_closure)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class SkipsConstructors(Theirs):
    """Calls the constructor of LightningModule by its name, past every class between."""

    def __init__(self, width: int) -> None:
        L.LightningModule.__init__(self)
        torch.manual_seed(1)
        self.lr, self.stages, self.steps = 0.05, [], 0
        self.trunk = nn.Sequential(nn.Linear(6, width), nn.Tanh())
        self.heads = nn.ModuleDict({task: nn.Linear(width, 2) for task in TASKS})


def mixed(theirs: type[Theirs], first: bool) -> type[MultiTaskModule]:
    bases = (MultiTaskModule, theirs) if first else (theirs, MultiTaskModule)
    return type("Mine", bases, {"task_losses": theirs.losses})


@pytest.mark.parametrize("theirs", [Theirs, SkipsConstructors])
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@every_route
def test_it_mixes_with_any_module_in_any_order(theirs: Any, first: bool, weighting: Any) -> None:
    module = mixed(theirs, first)(12)
    trained(module, weighting, max_steps=5)
    # What MoCo combines is no weighted sum of this step's gradients.
    assert set(module.task_weights) == (set() if weighting is MoCo else set(TASKS))
    assert module.stages == ["fit"]
    assert module.steps == 5
    if weighting is None:
        plain = theirs(12)
        assert torch.equal(parameters(module), trained(plain, None, max_steps=5))


def test_keyword_arguments_reach_the_module_that_is_mixed_in() -> None:
    assert mixed(Theirs, first=True)(width=3, lr=0.5).lr == 0.5


def test_the_copy_of_a_module_has_an_engine_of_its_own() -> None:
    module = Toy()
    quiet_trainer(callbacks=[MGDA()], max_steps=2).fit(module, toy_loader())
    twin = copy.deepcopy(module)
    assert twin._multi_task is not module._multi_task
    assert twin._multi_task.module is twin
    assert torch.equal(trained(twin, UPGrad), trained(module, UPGrad))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated.*:FutureWarning")
def test_the_properties_of_a_module_can_be_scripted() -> None:
    class Scripted(Toy):
        def forward(self, x: Tensor) -> Tensor:
            return self.trunk(x)

    module = Scripted()
    assert torch.equal(module.to_torchscript()(torch.ones(2, 6)), module(torch.ones(2, 6)))
