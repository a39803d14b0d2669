"""The base of the weightings that need the gradients of the tasks."""

from functools import partial
from typing import Any

import lightning as L
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.loss_guard import check_gradients
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.linalg.host import on_host
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.weighting import Weighting


class GradientWeighting(Weighting):
    """A weighting of task gradients, which have to be finite.

    Args:
        common: what every weighting takes, see `Weighting`.

    Attributes:
        loss_is_scaled: whether a loss scaler catches infinite gradients.
    """

    def __init__(self, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.loss_is_scaled = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check as every weighting, and see whether a loss scaler will catch infinite gradients."""
        super().setup(trainer, pl_module, stage)
        plugin: Any = trainer.precision_plugin
        self.loss_is_scaled = getattr(plugin, "scaler", None) is not None

    @property
    def scales_losses(self) -> bool:
        """Whether weights multiply losses: only prior weights, as heads keep their gradients."""
        return bool(self.prior)

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """Σ L_k; the weights are not known yet."""
        return micro_batch.total()

    def may_see(self, micro_batch: MicroBatch, sizes: Float[Tensor, " k"]) -> bool:
        """Whether the rule may see these gradients; not if a loss scale has overflown.

        The loss scaler then skips the step, whatever is written. On a device it is not waited for:
        gradients that are not finite pass here, and are refused as soon as the host knows of them,
        at the latest before a checkpoint is written.

        Args:
            micro_batch: the last of its window.
            sizes: one number for each task; NaN or infinite if its gradient is.

        Raises:
            NonFiniteGradientError: if there is no loss scaler to blame.
        """
        if self.loss_is_scaled:
            return not on_host(sizes) or bool(sizes.isfinite().all())
        present = [self.tasks[k] for k in micro_batch.window.present]
        micro_batch.checks.add(sizes, partial(check_gradients, present, micro_batch.global_step))
        return True
