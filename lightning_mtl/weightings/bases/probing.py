"""The Gramian of the task gradients from probes: one more forward pass, and no gradient of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.probing.averages import gramian, updated
from lightning_mtl.engine.probing.probe import Probe, probe, slopes
from lightning_mtl.engine.probing.usage import learn_usage, merged, shared_names
from lightning_mtl.engine.replay import RandomState, without_trace
from lightning_mtl.engine.task_output import read_output
from lightning_mtl.engine.task_totals import or_one
from lightning_mtl.engine.window import select
from lightning_mtl.linalg.gradient_noise import nearest_psd
from lightning_mtl.linalg.host import on_host
from lightning_mtl.weightings.memory.random_stream import RandomStream
from lightning_mtl.weightings.memory.task_memory import TaskMemory

WARM_UP = 20
"""Probes of a task before its weights are solved for: the first few tell no cosine."""

Solve = Callable[[Float[Tensor, " k"], Float[Tensor, "k k"]], Float[Tensor, " k"]]
"""A rule: weights from losses and Gramian."""


class Probing:
    """Averages probes over steps, and keeps the weights that follow from them.

    A probe moves the shared parameters by ε v, v ~ N(0, I), and computes the losses of the batch
    once more: z_k = (L_k(θ + ε v) - L_k(θ)) / ε has E[z zᵀ] = G. All micro-batches of a window use
    the same v, so that z belongs to their mean. The weights of a step come from the probes of the
    steps before it, and so are the same in each of its micro-batches; they are 1 until every task
    has been probed 20 times.

    Args:
        memory: of the weighting.
        decay: of the averages, at each probe.
        every_n_steps: how often to probe, in optimizer steps.
    """

    def __init__(self, memory: TaskMemory, decay: float, every_n_steps: int) -> None:
        self._memory = memory
        self._decay = decay
        self._every_n_steps = every_n_steps
        self._moment = memory.per_pair("probe_moment", measured=True)
        self._weight = memory.per_pair("probe_weight", measured=True)
        self._count = memory.per_task("probe_count", measured=True)
        self._weights = memory.per_task("probe_weights", initial=1.0)
        self._steps = memory.single("probe_steps")
        self._partial = memory.single("probe_partial")
        self.warm_up = WARM_UP
        self._stream = RandomStream(memory, None, "probe_generator")
        self._seed: int | None = None
        self._found: Probe | None = None
        self._sums: Float[Tensor, "2 K"] | None = None

    def prepare(self, coming: Coming, trainer: L.Trainer) -> None:
        """Probe the batch, if this step does. Called before its losses are computed."""
        if coming.begins:
            self._sums = None
            self._seed = self._stream.draw_seed() if self._is_due() else None
        if self._seed is not None:
            names = self._shared_names(coming, trainer)
            if names:
                self._found = probe(trainer, coming.module, coming.batch, names, self._seed)

    def weights(self, micro_batch: MicroBatch) -> Float[Tensor, " k"]:
        """The weights of this step, of the tasks present; compares the probe with the losses."""
        if self._found is not None:
            self._add(micro_batch, self._found)
            self._found = None
        return self.weights_of(micro_batch.present, micro_batch.wide)

    def weights_of(self, present: Sequence[int], like: Tensor) -> Float[Tensor, " k"]:
        """The weights of this step.

        Args:
            present: indices of the tasks.
            like: a tensor of the device and the dtype of the weights.
        """
        with self._memory.of(present):
            return self._weights.read(like.new_ones(len(present)))

    def conclude(self, micro_batch: MicroBatch, most_on_device: int, solve: Solve) -> None:
        """Average the probe of a window, and solve for the next one. Called at its end.

        Args:
            micro_batch: the last of the window.
            most_on_device: up to how many tasks the rule is solved on the device.
            solve: the rule, which checks its answer.
        """
        self._steps.count()
        if self._sums is None:
            return
        window = micro_batch.window
        z = self._window_slopes(window.present).to(micro_batch.wide)
        partition = micro_batch.partition
        self._memory.measured_at(partition.identity(partition.shared))
        if not window.is_whole or len(window.present) < len(partition.tasks):
            self._partial.values = torch.tensor(True)
        with self._memory.of(window.present):
            moment = self._moment.read(z.new_zeros(len(z), len(z)))
            weight = self._weight.read(torch.zeros_like(moment))
            moment, weight = updated(moment, weight, z, self._decay)
            self._moment.write(moment)
            self._weight.write(weight)
            count = self._count.read(torch.zeros(len(z))) + 1
            self._count.write(count)
            if float(count.min()) >= self.warm_up:
                losses = window.losses.to(moment)
                few = len(z) <= most_on_device and z.dtype == torch.float64
                self._weights.write(self._solved(losses, gramian(moment, weight), few, solve))

    def _solved(
        self, losses: Float[Tensor, " k"], measured: Float[Tensor, "k k"], few: bool, solve: Solve
    ) -> Float[Tensor, " k"]:
        partial = self._partial.values is not None
        if not on_host(measured) and (partial or not few):
            flat = torch.cat([measured.flatten(), losses]).cpu().double()
            measured, losses = flat[: measured.numel()].view_as(measured), flat[measured.numel() :]
        # Pairs that were probed in different steps may not fit together.
        return solve(losses, nearest_psd(measured) if partial else measured)

    def _is_due(self) -> bool:
        steps = 0 if self._steps.values is None else int(self._steps.values)
        return steps % self._every_n_steps == 0

    def _add(self, micro_batch: MicroBatch, found: Probe) -> None:
        """Add the differences of one micro-batch, each as often as its loss counts."""
        losses = micro_batch.local_losses
        if not losses:
            found_here: dict[int, Tensor] = {}
            counts: dict[int, Tensor] = {}
        else:
            z = slopes(found.output.losses, losses, found.size).unbind()
            found_here = dict(zip(micro_batch.local, z, strict=True))
            counts = dict(zip(micro_batch.local, micro_batch.local_counts.unbind(), strict=True))
        tasks = range(len(micro_batch.partition.tasks))
        zero = micro_batch.losses.new_zeros(())
        shares = torch.stack([counts.get(k, zero).to(zero) for k in tasks])
        sums = torch.stack([found_here.get(k, zero).to(zero) for k in tasks]) * shares
        both = torch.stack([sums, shares])
        self._sums = both if self._sums is None else self._sums + both

    def _window_slopes(self, present: Sequence[int]) -> Float[Tensor, " k"]:
        assert self._sums is not None
        total, count = sum_over_ranks(self._sums)
        self._sums = None
        return select(total / or_one(count), present)

    def _shared_names(self, coming: Coming, trainer: L.Trainer) -> list[str]:
        """The names of the shared parameters; in the first steps, from an evaluation of its own."""
        partition, module = coming.partition, coming.module
        if partition is not None and partition.complete and partition.shared:
            return [partition.names[parameter] for parameter in partition.shared]
        named = {parameter: name for name, parameter in module.named_parameters()}
        given = module.shared_parameters()
        if given:
            return _trainable(module, [named[p] for p in given if p in named])

        def evaluate() -> Mapping[str, Tensor]:
            with without_trace(trainer, module, RandomState.now(module.device)):
                return read_output(type(module).__name__, module.task_losses(coming.batch)).losses

        self._memory.learned = merged(_lists(self._memory.learned), learn_usage(module, evaluate))
        return _trainable(module, shared_names(_lists(self._memory.learned)))


def _trainable(module: nn.Module, names: Sequence[str]) -> list[str]:
    """Those that are not frozen, in the order in which a partition has them."""
    known = set(names)
    return [name for name, p in module.named_parameters() if name in known and p.requires_grad]


def _lists(learned: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    return {task: list(names) for task, names in learned.items()}
