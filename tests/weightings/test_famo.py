import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric

from lightning_mtl.callbacks import FAMO
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader


@pytest.mark.peer("O10")
def test_logits_move_as_by_automatic_differentiation() -> None:
    """U20: the loss is divided by Σ z / L, as in the paper. O10: γ is the paper's 1e-3."""
    weighting = FAMO()
    assert weighting.gamma == 1e-3
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.025, weight_decay=1e-3)
    for _ in range(30):
        before, after = torch.rand(2, 3, dtype=torch.float64) + 0.1
        shares = torch.softmax(logits, 0)
        leaf = before.clone().requires_grad_()
        constant = (shares / before).sum().detach()
        (expected,) = torch.autograd.grad((shares.detach() * leaf.log()).sum() / constant, leaf)
        torch.testing.assert_close(weighting.weights(before), expected)
        optimizer.zero_grad()
        shares.backward(before.log() - after.log())
        optimizer.step()
        weighting.learn(before, after)


def test_weights_sum_to_one() -> None:
    for scale in (1e-6, 1.0, 1e6):
        weights = FAMO().weights(torch.rand(5, dtype=torch.float64) * scale)
        torch.testing.assert_close(weights.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_a_task_that_falls_less_gains_weight() -> None:
    weighting = FAMO()
    before = torch.ones(2)
    weighting.learn(before, torch.tensor([0.5, 0.9]))
    weights = weighting.weights(before)
    assert weights[1] > weights[0]


def test_a_step_that_diverges_is_not_remembered() -> None:
    weighting = FAMO()
    weighting.learn(torch.ones(2), torch.tensor([torch.nan, torch.inf]))
    assert weighting.weights(torch.ones(2)).tolist() == [0.5, 0.5]


class Delicate(Toy):
    """Everything that a second forward pass could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.metric = MeanMetric()
        self.drops: list[torch.Tensor] = []
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("seen", None)

    def on_train_batch_start(self, batch, batch_idx):
        torch.rand(batch_idx + 1)  # draws of one's own before the losses

    def task_losses(self, batch):
        x, *targets = batch
        kept = self.dropout(torch.ones(8, device=x.device))
        self.drops.append(kept)
        features = self.norm(self.trunk(x)) * kept
        self.metric(x)
        self.count = self.count + 1
        self.seen = x.mean()
        self.log("seen", 1.0)
        return {
            task: nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }


@pytest.mark.peer("L16", "O16")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_second_evaluation_leaves_no_trace(accumulate: int) -> None:
    """L16: no batch norm statistics, random numbers, metrics or logs; and the same dropout."""
    module = Delicate()
    weighting = FAMO(lr=0.0)  # equal shares, but the second evaluation takes place
    trainer = quiet_trainer(callbacks=[weighting], accumulate_grad_batches=accumulate)
    torch.manual_seed(1)
    trainer.fit(module, toy_loader(samples=40))
    after = torch.get_rng_state()
    assert int(module.norm.num_batches_tracked) == 10
    assert float(module.count) == 10
    assert float(module.metric.weight) == 40 * 6
    assert module.metric.update_count == 10
    assert len(module.drops) == 20
    for window in range(0, 20, 2 * accumulate):
        first = module.drops[window : window + accumulate]
        again = module.drops[window + accumulate : window + 2 * accumulate]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))

    plain = Delicate()
    torch.manual_seed(1)
    plain_trainer = quiet_trainer(accumulate_grad_batches=accumulate)
    plain_trainer.fit(plain, toy_loader(samples=40))
    assert torch.equal(after, torch.get_rng_state())
    assert float(plain.count) == float(module.count)
    assert plain.metric.update_count == module.metric.update_count


def test_losses_of_the_same_batch_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Toy()
    weighting = FAMO()
    seen = []
    learn = weighting.learn

    def spy(before, after):
        seen.append((before, after, parameters(module).clone()))
        learn(before, after)

    monkeypatch.setattr(weighting, "learn", spy)
    loader = toy_loader(samples=12)
    quiet_trainer(callbacks=[weighting], accumulate_grad_batches=3).fit(module, loader)
    ((before, after, then),) = seen
    assert torch.equal(then, parameters(module))
    expected = [module.task_losses(batch) for batch in loader]
    for index, task in enumerate(TASKS):
        mean = sum(losses[task].detach() for losses in expected) / 3
        torch.testing.assert_close(after[index], mean)
    assert not torch.equal(before, after)


@pytest.mark.peer("O11")
def test_no_graph_is_kept() -> None:
    """O11."""
    weighting = FAMO()
    quiet_trainer(callbacks=[weighting], limit_train_batches=2).fit(Toy(), toy_loader())
    assert weighting._window == []
    assert not any(tensor.requires_grad for tensor in weighting.memory.tensors.values())
