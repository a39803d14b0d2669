import torch

from lightning_mtl.engine.probing.averages import effective_probes, gramian, updated


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


def test_the_number_of_effective_probes_is_that_of_the_variance() -> None:
    decay, moment, weight, factors = 0.9, zeros(1), zeros(1), torch.zeros(40, dtype=torch.float64)
    for count in range(40):
        moment, weight = updated(moment, weight, torch.ones(1), decay)
        factors = decay * factors
        factors[count] = 1 - decay
        shares = factors / factors.sum()
        torch.testing.assert_close(effective_probes(weight, decay)[0, 0], 1 / (shares**2).sum())
    assert round(effective_probes(torch.ones(1, 1), 0.99).item()) == 199
