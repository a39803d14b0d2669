"""SoftAdapt against the two published rules that it follows, and its properties."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import SoftAdapt
from tests.support.presence import set_present


def literal_ratios(losses: list[float], before: list[float]) -> list[float]:
    """PhysicsNeMo's aggregator on Python numbers, without the constants that it adds."""
    powers = [math.exp(loss / old) for loss, old in zip(losses, before, strict=True)]
    return [len(losses) * power / sum(powers) for power in powers]


def literal_differences(losses: list[float], before: list[float], beta: float) -> list[float]:
    """NequIP's callback on Python numbers, times K, without the constants that it adds."""
    changes = [loss - old for loss, old in zip(losses, before, strict=True)]
    factor = beta / math.sqrt(sum(change * change for change in changes))
    powers = [math.exp(factor * change) for change in changes]
    return [len(losses) * power / sum(powers) for power in powers]


def run(rule: SoftAdapt, losses: Tensor) -> Tensor:
    """The weights of each step."""
    found = []
    for row in losses:
        found.append(rule.weights(row))
        rule.update(row)
    return torch.stack(found)


def random_losses(steps: int = 12, tasks: int = 3) -> Tensor:
    return torch.rand(steps, tasks, dtype=torch.float64) + 0.1


def test_ratios_of_this_step_are_the_published_aggregator() -> None:
    losses = random_losses()
    found = run(SoftAdapt(), losses)
    assert found[0].tolist() == [1, 1, 1]
    for step in range(1, len(losses)):
        expected = literal_ratios(losses[step].tolist(), losses[step - 1].tolist())
        assert found[step].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cycle", [1, 2, 5])
def test_differences_are_averaged_over_a_cycle_and_held_for_the_next(cycle: int) -> None:
    losses = random_losses(21)
    found = run(SoftAdapt(1.1, "differences", cycle), losses)
    each = [
        torch.tensor(literal_differences(now.tolist(), before.tolist(), 1.1)).double()
        for before, now in itertools.pairwise(losses)
    ]
    for step in range(len(losses)):
        # Steps count from 0; the first of them has no change yet.
        end = step // cycle * cycle
        steps = [k for k in range(end - cycle, end) if k > 0]
        expected = torch.stack([each[k - 1] for k in steps]).mean(0) if steps else torch.ones(3)
        torch.testing.assert_close(found[step], expected.double(), rtol=1e-6, atol=1e-9)


EVERY = [(rates, cycle) for rates in ("ratios", "differences") for cycle in (None, 1, 4)]
every_variant = pytest.mark.parametrize(("rates", "cycle"), EVERY)


@every_variant
def test_weights_sum_to_the_number_of_tasks_and_favour_slow_ones(rates, cycle) -> None:
    falling = torch.tensor([[10 - step, 10 - step / 2, 10] for step in range(10)])
    found = run(SoftAdapt(2.0, rates, cycle), falling)
    torch.testing.assert_close(found.sum(1), torch.full((10,), 3.0))
    assert found[-1].tolist() == sorted(found[-1].tolist())
    opposite = run(SoftAdapt(-2.0, rates, cycle), falling)
    assert opposite[-1].tolist() == sorted(opposite[-1].tolist(), reverse=True)


@every_variant
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_all_losses_does_not_matter(rates, cycle, scale: float) -> None:
    losses = random_losses().float()
    plain = run(SoftAdapt(1.0, rates, cycle), losses)
    torch.testing.assert_close(run(SoftAdapt(1.0, rates, cycle), losses * scale), plain)
    if rates == "ratios":
        one = losses * torch.tensor([1.0, scale, 1.0])
        torch.testing.assert_close(run(SoftAdapt(1.0, rates, cycle), one), plain)


@every_variant
def test_permuted_tasks_have_permuted_weights(rates, cycle) -> None:
    losses, order = random_losses(tasks=4), [2, 0, 3, 1]
    plain = run(SoftAdapt(1.0, rates, cycle), losses)
    permuted = run(SoftAdapt(1.0, rates, cycle), losses[:, order])
    torch.testing.assert_close(permuted, plain[:, order])


@every_variant
def test_an_absent_task_equals_a_removed_one_and_keeps_its_weight(rates, cycle) -> None:
    rule = SoftAdapt(1.0, rates, cycle)
    rule.tasks = ("a", "b", "c")
    set_present(rule, [0, 2])
    losses = random_losses(tasks=2)
    torch.testing.assert_close(run(rule, losses), run(SoftAdapt(1.0, rates, cycle), losses))
    set_present(rule, [0, 1, 2])
    assert rule.weights(torch.tensor([0.0, 1.0, 0.0]).double())[1] == 1


@every_variant
def test_a_loss_of_zero_teaches_nothing(rates, cycle) -> None:
    rule = SoftAdapt(1.0, rates, cycle)
    found = run(rule, torch.tensor([[1.0, 2.0], [0.5, 0.0], [0.4, 0.0], [0.3, 0.0], [0.0, 0.0]]))
    assert torch.isfinite(found).all()
    assert rule.memory.tensors["last"].tolist() == pytest.approx([0.3, 2.0])
    if cycle is None:
        assert found[1:, 1].tolist() == [0] * 4


@every_variant
def test_losses_of_the_ends_of_the_range_have_finite_weights(rates, cycle) -> None:
    steps = torch.tensor([[1e-38, 1e38], [1e38, 1e-38], [1e38, 1e-38], [1e-38, 1e38]] * 2)
    assert torch.isfinite(run(SoftAdapt(10.0, rates, cycle), steps)).all()


@every_variant
def test_a_saved_state_continues_to_the_bit(rates, cycle) -> None:
    losses = random_losses(16)
    whole, resumed = SoftAdapt(1.0, rates, cycle), SoftAdapt(1.0, rates, cycle)
    run(whole, losses[:6])
    resumed.load_state_dict(whole.state_dict())
    assert torch.equal(run(resumed, losses[6:]), run(whole, losses[6:]))


def test_only_weights_of_this_step_gather_gradients_under_accumulation() -> None:
    assert SoftAdapt().price_of(4) == "F + H + B + (K - 1) B"
    assert SoftAdapt(cycle=5).price_of(4) == SoftAdapt().price_of(1) == "F + H + B"


@pytest.mark.parametrize(
    "arguments", [{"rates": "both"}, {"beta": math.inf}, {"cycle": 0}], ids=lambda a: next(iter(a))
)
def test_arguments_out_of_range_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"should be .*Found"):
        SoftAdapt(**arguments)
