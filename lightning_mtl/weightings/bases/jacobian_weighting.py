"""The base of the weightings that need the task gradients themselves."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.jacobian import collect_matrix, take_matrix
from lightning_mtl.engine.micro_batch import Step
from lightning_mtl.weightings.bases.answers import check_direction, check_weights
from lightning_mtl.weightings.bases.gradient_weighting import GradientWeighting


class JacobianWeighting(GradientWeighting):
    """A weighting that needs the task gradients themselves, J (K, P).

    The shared parameters receive `combine(losses, J)`, and each head its own unweighted gradient.
    J is one matrix of K P numbers, filled a row at a time: beside it no more than one row is alive.
    One host sync an optimizer step, to refuse gradients that are not finite.

    There is no `gradients=` and no `every_n_steps=` as Gramian rules have them: the combined
    gradient is made of J at all shared parameters, and of that of this very step, so that there is
    neither a cheaper place to measure at nor a weight to keep.

    Attributes:
        applied: the w of a rule whose `combine` is w @ J, which sets it there; it is logged.
    """

    price: ClassVar[str] = "F + H + K B"

    def __init__(self) -> None:
        super().__init__()
        self.applied: Float[Tensor, " K"] | None = None

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

    def backward(self, step: Step, loss: Tensor) -> None:
        """Collect J, combine, write."""
        backward = step.differentiate_shared(loss)
        if backward is None:
            return
        collect_matrix(step, backward)
        if not step.last:
            return
        shared = step.partition.shared
        direction = self._direction(step)
        pieces = direction.split([p.numel() for p in shared])
        scale = step.window.scale()
        trunk = [(piece * scale).view_as(p).to(p) for piece, p in zip(pieces, shared, strict=True)]
        step.apply(trunk, list(step.window.length / step.window.counts))

    def _direction(self, step: Step) -> Float[Tensor, " P"]:
        """What the rule makes of J, which is let go of here."""
        jacobian = take_matrix(step)
        self.state.present = step.window.tasks
        self._measured_at(step, step.partition.shared)
        if not self._finite(step, torch.linalg.vector_norm(jacobian, torch.inf, dim=1).cpu()):
            return jacobian.sum(0)
        self.applied = None
        direction = self.combine(step.window.losses, jacobian)
        name = type(self).__name__
        check_direction(f"{name}.combine", direction, jacobian.shape[1])
        if self.applied is not None:
            check_weights(f"{name}.applied", self.applied, len(jacobian))
            step.note(step.window.tasks, self.applied)
        return direction
