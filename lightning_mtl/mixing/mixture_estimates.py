"""Length and noise of the tasks' gradients, averaged between two changes of a mixture."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightning_mtl.monitors.measured_step import Measurement


class Estimate(NamedTuple):
    """Of the gradient of one task.

    Attributes:
        squared_norm: ||g_k||² of the expected gradient; unbiased, so that it may be negative.
        variance: σ_k² of one sample's gradient, summed over parameters.
    """

    squared_norm: float
    variance: float


class MixtureEstimates:
    """Means over measurements of steps in which tasks may have different numbers of samples.

    The monitor takes each sub-batch for one of as many samples of every task. Here the variance
    between sub-batches is scaled by those that the task had, σ_k² = V_k / mean(1 / b_k), where the
    mean runs over the sub-batches that were compared.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float, int]] = {}
        self._previous: dict[str, float] = {}

    def learn(self, measurement: Measurement, counts: Sequence[Mapping[str, int]]) -> None:
        """Add a measurement. Numbers that are not finite, as a skipped step has, are left out.

        Args:
            measurement: of a monitor.
            counts: the samples of each task in the micro-batches of the step; alike on all ranks.
        """
        for index, task in enumerate(measurement.tasks):
            inverse = math.fsum(1 / batch[task] for batch in counts) / len(counts)
            compared = inverse
            if measurement.sub_batches == 1:
                # The other sub-batch is that of the step that was measured before.
                compared = (inverse + self._previous.get(task, inverse)) / 2
            self._previous[task] = inverse
            if measurement.noise is not None:
                spread = float(measurement.noise.trace[index]) / measurement.samples
                length = float(measurement.noise.signal[index, index])
                self._add(task, Estimate(length, spread / compared))

    def take(self) -> dict[str, Estimate]:
        """The means of the tasks that were measured since it was last called."""
        means = {
            task: Estimate(length / number, variance / number)
            for task, (length, variance, number) in self._sums.items()
        }
        self._sums = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """The sums so far and the shares of the step that was measured last, for a checkpoint."""
        return {"sums": dict(self._sums), "previous": dict(self._previous)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the sums of a checkpoint."""
        self._sums = dict(state["sums"])
        self._previous = dict(state["previous"])

    def _add(self, task: str, estimate: Estimate) -> None:
        if all(map(math.isfinite, estimate)):
            length, variance, number = self._sums.get(task, (0.0, 0.0, 0))
            length, variance = length + estimate.squared_norm, variance + estimate.variance
            self._sums[task] = (length, variance, number + 1)
