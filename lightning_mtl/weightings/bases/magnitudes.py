"""Optimizers whose steps do not grow with the gradients, so that weights lose part of their effect.

Lion, signSGD and resilient propagation step by signs; Muon and its like step by a matrix whose
singular values are all one.
"""

import re
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

BY_SIGN = re.compile(r"(Lion|Tiger|[Ss]ign(SGD|um)|Signum|Rprop)(?![a-z])")
ORTHOGONAL = re.compile(r"(Muon|Dion|Scion)(?![a-z])")


def discards_magnitudes(optimizer: Any) -> str:
    """What the steps of an optimizer are made of if they do not grow with the gradients, or "".

    It is known by the name of its class or of a base, such as `PagedLion8bit` or `AdaMuon`.

    Args:
        optimizer: the optimizer itself.
    """
    names = [kind.__name__ for kind in type(optimizer).__mro__]
    if any(BY_SIGN.search(name) for name in names):
        return "signs"
    return "orthogonalised matrices" if any(ORTHOGONAL.search(name) for name in names) else ""


def warn_of_lost_magnitudes(weighting: str, optimizers: Sequence[Any]) -> None:
    """Warn of optimizers under which weights act by their ratios only. Called once in a run.

    Args:
        weighting: the name of its class.
        optimizers: of the Trainer.
    """
    for optimizer in optimizers:
        made_of = discards_magnitudes(optimizer)
        if made_of:
            found = type(optimizer).__name__
            rank_zero_warn(
                f"`{weighting}` should have an optimizer whose steps grow with the gradients, as it"
                f" multiplies losses by weights. Found `{found}`, whose steps are {made_of}:"
                " weights have no effect on the parameters of one task alone, and only their ratios"
                " have one on the shared parameters. Use SGD or `torch.optim.AdamW`, or compare"
                " with a run without a weighting to see what is left."
            )
