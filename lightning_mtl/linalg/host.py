"""Whether a number can be read without waiting."""

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

HOST = "cpu"
"""The kind of device where reading a number costs nothing."""

MOST = 10
"""Tasks whose supports are few enough to be tried at once: 2^10 systems of 10 x 10."""


def on_host(tensor: Tensor) -> bool:
    """Whether a solver may look at the numbers; elsewhere it takes its twin in `on_device`."""
    return tensor.device.type == HOST


def few_elsewhere(gramian: Float[Tensor, "K K"]) -> bool:
    """Whether a solver takes a twin that tries all supports; for more tasks it rather waits."""
    return not on_host(gramian) and len(gramian) <= MOST


def may_stay(gramian: Float[Tensor, "K K"], most: int) -> bool:
    """Whether a rule is solved on the device where its Gramian is, in float64.

    Args:
        gramian: as it was measured.
        most: up to how many tasks the rule has a solution there.
    """
    return not on_host(gramian) and len(gramian) <= most and gramian.dtype == torch.float64


def arrays(*tensors: Tensor) -> list[ndarray]:
    """Tensors as arrays in float64: views of those that are so on the host."""
    return [tensor.detach().cpu().double().numpy() for tensor in tensors]
