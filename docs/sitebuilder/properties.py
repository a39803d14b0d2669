"""What a rule does with conflicting gradients, measured on matrices whose answer is known.

Only rules on inner products of the gradients are asked: their weights follow from the gradients.
Those that learn slowly are asked again for the same gradients until their weights have settled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.callbacks import GramianWeighting, Weighting

TASKS, PARAMETERS, SAMPLES, REPEATS = 3, 8, 10, 100
OPPOSED = 1e-6
"""How far against a task counts as opposing it, as a part of the longest weighted gradient."""
STANDS_STILL = 1e-3
"""How short an update counts as none, as a part of the longest gradient."""


@dataclass(frozen=True)
class Properties:
    """What was measured.

    Attributes:
        opposes: when an update pointed against the gradient of some task.
        stops_when_stationary: whether there was no update at Pareto-stationary points, where no
            direction improves every task.
    """

    opposes: Literal["never", "if dependent", "sometimes"]
    stops_when_stationary: bool


@cache
def properties(kind: type[Weighting]) -> Properties | None:
    """What a rule with default arguments does; `None` if it is no rule on inner products."""
    if not issubclass(kind, GramianWeighting) or kind.needs_rows or "shared" not in kind.places:
        return None
    if not all(_opposes_none(kind, rows) for rows in conflicting()):
        opposes: Literal["never", "if dependent", "sometimes"] = "sometimes"
    elif not all(_opposes_none(kind, rows) for rows in conflicting(dependent=True)):
        opposes = "if dependent"
    else:
        opposes = "never"
    return Properties(opposes, all(_stands_still(kind, rows) for rows in stationary()))


def settled_weights(
    kind: type[GramianWeighting], rows: Float[Tensor, "K P"]
) -> Float[Tensor, " K"]:
    """The weights of a new rule for these gradients, once they have settled."""
    rule, losses, gramian = kind(), torch.ones(len(rows)).to(rows), rows @ rows.T
    weights = rule.weights(losses, gramian)
    for _ in range(REPEATS):
        before, weights = weights, rule.weights(losses, gramian)
        if torch.equal(before, weights):
            break
    return weights


def _opposes_none(kind: type[GramianWeighting], rows: Float[Tensor, "K P"]) -> bool:
    weights, norms = settled_weights(kind, rows), rows.norm(dim=1)
    progress = rows @ (weights @ rows) / norms
    return float(progress.min()) >= -OPPOSED * float((weights.abs() * norms).max())


def _stands_still(kind: type[GramianWeighting], rows: Float[Tensor, "K P"]) -> bool:
    length = (settled_weights(kind, rows) @ rows).norm()
    return float(length) <= STANDS_STILL * float(rows.norm(dim=1).max())


def conflicting(dependent: bool = False) -> Iterator[Float[Tensor, "K P"]]:
    """Gradients of unequal lengths, some of which point against each other.

    Args:
        dependent: whether the last one is a combination of the others, in every other case one
            for which no direction improves all tasks.
    """
    for seed in range(SAMPLES):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(TASKS, PARAMETERS, generator=generator, dtype=torch.float64)
        rows[0] -= rows[1:].sum(0) / 2
        if dependent:
            rows[-1] = rows[0] - rows[1] / 2 if seed % 2 else -rows[:-1].sum(0)
        yield rows * _lengths(generator)


def stationary() -> Iterator[Float[Tensor, "K P"]]:
    """Gradients of which a mean with positive weights is zero; no two of them are opposed."""
    for seed in range(SAMPLES):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(TASKS, PARAMETERS, generator=generator, dtype=torch.float64)
        rows[-1] = -rows[:-1].sum(0)
        yield rows * _lengths(generator)


def _lengths(generator: torch.Generator) -> Float[Tensor, "K 1"]:
    return 0.5 + torch.rand(TASKS, 1, generator=generator, dtype=torch.float64)
