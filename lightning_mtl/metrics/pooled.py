"""The base of all metrics: sums over the valid pixels of a data set."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

__all__ = ["PooledMetric", "accumulator_dtype", "count_bins", "on_host"]


def accumulator_dtype(device: torch.device) -> torch.dtype:
    """The type of sums over a data set: float64, or float32 on a device that lacks it."""
    return torch.float32 if device.type == "mps" else torch.float64


def on_host(tensor: Tensor) -> bool:
    """Whether the values of a tensor can be read without waiting for a device."""
    return tensor.device.type == "cpu"


def count_bins(index: Int[Tensor, "N M"], num_bins: int) -> Int[Tensor, " B"]:
    """How often each bin from 0 to `num_bins - 1` occurs, without waiting for the device.

    `torch.bincount` reads the largest index back to the host. One row of counts per sample keeps
    threads from queueing at a few popular bins.
    """
    counts = index.new_zeros(index.shape[0], num_bins)
    return counts.scatter_add_(1, index, torch.ones_like(index)).sum(dim=0)


class PooledMetric(Metric, ABC):
    """A metric with several named values from one pass over each batch.

    The states are sums over the valid pixels of the data set, so that the values depend neither on
    how it was batched nor on how it was spread over ranks. Counts are int64, thus exact; other sums
    are float64 (`accumulator_dtype`), whatever precision the rest of the model is moved to.

    `update` takes predictions of any floating type, computes in float32, and never waits for the
    device. `compute` gives `{name: float32 value}`, and `{}` if no pixel was valid: a task
    that is absent from an epoch has no numbers. One value alone is a metric of torchmetrics, too:
    `MetricTracker(DepthMetrics()["RMSE"], maximize=False)` knows the best epoch.

    Attributes:
        directions: whether higher is better, for each name.
        primary: names by which results are compared: the first of them that a protocol has.
        prefix: what `compute` puts in front of each name; set by `clone(prefix=...)`.
    """

    directions: ClassVar[dict[str, bool]]
    primary: ClassVar[tuple[str, ...]] = ()
    full_state_update = False
    is_differentiable = False
    prefix: str = ""

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """The direction of the value by which results are compared, asked by `MetricTracker`."""
        names = (*self.primary, *self.directions)
        return self.directions[next(name for name in names if name in self.directions)]

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """The figure and the axes of a picture of the values, by torchmetrics.

        Args:
            val: what `compute` returned, or a list of that, one for each step; by default the
                values of now.
            ax: what to draw on; by default a new figure.
        """
        return self._plot(val, ax)

    @abstractmethod
    def values(self) -> dict[str, Tensor]:
        """The value of each name in `directions` for `compute`; `{}` if no pixel was valid."""

    def compute(self) -> dict[str, Tensor]:
        """The value of each name, with `prefix`, over everything since the last reset."""
        return {f"{self.prefix}{name}": value.float() for name, value in self.values().items()}

    def reset(self) -> None:
        """Set all sums to zero, called before each pass over a data set."""
        # A state made in inference mode, in which Lightning validates and tests, could not be added
        # to outside of it, as in a later fit.
        with torch.inference_mode(False):
            super().reset()

    def clone(self, prefix: str | None = None) -> "PooledMetric":
        """A copy, states included, that puts `prefix` in front of each name."""
        copy = deepcopy(self)
        copy.prefix = self.prefix if prefix is None else prefix
        return copy

    @property
    def update_called(self) -> bool:
        """True from the start: without an update `compute` is `{}`, and no reason to warn."""
        return True

    def add_count(self, name: str, *shape: int) -> None:
        """Declare an int64 state that starts at zero and is summed over ranks."""
        self.add_state(name, torch.zeros(shape, dtype=torch.int64), "sum")

    def add_sum(self, name: str, *shape: int) -> None:
        """Declare a floating state that starts at zero and is summed over ranks."""
        self.add_state(name, torch.zeros(shape, dtype=accumulator_dtype(self.device)), "sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        # States follow the device but not the dtype: `module.to(torch.bfloat16)`, Lightning's
        # "bf16-true", would otherwise round sums over millions of pixels to three digits.
        super()._apply(fn, exclude_state=[*exclude_state, *self._defaults])
        device = fn(torch.zeros(1, device=self._device)).device
        self._device = device
        for name in self._defaults:
            default: Tensor = self._defaults[name]  # type: ignore[assignment]
            self._defaults[name] = _moved(default, device)
            setattr(self, name, _moved(getattr(self, name), device))
        return self


def _moved(state: Tensor, device: torch.device) -> Tensor:
    dtype = accumulator_dtype(device) if state.is_floating_point() else state.dtype
    if state.is_meta:
        return torch.zeros_like(state, device=device, dtype=dtype)
    return state.to(device=device, dtype=dtype)
