"""Soft optimal uncertainty weighting, by the inverse losses."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_shares import softmax_shares
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting


class SoftOptimalUncertainty(LossWeighting):
    r"""Soft optimal uncertainty: a softmax of the inverse losses, so that small losses weigh more.

    Uncertainty weighting, Σ_k L_k / σ_k + log σ_k, has its minimum in σ at σ_k = L_k. With that in
    closed form nothing has to be learned: w_k = 1 / L_k (UW-O); a softmax with a temperature keeps
    large weights in bounds, w = softmax((1 / L) / T) (UW-SO). The losses in w are constants.

    Kirchdorfer, Elich, Kutsche, Stuckenschmidt, Schott & Köhler, "Analytical Uncertainty-Based Loss
    Weighting in Multi-Task Learning", GCPR 2024 (arXiv 2408.07985). Known to this project from
    secondary sources.

    Scale: Σ w = 1, as in the paper; for UW-O, Σ w_k L_k = K.
    Heads: weighted, as the network minimises the weighted sum.
    Memory: under gradient accumulation, K P numbers for the task gradients, which then take one
    trunk pass each.
    Deviations: `temperature="auto"` is this project's own: T is the mean of the inverse losses, so
    that the weights do not depend on the common scale of the losses, as the printed rule's do.
    Losses have to be positive; a loss of zero, of a batch without a valid label, counts as absent
    and has weight 0. Those below 1e-38 in float32 count as that much, and weights end at the
    largest number of their dtype.

    Args:
        temperature: T. A number: that of the paper, which searches for the best one on each data
            set, as its effect depends on the scale of the losses; `"auto"`: see above; `None`:
            UW-O, without a softmax.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> losses = torch.tensor([1.0, 4.0])
        >>> SoftOptimalUncertainty(temperature=2.0).weights(losses)
        tensor([0.5927, 0.4073])
        >>> SoftOptimalUncertainty(temperature="auto").weights(losses)
        tensor([0.7685, 0.2315])
        >>> SoftOptimalUncertainty(temperature=None).weights(losses)
        tensor([1.0000, 0.2500])
    """

    depends_on_losses: ClassVar[bool] = True
    positive_losses: ClassVar[bool] = True

    def __init__(
        self, temperature: float | Literal["auto"] | None = "auto", **common: Unpack[Common]
    ) -> None:
        super().__init__(**common)
        is_number = isinstance(temperature, (int, float)) and temperature > 0
        if not is_number and temperature not in ("auto", None):
            raise ValueError(
                '`SoftOptimalUncertainty(temperature=)` should be a positive number, "auto" or'
                f" `None`. Found {temperature!r}. Use a large number for nearly equal weights."
            )
        self.temperature = temperature

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The softmax of the inverse losses, or these themselves; 0 for a loss of zero."""
        positive = losses > 0
        limits = torch.finfo(losses.dtype)
        inverse = torch.where(positive, 1 / losses.clamp(min=limits.tiny), 0.0)
        if self.temperature is None:
            return inverse
        count = positive.sum().clamp(min=1)
        if self.temperature == "auto":
            # In units of the largest: the sum of the inverse losses might leave the range.
            inverse = inverse / inverse.max().clamp(min=limits.tiny)
            exponents = inverse * (count / inverse.sum().clamp(min=limits.tiny))
        else:
            exponents = inverse / self.temperature
        return softmax_shares(exponents, positive) / count
