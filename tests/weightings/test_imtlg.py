import pytest
import torch

from lightning_mtl.callbacks import IMTLG
from tests.support.jacobians import random_jacobian


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_the_weights_are_those_of_the_papers_closed_form(tasks: int) -> None:
    for seed in range(5):
        rows = random_jacobian(tasks, tasks + 4, seed).abs()
        units = rows / rows.norm(dim=1, keepdim=True)
        differences, unit_differences = rows[:1] - rows[1:], units[:1] - units[1:]
        inverse = torch.linalg.inv(differences @ unit_differences.T)
        others = rows[0] @ unit_differences.T @ inverse
        expected = torch.cat([1 - others.sum(0, keepdim=True), others])
        weights = IMTLG().weights(torch.ones(tasks), rows @ rows.T)
        # Where the paper's direction would ascend every loss, ours is its opposite.
        sign = torch.sign((rows @ (expected @ rows))[0])
        torch.testing.assert_close(weights, sign * expected)


@pytest.mark.peer("L9")
def test_duplicated_tasks_share_a_weight() -> None:
    """L9: LibMTL inverts a singular matrix."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    weights = IMTLG().weights(torch.ones(3), rows @ rows.T)
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 1 / 3, 1 / 3]))


def test_no_loss_is_ascended_where_the_weights_sum_to_a_negative_number() -> None:
    rows = torch.tensor([[1.0, 0.0], [-3.0, 0.4]], dtype=torch.float64)
    weights = IMTLG().weights(torch.ones(2), rows @ rows.T)
    assert (rows @ (weights @ rows)).min() > 0


def test_opposed_gradients_have_no_direction() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    weights = IMTLG().weights(torch.ones(2), rows @ rows.T)
    assert (weights @ rows).norm() < 1e-12
