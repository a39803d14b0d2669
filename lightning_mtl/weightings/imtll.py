"""The weighting IMTL-L, impartial learning by losses."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.adam import Adam


class IMTLL(LossWeighting):
    """Impartial learning, its loss part: learned scales that bring every loss to the same size.

    The objective is Σ_k e^{s_k} L_k - s_k, so the weight of a task is e^{s_k}. Its gradient in
    s_k is e^{s_k} L_k - 1, hence no second graph; at its zero every scaled loss is 1.

    Liu, Li, Kuang, Xue, Chen, Yang, Liao & Zhang, "Towards Impartial Multi-task Learning", ICLR
    2021, IMTL-L.

    Scale: w = 1 at the start, as in the paper, LibMTL and TorchJD.
    Heads: weighted, as in the paper.
    Deviations: s has its own Adam and no weight decay, where LibMTL lets the network's optimizer
    decay it. The objective may go negative: `train/weighted_loss` is its data part,
    `train/regulariser` the rest, -Σ_k s_k. While a loss is negative its scale only grows, and so
    its weight: negative losses should be a passing thing.

    Args:
        lr: learning rate of s.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = IMTLL()
        >>> rule.update(torch.tensor([1.0, 4.0]))
        >>> rule.weights(torch.tensor([1.0, 4.0]))
        tensor([1.0000, 0.9753])
    """

    def __init__(self, lr: float = 0.025, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.lr = lr
        self._log_scale = self.memory.per_task("log_scale")
        self._adam = Adam(self.memory)
        self._regulariser = torch.zeros(())

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights e^{s_k} of the tasks present."""
        return torch.exp(self._log_scale.read(losses))

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Take one Adam step on s. Called once per optimizer step."""
        gradient = self.weights(losses) * losses - 1
        log_scale = self._log_scale.read(losses)
        self._regulariser = -log_scale.sum()
        self._log_scale.write(log_scale - self._adam.step(gradient, self.lr))

    def logs(self) -> dict[str, Tensor]:
        """The regulariser of the last step, -Σ_k s_k: the objective without the losses."""
        return {"regulariser": self._regulariser}
