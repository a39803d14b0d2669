"""Each loss against a literal sum over pixels in float64, its gradient too, and at the borders."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lightning_mtl import losses

N, C, H, W = 2, 4, 3, 5
SHAPE = (N, 3, H, W)


def labels() -> Tensor:
    target = torch.randint(0, C, (N, H, W))
    return torch.where(torch.rand(N, H, W) < 0.3, 255, target)


def depths() -> Tensor:
    depth = torch.rand(N, 1, H, W) * 5 + 0.5
    return torch.where(torch.rand(N, 1, H, W) < 0.3, 0.0, depth)


def normals() -> Tensor:
    unit = functional.normalize(torch.randn(SHAPE), dim=1)
    return torch.where(torch.rand(N, 1, H, W) < 0.3, 0.0, unit)


def binary() -> Tensor:
    target = (torch.rand(N, H, W) < 0.3).float()
    return torch.where(torch.rand(N, H, W) < 0.3, 255.0, target)


def pixels() -> list[tuple[int, int, int]]:
    return [(n, i, j) for n in range(N) for i in range(H) for j in range(W)]


def literal_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    valid = [p for p in pixels() if target[p] != 255]
    terms = [
        logits[n, :, i, j].logsumexp(0) - logits[n, target[n, i, j], i, j] for n, i, j in valid
    ]
    return torch.stack(terms).mean()


def literal_l1(prediction: Tensor, target: Tensor) -> Tensor:
    pairs = zip(prediction.flatten(), target.flatten(), strict=True)
    return torch.stack([(p - t).abs() for p, t in pairs if t > 0]).mean()


def literal_squared(prediction: Tensor, target: Tensor) -> Tensor:
    pairs = zip(prediction.flatten(), target.flatten(), strict=True)
    return torch.stack([(p - t) ** 2 for p, t in pairs if t > 0]).mean()


def literal_pairs(prediction: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
    pairs = [(prediction[n, :, i, j], target[n, :, i, j]) for n, i, j in pixels()]
    return [(p / p.norm(), t) for p, t in pairs if t.norm() > 0]


def literal_normal_l1(prediction: Tensor, target: Tensor) -> Tensor:
    return torch.cat([(p - t).abs() for p, t in literal_pairs(prediction, target)]).mean()


def literal_normal_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    return torch.stack([1 - p @ t for p, t in literal_pairs(prediction, target)]).mean()


def literal_balanced(weight: float | None) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(logits: Tensor, target: Tensor) -> Tensor:
        valid = [p for p in pixels() if target[p] != 255]
        negatives = sum(1 for p in valid if target[p] == 0)
        w = negatives / len(valid) if weight is None else weight
        positive = [-w * torch.sigmoid(logits[p]).log() for p in valid if target[p] == 1]
        negative = [-(1 - w) * torch.sigmoid(-logits[p]).log() for p in valid if target[p] == 0]
        return (sum(positive) + sum(negative)) / len(valid)

    return loss


def positive_l1(prediction: Tensor, target: Tensor) -> Tensor:
    return losses.masked_l1(prediction, target, target > 0)


def positive_squared(prediction: Tensor, target: Tensor) -> Tensor:
    return losses.masked_squared_error(prediction, target, target > 0)


def edge_loss(logits: Tensor, target: Tensor) -> Tensor:
    return losses.balanced_binary_cross_entropy(logits, target, positive_weight=0.95)


# name: loss, literal twin, target, shape of the prediction, invalid value
CASES = {
    "cross_entropy": (losses.cross_entropy, literal_cross_entropy, labels, (N, C, H, W), 255),
    "l1": (positive_l1, literal_l1, depths, (N, 1, H, W), 0),
    "squared": (positive_squared, literal_squared, depths, (N, 1, H, W), 0),
    "normal_l1": (losses.normal_l1, literal_normal_l1, normals, SHAPE, 0),
    "normal_cosine": (losses.normal_cosine, literal_normal_cosine, normals, SHAPE, 0),
    "edges": (edge_loss, literal_balanced(0.95), binary, (N, H, W), 255),
    "saliency": (
        losses.balanced_binary_cross_entropy,
        literal_balanced(None),
        binary,
        (N, H, W),
        255,
    ),
}
every_loss = pytest.mark.parametrize(
    ("loss", "literal", "draw_target", "shape", "invalid"), CASES.values(), ids=CASES.keys()
)


def value_and_gradient(
    loss: Callable[[Tensor, Tensor], Tensor], prediction: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    prediction = prediction.detach().clone().requires_grad_()
    value = loss(prediction, target)
    (gradient,) = torch.autograd.grad(value, prediction)
    return value.detach(), gradient


@pytest.mark.peer("L22", "T13")
@every_loss
def test_a_loss_without_valid_elements_is_zero_with_a_gradient_of_zeros(
    loss, literal, draw_target, shape, invalid
):
    value, gradient = value_and_gradient(
        loss, torch.randn(shape), torch.full_like(draw_target(), invalid)
    )
    assert value == 0
    assert torch.equal(gradient, torch.zeros(shape))


@every_loss
def test_what_is_predicted_at_invalid_elements_does_not_matter(
    loss, literal, draw_target, shape, invalid
):
    target, prediction = draw_target(), torch.randn(shape)
    missing = target == invalid
    if target.ndim == 4:
        missing = missing.all(dim=1)
    hidden = missing if prediction.ndim == 3 else missing.unsqueeze(1)
    value, gradient = value_and_gradient(loss, prediction, target)
    other, _ = value_and_gradient(loss, torch.where(hidden, 7.0, prediction), target)
    assert hidden.any()
    assert value == other
    assert (gradient * hidden == 0).all()


@every_loss
def test_value_and_gradient_equal_those_of_the_literal_sum(
    loss, literal, draw_target, shape, invalid
):
    target, prediction = draw_target(), torch.randn(shape)
    value, gradient = value_and_gradient(loss, prediction, target)
    exact = target.double() if target.is_floating_point() else target
    expected, expected_gradient = value_and_gradient(literal, prediction.double(), exact)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-4, atol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_low_precision_predictions_are_computed_in_float32(
    loss, literal, draw_target, shape, invalid, dtype, autocast
):
    target, prediction = draw_target(), torch.randn(shape).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = loss(prediction, target)
    assert value.dtype == torch.float32
    assert value == loss(prediction.float(), target)


@every_loss
def test_no_loss_waits_for_the_device(loss, literal, draw_target, shape, invalid):
    # Tensors on the meta device have no values, so reading one raises.
    assert loss(torch.zeros(shape, device="meta"), draw_target().to("meta")).shape == ()


@pytest.mark.parametrize("loss", [losses.normal_l1, losses.normal_cosine])
def test_a_prediction_of_zero_length_has_a_gradient_that_float16_can_hold(loss):
    scale = 2.0**16
    value, gradient = value_and_gradient(
        lambda p, t: scale * loss(p, t),
        torch.zeros(1, 3, 60, 80),
        torch.ones(1, 3, 60, 80) / 3**0.5,
    )
    assert value > 0
    assert gradient.half().isfinite().all()
    assert (gradient < 0).all()


@pytest.mark.parametrize("loss", [losses.normal_l1, losses.normal_cosine])
def test_normal_losses_do_not_see_the_length_of_the_prediction(loss):
    target, prediction = normals(), torch.randn(SHAPE)
    torch.testing.assert_close(loss(prediction * 50, target), loss(prediction, target))


@pytest.mark.peer("L22")
@pytest.mark.parametrize("loss", [losses.normal_l1, losses.normal_cosine])
def test_a_normal_whose_components_add_up_to_zero_is_valid(loss):
    target = torch.tensor([1.0, -1.0, 0.0]).div(math.sqrt(2)).view(1, 3, 1, 1)
    assert loss(-target, target) > 0.9


def test_dividing_by_pixels_is_three_times_dividing_by_elements():
    target, prediction = normals(), torch.randn(SHAPE)
    by_pixels = losses.normal_l1(prediction, target, divisor="pixels")
    torch.testing.assert_close(by_pixels, 3 * losses.normal_l1(prediction, target))


def test_another_divisor_is_an_error_that_lists_those_known():
    with pytest.raises(
        ValueError, match=r'`normal_l1\(divisor=\)` should be one of "elements", "pixels"\. Found'
    ):
        losses.normal_l1(torch.randn(SHAPE), normals(), divisor="pixel")


@pytest.mark.parametrize("weight", [-1, 3, float("nan")])
def test_a_weight_that_is_no_share_is_an_error(weight):
    with pytest.raises(ValueError, match=r"positive_weight=\)` should be from 0 to 1\. Found"):
        losses.balanced_binary_cross_entropy(torch.zeros(4), torch.ones(4), weight)


@pytest.mark.parametrize(
    "loss",
    [
        lambda p, t: losses.masked_l1(p, t, t > 0),
        lambda p, t: losses.masked_squared_error(p, t, t > 0),
        losses.normal_l1,
        losses.normal_cosine,
    ],
    ids=["masked_l1", "masked_squared_error", "normal_l1", "normal_cosine"],
)
def test_a_target_that_would_be_broadcast_is_an_error_on_any_device(loss):
    prediction, target = torch.ones(SHAPE, device="meta"), torch.ones(SHAPE, device="meta")
    with pytest.raises(ValueError, match=r"The target of `\w+` should be of shape .*\. Found"):
        loss(prediction, target[:1])


def test_fixed_balance_is_a_scaled_positive_weight_of_torch():
    target, logits = (torch.rand(2, 8, 8) < 0.2).float(), torch.randn(2, 8, 8)
    expected = 0.05 * functional.binary_cross_entropy_with_logits(
        logits, target, pos_weight=torch.tensor(19.0)
    )
    torch.testing.assert_close(edge_loss(logits, target), expected)


@pytest.mark.parametrize("sentinel", [float("nan"), float("inf")])
@pytest.mark.parametrize("loss", [losses.masked_l1, losses.masked_squared_error])
def test_sentinels_in_invalid_elements_reach_neither_value_nor_gradient(loss, sentinel):
    valid = torch.tensor([True, False])
    value, gradient = value_and_gradient(
        lambda p, t: loss(p, t, valid), torch.tensor([3.0, 3.0]), torch.tensor([1.0, sentinel])
    )
    assert value.isfinite()
    assert gradient[0] > 0
    assert gradient[1] == 0


def test_a_mask_of_one_channel_counts_the_elements_of_all_channels():
    valid = torch.tensor([[[[True, False]]]])
    error = losses.masked_l1(torch.full((1, 3, 1, 2), 2.0), torch.zeros(1, 3, 1, 2), valid)
    assert error == 2
