"""The weights with which a batch of several tasks has the gradient of its mean."""

from collections.abc import Iterable, Mapping

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from lightning_mtl.weightings.memory.constants import Constants


class SampleShares(LossWeighting):
    """Weighs the loss of a task, a mean over its samples, by its share of the batch, b_k / b.

    The total is the mean over all samples of the batch. `AdaptiveMixture` puts it where a module
    without a weighting sums its losses.

    Attributes:
        counts: b_k, the samples of each task in the batch at hand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Mapping[str, int] = {}
        self._constants = Constants()

    def weights(self, losses: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The shares of the tasks present.

        Raises:
            ValueError: if there is a task that the mixture does not have.
        """
        present = [self.tasks[task] for task in self.memory.present(len(losses))]
        check_tasks(present, self.counts)
        total = sum(self.counts.values())
        return self._constants.like([self.counts[task] / total for task in present], losses)


def check_tasks(present: Iterable[str], counts: Mapping[str, int]) -> None:
    """Raise if the module has a loss of a task that the mixture has no samples of.

    Args:
        present: the names of the tasks that have a loss.
        counts: the samples of each task in the batch.

    Raises:
        ValueError: if one of them has no samples.
    """
    strangers = [task for task in present if not counts.get(task)]
    if strangers:
        raise ValueError(
            "`AdaptiveMixture` should find a loss only for tasks that its sampler has drawn samples"
            f" of, {dict(counts)} in this batch. Found losses of {strangers}. Give the tasks of"
            " `MixtureSampler` the names that `task_losses` returns, and leave a task without"
            " samples out there."
        )
