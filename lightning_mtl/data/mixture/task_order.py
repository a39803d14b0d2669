"""The order in which the samples of one task are drawn, again and again."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_mtl.data.seeding import one_seed


class Visit(NamedTuple):
    """One sample as it is drawn.

    Attributes:
        sample: its index in its data set.
        number: how many times it has been drawn before.
    """

    sample: int
    number: int


class TaskOrder:
    """An endless order of the samples of one task: all of them shuffled, then shuffled anew.

    It depends on the seed alone, and can be entered at any position.

    Args:
        size: the number of samples.
        seed: of all shuffles.
        task: the number of the task, so that data sets of one size have different orders.
    """

    def __init__(self, size: int, seed: int, task: int) -> None:
        self.size = size
        self._seed = (seed, task)
        self._shuffles: dict[int, Tensor] = {}

    def visits(self, start: int, count: int) -> list[Visit]:
        """The samples at the positions from `start` on.

        Args:
            start: how many were drawn before.
            count: how many to draw.
        """
        places = (divmod(position, self.size) for position in range(start, start + count))
        return [Visit(int(self._shuffle(number)[place]), number) for number, place in places]

    def _shuffle(self, number: int) -> Tensor:
        if number not in self._shuffles:
            generator = torch.Generator().manual_seed(one_seed(*self._seed, number))
            # Samples that were drawn ahead are put back and drawn again: the last shuffle stays.
            kept = {key: value for key, value in self._shuffles.items() if key == number - 1}
            self._shuffles = {**kept, number: torch.randperm(self.size, generator=generator)}
        return self._shuffles[number]
