"""The weighting NTKMTL, by eigenvalues of the tasks' neural tangent kernels."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_number
from lightning_mtl.engine.places.feature_parts import FeatureParts
from lightning_mtl.engine.places.place import Place
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting


class NTKMTL(GramianWeighting):
    r"""Neural tangent kernels: tasks learn at one speed, by the largest eigenvalue of each.

    w_k = (Σ_j λ_j / λ_k)^{1/2}, with λ_k the largest eigenvalue of the n x n Gramian of task k's
    gradients over n parts of the batch. They are measured at the shared features, the paper's
    NTKMTL-SR, which takes no pass through the trunk.

    Qin, Wang, Liao & Yan, "NTKMTL: Mitigating Task Imbalance in Multi-Task Learning from Neural
    Tangent Kernel Perspective", NeurIPS 2025, NTKMTL-SR.

    Scale: as that formula and the authors' code have it: √K for equal gradients. A `prior` cancels
    on the shared parameters, but for the length of the step.
    Heads: weighted, as in the authors' code, where the network minimises Σ w_k L_k.
    Deviations: the authors take the losses of the parts apart; here the gradient of each task's
    loss is cut along the first axis of the features, by samples, which is the same but for a
    common factor where each sample has as many labels, and where no head mixes samples (as batch
    norm does). Part j has the samples j, j + n, j + 2n and so on of each batch, so that several
    micro-batches and ranks have n parts as well. A task without a gradient has weight 1, and is
    otherwise left out. The authors' rule for all shared parameters with n = 1 balances the norms of
    gradients.

    Args:
        parts: n.
        every_n_steps: measure at every n-th optimizer step, and reuse the weights in between.
        weight_heads: whether the gradients of the heads are weighted too.
        prior: what multiplies the losses, by the names of the tasks, see `Weighting`.

    Example:
        >>> largest = torch.tensor([1.0, 3.0])
        >>> NTKMTL().weights(torch.ones(2), torch.diag(largest))
        tensor([2.0000, 1.1547])
    """

    places: ClassVar[dict[str, type[Place]]] = {"features": FeatureParts}
    takes_probes: ClassVar[bool] = False
    most_on_device: ClassVar[int] = 10_000

    def __init__(
        self,
        parts: int = 4,
        every_n_steps: int = 1,
        weight_heads: bool = True,
        prior: dict[str, float] | None = None,
    ) -> None:
        check_number("NTKMTL", "parts", parts, 1, remedy="Use 1 for the whole batch.")
        self.parts = parts
        super().__init__("features", every_n_steps, weight_heads=weight_heads, prior=prior)

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights (Σ λ / λ_k)^{1/2}; 1 for a task without a gradient.

        Args:
            losses: of the tasks present.
            gramian: λ on its diagonal.
        """
        largest = gramian.diagonal()
        # In units of the largest: a sum might leave the range of the dtype.
        relative = largest / largest.max().clamp(min=torch.finfo(largest.dtype).tiny)
        present = relative > 0
        ratio = relative.sum() / torch.where(present, relative, 1.0)
        return torch.where(present, ratio, 1.0).sqrt()

    def _make_place(self) -> Place:
        return FeatureParts(self.parts)
