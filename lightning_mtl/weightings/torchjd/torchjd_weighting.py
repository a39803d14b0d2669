"""Any weighting or aggregator of TorchJD."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from lightning_mtl.weightings.bases.gradient_weighting import GradientWeighting
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.jacobian_weighting import JacobianWeighting
from lightning_mtl.weightings.memory.random_stream import RandomStream
from lightning_mtl.weightings.torchjd.torchjd_memory import forget, move, recall, remember
from lightning_mtl.weightings.torchjd.torchjd_statistic import Statistic, rule_of

Saved = dict[str, Any]


class TorchJDWeighting(GradientWeighting):
    """A Weighting or an Aggregator of `torchjd.aggregation`, used as a callback of the Trainer.

    A Weighting gives w, with d = wᵀJ. It receives what its class is declared for, the Gramian or
    the Jacobian; `MoDoWeighting` and `SDMGradWeighting` receive the mean of J_r J_sᵀ over different
    micro-batches and ranks, and the Gramian where there is one only. An Aggregator that has a
    Weighting is run by it, so that its weights are logged (hooks belong on that Weighting); any
    other receives the Jacobian and gives d. TorchJD is an extra:
    `pip install "lightning_mtl[torchjd]"`.

    Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.

    Scale: that of the object given.
    Heads: their own gradients, unweighted.
    Memory: that of the object given. The Gramian is solved on the host; the Jacobian is one matrix
    of K P numbers on the device, and one more row while it is filled.
    Deviations: those of the object given. Random numbers are alike on every rank, but not on every
    kind of device: what receives the Jacobian draws where that is. What the object remembers is
    saved, but not its arguments: those of the resumed run hold. TorchJD remembers rows
    and not tasks, so that the object starts anew as soon as another set of tasks is present (this
    package's own classes remember each task), and what needs a fixed number of tasks fails there.
    The primary task of `PCD` is the first that is present.

    Args:
        weighting: an instance of either.
        statistic: what a Weighting receives whose class does not say so: `"gramian"`,
            `"cross_gramian"` (as `MoDoWeighting`) or `"jacobian"`.
        seed: of its random numbers; by default that of `seed_everything`.
        common: what every weighting takes, see `Weighting`.

    Example:
        >>> from torchjd.aggregation import AlignedMTLWeighting
        >>> rule = TorchJDWeighting(AlignedMTLWeighting())
        >>> rule.weights(torch.diag(torch.tensor([1.0, 4.0])))
        tensor([0.5000, 0.2500])
    """

    price: ClassVar[str] = "F + H + K B"

    def __init__(
        self,
        weighting: nn.Module,
        statistic: Statistic | None = None,
        seed: int | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.weighting = weighting
        self.seed = seed
        self._rule = rule_of(weighting, statistic)
        self._adapter = ADAPTERS[self._rule.statistic](self)
        self.memory = self._adapter.memory
        self._stream = RandomStream(self.memory, seed)
        self._last_present: list[int] | None = None

    @property
    def statistic(self) -> Statistic:
        """What the object receives: a Gramian, a cross-Gramian or the Jacobian."""
        return self._rule.statistic

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """The direction that the object makes of J, from its Gramian where it receives that."""
        if not self._rule.gives_weights:
            return self._ask(jacobian)
        return self._weights_from(jacobian).to(jacobian) @ jacobian

    def weights(self, gramian: Float[Tensor, "K K"]) -> Float[Tensor, " K"]:
        """The weights of an object that receives the Gramian.

        Args:
            gramian: of the tasks present, or the mean of J_r J_sᵀ; finite, on the host.
        """
        return self._ask(gramian)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check module and Trainer as every weighting of gradients does."""
        super().setup(trainer, pl_module, stage)
        self._adapter.loss_is_scaled = self.loss_is_scaled

    def begin_window(self) -> None:
        """Forget what was measured in the window before. Called as each optimizer step begins."""
        self._adapter.begin_window()

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Write the gradients as a Gramian or a Jacobian rule does, by what the object receives."""
        self._adapter.backward(micro_batch, loss)

    def snapshot(self, keeps_vectors: bool) -> Any:
        """The memory of the weighting and what the object remembers, before an optimizer step."""
        memory = super().snapshot(keeps_vectors)
        return memory, remember(self.weighting), self._last_present

    def restore(self, snapshot: Any) -> None:
        """Go back to what `snapshot` returned."""
        memory, remembered, self._last_present = snapshot
        super().restore(memory)
        recall(self.weighting, remembered)

    def state_dict(self) -> Saved:
        """The memory of the weighting and what the object remembers, for a checkpoint."""
        saved = {"torchjd": remember(self.weighting), "present": self._last_present}
        return super().state_dict() | saved

    def load_state_dict(self, state_dict: Saved) -> None:
        """Restore what `state_dict` returned, into an object of the same class."""
        recall(self.weighting, state_dict["torchjd"])
        super().load_state_dict(state_dict)
        self._last_present = state_dict["present"]

    def _weights_from(self, jacobian: Float[Tensor, "K P"]) -> Float[Tensor, " K"]:
        return self._ask(jacobian if self.statistic == "jacobian" else jacobian @ jacobian.T)

    def _ask(self, given: Float[Tensor, "k n"]) -> Tensor:
        """The answer of the object, which draws from this weighting's stream of random numbers."""
        self._start_anew_for_other_tasks(len(given))
        move(self.weighting, given.device)
        seed = self._stream.draw_seed()
        with torch.no_grad(), _seeded(given.device, seed):
            try:
                return self._rule.module(given)
            except ValueError as error:
                raise ValueError(self._complaint(len(given), error)) from error

    def _start_anew_for_other_tasks(self, rows: int) -> None:
        if not self.tasks:
            return
        present = self.memory.present(rows)
        if self._last_present not in (None, present):
            forget(self.weighting)
        self._last_present = present

    def _complaint(self, rows: int, error: ValueError) -> str:
        name = type(self.weighting).__name__
        if not self.tasks:
            return (
                f"`{name}` of TorchJD should accept {rows} tasks. Found that it failed: {error}"
                f" Check the arguments of `{name}` against this number of tasks."
            )
        names = ", ".join(f"`{task}`" for task in self.memory.names(rows))
        advice = (
            f"Check the arguments of `{name}` against this number of tasks."
            if rows == len(self.tasks)
            else f"`{name}` may need the others, which are absent here: give every batch labels of"
            " every task, or use another class."
        )
        return (
            f"`{name}` of TorchJD should accept {rows} of {len(self.tasks)} tasks, {names}. Found"
            f" that it failed: {error} {advice}"
        )


class _OnGramian(GramianWeighting):
    """Runs an object that receives the Gramian."""

    def __init__(self, owner: TorchJDWeighting) -> None:
        super().__init__()
        self.owner = owner

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights that the object gives. Called once per optimizer step."""
        return self.owner.weights(gramian)


class _OnCrossGramian(_OnGramian, CrossGramianWeighting):
    """Runs an object that receives the mean of J_r J_sᵀ over different sub-batches."""


class _OnJacobian(JacobianWeighting):
    """Runs an object that receives the Jacobian."""

    def __init__(self, owner: TorchJDWeighting) -> None:
        super().__init__()
        self.owner = owner

    def combine(
        self, losses: Float[Tensor, " K"], jacobian: Float[Tensor, "K P"]
    ) -> Float[Tensor, " P"]:
        """The direction that the object makes of J; weights, if it gives any, are logged."""
        if not self.owner._rule.gives_weights:
            return self.owner._ask(jacobian)
        self.applied = self.owner._ask(jacobian).to(jacobian)
        return self.applied @ jacobian


ADAPTERS: dict[Statistic, Callable[[TorchJDWeighting], GradientWeighting]] = {
    "gramian": _OnGramian,
    "cross_gramian": _OnCrossGramian,
    "jacobian": _OnJacobian,
}


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """A context in which the generators of the host and of one device start from `seed`.

    They are restored after it. Not by `torch.manual_seed`, which seeds those of all devices.
    """
    on_host = device.type == "cpu"
    with torch.random.fork_rng([] if on_host else [device], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        if not on_host:
            torch.get_device_module(device).manual_seed(seed)
        yield
