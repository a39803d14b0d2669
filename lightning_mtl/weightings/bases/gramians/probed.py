"""The Gramian from probes: one more forward pass in each step, and no gradient of a single task."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import sum_over_ranks
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.probing.moved import names_to_move
from lightning_mtl.engine.probing.probe import Probe, probe, slopes
from lightning_mtl.engine.task_totals import or_one
from lightning_mtl.engine.transfers import to_host
from lightning_mtl.engine.window import select
from lightning_mtl.linalg.gradient_noise import nearest_psd
from lightning_mtl.linalg.host import may_stay
from lightning_mtl.weightings.bases.gramians.probe_memory import ProbeMemory
from lightning_mtl.weightings.bases.gramians.source import Rule, Source
from lightning_mtl.weightings.memory.random_stream import RandomStream


class Probed(Source):
    """Averages probes over steps, and applies the weights that follow from them to the losses.

    A probe moves the shared parameters by ε v with random signs v, and computes the losses of the
    batch once more: z_k = (L_k(θ + ε v) - L_k(θ)) / ε has E[z zᵀ] = G. All micro-batches of a
    window use the same v, so that z belongs to their mean. The weights of a step come from the
    probes of the steps before it, and so are the same in each of its micro-batches; they are 1
    until every task has been probed 20 times.

    Args:
        rule: whose weights these are.
        decay: of the averages, at each probe.
    """

    needs_task_gradients: ClassVar[bool] = False

    def __init__(self, rule: Rule, decay: float) -> None:
        self._rule = rule
        self.probes = ProbeMemory(rule.memory, decay)
        self._steps = rule.memory.single("probe_steps")
        self._seeds = RandomStream(rule.memory, None, "probe_generator")
        self._seed: int | None = None
        self._found: Probe | None = None
        self._sums: Float[Tensor, "2 K"] | None = None

    def price_of(self, accumulate: int) -> str:
        """The price of equal weighting and one more forward pass, for each batch."""
        often = "" if self._rule.every_n_steps == 1 else f" / {self._rule.every_n_steps}"
        return f"F + H + B + F{often}"

    def begin_window(self) -> None:
        """Decide whether this step probes."""
        self._sums = None
        steps = 0 if self._steps.values is None else int(self._steps.values)
        is_due = steps % self._rule.every_n_steps == 0
        self._seed = self._seeds.draw_seed() if is_due else None

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Probe the batch, if this step does. Called before its losses are computed."""
        if self._seed is not None:
            memory = self._rule.memory
            names, memory.learned = names_to_move(coming, memory.learned)
            if names:
                module = coming.module
                self._found = probe(module.trainer, module, coming.batch, names, self._seed)
        return ()

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """Σ w_k L_k, as the weights are known; Σ L_k where gradients wait for numbers of labels."""
        if self._found is not None:
            self._add(micro_batch, self._found)
            self._found = None
        if micro_batch.waits_for_counts:
            return micro_batch.total()
        weights = self.probes.read(micro_batch.present, micro_batch.wide)
        micro_batch.record_weights(micro_batch.present, weights)
        return micro_batch.total(weights)

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Run one plain backward pass, or collect gradients where labels are counted."""
        if micro_batch.waits_for_counts:
            micro_batch.collect(micro_batch.differentiate(loss))
            if micro_batch.last:
                present = micro_batch.window.present
                micro_batch.write_window(self.probes.read(present, micro_batch.wide))
        else:
            micro_batch.backward(loss)
        self.catch_up(micro_batch)

    def catch_up(self, micro_batch: MicroBatch) -> None:
        """Average the probe of the window, and solve for the next one. Called after its gradients.

        Args:
            micro_batch: any of a window; nothing is done before the last one.
        """
        if not micro_batch.last:
            return
        self._steps.count()
        if self._sums is None:
            return
        partition, window = micro_batch.partition, micro_batch.window
        present = window.present
        z = micro_batch.times_prior(self._window_slopes(present).to(micro_batch.wide), present)
        self._rule.memory.measured_at(partition.identity(partition.shared))
        whole = window.is_whole and len(present) == len(partition.tasks)
        self.probes.learn(present, z, whole, partial(self._solve, micro_batch))

    def _solve(self, micro_batch: MicroBatch, gramian: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
        losses = micro_batch.window.losses.to(gramian)
        is_partial = self.probes.is_partial
        if is_partial or not may_stay(gramian, self._rule.most_on_device):
            gramian, losses = to_host(gramian, losses)
        gramian = nearest_psd(gramian) if is_partial else gramian
        return self._rule.checked_weights(micro_batch, losses, gramian)

    def _add(self, micro_batch: MicroBatch, found: Probe) -> None:
        """Add the differences of one micro-batch, each as often as its loss counts."""
        losses = micro_batch.local_losses
        found_here: dict[int, Tensor] = {}
        counts: dict[int, Tensor] = {}
        if losses:
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
        """Z of these tasks, the mean over micro-batches and ranks."""
        assert self._sums is not None
        total, count = sum_over_ranks(self._sums)
        self._sums = None
        return select(total / or_one(count), present)
