"""Small parts that several networks are built of."""

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

__all__ = ["basic_block", "bottleneck", "conv_norm_relu"]


def conv_norm_relu(channels: int, out_channels: int, kernel_size: int = 1) -> nn.Sequential:
    """A convolution at the size of its input, batch norm and ReLU."""
    padding = kernel_size // 2
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel_size, padding=padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def basic_block(channels: int, out_channels: int) -> BasicBlock:
    """Two 3 x 3 convolutions with a shortcut, a 1 x 1 convolution where the channels differ."""
    return BasicBlock(channels, out_channels, downsample=_projection(channels, out_channels))


def bottleneck(channels: int, out_channels: int) -> Bottleneck:
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1, a quarter as wide inside, with such a shortcut.

    Args:
        channels: of the input.
        out_channels: of the output, a multiple of 4.
    """
    return Bottleneck(channels, out_channels // 4, downsample=_projection(channels, out_channels))


def _projection(channels: int, out_channels: int) -> nn.Module | None:
    if channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
    )
