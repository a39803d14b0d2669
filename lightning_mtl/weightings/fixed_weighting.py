"""Fixed weighting, by one given weight for each task."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.constants import Constants


class FixedWeighting(LossWeighting):
    """Fixed weighting: one given weight for each task.

    Fixed weights from a grid search win in many comparisons.

    Scale: as given.
    Heads: weighted.
    Deviations: none.

    Args:
        weights: by the names of the tasks, all of them. Zero switches a task off, heads included.
        common: what every weighting takes, see `Weighting`.

    Raises:
        ValueError: at the first step, if the names are not those of the module's tasks.

    Example:
        >>> import torch
        >>> FixedWeighting({"depth": 2.0, "normals": 0.5}).weights(torch.ones(2))
        tensor([2.0000, 0.5000])
    """

    has_objective: ClassVar[bool] = True

    def __init__(self, weights: dict[str, float], **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.given = dict(weights)
        self._constants = Constants()

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The given weights of the tasks present, in the order of the module's tasks."""
        tasks = self.tasks or tuple(self.given)
        if set(tasks) != set(self.given):
            raise ValueError(
                f"`FixedWeighting(weights=)` should name the tasks {sorted(tasks)}. Found"
                f" {sorted(self.given)}. Give each task one weight."
            )
        present = self.memory.present(len(losses))
        return self._constants.like([self.given[tasks[index]] for index in present], losses)
