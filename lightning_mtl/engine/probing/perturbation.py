"""Moving the shared parameters by random numbers for a while, and back to the bit."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.distributed import sum_over_ranks, world_size
from lightning_mtl.engine.gradients import accumulation_dtype
from lightning_mtl.engine.probing.pieces import Piece, pieces_of, release_gathered
from lightning_mtl.linalg.signs import random_signs

RELATIVE_SIZE = 1e-3
"""The size ε of a step, in units of the root mean square of the parameters.

Small enough for the slope of a loss, and large enough for its difference in float32.
"""

COARSE_SIZES = {"transformer-engine": 1e-2, "bf16": 1e-2, "16": 3e-3}
"""The same by the Trainer's precision, where layers round parameters to fewer digits than that.

A parameter that is moved by less than its rounding moves by nothing or by too much: with bfloat16
and 1e-3 the norms of gradients come out four times too large.
"""


def relative_size_for(precision: str) -> float:
    """The size of a step in units of the root mean square of the parameters.

    Args:
        precision: of the Trainer, such as `"bf16-mixed"`.
    """
    found = (size for start, size in COARSE_SIZES.items() if precision.startswith(start))
    return next(found, RELATIVE_SIZE)


@contextmanager
def perturbed(
    model: nn.Module,
    module: nn.Module,
    names: Sequence[str],
    seed: int,
    relative_size: float = RELATIVE_SIZE,
) -> Iterator[Float[Tensor, ""]]:
    """A context in which parameters are θ + ε v with random signs v; gives ε, which is positive.

    v follows from the seed and from the place of each parameter among `names`, whatever the number
    of ranks; only with FSDP1 it depends on the shards as well. The parameters are restored to the
    bit from a copy: of what this rank holds of them, or, under DeepSpeed's stage 3, of all of them
    in the first rank's host memory. All ranks enter the context together, within `training_step`
    and before its forward pass.

    Args:
        model: `module` as the strategy has wrapped it.
        module: the `MultiTaskModule`.
        names: of the parameters, in `module.named_parameters()`.
        seed: not negative, and the same on all ranks.
        relative_size: ε in units of the root mean square of these parameters.
    """
    release_gathered(model)
    pieces = pieces_of(model, module, names)
    size = relative_size * root_mean_square(pieces)
    copies: list[Tensor | None] = []
    try:
        for place, piece in enumerate(pieces):
            copies.append(_move(piece, size, (seed, place, piece.stream)))
        # Parameters that were cast within an outer autocast are not cast again.
        torch.clear_autocast_cache()
        yield size
    finally:
        release_gathered(model)
        # After an error there may be fewer copies than pieces.
        for piece, copy in zip(pieces, copies, strict=False):
            _put_back(piece, copy)
        torch.clear_autocast_cache()


def root_mean_square(pieces: Sequence[Piece]) -> Float[Tensor, ""]:
    """|θ| / √P of all parts on all ranks; 1 if every parameter is zero."""
    sums: Tensor | None = None
    for piece in pieces:
        with piece.opened() as numbers:
            norm = torch.linalg.vector_norm(numbers, dtype=accumulation_dtype(numbers))
            # Every part counts once, however many ranks hold it.
            share = piece.parts / world_size()
            part = torch.stack([norm**2, torch.full_like(norm, numbers.numel())]) * share
            sums = part if sums is None else sums + part.to(sums)
    assert sums is not None
    whole = all(piece.parts == 1 for piece in pieces)
    square, count = sums if whole else sum_over_ranks(sums)
    size = (square / count).sqrt()
    return torch.where(size > 0, size, torch.ones_like(size))


def _move(piece: Piece, size: Tensor, seeds: tuple[int, ...]) -> Tensor | None:
    """Move one part, and return a copy of what it was if this rank keeps one."""
    with piece.opened() as numbers, torch.no_grad():
        copy = piece.copied(numbers)
        shape = numbers.shape if piece.shape is None else piece.shape
        direction = piece.local(_draw(shape, numbers, seeds))
        numbers.addcmul_(direction, size.to(direction))
    return copy


def _put_back(piece: Piece, copy: Tensor | None) -> None:
    with piece.opened() as numbers, torch.no_grad():
        if copy is not None:
            numbers.copy_(copy)


def _draw(shape: Sequence[int], like: Tensor, seeds: tuple[int, ...]) -> Tensor:
    """Signs ±1, in float32 at least, which follow from the seeds."""
    mixed = int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0])
    generator = torch.Generator(like.device).manual_seed(mixed)
    signs = random_signs(math.prod(shape), like, generator, accumulation_dtype(like))
    return signs.view(tuple(shape))
