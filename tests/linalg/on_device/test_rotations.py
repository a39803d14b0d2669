import pytest
import torch

from lightning_mtl.linalg.on_device.rotations import orthogonal_columns, sweeps
from tests.support.jacobians import assert_close


@pytest.mark.parametrize("count", [2, 4, 6, 8])
def test_norms_are_the_singular_values(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    for decades in (0, 6):
        for rank in (1, count // 2, count):
            matrix = torch.randn(count, rank, generator=generator).double()
            matrix = matrix @ torch.randn(rank, count, generator=generator).double()
            matrix = matrix * torch.logspace(0, -decades, count).double()[:, None]
            columns = orthogonal_columns(matrix)
            case = f"{count} columns of rank {rank} over {decades} decades"
            largest = torch.linalg.matrix_norm(matrix, 2)
            found = columns.norm(dim=0).sort(descending=True).values
            expected = torch.linalg.svdvals(matrix)
            assert_close(found / largest, expected / largest, case, atol=1e-13, rtol=0)
            product = columns @ columns.T / largest**2
            assert_close(product, matrix @ matrix.T / largest**2, case, atol=1e-13, rtol=0)


def test_every_pair_meets_in_a_sweep() -> None:
    """Two equal columns, anywhere, become one and a zero within the first sweep."""
    for first in range(8):
        for second in range(first):
            matrix = torch.eye(8).double()
            matrix[:, second] = matrix[:, first]
            assert int((orthogonal_columns(matrix).norm(dim=0) < 1e-12).sum()) == 1


def test_more_columns_take_more_sweeps() -> None:
    assert [sweeps(count) for count in (4, 6, 8)] == [5, 6, 8]
