"""Depth as a task."""

import pytest
import torch

from lightning_mtl.tasks import Depth, Disparity


def row(*metres: float) -> torch.Tensor:
    return torch.tensor(metres).view(1, 1, 1, -1)


def test_the_loss_is_in_metres_and_over_valid_pixels():
    assert Depth().loss(row(2.0, 5.0, 9.0), row(1.0, 5.5, 0.0)) == 0.75


def test_beside_a_target_a_prediction_has_the_colours_of_the_target():
    target = row(1.0, 2.0, 3.0, 0.0)
    pictures = Depth().draw(row(2.0, 3.0, 1.0, 7.0), target), Depth().draw_target(target)
    assert torch.equal(pictures[0][..., :3], pictures[1][..., [1, 2, 0]])


def test_far_is_brighter_than_near():
    picture = Depth().draw_target(row(1.0, 2.0, 3.0))
    assert (picture.mean(dim=1).diff() > 0).all()


def test_the_constant_predictor_is_the_mean_of_valid_depths():
    target = row(1.0, 2.0, 0.0, 6.0)
    total, count = Depth().pixel_sum(target)
    assert Depth().constant(total / count, target).unique().tolist() == [3.0]


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_depths_that_are_none_fail_the_check(wrong):
    with pytest.raises(
        ValueError, match=rf"`Depth depth` should have finite.*1 other value, such as {wrong:g}"
    ):
        Depth().check(row(1.0, 0.0, wrong))


@pytest.mark.parametrize("kind", [Depth, Disparity])
def test_an_activation_makes_the_output_of_a_network_positive(kind):
    raw = row(-4.0, 0.0, 3.0)
    assert kind().activate(raw) is raw
    torch.testing.assert_close(kind(activation="exp").activate(raw), raw.exp())
    softplus = kind(activation="softplus").activate(raw.bfloat16())
    torch.testing.assert_close(softplus, (1 + raw.exp()).log())
    assert (softplus > 0).all()


def test_an_unknown_activation_is_an_error_that_lists_those_known():
    with pytest.raises(
        ValueError, match=r"`Depth\(activation=\)` should be one of \"none\", \"softplus\", \"exp\""
    ):
        Depth(activation="relu")
