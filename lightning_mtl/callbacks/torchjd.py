"""Any weighting or aggregator of TorchJD."""

from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.callbacks.jacobian_weighting import JacobianWeighting
from lightning_mtl.generator import draw_seed

Statistic = Literal["gramian", "jacobian"]
Saved = dict[str, Any]


class TorchJDWeighting(JacobianWeighting):
    """A Weighting or an Aggregator of `torchjd.aggregation`, used as a callback of the Trainer.

    An Aggregator receives the Jacobian and gives d; a Weighting receives the Gramian (or the
    Jacobian) and gives w, with d = wᵀJ. TorchJD is an extra: `pip install
    "lightning_mtl[torchjd]"`.

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.

    Scale, deviations: those of the object given. Heads: their own gradients, unweighted. Its
    state (averages, counters) is saved with checkpoints, though some classes of TorchJD cannot
    load a `state_dict` of their own; its random numbers are alike on every rank. A task that is
    absent changes the number of rows: classes that remember K tasks start anew, as TorchJD has
    it.

    Args:
        weighting: an instance of either.
        statistic: what a Weighting receives; Aggregators always receive the Jacobian.
        seed: of its random numbers.
    """

    price: ClassVar[str] = "F + H + K B"

    def __init__(
        self, weighting: nn.Module, statistic: Statistic = "gramian", seed: int = 0
    ) -> None:
        super().__init__()
        if statistic not in get_args(Statistic):
            raise ValueError(
                f"`TorchJDWeighting(statistic=)` should be one of {get_args(Statistic)}. Found"
                f" {statistic!r}."
            )
        self.weighting = weighting
        self.statistic = statistic
        self.seed = seed
        self._aggregates = _is_aggregator(weighting)

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """What the object makes of J."""
        self.weighting.to(jacobian.device)
        seed = draw_seed(self.state, self.seed)
        with torch.no_grad(), _forked(jacobian.device):
            torch.manual_seed(seed)
            if self._aggregates:
                return self.weighting(jacobian)
            given = jacobian @ jacobian.T if self.statistic == "gramian" else jacobian
            self.applied = self.weighting(given)
            return self.applied @ jacobian

    def state_dict(self) -> Saved:
        """That of every weighting, and what the object remembers."""
        remembered = {name: _remembered(part) for name, part in self.weighting.named_modules()}
        return super().state_dict() | {"torchjd": remembered}

    def load_state_dict(self, state_dict: Saved) -> None:
        """The same, into an object built with the same arguments."""
        super().load_state_dict(state_dict)
        for name, part in self.weighting.named_modules():
            for key, value in state_dict["torchjd"].get(name, {}).items():
                store = part._buffers if key in part._buffers else vars(part)
                store[key] = _own(value)


def _forked(device: torch.device) -> AbstractContextManager[None]:
    """The global generators are as before, after it."""
    if device.type == "cpu":
        return torch.random.fork_rng([])
    return torch.random.fork_rng([device], device_type=device.type)


def _remembered(part: nn.Module) -> Saved:
    """Buffers (also those that were born as None), and plain attributes."""
    kept = vars(part) | part._buffers
    plain = (Tensor, int, tuple, type(None))
    return {key: _own(value) for key, value in kept.items() if isinstance(value, plain)}


def _own(value: Any) -> Any:
    """A copy: TorchJD adds to some of its tensors in place."""
    return value.clone() if isinstance(value, Tensor) else value


def _is_aggregator(weighting: nn.Module) -> bool:
    try:
        from torchjd.aggregation import Aggregator, Weighting
    except ImportError as error:
        raise ImportError(
            "`TorchJDWeighting` needs TorchJD, which was not found. Install it with"
            ' `pip install "lightning_mtl[torchjd]"`.'
        ) from error
    if not isinstance(weighting, (Aggregator, Weighting)):
        raise TypeError(
            "`TorchJDWeighting` needs an instance of a Weighting or an Aggregator of"
            f" `torchjd.aggregation`. Found {weighting!r}."
        )
    return isinstance(weighting, Aggregator)
