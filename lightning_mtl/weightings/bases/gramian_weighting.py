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
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.gradients import Gradients
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.all_shared import AllShared
from lightning_mtl.engine.places.cross_gramian import CrossGramian
from lightning_mtl.engine.places.features import Features
from lightning_mtl.engine.places.place import Place, RowPlace
from lightning_mtl.engine.places.shared_layer import SharedLayer
from lightning_mtl.engine.places.sketched import Sketched
from lightning_mtl.engine.preconditioner import Preconditioner
from lightning_mtl.engine.probing.averages import DECAY
from lightning_mtl.engine.strategies import check_original_parameters, check_task_gradients
from lightning_mtl.engine.transfers import to_device
from lightning_mtl.linalg.host import on_host
from lightning_mtl.weightings.bases.answers import check_finite_weights, check_weights
from lightning_mtl.weightings.bases.common import Common, Unpack
from lightning_mtl.weightings.bases.gradient_weighting import GradientWeighting
from lightning_mtl.weightings.bases.gramians.measured import Measured
from lightning_mtl.weightings.bases.gramians.probed import Probed
from lightning_mtl.weightings.bases.gramians.source import Source

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
            unbiased, without the weight gradients of K passes; exact with gradient accumulation,
            and in modules that are compiled.
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
        common: what every weighting takes, see `Weighting`.

    Attributes:
        places: the classes of the places that `gradients` may name.
        place: where G is measured; there is none with probes.
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
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
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
        self.brought: Float[Tensor, " n"] = torch.empty(0)
        self._source = self._make_source()
        self.follows_graph = self._source.needs_task_gradients

    @property
    def scales_losses(self) -> bool:
        """Whether weights multiply losses, and not only the gradients of the shared parameters."""
        weights_losses = not self._source.needs_task_gradients
        return self.weight_heads or weights_losses or super().scales_losses

    @property
    def price(self) -> str:  # type: ignore[override]
        """The price of a step, by where the gradients are measured and how often."""
        return self.price_of(1)

    def price_of(self, accumulate: int) -> str:
        """The price of each batch; with several in a step, that of all shared parameters."""
        return self._source.price_of(accumulate)

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
        """Forget what was found in the window before."""
        self._source.begin_window()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the optimizer, for the metric. Called before the first step."""
        super().on_train_start(trainer, pl_module)
        if self.metric == "preconditioned":
            assert isinstance(self.place, (RowPlace, CrossGramian))
            place = self.place.place if isinstance(self.place, CrossGramian) else self.place
            place.preconditioner = Preconditioner(trainer.optimizers[0])

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave module and layers as they were. Called at the end of each stage."""
        super().teardown(trainer, pl_module, stage)
        self._source.release()

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Probe the batch, or get ready to measure. Called before the losses are computed."""
        return self._source.prepare(coming)

    def total(self, micro_batch: MicroBatch) -> Tensor:
        """Σ L_k, as the weights are not known yet; with probes they are, and it is Σ w_k L_k."""
        return self._source.total(micro_batch)

    def catch_up(self, micro_batch: MicroBatch) -> None:
        """With probes, learn after a backward pass that the strategy has run on its own."""
        if self._source.needs_task_gradients:
            super().catch_up(micro_batch)
        else:
            self._source.catch_up(micro_batch)

    def backward(self, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Write the gradients, given the total as Lightning has scaled it."""
        self._source.backward(micro_batch, loss)

    def checked_weights(
        self, micro_batch: MicroBatch, losses: Float[Tensor, " k"], gramian: Float[Tensor, "k k"]
    ) -> Float[Tensor, " k"]:
        """The rule's weights, checked, on the device. Called by the source of the Gramian.

        Args:
            micro_batch: the last of its window.
            losses: of the tasks present in the window.
            gramian: of their gradients; both on the host or on the device, see `weights`.
        """
        weights = self.weights(losses, gramian)
        name = f"{type(self).__name__}.weights"
        check_weights(name, weights, len(gramian))
        if self.loss_is_scaled and not on_host(gramian):
            weights = torch.where(gramian.diagonal().isfinite().all(), weights, 1.0)
        micro_batch.checks.add(weights, partial(check_finite_weights, name))
        return to_device(weights.to(micro_batch.wide.dtype), micro_batch.wide.device)

    def _make_source(self) -> Source:
        if self.gradients == PROBES:
            return Probed(self, self.probe_decay)
        self.place = self._make_place()
        return Measured(self, self.place)

    def _make_place(self) -> Place:
        kind = self.places[self.gradients]
        if issubclass(kind, Sketched):
            return kind(self.sketch_rows)
        return kind(self.layer) if issubclass(kind, SharedLayer) else kind()

    @classmethod
    def _choices(cls) -> list[str]:
        """The names that `gradients` may have for this rule."""
        return [*cls.places, PROBES] if cls.takes_probes and not cls.needs_rows else [*cls.places]

    def _check_strategy(self, strategy: Any, accumulate: int = 1) -> None:
        if self._source.needs_task_gradients:
            way_out = PROBES if PROBES in self._choices() else None
            check_task_gradients(type(self).__name__, strategy, way_out)
        else:
            check_original_parameters(type(self).__name__, strategy)
