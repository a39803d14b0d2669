"""Random weighting, with weights drawn anew at every step."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.random_stream import RandomStream


class RandomWeighting(LossWeighting):
    """Random weighting: w = softmax(z), z ~ N(0, I), drawn anew for every optimizer step.

    Lin, Ye, Zhang & Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for
    Multi-Task Learning", TMLR 2022, eq. 3.

    Scale: Σ w = 1, as in the paper and TorchJD; LibMTL multiplies by K.
    Heads: weighted, as the network minimises the weighted sum.
    Deviations: none. An absent task's number is drawn too, so that draws do not depend on presence.

    Args:
        seed: of the draws, which are alike on every rank and saved with checkpoints; by default
            that of `seed_everything`.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> RandomWeighting(seed=0).weights(torch.ones(2))
        tensor([0.8623, 0.1377])
    """

    def __init__(self, seed: int | None = None, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.seed = seed
        self._stream = RandomStream(self.memory, seed)

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The softmax of the numbers drawn for this optimizer step."""
        return torch.softmax(self._draw(losses, self._stream.peek()), 0)

    def update(self, losses: Float[Tensor, " K"]) -> None:
        """Move on to the next draw. Called once per optimizer step."""
        with self._stream.drawing() as generator:
            self._draw(losses, generator)

    def _draw(self, losses: Float[Tensor, " K"], generator: torch.Generator) -> Float[Tensor, " K"]:
        draw = torch.randn(self.memory.num_tasks(len(losses)), generator=generator)
        chosen = draw[self.memory.present(len(losses))]
        return chosen.to(losses.device, losses.dtype, non_blocking=True)
