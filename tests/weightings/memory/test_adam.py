"""Adam on one number per task, against torch's."""

import pytest
import torch

from lightning_mtl.weightings.memory.adam import Adam
from lightning_mtl.weightings.memory.task_memory import TaskMemory


def test_it_is_the_adam_of_torch():
    adam = Adam(TaskMemory(), betas=(0.8, 0.99), eps=1e-6)
    mine = torch.tensor([1.0, -2.0, 3.0])
    theirs = mine.clone().requires_grad_()
    optimizer = torch.optim.Adam([theirs], lr=0.1, betas=(0.8, 0.99), eps=1e-6)
    for _ in range(30):
        gradient = torch.randn(3)
        mine = mine - adam.step(gradient, lr=0.1)
        theirs.grad = gradient
        optimizer.step()
    torch.testing.assert_close(mine, theirs.detach())


def test_a_task_that_comes_and_goes_has_an_adam_of_its_own():
    memory = TaskMemory()
    adam = Adam(memory)
    memory.tasks = ("a", "b")
    mine = torch.zeros(2)
    theirs = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    optimizers = [torch.optim.Adam([theirs[task]], lr=0.1) for task in range(2)]
    for step in range(20):
        present = [0, 1] if step % 3 else [1]
        gradient = torch.randn(len(present))
        before = mine.clone()
        with memory.of(present):
            mine[present] -= adam.step(gradient, lr=0.1)
        for task, value in zip(present, gradient, strict=True):
            theirs[task].grad = value.view(1)
            optimizers[task].step()
        if present == [1]:
            assert mine[0] == before[0]
    torch.testing.assert_close(mine, torch.cat(theirs).detach())


def test_a_task_that_does_not_take_a_step_keeps_its_moments():
    with_still, without = TaskMemory(), TaskMemory()
    adam, twin = Adam(with_still), Adam(without)
    without.tasks = ("a", "b")
    for step in range(6):
        gradient = torch.randn(2)
        still = step % 2 == 1
        present = [0] if still else [0, 1]
        with without.of(present):
            expected = twin.step(gradient[present], lr=0.1)
        found = adam.step(gradient, lr=0.1, moving=torch.tensor([True, not still]))
        torch.testing.assert_close(found[present], expected)
        assert not still or found[1] == 0
    for name, moment in without.tensors.items():
        assert torch.equal(with_still.tensors[name], moment)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_the_first_step_is_the_learning_rate_whatever_the_gradient(scale):
    step = Adam(TaskMemory()).step(torch.tensor([scale, -scale]), lr=0.025)
    torch.testing.assert_close(step, torch.tensor([0.025, -0.025]), rtol=1e-3, atol=0)
