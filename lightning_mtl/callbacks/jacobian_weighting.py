"""The base of the weightings that need the task gradients themselves."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.callbacks.gradient_weighting import GradientWeighting
from lightning_mtl.gradients import Gradients
from lightning_mtl.step import Step


class JacobianWeighting(GradientWeighting):
    """A weighting that needs the task gradients themselves, J (K, P).

    The shared parameters receive `combine(losses, J)`, and each head its own unweighted gradient.
    J is one matrix here: beside the K P numbers that the Gramian rules hold, one more row while it
    is being built. One host sync an optimizer step, to refuse gradients that are not finite.

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
        step.collect(backward)
        if not step.last:
            return
        rows = step.window.reduce()
        # Only the joined copy is needed from here on.
        step.window.rows.clear()
        jacobian = _joined(rows).div_(step.window.normalisers()[:, None])
        self.state.present = step.window.tasks
        direction = self._direction(step, jacobian.to(step.window.losses.dtype))
        shared = step.partition.shared
        pieces = (direction * step.window.scale()).split([p.numel() for p in shared])
        trunk = [piece.view_as(p).to(p) for piece, p in zip(pieces, shared, strict=True)]
        step.apply(trunk, list(step.window.length / step.window.counts))

    def _direction(self, step: Step, jacobian: Float[Tensor, "k P"]) -> Float[Tensor, " P"]:
        if not self._finite(step, torch.linalg.vector_norm(jacobian, torch.inf, dim=1).cpu()):
            return jacobian.sum(0)
        self.applied = None
        direction = self.combine(step.window.losses, jacobian)
        if self.applied is not None:
            step.note(step.window.tasks, self.applied)
        return direction


def _joined(rows: list[Gradients]) -> Float[Tensor, "K P"]:
    """One matrix, built row by row; each row's parts are let go of in turn."""
    joined = rows[0][0].new_empty(len(rows), sum(part.numel() for part in rows[0]))
    for index, row in enumerate(rows):
        torch.cat([part.flatten() for part in row], out=joined[index])
        row.clear()
    return joined
