"""Jacobians with a known number of rows, rank and scale: what the tests of solvers run over."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

SCALES = (1e-12, 1e-3, 1.0, 1e5, 1e12)


def random_jacobian(tasks: int, size: int, seed: int = 0, rank: int | None = None) -> Tensor:
    """Rows of unequal norms, between 1 and 30 or so."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows = (
        normal(tasks, size)
        if rank is None
        else normal(tasks, rank) @ torch.linalg.qr(normal(size, rank)).Q.T
    )
    return rows * torch.rand(tasks, 1, generator=generator, dtype=torch.float64).mul(2).exp()


def agreeing_jacobian(tasks: int, size: int, seed: int = 0) -> Tensor:
    """Rows with a common part, so that few of them conflict."""
    jacobian = random_jacobian(tasks, size, seed)
    return jacobian + 2 * jacobian.abs().mean()


def spread_jacobian(tasks: int, size: int, seed: int = 0) -> Tensor:
    """Norms over six decades."""
    return random_jacobian(tasks, size, seed) * torch.logspace(-3, 3, tasks).double()[:, None]


def jacobians(
    numbers: Iterable[int], *makes: Callable[..., Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """A Jacobian of every kind for every number of tasks, each after words that name it.

    Args:
        numbers: of tasks.
        makes: the functions above that make them; all three if there are none.
    """
    for make in makes or (random_jacobian, agreeing_jacobian, spread_jacobian):
        for tasks in numbers:
            kind = make.__name__.removesuffix("_jacobian")
            yield f"{kind}, {tasks} tasks", make(tasks, tasks + 20, seed=tasks)


def all_awkward_jacobians(*numbers: int) -> Iterator[tuple[str, Tensor]]:
    """The awkward gradients of every number of tasks, each after words that name them."""
    for tasks in numbers:
        for kind, rows in awkward_jacobians(tasks):
            yield f"{kind}, {tasks} tasks", rows


def permutation(tasks: int) -> Tensor:
    """An order of the tasks that depends on their number alone."""
    return torch.randperm(tasks, generator=torch.Generator().manual_seed(tasks))


def assert_close(found: Tensor, expected: Tensor, case: str, **tolerances: Any) -> None:
    """As `torch.testing.assert_close`, with a message that names the case."""
    torch.testing.assert_close(found, expected, msg=lambda text: f"{case}: {text}", **tolerances)


def awkward_jacobians(tasks: int) -> Iterator[tuple[str, Tensor]]:
    """Every rank, and zero, duplicated, opposed and nearly dependent rows."""
    size = tasks + 6
    for rank in sorted({1, 2, (tasks + 1) // 2, tasks - 1, tasks} & set(range(1, tasks + 1))):
        yield f"rank {rank}", random_jacobian(tasks, size, seed=rank, rank=rank)
    yield "agreeing", agreeing_jacobian(tasks, size)
    yield "spread", spread_jacobian(tasks, size)
    yield "zero", torch.zeros(tasks, size, dtype=torch.float64)
    yield "orthonormal", torch.eye(tasks, size, dtype=torch.float64)
    for name, change in (
        ("zero row", lambda rows: rows[:1] * 0),
        ("duplicated row", lambda rows: rows[-1:]),
        ("opposed row", lambda rows: -3 * rows[-1:]),
        ("nearly opposed row", lambda rows: -rows[-1:] + 1e-9 * rows[:1]),
    ):
        rows = random_jacobian(tasks, size, seed=tasks)
        rows[:1] = change(rows.clone())
        yield name, rows
