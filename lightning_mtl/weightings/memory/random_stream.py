"""Random numbers of a weighting: its own stream, alike on every rank, saved with its state.

A seed of `None` stands for the seed of torch's global generator, which `seed_everything` sets, as
the first rank has it when the first number is drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lightning_mtl.distributed import from_first_rank
from lightning_mtl.weightings.memory.task_memory import TaskState

NAME = "generator"


def peek(state: TaskState, seed: int | None) -> torch.Generator:
    """A CPU generator where `state` has left it, or fresh from `seed`; nothing moves on."""
    generator = torch.Generator()
    saved = state.tensors.get(NAME)
    if saved is not None:
        return generator.set_state(saved.cpu())
    generator.manual_seed(from_first_rank(torch.initial_seed()) if seed is None else seed)
    # Kept at once: the ranks agree on a seed once, and a checkpoint has it.
    state.tensors[NAME] = generator.get_state()
    return generator


@contextmanager
def drawing(state: TaskState, seed: int | None) -> Iterator[torch.Generator]:
    """As `peek`; what is drawn inside moves `state` on."""
    generator = peek(state, seed)
    yield generator
    state.tensors[NAME] = generator.get_state()


def draw_seed(state: TaskState, seed: int | None) -> int:
    """The next number of the stream, to seed another generator with: one on the device, say."""
    with drawing(state, seed) as generator:
        return int(torch.randint(2**31, (), generator=generator))
