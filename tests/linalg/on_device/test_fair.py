import pytest
import torch

from lightning_mtl.linalg import fair_weights, on_device
from lightning_mtl.linalg.on_device import fair
from tests.linalg.on_device.cases import assert_same_weights, cases


@pytest.mark.parametrize("alpha", [0.2, 0.7, 1.0, 2.0, 8.0])
def test_weights_are_those_of_the_host(alpha: float) -> None:
    for case, rows in cases(1, 2, 8):
        expected = fair_weights(rows @ rows.T, alpha)
        weights, lifted = on_device.fair_weights(rows @ rows.T, alpha)
        assert bool(lifted) == expected.lifted, case
        assert_same_weights(weights, expected.weights, rows, case)


@pytest.mark.parametrize("alpha", [0.2, 0.7, 1.0, 2.0, 8.0])
def test_weights_with_shares_are_those_of_the_host(alpha: float) -> None:
    for case, rows in cases(1, 2, 8):
        shares = torch.linspace(0.7, 1.4, len(rows), dtype=torch.float64)
        expected = fair_weights(rows @ rows.T, alpha, shares).weights
        found, _ = on_device.fair_weights(rows @ rows.T, alpha, shares)
        assert_same_weights(found, expected, rows, case)


def test_as_many_steps_are_taken_as_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fewer still suffice, and half of them do not."""
    worst = {}
    for share in (0.5, 0.8):
        few = round(share * fair.steps(1.0))
        monkeypatch.setattr(fair, "steps", lambda alpha, few=few: few)
        worst[share] = 0.0
        for _, rows in cases(8):
            expected = fair_weights(rows @ rows.T).weights
            found, _ = on_device.fair_weights(rows @ rows.T)
            worst[share] = max(worst[share], float((found / expected - 1).abs().max()))
        monkeypatch.undo()
    assert worst[0.8] < 1e-6 < 1e-3 < worst[0.5]
