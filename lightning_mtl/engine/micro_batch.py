"""One micro-batch of a training step, and the window of micro-batches that make one optimizer step.

`MultiTaskModule` builds a `Step` from the task losses. A weighting asks it for statistics, which
are always those of the whole window and of all ranks, and answers with weights, which the step
applies.

Let R ranks take n micro-batches each, task k be present in N_k of the R n, and f be the factor that
Lightning has put in front of the loss (the loss scale over the number of accumulated batches). A
task's gradient is the mean over the micro-batches that have it, J_k = (1 / f N_k) Σ J_krm, where
the sum holds f already; and the gradient that Lightning expects is f n Σ_k w_k J_k.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.distributed import sum_over_ranks, world_size
from lightning_mtl.engine.gradients import Gradients, add, combine, merge, write
from lightning_mtl.engine.graph import cut, root_edge
from lightning_mtl.engine.shared_parameters import Partition
from lightning_mtl.engine.task_backward import CutBackward, RootBackward, TaskBackward
from lightning_mtl.engine.window import Window, pick


class Step:
    """One micro-batch: its losses with their graph, and its window.

    Attributes:
        present: indices of the tasks that some rank has in this micro-batch.
        local: indices of those that this rank has.
        alone: whether the window is this micro-batch only.
        last: whether the optimizer steps after it.
        number: of optimizer steps before it.
        features: gives the shared representation that the module names, if it names one.
    """

    def __init__(
        self,
        losses: dict[str, Tensor],
        partition: Partition,
        window: Window,
        last: bool,
        number: int,
        features: Callable[[], Sequence[Tensor] | None],
        anchored: bool = True,
    ) -> None:
        tasks = partition.tasks
        self.partition = partition
        self.window = window
        self.last = last
        self.number = number
        self.local = [index for index, task in enumerate(tasks) if task in losses]
        self._losses = [losses[tasks[index]] for index in self.local]
        self.features = features
        self._anchored = anchored
        self._sums, self._counts = self._share()
        self.present = self._presence()
        window.count(self._sums, self._counts, self.present)
        self.alone = last and window.length == 1
        self._roots = [root_edge(loss) for loss in self._losses]

    @property
    def losses(self) -> Float[Tensor, " k"]:
        """The losses of the tasks in `present`: means over the ranks that have them, detached."""
        return pick(self._sums / self._counts.clamp(min=1), self.present)

    def total(self, weights: Float[Tensor, " k"] | None = None) -> Tensor:
        """Σ w_k L_k over this rank's tasks, ready for `LightningModule.training_step` to return.

        Args:
            weights: of the tasks in `present`; `None` for the plain sum.
        """
        if not self._losses:
            # Nothing to train here, but other ranks may be waiting for this one.
            self._plain = torch.zeros_like(self._sums[0], requires_grad=True)
            return self._plain
        if weights is None:
            self._plain = torch.as_tensor(sum(self._losses))
            return self._plain
        scaled = zip(self._losses, self._local_scaled(weights), strict=True)
        return torch.as_tensor(sum(loss * weight for loss, weight in scaled))

    def backward(self, loss: Tensor) -> None:
        """Plain backward of a total; under DDP, parameters that it does not reach get zeros."""
        loss.backward()
        self._anchor_untouched()
        self._release()

    def differentiate(self, loss: Tensor) -> TaskBackward:
        """Differentiate the heads of the plain `total`, scaled by Lightning to `loss`."""
        # Not at the losses: one of them may be part of another, and would count twice.
        factor = torch.autograd.grad(loss, self._plain)[0]
        self.window.factor = factor
        own = [self.partition.own[task] for task in self.local]
        return self._differentiate(own, factor, keep_graph=False)

    def look(self) -> TaskBackward:
        """Differentiate the heads down to the trunk only, unscaled; the graph stays as it is."""
        one = torch.ones_like(self._losses[0])
        return self._differentiate([[] for _ in self.local], one, keep_graph=True)

    def differentiate_shared(self, loss: Tensor) -> TaskBackward | None:
        """As `differentiate`; `None`, once weights of 1 are applied, if nothing is shared yet.

        Raises:
            ValueError: if nothing will ever be, see `Partition.undecided`.
        """
        undecided = self.partition.undecided
        backward = self.differentiate(loss)
        if not undecided:
            return backward
        weights = torch.ones_like(self.losses)
        self.descend(backward, weights, weight_heads=True)
        self.note(self.present, weights)
        return None

    def descend(
        self, backward: TaskBackward, weights: Float[Tensor, " k"], weight_heads: bool
    ) -> None:
        """Apply weights that are known now: every head's gradient, and one pass down the trunk.

        Args:
            backward: of this micro-batch.
            weights: of the tasks in `present`.
            weight_heads: whether the heads' gradients are weighted too.
        """
        scaled = self._local_scaled(weights)
        heads = scaled if weight_heads else self._local_scaled(torch.ones_like(weights))
        self._write_heads(dict(zip(self.local, backward.heads, strict=True)), heads)
        self._anchor_untouched()
        backward.descend(scaled)
        self._release()

    def collect(self, backward: TaskBackward, rows: Iterable[Gradients] | None = None) -> None:
        """Add this micro-batch's gradients of all tasks, trunk and heads, to the window.

        Args:
            backward: of this micro-batch.
            rows: the trunk's, if they are known already.
        """
        each = backward.each_row(self.partition.shared) if rows is None else rows
        for task, row in zip(self.local, each, strict=True):
            self.window.rows[task] = add(self.window.rows.get(task), row)
        self.collect_heads(backward)

    def collect_heads(self, backward: TaskBackward) -> None:
        """Add this micro-batch's gradients of the heads to the window; `collect` does so too."""
        for task, head in zip(self.local, backward.heads, strict=True):
            self.window.heads[task] = add(self.window.heads.get(task), head)

    def release(
        self, rows: list[Gradients], weights: Sequence[float], counts: Tensor, weight_heads: bool
    ) -> None:
        """Write the window's gradients: w @ J for the trunk, and the heads' own.

        Args:
            rows: of `Window.reduce`.
            weights: of the window's tasks, on the host.
            counts: of the window, on the host.
            weight_heads: whether the heads' gradients are weighted too.
        """
        # n / N_k turns a summed row into the gradient that Lightning expects, see above.
        shares = (self.window.length / counts).tolist()
        scaled = [weight * share for weight, share in zip(weights, shares, strict=True)]
        self.apply(combine(rows, scaled), scaled if weight_heads else shares)

    def apply(self, trunk: Gradients, head_scales: Sequence[float] | Sequence[Tensor]) -> None:
        """Write the window's gradients.

        Args:
            trunk: the shared parameters' gradients, the same on every rank.
            head_scales: what the heads' summed gradients are multiplied by, for the window's tasks.
        """
        write(self.partition.shared, trunk)
        # Every rank writes its own head gradients, of which DDP takes the mean.
        scales = {
            task: torch.as_tensor(scale) * world_size()
            for task, scale in zip(self.window.tasks, head_scales, strict=True)
        }
        heads = self.window.heads
        self._write_heads(heads, [scales[task] for task in heads])
        self._anchor(self.partition.idle(list(heads)))
        self._release()

    def note(self, present: Sequence[int], weights: Float[Tensor, " k"]) -> None:
        """Remember the weights that were applied, for the logs."""
        self.window.applied.update(zip(present, weights.detach(), strict=True))

    def _differentiate(
        self, own: Sequence[Sequence[Tensor]], cotangent: Tensor, keep_graph: bool
    ) -> TaskBackward:
        parted = cut(self._roots, self.partition.shared)
        if parted is None:
            return RootBackward(self._roots, own, self.partition.shared, cotangent)
        return CutBackward(self._roots, parted, own, cotangent, keep_graph)

    def _share(self) -> tuple[Tensor, Tensor]:
        """The sum of each task's loss over the ranks, and how many ranks have it; (K,) both."""
        here = dict(zip(self.local, self._losses, strict=True))
        like = self._losses[0].detach() if self._losses else self.partition.parameters[0].detach()
        wide = torch.promote_types(like.dtype, torch.float32)
        zero = like.new_zeros((), dtype=wide)
        every = range(len(self.partition.tasks))
        sums = torch.stack([here[k].detach().to(wide) if k in here else zero for k in every])
        counts = torch.stack([zero + 1 if k in here else zero for k in every])
        sums, counts = sum_over_ranks(torch.stack([sums, counts]))
        return sums, counts

    def _presence(self) -> list[int]:
        """A host sync, but only for a task that this rank's batch lacks."""
        if world_size() == 1 or len(self.local) == len(self.partition.tasks):
            return self.local
        return self._counts.nonzero().flatten().tolist()

    def _local_scaled(self, weights: Float[Tensor, " k"]) -> list[Tensor]:
        """Weights of this rank's tasks, times R / N_k; DDP then averages over those with it."""
        chosen = pick(weights.to(self._sums), [self.present.index(task) for task in self.local])
        if world_size() > 1:
            chosen = chosen * (world_size() / pick(self._counts, self.local))
        return list(chosen)

    def _write_heads(self, heads: dict[int, Gradients], scales: Sequence[Tensor]) -> None:
        write(
            *merge(
                (self.partition.own[task], torch._foreach_mul(gradients, scale))
                for (task, gradients), scale in zip(heads.items(), scales, strict=True)
                if gradients
            )
        )

    def _anchor_untouched(self) -> None:
        if world_size() > 1:
            self._anchor(self.partition.untouched(self._roots, self.local))

    def _anchor(self, parameters: Sequence[Parameter]) -> None:
        """Give DDP a gradient for the parameters that this rank's tasks do not train."""
        if world_size() > 1 and self._anchored:
            write(parameters, [torch.zeros_like(parameter) for parameter in parameters])

    def _release(self) -> None:
        """What no rank trained shall the optimizer leave alone, momentum and decay included."""
        if self.last and world_size() > 1:
            tasks = self.window.tasks
            # A group of tasks whose turn it is may be absent from all ranks.
            for parameter in self.partition.idle(tasks) if tasks else self.partition.parameters:
                parameter.grad = None
