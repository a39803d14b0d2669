"""Any weighting or aggregator of TorchJD."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.callbacks.jacobian_weighting import JacobianWeighting
from lightning_mtl.callbacks.torchjd_statistic import Statistic, rule_of
from lightning_mtl.generator import draw_seed
from lightning_mtl.gradients import gramian
from lightning_mtl.measure import add_part
from lightning_mtl.step import Step

Saved = dict[str, Any]


class TorchJDWeighting(JacobianWeighting):
    """A Weighting or an Aggregator of `torchjd.aggregation`, in everything that Lightning does.

    A Weighting gives w, with d = wᵀJ. It receives what its class is declared for, the Gramian or
    the Jacobian; `MoDoWeighting` and `SDMGradWeighting` receive the mean of J_r J_sᵀ over different
    micro-batches and ranks, and the Gramian where there is one only. An Aggregator that has a
    Weighting is run by it, so that its weights are logged (hooks belong on that Weighting); any
    other receives the Jacobian and gives d. TorchJD is an extra:
    `pip install "lightning_mtl[torchjd]"`.

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.

    Scale: that of the object given.
    Heads: their own gradients, unweighted.
    Cost: K P numbers, and what the object makes of them. The Gramian is solved on the host; the
    Jacobian is one matrix on the device, at the price of one more row while it is built.
    Deviations: those of the object given. Its state (averages, counters) is saved with checkpoints;
    its random numbers are alike on every rank. A task that is absent changes the number of rows:
    classes that remember K tasks start anew, as TorchJD has it.

    Args:
        weighting: an instance of either.
        statistic: what a Weighting receives whose class does not say so: `"gramian"`,
            `"cross_gramian"` (as `MoDoWeighting`) or `"jacobian"`.
        seed: of its random numbers.
    """

    price: ClassVar[str] = "F + H + K B"

    def __init__(
        self, weighting: nn.Module, statistic: Statistic | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.weighting = weighting
        self.seed = seed
        self._rule = rule_of(weighting, statistic)

    @property
    def statistic(self) -> Statistic:
        """What the object receives."""
        return self._rule.statistic

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """What the object makes of J."""
        if not self._rule.gives_weights:
            return self._ask(jacobian)
        given = jacobian if self.statistic == "jacobian" else jacobian @ jacobian.T
        self.applied = self._ask(given).to(jacobian)
        return self.applied @ jacobian

    def weights(self, gramian: Float[Tensor, "K K"]) -> Float[Tensor, " K"]:
        """The weights of an object that receives the Gramian.

        Args:
            gramian: of the tasks present, or the mean of J_r J_sᵀ; finite, on the host.
        """
        return self._ask(gramian)

    def backward(self, step: Step, loss: Tensor) -> None:
        """As other Jacobian rules; without a joined J where the Gramian is enough."""
        if self.statistic == "jacobian":
            super().backward(step, loss)
            return
        backward = step.differentiate_shared(loss)
        if backward is None:
            return
        rows = step.collect(backward)
        if self.statistic == "cross_gramian":
            add_part(step, rows)
        if step.last:
            self._release(step)

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

    def _release(self, step: Step) -> None:
        """Solve for the window, and write its gradients."""
        rows = step.window.reduce()
        measured = gramian(rows)
        if self.statistic == "cross_gramian":
            measured = step.window.across_parts(measured)
        losses, normalised, counts, _ = step.window.host_statistics(measured)
        self.state.present = step.window.tasks
        weights = torch.ones_like(losses)
        if self._finite(step, normalised.diagonal(), bool(normalised.isfinite().all())):
            weights = self.weights(normalised.to(measured.dtype)).double()
        step.release(rows, weights.tolist(), counts, weight_heads=False)
        step.note(step.window.tasks, weights)

    def _ask(self, given: Float[Tensor, "k n"]) -> Tensor:
        """Call the object, with random numbers of its own."""
        self.weighting.to(given.device)
        seed = draw_seed(self.state, self.seed)
        with torch.no_grad(), _seeded(given.device, seed):
            return self._rule.module(given)


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """The generators of the host and of one device start from `seed`, and are as before after it.

    Not by `torch.manual_seed`, which seeds those of all devices.
    """
    on_host = device.type == "cpu"
    with torch.random.fork_rng([] if on_host else [device], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        if not on_host:
            torch.get_device_module(device).manual_seed(seed)
        yield


def _remembered(part: nn.Module) -> Saved:
    """Buffers (also those that were born as None), and plain attributes."""
    kept = vars(part) | part._buffers
    plain = (Tensor, int, tuple, type(None))
    return {key: _own(value) for key, value in kept.items() if isinstance(value, plain)}


def _own(value: Any) -> Any:
    """A copy: TorchJD adds to some of its tensors in place."""
    return value.clone() if isinstance(value, Tensor) else value
