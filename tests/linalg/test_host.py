import pytest
import torch

from lightning_mtl import linalg
from lightning_mtl.linalg import host, on_device
from lightning_mtl.linalg.host import on_host
from tests.support.jacobians import random_jacobian


def test_the_host_is_where_the_cpu_is() -> None:
    assert on_host(torch.ones(1)) and not on_host(torch.ones(1, device="meta"))


def test_the_supports_of_many_tasks_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_jacobian(host.MOST + 1, 30)
    expected = linalg.simplex_min_norm(rows @ rows.T)
    monkeypatch.setattr(host, "HOST", "elsewhere")
    assert not host.few_elsewhere(rows @ rows.T) and host.few_elsewhere(rows[1:] @ rows[1:].T)
    monkeypatch.delattr(on_device, "simplex_min_norm")
    torch.testing.assert_close(linalg.simplex_min_norm(rows @ rows.T), expected)


def test_elsewhere_every_solver_takes_its_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_jacobian(3, 9)
    gramian, ones = rows @ rows.T, torch.ones(3).double()
    arguments = {
        "cosines_and_norms": (),
        "dual_cone": (ones[None],),
        "equal_singular_values": ("min",),
        "fair_weights": (1.0,),
        "max_min_in_ball": (ones / 3, ones[0]),
        "nonzero_min_norm": (),
        "simplex_min_norm": (),
        "solve_units": (ones,),
    }
    assert set(arguments) == set(on_device.__all__) - {"integers"}
    monkeypatch.setattr(host, "HOST", "elsewhere")
    for name, others in arguments.items():
        monkeypatch.setattr(on_device, name, lambda *_, name=name: (name, name))
        assert tuple(getattr(linalg, name)(gramian, *others)) == (name, name)
