"""Uncertainty weighting, by learned log variances of the tasks."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.adam import Adam
from lightning_mtl.weightings.memory.constants import Constants


class UncertaintyWeighting(LossWeighting):
    r"""Homoscedastic uncertainty: each task learns a log variance, which lowers its weight.

    With s_k = log σ_k², the objective is Σ_k c_k e^{-s_k} L_k + s_k / 2, where c_k = 1/2 for a
    regression task (its eq. 5) and 1 for a classification task (its eq. 10), so the weight of a
    task is c_k e^{-s_k}. Its gradient in s_k has the closed form 1/2 - c_k e^{-s_k} L_k, hence no
    second graph.

    Kendall, Gal & Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
    Geometry and Semantics", CVPR 2018. The objective may go negative: `train/weighted_loss` is its
    data part, `train/regulariser` the rest, Σ_k s_k / 2.

    Scale: c_k at the start. LibMTL, MTAN and TorchJD use c_k = 1/2 for every task; the
    first two start at s = -1/2.
    Heads: weighted, as the network minimises the objective.
    Deviations: s has its own Adam and no weight decay, where the paper leaves this open and several
    implementations let the network's optimizer decay it. While a loss is negative its variance only
    falls, and its weight only grows: negative losses should be a passing thing.

    Args:
        lr: learning rate of s.
        classification: names of the tasks with c_k = 1; the others have c_k = 1/2.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> rule = UncertaintyWeighting()
        >>> rule.update(torch.tensor([0.25, 4.0]))
        >>> rule.weights(torch.tensor([0.25, 4.0]))
        tensor([0.5127, 0.4877])
    """

    def __init__(
        self, lr: float = 0.025, classification: Sequence[str] = (), **common: Unpack[Common]
    ) -> None:
        super().__init__(**common)
        self.lr = lr
        self.classification = tuple(classification)
        self._log_variance = self.memory.per_task("log_variance")
        self._adam = Adam(self.memory)
        self._constants = Constants()
        self._regulariser = torch.zeros(())

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The weights c_k e^{-s_k} of the tasks present."""
        return self._scale(losses) * torch.exp(-self._log_variance.read(losses))

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Take one Adam step on s. Called once per optimizer step."""
        gradient = 0.5 - self.weights(losses) * losses
        log_variance = self._log_variance.read(losses)
        self._regulariser = log_variance.sum() / 2
        self._log_variance.write(log_variance - self._adam.step(gradient, self.lr))

    def logs(self) -> dict[str, Tensor]:
        """The regulariser of the last step, Σ_k s_k / 2: the objective without the losses."""
        return {"regulariser": self._regulariser}

    def _scale(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        unknown = set(self.classification) - set(self.tasks)
        if self.tasks and unknown:
            raise ValueError(
                f"`UncertaintyWeighting(classification=)` should name tasks among {self.tasks}."
                f" Found {sorted(unknown)}. Correct the names, or those of the tasks."
            )
        names = self.memory.names(len(losses))
        scale = [1.0 if name in self.classification else 0.5 for name in names]
        return self._constants.like(scale, losses)
