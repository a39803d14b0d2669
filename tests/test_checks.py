"""Checks of what networks are given."""

import pytest
import torch
from torch import Tensor

from lightning_mtl.checks import check_image


def checked(image: Tensor) -> None:
    check_image("Net", image)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_from_0_to_1_pass(channels: int, dtype: torch.dtype) -> None:
    checked(torch.rand(2, channels, 4, 4, dtype=dtype))


@pytest.mark.parametrize(
    "image",
    [
        (torch.rand(2, 3, 4, 4) - 0.45) / 0.22,
        torch.full((2, 3, 4, 4), (1 - 0.406) / 0.225),
        torch.rand(2, 3, 4, 4) * 1.8,
        torch.randn(2, 1, 4, 4) * 100,
        torch.cat([torch.rand(2, 3, 4, 4), 80 * torch.rand(2, 1, 4, 4)], 1),
        torch.zeros(0, 3, 4, 4),
    ],
    ids=["standardised", "white", "brightened", "any sign", "with a depth in metres", "empty"],
)
def test_what_may_be_meant_passes(image: Tensor) -> None:
    checked(image)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"`Net` .* floating type.*Found torch\.\w+\. .*/ 255"):
        checked(torch.ones(2, 3, 4, 4, dtype=dtype))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_values_of_8_bits_are_refused(channels: int) -> None:
    image = torch.zeros(2, channels, 4, 4)
    image[0, 0, 0, 0] = 200
    with pytest.raises(
        ValueError, match=r"`Net` .* \[0, 1\]\. Found values from 0 to 200\..*/ 255"
    ):
        checked(image)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    image = torch.rand(2, 3, 4, 4)
    image[1, 2, :2, 3] = value
    with pytest.raises(ValueError, match=r"`Net` .* finite images\. Found .* in 2 values\."):
        checked(image)


def test_values_on_a_device_are_not_read() -> None:
    checked(torch.empty(2, 3, 4, 4, device="meta"))
    with pytest.raises(TypeError, match=r"torch\.uint8"):
        checked(torch.empty(2, 3, 4, 4, device="meta", dtype=torch.uint8))
