import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import Tensor, nn
from torch.nn.functional import mse_loss
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


class Energy(Toy):
    """A task that is fitted to the derivative of another one's prediction."""

    def task_losses(self, batch):
        x, energy, _, target = batch
        x = x.detach().requires_grad_()
        found = self.heads["one"](self.trunk(x))
        forces = self.forces(x, found)
        return {"one": mse_loss(found, energy), "two": mse_loss(forces[:, :2], target)}

    def forces(self, x: Tensor, energy: Tensor) -> Tensor:
        (forces,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        forces.register_hook(lambda gradient: gradient)
        return forces


class EnergyByHand(Energy):
    """The same, with the derivative written out: a trunk of one layer."""

    def forces(self, x: Tensor, energy: Tensor) -> Tensor:
        inner = torch.tanh(self.trunk[0](x))
        return (1 - inner**2) * self.heads["one"].weight.sum(0) @ self.trunk[0].weight


@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_may_contain_a_derivative_and_register_a_hook(accumulate: int) -> None:
    trained, weights = [], []
    for kind in (Energy, EnergyByHand):
        module = kind()
        module.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        torch.manual_seed(0)
        nn.init.normal_(module.trunk[0].weight)
        trainer = quiet_trainer(callbacks=[FAMO()], accumulate_grad_batches=accumulate)
        trainer.fit(module, toy_loader())
        trained.append(parameters(module))
        weights.append({task: float(weight) for task, weight in module.task_weights.items()})
    torch.testing.assert_close(*trained, atol=1e-5, rtol=1e-4)
    assert weights[0] == pytest.approx(weights[1], abs=1e-4)
    assert weights[0]["one"] != pytest.approx(0.5, abs=1e-2)


GENERATORS: dict[str, Callable[[], float]] = {
    "torch": lambda: float(torch.rand(())),
    "random": random.random,
    "numpy": lambda: float(np.random.rand()),
}


class Drawing(Toy):
    """A step of length 0, and losses that depend on a number which is drawn."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__(lr=0.0)
        self.draw = draw

    def task_losses(self, batch):
        x, *targets = batch
        return super().task_losses([x + self.draw(), *targets])


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_second_evaluation_draws_the_numbers_of_the_first(generator: str) -> None:
    """The parameters rest, so that losses differ by what is drawn alone."""
    weighting = FAMO()
    quiet_trainer(callbacks=[weighting]).fit(Drawing(GENERATORS[generator]), toy_loader())
    assert weighting.memory.tensors["logits"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_run_draws_the_numbers_that_it_draws_without_the_rule(generator: str) -> None:
    draw, found = GENERATORS[generator], []
    for callbacks in ([], [FAMO()]):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        module = Drawing(draw)
        quiet_trainer(callbacks=callbacks).fit(module, toy_loader())
        found.append(draw())
    assert found[0] == found[1]


class Searching(Drawing):
    """Trained by an optimizer that evaluates the losses several times in a step."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__(draw)
        self.seen: list[dict[str, Tensor]] = []

    def task_losses(self, batch):
        losses = super().task_losses(batch)
        self.seen.append({task: loss.detach() for task, loss in losses.items()})
        return losses

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)


def learned_from(weighting: FAMO, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """The losses before and after each step that the rule learns from."""
    steps: list[tuple[Tensor, Tensor]] = []
    learn = weighting.learn

    def spy(before: Tensor, after: Tensor) -> None:
        steps.append((before, after))
        learn(before, after)

    monkeypatch.setattr(weighting, "learn", spy)
    return steps


@pytest.mark.filterwarnings("ignore:.*as those of one function")
@pytest.mark.parametrize("generator", GENERATORS)
def test_of_several_evaluations_in_a_step_the_first_is_compared(
    generator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, weighting = Searching(GENERATORS[generator]), FAMO()
    steps = learned_from(weighting, monkeypatch)
    trainer = quiet_trainer(callbacks=[weighting], max_steps=3)
    draws: list[float] = []
    draw = module.draw
    module.draw = lambda: draws.append(draw()) or draws[-1]
    trainer.fit(module, toy_loader())
    assert len(steps) == 3
    evaluations = len(module.seen) // 3
    assert evaluations > 2
    for step, (before, after) in enumerate(steps):
        first, last = step * evaluations, (step + 1) * evaluations - 1
        assert draws[last] == draws[first]
        assert before.tolist() == [float(module.seen[first][task]) for task in TASKS]
        assert after.tolist() == [float(module.seen[last][task]) for task in TASKS]


class Skipping(FAMO):
    """Told that the optimizer has skipped some steps, as the engine does under a loss scaler."""

    def __init__(self, skipped: set[int]) -> None:
        super().__init__()
        self.skipped = skipped
        self.steps = -1

    def optimizer_step(self, optimizer, step) -> None:
        super().optimizer_step(optimizer, step)
        self.steps += 1
        if self.steps in self.skipped:
            self.forget_step()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_skipped_step_teaches_nothing_and_its_batches_are_dropped(
    accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighting, module = Skipping({1, 2}), Toy(lr=0.0)
    steps = learned_from(weighting, monkeypatch)
    trainer = quiet_trainer(callbacks=[weighting], accumulate_grad_batches=accumulate)
    trainer.fit(module, toy_loader(samples=24))  # six batches
    assert len(steps) == 6 // accumulate - 2
    for before, after in steps:  # of the same batches: the parameters rest
        torch.testing.assert_close(after, before)


class Normed(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.trunk.append(nn.BatchNorm1d(8))


def test_an_epoch_without_steps_keeps_no_batch() -> None:
    """Stochastic weight averaging ends with one, for the statistics of batch norm."""
    weighting = FAMO()
    averaging = StochasticWeightAveraging(0.05, swa_epoch_start=1)
    windows: list[int] = []
    module = Normed()
    module.on_train_batch_end = lambda *_: windows.append(len(weighting._window))
    trainer = quiet_trainer(callbacks=[weighting, averaging], max_epochs=2)
    trainer.fit(module, toy_loader(samples=16))
    assert windows == [0] * 12
