"""What an optimizer divides by, as a metric."""

import pytest
import torch
from torch import nn

from lightning_mtl.engine.preconditioner import Preconditioner


def stepped(steps: int, kind: type[torch.optim.Optimizer] = torch.optim.Adam, **arguments):
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(()))]
    optimizer = kind(parameters, lr=0.1, **arguments)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return parameters, optimizer


def test_before_the_first_step_there_is_no_metric() -> None:
    parameters, optimizer = stepped(0)
    assert Preconditioner(optimizer).divisors(parameters) is None


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_divisors_are_those_of_the_next_update(steps: int, amsgrad: bool) -> None:
    """Without momentum an update is the gradient, divided by them and times the learning rate."""
    parameters, optimizer = stepped(steps, betas=(0.0, 0.9), eps=1e-3, amsgrad=amsgrad)
    before = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    found = Preconditioner(optimizer).divisors(parameters)
    assert found is not None
    for parameter, start, divisor in zip(parameters, before, found, strict=True):
        step = 0.1 * parameter.grad / divisor
        torch.testing.assert_close(parameter.detach(), start - step)


def test_every_group_has_its_own_numbers() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups = [{"params": [first]}, {"params": [second], "eps": 0.5, "betas": (0.9, 0.5)}]
    optimizer = torch.optim.Adam(groups)
    first.grad, second.grad = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0])
    optimizer.step()
    found = Preconditioner(optimizer).divisors([second, first])
    assert found is not None
    torch.testing.assert_close(found[0], torch.tensor([3.5, 4.5]))
    torch.testing.assert_close(found[1], torch.tensor([3.0, 4.0]))


def test_a_parameter_without_moments_counts_as_it_is() -> None:
    parameters, optimizer = stepped(0)
    parameters[0].grad = torch.full((3, 2), 2.0)
    optimizer.step()
    found = Preconditioner(optimizer).divisors(parameters)
    assert found is not None
    torch.testing.assert_close(found[0], torch.full((3, 2), 2.0))
    torch.testing.assert_close(found[1], torch.tensor(1.0))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad])
def test_optimizers_of_another_kind_are_refused(kind: type[torch.optim.Optimizer]) -> None:
    _, optimizer = stepped(0, kind)
    with pytest.raises(ValueError, match=rf"Found `{kind.__name__}`"):
        Preconditioner(optimizer)


def test_other_moments_are_refused_when_they_are_asked_for() -> None:
    parameters, optimizer = stepped(1, torch.optim.Adamax)
    with pytest.raises(ValueError, match="exp_avg_sq"):
        Preconditioner(optimizer).divisors(parameters)
