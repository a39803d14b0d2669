"""Random signs, drawn without a word to the host and without global random numbers."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg.signs import random_signs


def draw_signs(
    shapes: Sequence[Sequence[int]], likes: Sequence[Tensor], rows: int, seed: int
) -> list[Float[Tensor, "..."]]:
    """Independent entries of ±1 / √s, so that E[Aᵀ A] is the identity.

    Args:
        shapes: of the tensors.
        likes: for each of them, a tensor of its device and dtype.
        rows: s, how many rows a matrix A has.
        seed: the same numbers are drawn from the same one, for the same shapes and devices.
    """
    kinds = dict.fromkeys((like.device, like.dtype) for like in likes)
    drawn: dict[int, Tensor] = {}
    for device, dtype in kinds:
        own = [i for i, like in enumerate(likes) if (like.device, like.dtype) == (device, dtype)]
        sizes = [math.prod(shapes[index]) for index in own]
        # One draw for all: each is a launch of its own.
        generator = torch.Generator(device).manual_seed(seed)
        flat = random_signs(sum(sizes), likes[own[0]], generator) / math.sqrt(rows)
        drawn |= dict(zip(own, flat.split(sizes), strict=True))
    return [drawn[index].view(list(shape)) for index, shape in enumerate(shapes)]
