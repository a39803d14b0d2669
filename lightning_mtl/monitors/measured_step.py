"""What is known of the gradients of one measured step, on the host."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.monitors.noise_averages import (
    Noise,
    noise_between_steps,
    noise_between_sub_batches,
)


class MeasuredStep(NamedTuple):
    """The numbers of one measurement, for some tasks.

    Attributes:
        mean: A, the Gramian of the mean gradients.
        within: B, the mean Gramian of the sub-batches.
        earlier: the products with the gradients of the previous measured step, and the Gramian of
            these; `None` where there is nothing to compare with.
        weights: as they were applied.
        presence: in how many sub-batches each task was present.
    """

    mean: Float[Tensor, "k k"]
    within: Float[Tensor, "k k"]
    earlier: Float[Tensor, "2 k k"] | None
    weights: Float[Tensor, " k"]
    presence: list[float]

    def of(self, tasks: Sequence[int]) -> "MeasuredStep":
        """The same of some of these tasks."""
        index = list(tasks)
        earlier = None if self.earlier is None else self.earlier[:, index][:, :, index]
        return MeasuredStep(
            self.mean[index][:, index],
            self.within[index][:, index],
            earlier,
            self.weights[index],
            [self.presence[task] for task in index],
        )

    def noise(self, count: int, samples: float) -> Noise | None:
        """Signal and noise of one step, or of two steps if there is but one sub-batch.

        Args:
            count: how many sub-batches there are.
            samples: in each sub-batch.
        """
        if count > 1:
            return noise_between_sub_batches(self.mean, self.within, count, samples)
        if self.earlier is None:
            return None
        across, before = self.earlier
        return noise_between_steps(self.mean, across, before, samples)


class Measurement(NamedTuple):
    """One measurement as the listeners of a monitor receive it.

    Attributes:
        step: the number of the optimizer step.
        tasks: names of the tasks that were present in every sub-batch.
        measured: the numbers of these tasks.
        noise: their signal and noise; `None` where there is nothing to compare with.
        sub_batches: how many sub-batches there are.
        samples: in each sub-batch.
    """

    step: int
    tasks: list[str]
    measured: MeasuredStep
    noise: Noise | None
    sub_batches: int
    samples: float
