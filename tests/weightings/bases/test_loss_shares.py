import pytest
import torch

from lightning_mtl.weightings.bases.loss_shares import relative_to, softmax_shares

EVERY = torch.ones(3, dtype=torch.bool)


def test_equal_exponents_have_shares_of_one() -> None:
    for value in (-1e30, 0.0, 5.0, 1e30):
        assert softmax_shares(torch.full((3,), value), EVERY).tolist() == [1, 1, 1]


def test_only_the_included_tasks_share() -> None:
    exponents = torch.tensor([1.0, 50.0, 2.0])
    found = softmax_shares(exponents, torch.tensor([True, False, True]))
    expected = 2 * torch.softmax(exponents[[0, 2]], 0)
    torch.testing.assert_close(found, torch.stack([expected[0], torch.zeros(()), expected[1]]))
    assert softmax_shares(exponents, ~EVERY).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponents_beyond_the_range_take_all_and_none(dtype: torch.dtype) -> None:
    found = softmax_shares(torch.tensor([torch.inf, 0, -torch.inf], dtype=dtype), EVERY)
    assert found.tolist() == [3, 0, 0]


def test_a_task_without_an_earlier_loss_has_a_ratio_of_one() -> None:
    before = torch.tensor([2.0, torch.nan])
    assert relative_to(torch.tensor([1.0, 7.0]), before).tolist() == [0.5, 1]
