"""The base of the weightings that need the gradients of the tasks."""

from collections.abc import Sequence
from typing import Any, ClassVar

import lightning as L
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.errors import NonFiniteGradientError
from lightning_mtl.engine.micro_batch import Step
from lightning_mtl.weightings.bases.weighting import Weighting


class GradientWeighting(Weighting):
    """A weighting of task gradients, which have to be finite."""

    measured: ClassVar[tuple[str, ...]] = ()
    """The entries of `state` that hold something of the size or the scale of the gradients where
    they are measured. When that place changes, because a layer is frozen or thawed or a task that
    came late shows more to be shared, they begin anew."""

    def __init__(self) -> None:
        super().__init__()
        self._loss_is_scaled = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """As every weighting, and see whether a loss scaler will catch infinite gradients."""
        super().setup(trainer, pl_module, stage)
        plugin: Any = trainer.precision_plugin
        self._loss_is_scaled = getattr(plugin, "scaler", None) is not None

    def total(self, step: Step) -> Tensor:
        """Σ L_k; the weights are not known yet."""
        return step.total()

    def _measured_at(self, step: Step, parameters: Sequence[Tensor]) -> None:
        """Begin anew with what was measured at other parameters than these."""
        partition = step.partition
        names = dict(zip(partition.parameters, partition.names, strict=True))
        place = [f"{names[p]} {tuple(p.shape)}" for p in parameters]  # type: ignore[index]
        self.state.measure_at(place, self.measured)

    def _finite(self, step: Step, sizes: Float[Tensor, " k"], others: bool = True) -> bool:
        """Whether the rule may see these gradients; not if a loss scale has overflown.

        The loss scaler then skips the step, whatever is written.

        Args:
            step: the last of its window.
            sizes: one number for each task, on the host; NaN or infinite if its gradient is.
            others: whether everything else that the rule sees is finite.

        Raises:
            NonFiniteGradientError: if there is no loss scaler to blame.
        """
        fine = sizes.isfinite()
        if others and bool(fine.all()):
            return True
        if self._loss_is_scaled:
            return False
        bad = (~fine).nonzero().flatten().tolist()
        raise NonFiniteGradientError([self.tasks[step.window.tasks[k]] for k in bad], step.number)
