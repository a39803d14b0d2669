"""The base of the weightings that need no more of the task gradients than their inner products."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_choice, check_number
from lightning_mtl.distributed import world_size
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.gradients import Gradients
from lightning_mtl.engine.gradients import gramian as gramian_of
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.all_shared import AllShared
from lightning_mtl.engine.places.cross_gramian import CrossGramian
from lightning_mtl.engine.places.features import Features
from lightning_mtl.engine.places.place import Place, RowPlace
from lightning_mtl.engine.places.shared_layer import SharedLayer
from lightning_mtl.engine.places.sketched import Sketched
from lightning_mtl.engine.preconditioner import Preconditioner
from lightning_mtl.engine.probing.averages import DECAY
from lightning_mtl.engine.strategies import check_task_gradients
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.transfers import to_device
from lightning_mtl.engine.window import Statistics, Window
from lightning_mtl.linalg.host import on_host
from lightning_mtl.weightings.bases.answers import check_finite_weights, check_weights
from lightning_mtl.weightings.bases.gradient_weighting import GradientWeighting
from lightning_mtl.weightings.bases.probing import Probing
from lightning_mtl.weightings.memory.random_stream import RandomStream
from lightning_mtl.weightings.memory.weight_cache import WeightCache

PROBES = "probes"
"""Not a place: the gradients are nowhere measured."""

METRICS = ["euclidean", "preconditioned"]
EXACT = ("shared", "last_layer")
"""Where the gradients themselves are measured, and not something that they are told from."""


class GramianWeighting(GradientWeighting):
    """A weighting that needs the Gramian of the task gradients, G = J Jᵀ.

    The shared parameters receive w @ J. Each head receives its own gradient, unweighted unless
    `weight_heads`.

    Args:
        gradients: where G is measured. `"shared"`: at all shared parameters, exact, K trunk
            backward passes. `"last_layer"`: at the last shared layer. `"features"`: at the shared
            representation (the upper bound of Sener & Koltun, NeurIPS 2018). The last two cost
            about as much as equal weighting; with gradient accumulation they too need K passes,
            because the weights are known only at the end of the window. `"sketch"`: at all shared
            parameters, by random projections of the gradients of linear layers and convolutions,
            unbiased, without the weight gradients of K passes; exact with gradient accumulation.
            `"probes"`: by one more forward pass at randomly moved parameters, unbiased, averaged
            over steps; the weights are those of the losses, heads included. It needs no task
            gradients: it works where parameters are sharded, and where the network is compiled as
            a whole.
        every_n_steps: solve at every n-th optimizer step, and where other tasks are present than
            at the last solution; reuse the weights in between. With gradient accumulation, once a
            task has been absent from a micro-batch, steps that reuse weights need K passes too.
        layer: name of the shared layer for `"last_layer"`; by default the last one.
        weight_heads: whether the gradients of the heads are weighted too.
        metric: of the inner products. `"euclidean"`: G = J Jᵀ. `"preconditioned"`: G = J D⁻¹ Jᵀ
            with D the √v̂ + ε by which the optimizer, one of the family of Adam, divides a gradient;
            weights are then those of the updates that it would make. For exact gradients:
            `"shared"` and `"last_layer"`.
        sketch_rows: s of `"sketch"`. The standard deviation of an entry of G is about √(2 / s) of
            what one layer contributes to it; over many layers it is a few percent.
        probe_decay: of the averages of `"probes"`.

    Attributes:
        places: the classes of the places that `gradients` may name.
        place: where G is measured.
        needs_rows: whether `observe` receives the gradients themselves, beside their products.
        takes_probes: whether probes can tell what the rule asks for.
        most_on_device: up to how many tasks the rule is solved on the device, which is then never
            waited for: its `weights` asks no tensor for a number. With more tasks, on the host.
        brought: what `observe` has returned, beside the Gramian.
    """

    places: ClassVar[dict[str, type[Place]]] = {
        "shared": AllShared,
        "last_layer": SharedLayer,
        "features": Features,
        "sketch": Sketched,
    }
    needs_rows: ClassVar[bool] = False
    takes_probes: ClassVar[bool] = True
    most_on_device: ClassVar[int] = 0

    def __init__(
        self,
        gradients: str = "shared",
        every_n_steps: int = 1,
        layer: str | None = None,
        weight_heads: bool = False,
        metric: str = "euclidean",
        sketch_rows: int = 16,
        probe_decay: float = DECAY,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_choice(name, "gradients", gradients, self._choices())
        check_choice(name, "metric", metric, METRICS)
        check_number(name, "sketch_rows", sketch_rows, 1)
        if not 0 <= probe_decay < 1:
            raise ValueError(
                f"`{name}(probe_decay=)` should lie in [0, 1). Found {probe_decay}. Use one near 1"
                " to average over many steps."
            )
        if metric == "preconditioned" and gradients not in EXACT:
            raise ValueError(
                f'`{name}(metric="preconditioned")` should have exact gradients. Found'
                f' gradients="{gradients}". Use one of {list(EXACT)}.'
            )
        if every_n_steps < 1:
            raise ValueError(
                f"`{name}(every_n_steps=)` should be at least 1. Found {every_n_steps}. 1 solves at"
                " every step."
            )
        self.gradients = gradients
        self.every_n_steps = every_n_steps
        self.layer = layer
        self.weight_heads = weight_heads
        self.metric = metric
        self.sketch_rows = sketch_rows
        self.probe_decay = probe_decay
        self._trainer: L.Trainer | None = None
        self._probing: Probing | None = None
        if gradients == PROBES:
            self._probing = Probing(self.memory, probe_decay, every_n_steps)
            self.follows_graph = False
        self.place = self._make_place()
        self._sketches = RandomStream(self.memory, None, "sketch_generator")
        self._cache = WeightCache(self.memory, every_n_steps)
        self._reuses: bool | None = None
        self.brought: Float[Tensor, " n"] = torch.empty(0)

    @property
    def price(self) -> str:  # type: ignore[override]
        """The price of a step, by where the gradients are measured and how often."""
        return self.price_of(1)

    def price_of(self, accumulate: int) -> str:
        """The price of each batch; with several in a step, that of all shared parameters."""
        if self._probing is not None:
            often = "" if self.every_n_steps == 1 else f" / {self.every_n_steps}"
            return f"F + H + B + F{often}"
        place = self.place if accumulate == 1 else AllShared()
        if self.every_n_steps == 1 or not place.extra:
            return place.price
        return f"F + H + B + {place.extra} / {self.every_n_steps}"

    @abstractmethod
    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        """The weights of this optimizer step.

        Args:
            losses: of the tasks present, means over micro-batches and ranks.
            gramian: the inner products of their gradients. In training both are in float64, and
                on the host; with `most_on_device`, on the device where the gradients are, and not
                to be waited for.
        """

    def observe(self, rows: list[Gradients], scale: Float[Tensor, " K"]) -> Float[Tensor, " n"]:
        """Learn from the measured gradients. Called before `weights`; only with `needs_rows`.

        Args:
            rows: of the tasks present, times `scale`, on the device.
            scale: what to divide them by, on the device.

        Returns:
            Numbers that `weights` will find in `brought`.
        """
        return scale.new_empty(0)

    def begin_window(self) -> None:
        """Forget what was measured in the window before."""
        self._reuses = None
        self.place.begin()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check as every weighting. Called as each stage begins."""
        super().setup(trainer, pl_module, stage)
        self._trainer = trainer

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the optimizer, for the metric. Called when there is one."""
        if self.metric == "preconditioned":
            assert isinstance(self.place, (RowPlace, CrossGramian))
            place = self.place.place if isinstance(self.place, CrossGramian) else self.place
            place.preconditioner = Preconditioner(trainer.optimizers[0])

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave module and layers as they were. Called at the end of each stage."""
        super().teardown(trainer, pl_module, stage)
        self.place.release()
        self._trainer = None

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Probe the batch, or get ready to measure. Called before the losses are computed."""
        if self._probing is not None:
            assert self._trainer is not None
            self._probing.prepare(coming, self._trainer)
            return ()
        return self.place.prepare(coming, self._draw_seed) if self._measures(coming) else ()

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """Σ L_k, as the weights are not known yet; with probes they are, and it is Σ w_k L_k."""
        if self._probing is None or micro_batch.waits_for_counts:
            return super().total(micro_batch)
        weights = self._probing.weights(micro_batch)
        micro_batch.record_weights(micro_batch.present, weights)
        return micro_batch.total(weights)

    def catch_up(self, micro_batch: MicroBatch) -> None:
        """With probes, learn after a backward pass that the strategy has run on its own."""
        if self._probing is None:
            super().catch_up(micro_batch)
        elif micro_batch.last:
            self._conclude_probe(micro_batch)

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Measure G, solve and combine the gradients, or reuse the last weights."""
        if self._probing is not None:
            self._backward_probed(micro_batch, loss)
            return
        backward = micro_batch.differentiate_shared(loss)
        if backward is None:
            return
        self._balance(micro_batch, backward)
        if micro_batch.last:
            self._cache.advance()

    def _make_place(self) -> Place:
        kind = self.places.get(self.gradients, AllShared)
        if issubclass(kind, Sketched):
            return kind(self.sketch_rows)
        return kind(self.layer) if issubclass(kind, SharedLayer) else kind()

    @classmethod
    def _choices(cls) -> list[str]:
        """What `gradients` may be."""
        return [*cls.places, PROBES] if cls.takes_probes and not cls.needs_rows else [*cls.places]

    def _check_strategy(self, strategy: Any, accumulate: int = 1) -> None:
        if self._probing is None:
            way_out = PROBES if PROBES in self._choices() else None
            check_task_gradients(type(self).__name__, strategy, way_out)

    def _measures(self, coming: Coming) -> bool:
        """Whether this batch makes a step by itself, which solves whichever tasks it has."""
        return coming.alone and self._cache.is_due

    def _draw_seed(self) -> int:
        """A seed for a sketch: a new one each time, unless gradients are averaged over steps."""
        if self.needs_rows:
            return int(torch.randint(2**31, (), generator=self._sketches.peek()))
        return self._sketches.draw_seed()

    def _backward_probed(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Run one plain backward pass, or collect gradients where labels are counted."""
        assert self._probing is not None
        if micro_batch.waits_for_counts:
            self._probing.weights(micro_batch)
            micro_batch.collect(micro_batch.differentiate(loss))
            if micro_batch.last:
                present = micro_batch.window.present
                micro_batch.write_window(self._probing.weights_of(present, micro_batch.wide))
        else:
            micro_batch.backward(loss)
        if micro_batch.last:
            self._conclude_probe(micro_batch)

    def _conclude_probe(self, micro_batch: MicroBatch) -> None:
        assert self._probing is not None

        def solve(
            losses: Float[Tensor, " k"], gramian: Float[Tensor, "k k"]
        ) -> Float[Tensor, " k"]:
            return self._answer(micro_batch, losses, gramian)

        self._probing.conclude(micro_batch, self.most_on_device, solve)

    def _balance(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        if self._reuses is None:
            self._reuses = not micro_batch.waits_for_counts and self._may_reuse(micro_batch)
        if self._reuses:
            weights = self._cached(micro_batch, micro_batch.present)
            micro_batch.backward_weighted(backward, weights, self.weight_heads)
            if micro_batch.last:
                self._record_reused(micro_batch)
        elif micro_batch.alone and not self.place.takes_whole_trunk:
            self.place.accumulate(micro_batch, backward)
            weights = self._solve(micro_batch)
            micro_batch.backward_weighted(backward, weights, self.weight_heads)
            self.place.release()
            micro_batch.record_weights(micro_batch.present, weights)
        else:
            self.place.accumulate_collected(micro_batch, backward)
            micro_batch.collect(backward)
            if micro_batch.last:
                self._write(micro_batch)

    def _write(self, micro_batch: MicroBatch) -> None:
        """Solve for the window, unless weights are reused, and write its gradients."""
        present = micro_batch.window.present
        reuses = self._cache.is_valid_for(present)
        weights = self._cached(micro_batch, present) if reuses else self._solve(micro_batch)
        micro_batch.write_window(weights, self.weight_heads)

    def _solve(self, micro_batch: MicroBatch) -> Float[Tensor, " k"]:
        """The rule's weights; equal ones where a loss scale has overflown, which skips the step."""
        window = micro_batch.window
        statistics = self._statistics(window)
        gramian = statistics.gramian
        self._note_presence(window, statistics)
        if not self._may_see(micro_batch, gramian.diagonal()):
            return micro_batch.wide.new_ones(len(gramian))
        self.brought = statistics.others
        with self.memory.of(window.present):
            weights = self._answer(micro_batch, statistics.losses, gramian)
        self._cache.write(window.present, weights)
        return weights

    def _answer(
        self, micro_batch: MicroBatch, losses: Float[Tensor, " k"], gramian: Float[Tensor, "k k"]
    ) -> Float[Tensor, " k"]:
        """The rule's weights, checked, on the device."""
        weights = self.weights(losses, gramian)
        name = f"{type(self).__name__}.weights"
        check_weights(name, weights, len(gramian))
        if self.loss_is_scaled and not on_host(gramian):
            weights = torch.where(gramian.diagonal().isfinite().all(), weights, 1.0)
        micro_batch.checks.add(weights, partial(check_finite_weights, name))
        return to_device(weights.to(micro_batch.wide.dtype), micro_batch.wide.device)

    def _statistics(self, window: Window) -> Statistics:
        """What the rule asks for, on the host or, for few tasks, on the device."""
        rows = self._rows(window)
        measured = self.place.gramian(window) if rows is None else gramian_of(rows)
        others = measured.new_empty(0)
        # What the host sees to be infinite is refused before it is remembered; on a device it is
        # refused later, and a step that a loss scaler skips is forgotten.
        seen = not on_host(measured) or bool(measured.diagonal().isfinite().all())
        if rows is not None and seen:
            with self.memory.of(window.present):
                others = self.observe(rows, window.normalisers())
        few = len(measured) <= self.most_on_device
        stay = not on_host(measured) and few and measured.dtype == torch.float64
        return window.statistics(measured, others, stay)

    def _note_presence(self, window: Window, statistics: Statistics) -> None:
        """Learn whether tasks are absent from some micro-batches, which reused weights ask for."""
        if self.every_n_steps > 1:
            batches = window.length * world_size()
            alone = batches == window.length
            whole = window.is_whole if alone else bool((statistics.presence == batches).all())
            self._cache.record_presence(not whole)

    def _rows(self, window: Window) -> list[Gradients] | None:
        """The measured gradients, for a rule that asks for them."""
        if not self.needs_rows:
            return None
        assert isinstance(self.place, RowPlace)
        self.memory.measured_at(self.place.identity())
        return self.place.preconditioned(self.place.rows(window))

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
