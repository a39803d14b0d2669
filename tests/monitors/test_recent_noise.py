"""The latest measurements: bounded, restorable, and the same averages as those of the monitor."""

import numpy as np
import pytest
import torch

from lightning_mtl.linalg.gradient_noise import gradient_to_noise
from lightning_mtl.monitors.noise_averages import Noise, NoiseAverages
from lightning_mtl.monitors.recent_noise import RecentNoise
from tests.monitors.synthetic import MEANS, measured_runs

NAMES = ["one", "two", "three"]
ALL = [0, 1, 2]


def noises(steps: int, noise: float = 0.5) -> list[Noise]:
    found = measured_runs(4, noise, steps, 1, seed=0)
    return [
        Noise(torch.from_numpy(signal[0]), torch.from_numpy(covariance[0]), torch.ones(3))
        for signal, covariance in zip(found.signal, found.covariance, strict=True)
    ]


def learnt(decay: float, steps: int, parts: int = 4) -> RecentNoise:
    recent = RecentNoise(decay)
    for noise in noises(steps):
        recent.learn(3, ALL, noise, parts)
    return recent


def test_the_ratios_are_those_of_the_averages_that_are_logged() -> None:
    recent, averages = RecentNoise(0.8), NoiseAverages(0.8)
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    for noise in noises(60):
        recent.learn(3, ALL, noise, 4)
        averages.learn(3, ALL, noise)
    average, found = averages.read(ALL), recent.noise_ratios(ALL, weights)
    assert average is not None and found is not None
    expected = gradient_to_noise(weights, average.signal, average.covariance)
    # What is dropped counted for a hundredth of the latest.
    assert found.mean == pytest.approx(expected.numpy(), rel=0.02)


def test_only_so_many_measurements_of_a_task_are_kept() -> None:
    assert [RecentNoise(decay).length for decay in (0.0, 0.8, 0.9, 0.99)] == [1, 21, 44, 100]
    recent = learnt(0.8, 30)
    assert len(recent.products.signal) == 21
    latest = np.stack([noise.signal.numpy() for noise in noises(30)[-21:]])
    np.testing.assert_array_equal(recent.products.signal, latest)


def test_groups_that_take_turns_do_not_drop_each_other() -> None:
    recent = RecentNoise(0.8)
    for noise in noises(60):
        for group in ([0, 1], [2]):
            part = Noise(
                noise.signal[group][:, group], noise.covariance[group][:, group], noise.trace[group]
            )
            recent.learn(3, group, part, 4)
    assert np.isfinite(recent.products.squares).sum(0).tolist() == [21, 21, 21]
    found = recent.cosines([0, 1], NAMES[:2])
    whole = learnt(0.8, 60).cosines(ALL, NAMES)
    assert found.each.entry(0, 1)[:3] == pytest.approx(whole.each.entry(0, 1)[:3])
    assert recent.cosines([1, 2], NAMES[1:]) is None
    assert recent.noise_ratios([2], torch.ones(1, dtype=torch.float64)) is not None
    assert recent.noise_ratios(ALL, torch.ones(3, dtype=torch.float64)) is None


def test_intervals_of_all_pairs_together_are_wider_and_tell_conflict_from_agreement() -> None:
    found = learnt(0.9, 40).cosines(ALL, NAMES)
    norms = np.linalg.norm(MEANS, axis=1)
    assert (found.together.low <= found.each.low).all()
    assert found.together.half_width[0, 1] > found.each.half_width[0, 1]
    truth = MEANS @ MEANS.T / np.outer(norms, norms)
    assert found.conflict.tolist() == (truth < 0).tolist()
    assert (found.agreement <= (truth > 0)).all() and found.agreement[1, 2]


@pytest.mark.parametrize(("parts", "first"), [(4, 5), (1, 11)])
def test_intervals_begin_with_the_first_measurement_that_suffices(parts: int, first: int) -> None:
    weights = torch.ones(3, dtype=torch.float64)
    for steps, known in ((first - 1, False), (first, True)):
        recent = learnt(0.9, steps, parts)
        assert (recent.cosines(ALL, NAMES) is not None) == known
        assert (recent.noise_ratios(ALL, weights) is not None) == known


def test_a_single_task_has_no_cosine_and_nothing_measured_has_no_interval() -> None:
    assert learnt(0.9, 20).cosines([1], ["two"]) is None
    empty = RecentNoise(0.9)
    assert empty.cosines(ALL, NAMES) is None
    assert empty.noise_ratios(ALL, torch.ones(3)) is None


def test_a_restored_history_goes_on_as_if_nothing_had_happened() -> None:
    one = learnt(0.9, 20)
    other = RecentNoise(0.9)
    other.load_state_dict(one.state_dict())
    for each in (one, other):
        each.learn(3, ALL, noises(21)[-1], 4)
    for name, values in one.state_dict().items():
        assert torch.equal(values, other.state_dict()[name])
    np.testing.assert_array_equal(
        one.cosines(ALL, NAMES).each.low, other.cosines(ALL, NAMES).each.low
    )
    empty = RecentNoise(0.9)
    other.load_state_dict(empty.state_dict())
    assert other.products is None
