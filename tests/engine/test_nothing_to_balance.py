"""Where there is nothing to balance, every task trains by its own gradient."""

from collections.abc import Sequence

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl.callbacks import GradNorm
from lightning_mtl.weightings.bases.gradient_weighting import GradientWeighting
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES

GRADIENT_LEVEL = [
    name for name in EXAMPLES if isinstance(EXAMPLES[name](), (GradientWeighting, GradNorm))
]
every_gradient_rule = pytest.mark.parametrize("name", GRADIENT_LEVEL)


def loader(batches: list) -> DataLoader:
    return DataLoader(batches, batch_size=None)


class Thaw(L.Callback):
    """Freezes the trunk for the first optimizer steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer, pl_module) -> None:
        pl_module.trunk.requires_grad_(False)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.steps:
            pl_module.trunk.requires_grad_(True)


@every_gradient_rule
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_frozen_trunk_trains_by_the_plain_sum_and_the_rule_starts_at_the_thaw(
    name: str, accumulate: int
) -> None:
    batches = list(toy_loader())
    plain = Toy()
    trainer = quiet_trainer(callbacks=[Thaw(100)], max_steps=3, accumulate_grad_batches=accumulate)
    trainer.fit(plain, loader(batches[: 3 * accumulate]))
    assert torch.equal(plain.trunk[0].weight, Toy().trunk[0].weight)

    thawed = Toy()
    rules = [EXAMPLES[name](), Thaw(3)]
    trainer = quiet_trainer(callbacks=rules, max_steps=6, accumulate_grad_batches=accumulate)
    trainer.fit(thawed, loader(batches[: 6 * accumulate]))

    fresh = Toy()
    fresh.load_state_dict(plain.state_dict())
    trainer = quiet_trainer(
        callbacks=[EXAMPLES[name]()], max_steps=3, accumulate_grad_batches=accumulate
    )
    trainer.fit(fresh, loader(batches[3 * accumulate : 6 * accumulate]))
    torch.testing.assert_close(parameters(thawed), parameters(fresh), atol=1e-6, rtol=1e-5)


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        quiet_trainer(callbacks=[EXAMPLES["MGDA"](), Thaw(5)], max_steps=8).fit(Toy(), toy_loader())
    assert caplog.text.count("frozen") == 1


class OneTask(Toy):
    """A toy of which one task is left."""

    task_names = TASKS[:1]

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"one": super().task_losses(batch)["one"]}


@every_gradient_rule
def test_one_task_trains_by_its_own_gradient(name: str) -> None:
    trained = []
    for rules in ([], [EXAMPLES[name]()]):
        module = OneTask()
        quiet_trainer(callbacks=rules, max_steps=4).fit(module, toy_loader())
        trained.append(parameters(module))
    torch.testing.assert_close(trained[1], trained[0], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(trained[0], parameters(OneTask()))
