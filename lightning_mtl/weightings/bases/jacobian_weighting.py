"""The base of the weightings that need the task gradients themselves."""

from abc import abstractmethod
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import as_gradient_of, views_of
from lightning_mtl.engine.jacobian import JacobianSum
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.linalg.host import on_host
from lightning_mtl.weightings.bases.answers import (
    check_direction,
    check_finite_direction,
    check_weights,
)
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.gradient_weighting import GradientWeighting


class JacobianWeighting(GradientWeighting):
    """A weighting that needs the task gradients themselves, J (K, P).

    The shared parameters receive `combine(losses, J)`, and each head its own unweighted gradient.
    J is one matrix of K P numbers, filled a row at a time: beside it no more than one row is alive.
    On the host, gradients that are not finite are refused before the rule sees them, and a
    combination that is not before it is written. A device is not waited for: both are refused as
    soon as the host knows of them, at the latest before a checkpoint is written.

    There is no `gradients=` and no `every_n_steps=` as Gramian rules have them: the combined
    gradient is made of J at all shared parameters, and of that of this very step, so that there is
    neither a cheaper place to measure at nor a weight to reuse.

    Args:
        common: what every weighting takes, see `Weighting`.

    Attributes:
        applied: the w of a rule whose `combine` is w @ J, which sets it there; it is logged.
    """

    price: ClassVar[str] = "F + H + K B"

    def __init__(self, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.applied: Float[Tensor, " K"] | None = None
        self._jacobian = JacobianSum()

    @abstractmethod
    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """The gradient of the shared parameters.

        Args:
            losses: of the tasks present, means over micro-batches and ranks.
            jacobian: their gradients on the shared parameters, in the order of the partition;
                finite.
        """

    def begin_window(self) -> None:
        """Forget what was collected in the window before."""
        self._jacobian = JacobianSum()

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Collect J; at the end of the window, combine its rows and write the gradients."""
        backward = micro_batch.differentiate_shared(loss)
        if backward is None:
            return
        self._jacobian.accumulate(micro_batch, backward)
        if not micro_batch.last:
            return
        window, shared = micro_batch.window, micro_batch.partition.shared
        parts = views_of(self._direction(micro_batch), shared)
        scale = window.scale()
        trunk = [as_gradient_of(p, part * scale) for p, part in zip(shared, parts, strict=True)]
        micro_batch.write_combined(trunk, list(window.length / window.counts))

    def _direction(self, micro_batch: MicroBatch) -> Float[Tensor, " P"]:
        """The direction that the rule returns for J; frees J afterwards."""
        window, partition = micro_batch.window, micro_batch.partition
        jacobian = self._jacobian.take(window)
        sizes = torch.linalg.vector_norm(jacobian, torch.inf, dim=1)
        self.memory.measured_at(partition.identity(partition.shared))
        if not self.may_see(micro_batch, sizes):
            return jacobian.sum(0)
        self.applied = None
        with self.memory.of(window.present):
            direction = self.combine(window.losses, jacobian)
        name = type(self).__name__
        check_direction(f"{name}.combine", direction, jacobian.shape[1])
        if self.loss_is_scaled and not on_host(sizes):
            # What has overflown has to be written, or the loss scaler would not skip the step.
            direction = direction + 0 * sizes.sum()
        else:
            # A norm takes no copy of what is as large as the trunk.
            largest = torch.linalg.vector_norm(direction, torch.inf)
            micro_batch.checks.add(largest, partial(check_finite_direction, f"{name}.combine"))
        if self.applied is not None:
            check_weights(f"{name}.applied", self.applied, len(jacobian))
            micro_batch.record_weights(window.present, self.applied)
        return direction
