"""Inner products and sums of gradients, and their way into `.grad`."""

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.gradients import add, combine, gramian, merge, norms, write


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_gramian_is_the_matrix_product_of_the_joined_rows(dtype):
    rows = [[torch.randn(3, 4).to(dtype), torch.randn(5).to(dtype)] for _ in range(3)]
    joined = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    expected = joined.double() @ joined.double().T
    torch.testing.assert_close(gramian(rows), expected)
    assert torch.equal(gramian(rows), gramian(rows).T)
    wide = torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(norms(rows), expected.diagonal().sqrt().to(wide))


def test_complex_gradients_count_as_pairs_of_real_ones():
    rows = [[torch.randn(3, 2, dtype=torch.complex64), torch.randn(5)] for _ in range(3)]
    pairs = [[torch.view_as_real(row[0]), row[1]] for row in rows]
    torch.testing.assert_close(gramian(rows), gramian(pairs))
    torch.testing.assert_close(norms(rows), norms(pairs))


@pytest.mark.peer("T16")
def test_rows_larger_than_a_bucket_are_never_joined(monkeypatch):
    """However many parameters there are, the copies of them take the memory of one bucket."""
    monkeypatch.setattr("lightning_mtl.engine.gradients.CACHE", 2 * 8)
    rows = [[torch.randn(6) for _ in range(5)] for _ in range(2)]
    joined: list[int] = []
    cat = torch.cat

    def spy(tensors, *args, **kwargs):
        joined.append(sum(tensor.numel() for tensor in tensors))
        return cat(tensors, *args, **kwargs)

    expected = torch.stack([cat(row) for row in rows])
    monkeypatch.setattr(torch, "cat", spy)
    torch.testing.assert_close(gramian(rows), expected.double() @ expected.double().T)
    assert max(joined, default=0) <= 8


def test_combining_and_adding_leave_their_arguments_alone():
    row = [torch.ones(2).expand(2), torch.ones(1).expand(3)]
    other = [torch.full((2,), 2.0), torch.full((3,), 3.0)]
    combined = combine([row, other], [2.0, -1.0])
    torch.testing.assert_close(combined, [torch.zeros(2), torch.full((3,), -1.0)])
    torch.testing.assert_close(add(row, other), [torch.full((2,), 3.0), torch.full((3,), 4.0)])
    assert add(None, row) is row
    torch.testing.assert_close(row, [torch.ones(2), torch.ones(3)])


def test_a_parameter_of_two_tasks_is_written_once_with_the_sum():
    both, one = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    calls: list[Tensor] = []
    both.register_post_accumulate_grad_hook(calls.append)
    ones = torch.ones(2)
    write(*merge([([both, one], [ones, ones]), ([both], [3 * ones])]))
    assert len(calls) == 1
    torch.testing.assert_close([both.grad, one.grad], [4 * ones, ones])


def test_writing_accumulates_and_fires_the_hooks_of_a_backward_pass():
    parameter = nn.Parameter(torch.zeros(2))
    fired: list[Tensor] = []
    parameter.register_post_accumulate_grad_hook(fired.append)
    for _ in range(3):
        write([parameter], [torch.ones(2)])
    assert len(fired) == 3
    torch.testing.assert_close(parameter.grad, torch.full((2,), 3.0))
    write([], [])
