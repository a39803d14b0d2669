"""Colours of pictures."""

import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import hsv_to_rgb
from torch import Tensor

__all__ = ["class_colors", "colorize"]

GOLDEN_RATIO = 0.6180339887
SHADES = ((0.85, 0.95), (0.5, 0.95), (0.9, 0.55))


def class_colors(num_classes: int) -> Float[Tensor, "C 3"]:
    """One RGB colour per class: hues a golden section apart, in three shades; none is black."""
    hues = [index * GOLDEN_RATIO % 1 for index in range(num_classes)]
    colors = [(hue, *SHADES[index % len(SHADES)]) for index, hue in enumerate(hues)]
    return torch.tensor(hsv_to_rgb(colors), dtype=torch.float32)


def colorize(values: Float[Tensor, "N H W"]) -> Float[Tensor, "N 3 H W"]:
    """Colours of the perceptually uniform map viridis for values clamped to 0 to 1; NaN is 0."""
    table = torch.tensor(colormaps["viridis"](range(256)), dtype=torch.float32)[:, :3]
    index = (values.nan_to_num(0).clamp(0, 1) * 255).round().long()
    return table.to(values.device)[index].movedim(-1, 1)
