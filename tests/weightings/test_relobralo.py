"""ReLoBRaLo against the aggregator that it follows, step by step, and its properties."""

import math

import pytest
import torch

from lightning_mtl.callbacks import ReLoBRaLo
from tests.support.presence import set_present

SETTINGS = [(0.95, 0.99, 1.0), (0.5, 0.5, 0.3), (0.9, 0.0, 2.0), (0.0, 1.0, 1.0)]


class Literal:
    """The published aggregator on Python numbers, without the constants that it adds."""

    def __init__(self, alpha: float, rho: float, temperature: float, seed: int) -> None:
        self.alpha, self.rho, self.temperature = alpha, rho, temperature
        self.generator = torch.Generator().manual_seed(seed)
        self.average: list[float] = []

    def shares(self, losses: list[float], before: list[float]) -> list[float]:
        pairs = zip(losses, before, strict=True)
        powers = [math.exp(loss / (self.temperature * old)) for loss, old in pairs]
        return [len(losses) * power / sum(powers) for power in powers]

    def step(self, losses: list[float]) -> list[float]:
        goes_on = float(torch.rand((), generator=self.generator) < self.rho)
        if not self.average:
            self.first, self.average = losses, [1.0] * len(losses)
        else:
            since_last, since_first = (
                self.shares(losses, before) for before in (self.last, self.first)
            )
            for k, old in enumerate(self.average):
                self.average[k] = self.alpha * (goes_on * old + (1 - goes_on) * since_first[k])
                self.average[k] += (1 - self.alpha) * since_last[k]
        self.last = losses
        return self.average


@pytest.mark.parametrize(("alpha", "rho", "temperature"), SETTINGS)
def test_weights_are_those_of_the_published_aggregator(alpha, rho, temperature) -> None:
    rule = ReLoBRaLo(alpha, rho, temperature, seed=3)
    literal = Literal(alpha, rho, temperature, seed=3)
    for _ in range(60):
        losses = torch.rand(4, dtype=torch.float64) + 0.2
        for _ in range(2):  # micro-batches of one step
            found = rule.weights(losses).tolist()
        assert found == pytest.approx(literal.step(losses.tolist()), rel=1e-9)
        rule.update(losses)


def run(rule: ReLoBRaLo, losses: torch.Tensor) -> torch.Tensor:
    """The weights of each step."""
    found = []
    for row in losses:
        found.append(rule.weights(row))
        rule.update(row)
    return torch.stack(found)


@pytest.mark.parametrize(("alpha", "rho", "temperature"), SETTINGS)
def test_weights_sum_to_the_number_of_tasks(alpha, rho, temperature) -> None:
    found = run(ReLoBRaLo(alpha, rho, temperature), torch.rand(20, 5) + 0.1)
    torch.testing.assert_close(found.sum(1), torch.full((20,), 5.0))


def test_a_loss_that_falls_slowly_weighs_more() -> None:
    falling = torch.tensor([[0.5**step, 0.9**step, 1.0] for step in range(20)])
    for rho in (0.0, 0.5, 1.0):
        last = run(ReLoBRaLo(alpha=0.5, rho=rho, seed=0), falling)[-1]
        assert last.tolist() == sorted(last.tolist())
        assert last[2] - last[0] > 0.3


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_the_scale_of_a_loss_does_not_matter(scale: float) -> None:
    losses = torch.rand(20, 3) + 0.1
    plain = run(ReLoBRaLo(seed=1), losses)
    scaled = run(ReLoBRaLo(seed=1), losses * torch.tensor([1.0, scale, 1.0]))
    torch.testing.assert_close(scaled, plain)


def test_permuted_tasks_have_permuted_weights() -> None:
    losses, order = torch.rand(20, 4) + 0.1, [2, 0, 3, 1]
    plain, permuted = run(ReLoBRaLo(seed=1), losses), run(ReLoBRaLo(seed=1), losses[:, order])
    torch.testing.assert_close(permuted, plain[:, order])


def test_an_absent_task_equals_a_removed_one_and_keeps_its_history() -> None:
    losses = torch.rand(20, 2) + 0.1
    rule = ReLoBRaLo(seed=1)
    rule.tasks = ("a", "b", "c")
    rule.update(torch.tensor([1.0, 5.0, 2.0]))
    before = {name: value[1] for name, value in rule.memory.tensors.items() if value.numel() == 3}
    set_present(rule, [0, 2])
    found = run(rule, losses)
    removed = ReLoBRaLo(seed=1)
    removed.update(torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(found, run(removed, losses))
    assert len(before) == 3
    assert all(rule.memory.tensors[name][1] == value for name, value in before.items())


def test_a_loss_of_zero_counts_as_absent() -> None:
    rule, without = ReLoBRaLo(seed=1), ReLoBRaLo(seed=1)
    rule.update(torch.tensor([1.0, 3.0, 2.0]))
    without.update(torch.tensor([1.0, 2.0]))
    found = run(rule, torch.tensor([[0.5, 0.0, 2.0], [0.4, 0.0, 3.0]]))
    torch.testing.assert_close(
        found[:, [0, 2]], run(without, torch.tensor([[0.5, 2.0], [0.4, 3.0]]))
    )
    assert found[:, 1].tolist() == [0, 0]
    assert rule.memory.tensors["last"][1] == 3


def test_losses_of_the_ends_of_the_range_have_finite_weights() -> None:
    rule = ReLoBRaLo(temperature=0.1)
    steps = torch.tensor([[1e-38, 1e38], [1e38, 1e-38], [1e-38, 1e38], [0.0, 0.0]])
    assert torch.isfinite(run(rule, steps)).all()


def test_a_saved_state_continues_to_the_bit() -> None:
    losses = torch.rand(20, 3) + 0.1
    whole, resumed = ReLoBRaLo(rho=0.5), ReLoBRaLo(rho=0.5)
    run(whole, losses[:10])
    resumed.load_state_dict(whole.state_dict())
    assert torch.equal(run(resumed, losses[10:]), run(whole, losses[10:]))


@pytest.mark.parametrize(
    "arguments", [{"alpha": 1.5}, {"rho": -0.1}, {"temperature": 0.0}], ids=lambda a: next(iter(a))
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"should be .*Found .*Use"):
        ReLoBRaLo(**arguments)
