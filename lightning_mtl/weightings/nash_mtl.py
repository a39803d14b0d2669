"""The weighting Nash-MTL, by the Nash bargaining solution."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.linalg import fair_weights
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack


class NashMTL(GramianWeighting):
    r"""The Nash bargaining solution: the update on which tasks with equal claims would agree.

    d = wᵀJ maximises Σ log g_i·d over a ball; w > 0 solves G w = 1/w. Every task gains
    w_i (g_i·d) = 1, so that no scale of a loss matters. Solved to rounding by Newton's method.

    Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik & Fetaya, "Multi-Task Learning as a
    Bargaining Game", ICML 2022, Claim 3.1, Algorithm 1.

    Scale: G w = 1/w, hence ||d|| = √K whatever the gradients; then clipped to `max_norm`. The
    authors' code solves for G / ||G||_F, which the same clipping undoes. LibMTL clips in the same
    way. A `prior` cancels on the shared parameters.
    Heads: their own gradients, unweighted; the authors' code and LibMTL weight them by w before the
    clipping (here `weight_heads`, after it).
    Deviations: where gradients are (nearly) opposed there is no finite solution: the smallest
    eigenvalue of the matrix of cosines is lifted to 1e-8, which `train/lifted_steps` counts. A zero
    gradient has weight 1 and is otherwise removed.

    Args:
        max_norm: the largest ||d||; `None` does not clip.
        measurement: where and how often gradients are measured, see `GramianWeighting`.

    Example:
        >>> import torch
        >>> NashMTL().weights(torch.ones(2), torch.diag(torch.tensor([1.0, 4.0])))
        tensor([0.7071, 0.3536])
    """

    most_on_device: ClassVar[int] = 8

    def __init__(
        self,
        max_norm: float | None = 1.0,
        **measurement: Unpack[Measurement],
    ) -> None:
        super().__init__(**measurement)
        if max_norm is not None and max_norm <= 0:
            raise ValueError(
                f"`NashMTL(max_norm=)` should be positive or `None`. Found {max_norm}. `None` does"
                " not clip."
            )
        self.max_norm = max_norm
        self._lifted_steps = self.memory.single("lifted_steps")

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The bargaining solution of G w = 1/w, scaled down where ||d|| exceeds `max_norm`."""
        matrix = gramian.double()
        weights, lifted = fair_weights(matrix)
        self._lifted_steps.count(lifted)
        if self.max_norm is not None:
            length = (weights @ (matrix @ weights)).clamp(min=0).sqrt()
            weights = weights * (self.max_norm / length).clamp(max=1.0)
        return weights.to(gramian)

    def logs(self) -> dict[str, Tensor]:
        """The number of steps so far that had no solution, so that an eigenvalue was lifted."""
        return self._lifted_steps.logs()
