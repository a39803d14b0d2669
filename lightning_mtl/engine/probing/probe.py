"""One probe: the losses of a batch where the shared parameters are moved at random."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import accumulation_dtype
from lightning_mtl.engine.probing.perturbation import perturbed, relative_size_for
from lightning_mtl.engine.replay import RandomState, replay
from lightning_mtl.engine.task_output import TaskOutput


class Probe(NamedTuple):
    """What a probe has found.

    Attributes:
        output: the losses L_k(θ + ε v) by task, without graph, and their counts.
        size: ε.
    """

    output: TaskOutput
    size: Float[Tensor, ""]


def probe(
    trainer: L.Trainer,
    module: Any,
    batch: Any,
    names: Sequence[str],
    seed: int,
    relative_size: float | None = None,
) -> Probe:
    """Compute the losses of a batch at moved parameters, leaving no trace.

    Called in `training_step`, before the forward pass of the batch, which then draws the same
    random numbers. So only one graph is alive at a time, and what a strategy gathers for the
    forward pass is gathered after the parameters are back. All ranks take part.

    Args:
        trainer: gives the strategy and the precision.
        module: a `MultiTaskModule` in training mode.
        batch: on the device.
        names: of the shared parameters, in `module.named_parameters()`.
        seed: not negative, the same on all ranks, and another one for each probe.
        relative_size: see `perturbed`; by default that of the Trainer's precision.
    """
    model = trainer.strategy.model
    assert model is not None
    if relative_size is None:
        relative_size = relative_size_for(str(trainer.precision))
    start = RandomState.now(module.device)
    with perturbed(model, module, names, seed, relative_size) as size:
        return Probe(replay(trainer, module, batch, start, within_step=True), size)


def slopes(
    moved: Mapping[str, Tensor], losses: Mapping[str, Tensor], size: Float[Tensor, ""]
) -> Float[Tensor, " K"]:
    """z_k = (L_k(θ + ε v) - L_k(θ)) / ε, an estimate of v · g_k for the tasks in `losses`.

    Over many v the mean of z zᵀ is the Gramian of the task gradients. With several ranks z is that
    of a rank's own losses: the mean over ranks belongs to the mean losses, as v is the same.

    Args:
        moved: the losses at θ + ε v.
        losses: at θ, of the same tasks.
        size: ε.
    """
    differences = [_wide(moved[task]) - _wide(loss) for task, loss in losses.items()]
    return torch.stack(differences) / size.to(differences[0])


def _wide(loss: Tensor) -> Tensor:
    return loss.detach().to(accumulation_dtype(loss))
