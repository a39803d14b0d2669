"""Numbers of the tasks that do not change in training."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.transfers import to_device


class Constants:
    """Keeps given numbers on the device of the losses, so that they are copied there once."""

    def __init__(self) -> None:
        self._numbers: tuple[float, ...] = ()
        self._tensor: Tensor | None = None

    def like(self, numbers: Sequence[float], losses: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """The numbers as a tensor of the device and dtype of `losses`; copied if they are new.

        Args:
            numbers: one for each task present.
            losses: of the tasks present.
        """
        tensor = self._tensor
        if tensor is None or self._numbers != tuple(numbers) or not _alike(tensor, losses):
            tensor = to_device(torch.tensor(numbers, dtype=losses.dtype), losses.device)
            self._numbers, self._tensor = tuple(numbers), tensor
        return tensor


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.device == other.device and one.dtype == other.dtype
