"""Random numbers that depend on what they are drawn for, and on nothing that came before."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["one_seed", "seeded"]


def one_seed(*numbers: int) -> int:
    """One seed for several numbers, with no pattern between those of neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """A context in which torch's generator is seeded by these numbers; left as it was before.

    Only the generator of the host: in the main process, those of devices belong to the model.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(one_seed(*numbers))
    try:
        yield
    finally:
        torch.set_rng_state(state)
