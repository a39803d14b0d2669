"""Random numbers of a weighting: its own stream, alike on every rank, saved with its state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lightning_mtl.state import TaskState

NAME = "generator"


def peek(state: TaskState, seed: int) -> torch.Generator:
    """A CPU generator where `state` has left it, or fresh from `seed`; `state` stays as it is."""
    generator = torch.Generator()
    saved = state.tensors.get(NAME)
    return generator.manual_seed(seed) if saved is None else generator.set_state(saved.cpu())


@contextmanager
def drawing(state: TaskState, seed: int) -> Iterator[torch.Generator]:
    """As `peek`; what is drawn inside moves `state` on."""
    generator = peek(state, seed)
    yield generator
    state.tensors[NAME] = generator.get_state()


def draw_seed(state: TaskState, seed: int) -> int:
    """The next number of the stream, to seed another generator with: one on the device, say."""
    with drawing(state, seed) as generator:
        return int(torch.randint(2**31, (), generator=generator))
