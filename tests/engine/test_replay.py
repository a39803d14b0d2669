import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric

from lightning_mtl.engine.replay import RandomState, replay
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader


class Noisy(Toy):
    """A running statistic, and numbers drawn from the global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.metric = MeanMetric()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", None)

    def task_losses(self, batch):
        x, *targets = batch
        self.calls = self.calls + 1
        self.last = x.mean()
        self.metric(x)
        features = self.norm(self.trunk(x))
        features = features + torch.randn_like(features)
        return {
            task: nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }


@pytest.mark.peer("L16", "O16")
def test_replayed_losses_are_those_of_the_first_time() -> None:
    module, batch = Noisy(), next(iter(toy_loader()))
    start = RandomState.now(module.device)
    first = module.task_losses(batch)
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    torch.rand(3)
    state = torch.get_rng_state()
    again = replay(quiet_trainer(), module, batch, start).losses
    for task, loss in first.items():
        torch.testing.assert_close(again[task], loss.detach())
        assert not again[task].requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in module.named_buffers())


def test_buffers_that_are_replaced_and_counters_of_metrics_are_put_back() -> None:
    module, batch = Noisy(), next(iter(toy_loader()))
    replay(quiet_trainer(), module, batch, RandomState.now(module.device))
    assert module.calls == 0 and module.last is None
    assert module.metric.update_count == 0
    start = RandomState.now(module.device)
    module.task_losses(batch)
    mean = module.metric.compute()
    kept = module.calls, module.last
    replay(quiet_trainer(), module, [batch[0] + 1, *batch[1:]], start)
    assert module.calls is kept[0] and module.last is kept[1]
    assert module.metric.update_count == 1
    assert module.metric.compute() == mean


def test_the_precision_is_that_of_the_training() -> None:
    module, batch = Noisy(), next(iter(toy_loader()))
    start = RandomState.now(module.device)
    exact = replay(quiet_trainer(), module, batch, start).losses
    rounded = replay(quiet_trainer(precision="bf16-mixed"), module, batch, start).losses
    assert any(not torch.equal(exact[task], rounded[task]) for task in TASKS)


def test_everything_is_put_back_after_an_error() -> None:
    module, batch = Noisy(), next(iter(toy_loader()))
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with pytest.raises(ValueError, match="zip"):
        replay(quiet_trainer(), module, batch[:2], RandomState.now(module.device))
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in module.named_buffers())
    assert "log" not in vars(module)
