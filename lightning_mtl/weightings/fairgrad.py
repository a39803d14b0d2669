"""The weighting FairGrad, by α-fair resource allocation."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import fair_weights
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack


class FairGrad(GramianWeighting):
    r"""Fair resource allocation: the update whose progress is divided α-fairly among the tasks.

    d = wᵀJ maximises Σ (g_i·d)^{1-α} / (1-α) over a ball; w > 0 solves G w = w^{-1/α}. α → 0 is the
    mean, α = 1 proportional fairness, large α favours the task that progresses least. Solved to
    rounding by Newton's method.

    Ban & Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, eq. 4, Algorithm 1.

    Scale: as that equation and TorchJD have it. The authors' code multiplies by K and clips ||d||
    to 1.
    Heads: their own gradients, unweighted, as in the authors' code; LibMTL weights them
    (`weight_heads`).
    Deviations: where gradients are (nearly) opposed there is no finite solution: the smallest
    eigenvalue of the matrix of cosines is lifted to 1e-8, which `train/lifted_steps` counts. A zero
    gradient has weight 1 and is otherwise removed.

    Args:
        alpha: α > 0; 2 in the paper's NYUv2 runs.
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> import torch
        >>> FairGrad(alpha=1.0).weights(torch.ones(2), torch.diag(torch.tensor([1.0, 4.0])))
        tensor([1.0000, 0.5000])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        alpha: float = 1.0,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        if alpha <= 0:
            raise ValueError(
                f"`FairGrad(alpha=)` should be positive. Found {alpha}. Use a small one for"
                " nearly the mean gradient, its limit at 0."
            )
        self.alpha = alpha
        self._lifted_steps = self.memory.single("lifted_steps")

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The α-fair weights: the positive solution of G w = w^{-1/α}."""
        weights, lifted = fair_weights(gramian, self.alpha)
        self._lifted_steps.count(lifted)
        return weights

    def logs(self) -> dict[str, Tensor]:
        """The number of steps so far that had no solution, so that an eigenvalue was lifted."""
        return self._lifted_steps.logs()
