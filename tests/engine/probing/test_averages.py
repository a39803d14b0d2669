import pytest
import torch

from lightning_mtl.engine.probing.averages import DECAY, gramian, updated


def zeros(tasks: int) -> torch.Tensor:
    return torch.zeros(tasks, tasks, dtype=torch.float64)


def test_the_average_of_one_probe_repeated_is_its_outer_product() -> None:
    slopes = torch.tensor([1.0, -2.0, 3.0])
    moment, weight = zeros(3), zeros(3)
    for _ in range(5):
        moment, weight = updated(moment, weight, slopes)
        torch.testing.assert_close(gramian(moment, weight), slopes.outer(slopes).double())


def test_later_probes_weigh_more_by_the_decay() -> None:
    moment, weight = zeros(1), zeros(1)
    for slope in (1.0, 0.0):
        moment, weight = updated(moment, weight, torch.tensor([slope]), decay=0.5)
    torch.testing.assert_close(gramian(moment, weight).item(), 1 / 3)


def test_a_pair_without_a_probe_is_zero_and_a_probe_that_overflows_is_left_out() -> None:
    moment, weight = updated(zeros(2), zeros(2), torch.tensor([2.0, torch.inf]))
    assert gramian(moment, weight).tolist() == [[4.0, 0.0], [0.0, 0.0]]
    moment, weight = updated(moment, weight, torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(gramian(moment, weight), torch.tensor([[4.0, 6], [6, 9]]).double())


def test_an_average_has_the_variance_of_as_many_probes_as_documented() -> None:
    decay, probes = 0.8, 80
    shares = []
    for counts in range(probes):
        moment, weight = zeros(1), zeros(1)
        for probe in range(probes):
            slope = torch.tensor([float(probe == counts)])
            moment, weight = updated(moment, weight, slope, decay)
        shares.append(gramian(moment, weight).item())
    assert sum(shares) == pytest.approx(1)
    assert 1 / sum(share**2 for share in shares) == pytest.approx((1 + decay) / (1 - decay))
    assert pytest.approx(199) == (1 + DECAY) / (1 - DECAY)
