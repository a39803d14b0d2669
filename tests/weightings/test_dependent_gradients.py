"""Rules that choose a rank do not follow the rounding of gradients that depend on each other."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import IMTL, IMTLG, AlignedMTL, ConFIG, GramianWeighting
from tests.support.jacobians import random_jacobian

CHOOSING_A_RANK: dict[str, Callable[[], GramianWeighting]] = {
    "AlignedMTL": AlignedMTL,
    "AlignedMTL(median)": lambda: AlignedMTL(scale="median"),
    "AlignedMTL(rmse)": lambda: AlignedMTL(scale="rmse"),
    "ConFIG": ConFIG,
    "IMTL": IMTL,
    "IMTLG": IMTLG,
}

ROUNDINGS = (0.0, 6e-8, 6e-7)
"""Of each number: none but that to float32, one more, and ten, as a network's gradients have."""


def direction(rule: GramianWeighting, rows: Tensor) -> Tensor:
    return rule.weights(torch.ones(len(rows)).double(), rows @ rows.T) @ rows


@pytest.mark.parametrize("name", CHOOSING_A_RANK)
def test_the_rounding_of_dependent_gradients_does_not_turn_the_direction(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for tasks in (2, 3, 10, 40):
        for rank in sorted({1, 2, tasks // 2, tasks - 1} & set(range(1, tasks))):
            exact = random_jacobian(tasks, 300, seed=tasks, rank=rank)
            exact = exact if rank > 1 else exact * exact[:, :1].sign()
            expected = direction(CHOOSING_A_RANK[name](), exact)
            for rounding in ROUNDINGS:
                noise = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
                rows = (exact * (1 + rounding * noise)).float().double()
                error = (direction(CHOOSING_A_RANK[name](), rows) - expected).norm()
                case = f"{tasks} tasks of rank {rank}, rounded by {rounding}"
                assert error < 1e-3 * expected.norm(), case


@pytest.mark.parametrize("name", ["ConFIG", "IMTL", "IMTLG"])
def test_gradients_opposed_but_for_their_rounding_have_no_direction(name: str) -> None:
    row = random_jacobian(1, 300).float()
    for rows in (torch.cat([row, -row]), torch.cat([row, -row, 3 * row, -7 * row])):
        noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
        found = CHOOSING_A_RANK[name]().weights(
            torch.ones(len(rows)).double(),
            (rounded := (rows * (1 + 6e-7 * noise)).double()) @ rounded.T,
        )
        assert not found.any(), len(rows)
