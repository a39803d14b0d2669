"""Random numbers of a weighting: its own stream, alike on every rank, saved with its memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lightning_mtl.distributed import from_first_rank
from lightning_mtl.weightings.memory.task_memory import TaskMemory


class RandomStream:
    """A stream of random numbers that a resumed run continues.

    Args:
        memory: of the weighting.
        seed: of the stream; `None` stands for the seed of torch's global generator, which
            `seed_everything` sets, as the first rank has it when the first number is drawn.
        name: of its entry in the memory.
    """

    def __init__(self, memory: TaskMemory, seed: int | None, name: str = "generator") -> None:
        self._saved = memory.single(name)
        self._seed = seed

    def peek(self) -> torch.Generator:
        """A CPU generator at the present place in the stream, which does not move on."""
        generator = torch.Generator()
        if self._saved.values is not None:
            return generator.set_state(self._saved.values.cpu())
        seed = from_first_rank(torch.initial_seed()) if self._seed is None else self._seed
        generator.manual_seed(seed)
        # Saved at once: the ranks agree on a seed once, and a checkpoint has it.
        self._saved.values = generator.get_state()
        return generator

    @contextmanager
    def drawing(self) -> Iterator[torch.Generator]:
        """As `peek`; the stream moves on by what is drawn inside."""
        generator = self.peek()
        yield generator
        self._saved.values = generator.get_state()

    def draw_seed(self) -> int:
        """Draw a number to seed other draws with, such as those that are made on the device."""
        with self.drawing() as generator:
            return _seed_of(generator)

    def peek_seed(self) -> int:
        """As `draw_seed`, but the stream does not move on: the next seed will be the same."""
        return _seed_of(self.peek())


def _seed_of(generator: torch.Generator) -> int:
    return int(torch.randint(2**31, (), generator=generator))
