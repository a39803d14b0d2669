"""Colours of classes and of values on pictures."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from matplotlib import colormaps
from torch import Tensor

__all__ = ["Color", "class_colors", "class_palette", "colorize"]

Color = tuple[float, float, float]
"""Red, green and blue from 0 to 1."""

LEVELS = 6


def class_colors(num_classes: int) -> Float[Tensor, "C 3"]:
    """One RGB colour per class, as far as possible from black, white and those before it.

    All differ up to 216 classes.
    """
    level = torch.linspace(0.15, 0.95, LEVELS)
    candidates = torch.cartesian_prod(level, level, level)
    distance = torch.minimum(candidates.norm(dim=1), (1 - candidates).norm(dim=1))
    chosen = []
    for _ in range(num_classes):
        chosen.append(candidates[distance.argmax()])
        distance = torch.minimum(distance, (candidates - chosen[-1]).norm(dim=1))
    return torch.stack(chosen)


def class_palette(num_classes: int, names: Sequence[str] | None = None) -> dict[str, Color]:
    """The colours of `class_colors` by the name of the class, or by its number."""
    colors = class_colors(num_classes).tolist()
    keys = map(str, range(num_classes)) if names is None else names
    return {key: (red, green, blue) for key, (red, green, blue) in zip(keys, colors, strict=True)}


def colorize(values: Float[Tensor, "N H W"]) -> Float[Tensor, "N 3 H W"]:
    """Colours of the perceptually uniform map viridis for values clamped to 0 to 1; NaN is 0."""
    table = torch.tensor(colormaps["viridis"](range(256)), dtype=torch.float32)[:, :3]
    index = (values.nan_to_num(0).clamp(0, 1) * 255).round().long()
    return table.to(values.device)[index].movedim(-1, 1)
