"""The Gramian of gradients that are measured at some place of the network."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.distributed import world_size
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.gradients import Gradients
from lightning_mtl.engine.gradients import gramian as gramian_of
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.all_shared import AllShared
from lightning_mtl.engine.places.place import Place, RowPlace
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Statistics, Window
from lightning_mtl.linalg.host import may_stay, on_host
from lightning_mtl.weightings.bases.gramians.source import Rule, Source
from lightning_mtl.weightings.memory.random_stream import RandomStream
from lightning_mtl.weightings.memory.weight_cache import WeightCache


class Measured(Source):
    """Measures gradients at a place and solves, or reuses the weights of the last solution.

    Args:
        rule: whose weights these are.
        place: where gradients are measured.
    """

    def __init__(self, rule: Rule, place: Place) -> None:
        self._rule = rule
        self._place = place
        self._cache = WeightCache(rule.memory, rule.every_n_steps)
        self._seeds = RandomStream(rule.memory, None, "sketch_generator")
        self._reuses: bool | None = None

    def price_of(self, accumulate: int) -> str:
        """The price by the place and by how often it is measured; with several batches, of all."""
        place = self._place if accumulate == 1 else AllShared()
        if self._rule.every_n_steps == 1 or not place.extra:
            return place.price
        return f"F + H + B + {place.extra} / {self._rule.every_n_steps}"

    def begin_window(self) -> None:
        """Forget what was measured in the window before."""
        self._reuses = None
        self._place.begin()

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Let the place get ready for a batch that makes a step by itself and solves for sure."""
        if not (coming.alone and self._cache.is_due):
            return ()
        # What is averaged over steps has to be measured by the same projections.
        draw = self._seeds.peek_seed if self._rule.needs_rows else self._seeds.draw_seed
        return self._place.prepare(coming, draw)

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """Σ L_k; the weights are not known yet."""
        return micro_batch.total()

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Measure G, solve and combine the gradients, or reuse the last weights."""
        backward = micro_batch.differentiate_shared(loss)
        if backward is None:
            return
        self._balance(micro_batch, backward)
        if micro_batch.last:
            self._cache.advance()

    def release(self) -> None:
        """Leave module and layers as they were. Called at the end of each stage."""
        self._place.release()

    def _balance(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        if self._reuses is None:
            self._reuses = not micro_batch.waits_for_counts and self._may_reuse(micro_batch)
        if self._reuses:
            weights = self._cached(micro_batch, micro_batch.present)
            micro_batch.backward_weighted(backward, weights, self._rule.weight_heads)
            if micro_batch.last:
                self._record_reused(micro_batch)
        elif micro_batch.alone and not self._place.takes_whole_trunk:
            self._place.accumulate(micro_batch, backward)
            weights = self._solve(micro_batch)
            micro_batch.backward_weighted(backward, weights, self._rule.weight_heads)
            self._place.release()
            micro_batch.record_weights(micro_batch.present, weights)
        else:
            self._place.accumulate_collected(micro_batch, backward)
            micro_batch.collect(backward)
            if micro_batch.last:
                self._write(micro_batch)

    def _write(self, micro_batch: MicroBatch) -> None:
        """Solve for the window, unless weights are reused, and write its gradients."""
        present = micro_batch.window.present
        reuses = self._cache.is_valid_for(present)
        weights = self._cached(micro_batch, present) if reuses else self._solve(micro_batch)
        micro_batch.write_window(weights, self._rule.weight_heads)

    def _solve(self, micro_batch: MicroBatch) -> Float[Tensor, " k"]:
        """The rule's weights; equal ones where a loss scale has overflown, which skips the step."""
        window = micro_batch.window
        statistics = self._statistics(window)
        gramian = statistics.gramian
        self._note_presence(window, statistics)
        if not self._rule.may_see(micro_batch, gramian.diagonal()):
            return micro_batch.wide.new_ones(len(gramian))
        self._rule.brought = statistics.others
        with self._rule.memory.of(window.present):
            weights = self._rule.checked_weights(micro_batch, statistics.losses, gramian)
        self._cache.write(window.present, weights)
        return weights

    def _statistics(self, window: Window) -> Statistics:
        """What the rule asks for, on the host or, for few tasks, on the device."""
        rows = self._rows(window)
        measured = self._place.gramian(window) if rows is None else gramian_of(rows)
        others = measured.new_empty(0)
        # What the host sees to be infinite is refused before it is remembered; on a device it is
        # refused later, and a step that a loss scaler skips is forgotten.
        seen = not on_host(measured) or bool(measured.diagonal().isfinite().all())
        if rows is not None and seen:
            with self._rule.memory.of(window.present):
                others = self._rule.observe(rows, window.normalisers())
        return window.statistics(measured, others, may_stay(measured, self._rule.most_on_device))

    def _rows(self, window: Window) -> list[Gradients] | None:
        """The measured gradients, for a rule that asks for them."""
        if not self._rule.needs_rows:
            return None
        assert isinstance(self._place, RowPlace)
        self._rule.memory.measured_at(self._place.identity())
        return self._place.preconditioned(self._place.rows(window))

    def _note_presence(self, window: Window, statistics: Statistics) -> None:
        """Learn whether tasks are absent from some micro-batches, which reused weights ask for."""
        if self._rule.every_n_steps > 1:
            batches = window.length * world_size()
            alone = batches == window.length
            whole = window.is_whole if alone else bool((statistics.presence == batches).all())
            self._cache.record_presence(not whole)

    def _cached(self, micro_batch: MicroBatch, present: Sequence[int]) -> Float[Tensor, " k"]:
        """The last weights of these tasks, on the device."""
        return self._cache.read(present, micro_batch.wide)

    def _may_reuse(self, micro_batch: MicroBatch) -> bool:
        """Whether cached weights are applied to each micro-batch of this window as it comes.

        Not if its micro-batches may have different tasks: a task's mean runs over those that have
        it, and how many these are is known only at the end.
        """
        return self._cache.is_valid_for(micro_batch.present) and (
            micro_batch.alone or not self._cache.saw_partial_presence
        )

    def _record_reused(self, micro_batch: MicroBatch) -> None:
        """Record the cached weights as they were applied.

        Where, for the first time, a task is missing in the midst of a window, what was applied is
        the sum over the micro-batches that have it.
        """
        window = micro_batch.window
        weights = self._cached(micro_batch, window.present)
        shares = [window.batches[task] / window.length for task in window.present]
        pairs = zip(weights.unbind(), shares, strict=True)
        micro_batch.record_weights(window.present, torch.stack([w * share for w, share in pairs]))
        self._cache.record_presence(not window.is_whole)
