import pytest
import torch

from lightning_mtl.linalg import host, integers_beside


def test_integers_are_the_same_on_both_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)).argsort(1)
    assert integers_beside(orders, torch.ones(1)) is orders
    monkeypatch.setattr(host, "HOST", "elsewhere")
    found = integers_beside(orders, torch.ones(1))
    assert found is not orders and torch.equal(found, orders)
