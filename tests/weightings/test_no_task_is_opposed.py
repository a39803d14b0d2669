"""Rules that promise it oppose no task beyond rounding: float32 rows of every rank, K up to 40.

A direction d = w @ J is computed in float32, so that each of its projections g_i·d / ||g_i|| has an
error of up to about ε Σ_k |w_k| ||g_k||, with ε = 1.2e-7. Nothing below that is a conflict. In
exact arithmetic on the same J, the projections are those of the weights, `EXACT` of that sum: what
Nash-MTL and FairGrad lift an eigenvalue by (1e-8, in their cards) halves it at worst.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import (
    IMTL,
    IMTLG,
    MGDA,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GramianWeighting,
    NashMTL,
    UPGrad,
)
from lightning_mtl.engine.gradients import combine

ALWAYS: dict[str, Callable[[], GramianWeighting]] = {
    "UPGrad": UPGrad,
    "DualProj": DualProj,
    "MGDA": MGDA,
    "CAGrad(c=1)": lambda: CAGrad(c=1.0),
    "CAGrad(c=2)": lambda: CAGrad(c=2.0),
    "NashMTL": NashMTL,
    "FairGrad(0.5)": lambda: FairGrad(alpha=0.5),
    "FairGrad(2)": lambda: FairGrad(alpha=2.0),
}
"""Whatever the gradients. For CAGrad a ball around g_0 that holds zero: c >= 1."""

WHERE_EQUAL_COSINES_EXIST: dict[str, Callable[[], GramianWeighting]] = {
    "ConFIG": ConFIG,
    "IMTLG": IMTLG,
    "IMTL": IMTL,
}
"""Where some direction has the same cosine to every gradient, as with independent ones."""

COMPUTED = torch.finfo(torch.float32).eps
EXACT = 1e-8
FEW = (2, 3, 6, 10, 20, 40)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gaussian(tasks: int, size: int, rank: int, generator: torch.Generator) -> Tensor:
    return normal(generator, tasks, rank) @ normal(generator, rank, size)


def common_descent(tasks: int, size: int, rank: int, generator: torch.Generator) -> Tensor:
    """Jᵀu with a positive left singular vector u is a direction in which every task gains."""
    left = torch.cat([normal(generator, tasks, 1).abs(), normal(generator, tasks, rank - 1)], 1)
    right = torch.linalg.qr(normal(generator, size, rank)).Q
    basis = torch.linalg.qr(left).Q
    basis[:, 0] = basis[:, 0].abs()
    return basis * normal(generator, rank).abs() @ right.T


def nearly_dependent(tasks: int, size: int, rank: int, generator: torch.Generator) -> Tensor:
    """Copies of few rows, some of them turned round, but for noise of any size."""
    rows = gaussian(tasks, size, rank, generator)
    copied = torch.randint(0, max(1, tasks // 2), (tasks,), generator=generator)
    sign = 1 - 2 * (torch.rand(tasks, 1, generator=generator, dtype=torch.float64) < 0.3).double()
    noise = 10 ** float(torch.empty(()).uniform_(-9, -3, generator=generator))
    rows = sign * rows[copied]
    shift = normal(generator, tasks, size) / size**0.5
    return rows + noise * rows.norm(dim=1, keepdim=True) * shift


def equal_cosines(tasks: int, size: int, rank: int, generator: torch.Generator) -> Tensor:
    """Unit rows on a circle around one direction, times norms over two decades."""
    basis = torch.linalg.qr(normal(generator, size, rank)).Q
    around = normal(generator, tasks, rank - 1)
    around = around / around.norm(dim=1, keepdim=True).clamp(min=1e-300)
    rows = torch.cat([torch.ones(tasks, 1, dtype=torch.float64), around], 1) @ basis.T
    return rows * normal(generator, tasks, 1).exp()


def samples(
    numbers: tuple[int, ...], repeats: int, *makes: Callable[..., Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Float32 rows of every rank from 1 to K, after words that name them."""
    generator = torch.Generator().manual_seed(0)
    for tasks in numbers:
        stride = max(1, tasks // 8) if repeats == 1 else 1
        for rank in sorted({*range(1, tasks + 1, stride), tasks - 1 or 1, tasks}):
            for size in (max(rank, 10), 200):
                for make in makes:
                    for _ in range(repeats):
                        rows = make(tasks, size, rank, generator).float()
                        yield f"{make.__name__}, {tasks} x {size} of rank {rank}", rows


def solve(rule: GramianWeighting, rows: Tensor) -> Tensor:
    """As in training: from sums in float64 of the products of float32 rows."""
    exact = rows.double()
    return rule.weights(torch.ones(len(rows), dtype=torch.float64), exact @ exact.T)


def least_projections(weights: Tensor, rows: Tensor) -> tuple[float, float]:
    """The least g_i·d / ||g_i|| over Σ_k |w_k| ||g_k||, for d in float64 and in float32."""
    exact = rows.double()
    norms = exact.norm(dim=1)
    computed = combine([[row] for row in rows], weights.tolist())[0].double()
    found = torch.stack([(exact @ d / norms).min() for d in (weights @ exact, computed)])
    first, second = found / (weights.abs() @ norms).clamp(min=1e-300)
    return float(first), float(second)


def assert_none_is_opposed(rule: GramianWeighting, rows: Tensor, case: str) -> None:
    exact, computed = least_projections(solve(rule, rows), rows)
    assert exact > -EXACT, case
    assert computed > -COMPUTED, case


@pytest.mark.parametrize("name", ALWAYS)
def test_no_task_is_opposed_beyond_rounding(name: str) -> None:
    for case, rows in samples(FEW, 1, gaussian, common_descent, nearly_dependent):
        assert_none_is_opposed(ALWAYS[name](), rows, case)


@pytest.mark.parametrize("name", WHERE_EQUAL_COSINES_EXIST)
def test_no_task_is_opposed_where_equal_cosines_exist(name: str) -> None:
    build = WHERE_EQUAL_COSINES_EXIST[name]
    for case, rows in samples(FEW, 1, equal_cosines):
        assert_none_is_opposed(build(), rows, case)
    for case, rows in samples(FEW, 1, gaussian, common_descent):
        if torch.linalg.matrix_rank(rows.double(), rtol=1e-6) == len(rows):
            assert_none_is_opposed(build(), rows, case)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALWAYS)
def test_no_task_is_opposed_for_any_number_of_tasks_and_rank(name: str) -> None:
    for case, rows in samples(tuple(range(1, 41)), 2, gaussian, common_descent, nearly_dependent):
        assert_none_is_opposed(ALWAYS[name](), rows, case)


@pytest.mark.parametrize("make", [gaussian, common_descent])
def test_config_is_linear_in_the_scales_of_ill_conditioned_rows(make: Callable) -> None:
    """Of rank 19 of 20: with sums in float32 it missed that by 1e-3; scaling rounds the rows."""
    generator = torch.Generator().manual_seed(0)

    def direction(rows: Tensor) -> Tensor:
        return solve(ConFIG(), rows) @ rows.double()

    for number in range(20):
        rows = make(20, 1000, 19, generator).float()
        first, second = torch.rand(2, 20, 1, generator=generator) + 0.1
        total = direction((first + 2 * second) * rows)
        parts = direction(first * rows) + 2 * direction(second * rows)
        assert (total - parts).norm() < 1e-4 * total.norm(), f"sample {number}"
