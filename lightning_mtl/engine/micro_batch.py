"""One micro-batch of a training step: its losses with their graph, and the ways to write gradients.

The engine builds a `MicroBatch` from the task losses. A weighting asks it for statistics, which
are always those of the whole window and of all ranks, and answers with weights, which the
micro-batch applies.

Let R ranks take n micro-batches each, task k be present in N_k of the R n, and f be the factor that
Lightning has put in front of the loss (the loss scale over the number of accumulated batches).
J_krm, the gradient of task k on rank r in micro-batch m, contains f already. A task's gradient is
the mean over the micro-batches that have it, J_k = (1 / f N_k) Σ_rm J_krm, and the gradient that
Lightning expects is f n Σ_k w_k J_k. So it is where gradients are collected until the end of the
window; weights that are applied to each micro-batch at once count an absent task as zero.

Shapes: K are all tasks, k those present on some rank, l those present on this rank.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from lightning_mtl.distributed import sum_over_ranks, world_size
from lightning_mtl.engine.gradients import (
    Gradients,
    accumulation_dtype,
    add,
    combine,
    merge,
    write,
)
from lightning_mtl.engine.graph import Reach, cut, reach, root_edge
from lightning_mtl.engine.shared_parameters import Partition
from lightning_mtl.engine.task_backward import CutBackward, RootBackward, TaskBackward
from lightning_mtl.engine.window import Window, select


class MicroBatch:
    """The losses of one micro-batch, and its window.

    Args:
        losses: losses of the tasks that this rank trains in this micro-batch, by their names.
        partition: the shared and the task-specific parameters of the module.
        window: the micro-batches that make one optimizer step, of which this is one.
        last: whether an optimizer step follows this micro-batch.
        global_step: how many optimizer steps were taken before this micro-batch.
        features: returns the shared representation that the module names, or `None`.
        needs_all_gradients: whether DDP waits for a gradient of every parameter.
        reached: which parameters these losses reach, if the graph has been walked already.

    Attributes:
        partition, window, last, global_step, features: as given.
        present: indices of the tasks that some rank has in this micro-batch.
        local: indices of those that this rank has.
        alone: whether the window is this micro-batch only.
    """

    def __init__(
        self,
        losses: dict[str, Tensor],
        partition: Partition,
        window: Window,
        last: bool,
        global_step: int,
        features: Callable[[], Sequence[Tensor] | None],
        needs_all_gradients: bool = True,
        reached: Reach | None = None,
    ) -> None:
        tasks = partition.tasks
        self.partition = partition
        self.window = window
        self.last = last
        self.global_step = global_step
        self.local = [index for index, task in enumerate(tasks) if task in losses]
        self.features = features
        self._losses = [losses[tasks[index]] for index in self.local]
        self._roots = [root_edge(loss) for loss in self._losses]
        self._reach = reached
        self._rows: list[Gradients] | None = None
        self._sums, self._counts = self._sum_over_ranks()
        self.present = self._presence()
        window.count(self._sums, self._counts, self.present)
        self.alone = last and window.length == 1
        # Ranks wait for each other's gradients of all parameters, unless DDP looks for the unused.
        self._fills = needs_all_gradients and world_size() > 1

    @property
    def losses(self) -> Float[Tensor, " k"]:
        """The losses of the tasks in `present`: means over the ranks that have them, detached."""
        return select(self._sums / self._counts.clamp(min=1), self.present)

    @property
    def reach(self) -> Reach:
        """Which parameters each of this rank's losses reaches; the graph is walked once."""
        if self._reach is None:
            self._reach = reach(self._roots)
        return self._reach

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
        """Run the plain backward pass of a total; DDP gets zeros where it writes no gradient."""
        loss.backward()
        self._zero_fill_unused()
        self._drop_unused_gradients()

    def differentiate(self, loss: Tensor) -> TaskBackward:
        """Differentiate the heads, given `loss`, Lightning's scaled copy of the plain `total()`."""
        # The factor is that of the plain sum: a loss that is part of another would count twice.
        factor = torch.autograd.grad(loss, self._plain)[0]
        self.window.factor = factor
        task_specific = [self.partition.task_specific[task] for task in self.local]
        return self._differentiate(task_specific, factor, keep_graph=False)

    def differentiate_heads_unscaled(self) -> TaskBackward:
        """Differentiate the heads down to the trunk, without Lightning's factor.

        For observers: it keeps the graph, and computes no gradients of the heads' parameters. This
        rank has to have a task.
        """
        one = torch.ones_like(self._losses[0])
        return self._differentiate([[] for _ in self.local], one, keep_graph=True)

    def differentiate_shared(self, loss: Tensor) -> TaskBackward | None:
        """Differentiate the heads, or write the plain gradients if nothing is shared yet.

        Returns:
            `None` if nothing is known to be shared; the gradients have then been written with
            weights of 1.

        Raises:
            ValueError: if nothing will ever be shared, see `Partition.undecided`.
        """
        undecided = self.partition.undecided
        backward = self.differentiate(loss)
        if not undecided:
            return backward
        weights = torch.ones_like(self.losses)
        self.backward_weighted(backward, weights, weight_heads=True)
        self.record_weights(self.present, weights)
        return None

    def backward_weighted(
        self, backward: TaskBackward, weights: Float[Tensor, " k"], weight_heads: bool
    ) -> None:
        """Apply weights that are known before the trunk is differentiated, in one pass through it.

        Args:
            backward: of this micro-batch.
            weights: of the tasks in `present`.
            weight_heads: whether the heads' gradients are weighted too.
        """
        scaled = self._local_scaled(weights)
        heads = scaled if weight_heads else self._local_scaled(torch.ones_like(weights))
        self._write_heads(dict(zip(self.local, backward.heads, strict=True)), heads)
        self._zero_fill_unused()
        backward.backward_weighted(scaled)
        self._drop_unused_gradients()

    def trunk_rows(self, backward: TaskBackward) -> list[Gradients]:
        """This rank's task gradients on the shared parameters, all at once; computed once.

        Without a call of this, `collect` keeps no single row, but only sums over micro-batches.
        """
        if self._rows is None:
            self._rows = backward.rows(self.partition.shared)
        return self._rows

    def collect(self, backward: TaskBackward) -> None:
        """Add this micro-batch's gradients of all tasks, trunk and heads, to the window."""
        shared = self.partition.shared
        each = backward.each_row(shared) if self._rows is None else self._rows
        for task, row in zip(self.local, each, strict=True):
            self.window.rows[task] = add(self.window.rows.get(task), row)
        self.collect_heads(backward)

    def collect_heads(self, backward: TaskBackward) -> None:
        """Add this micro-batch's gradients of the heads to the window; `collect` does so too."""
        for task, head in zip(self.local, backward.heads, strict=True):
            self.window.heads[task] = add(self.window.heads.get(task), head)

    def scatter_to_all_tasks(self, block: Float[Tensor, "l l"]) -> Float[Tensor, "K K"]:
        """A matrix of this rank's tasks as one of all tasks, zero elsewhere."""
        full = block.new_zeros(len(self.partition.tasks), len(self.partition.tasks))
        for row, task in enumerate(self.local):
            for column, other in enumerate(self.local):
                full[task, other] = block[row, column]
        return full

    def write_weighted(
        self, rows: list[Gradients], weights: Sequence[float], counts: Tensor, weight_heads: bool
    ) -> None:
        """Write the window's gradients: w @ J for the trunk, and those of the heads.

        Args:
            rows: of `Window.reduced_rows`.
            weights: of the window's tasks, on the host.
            counts: of the window, on the host.
            weight_heads: whether the heads' gradients are weighted too.
        """
        # n / N_k turns a summed row into the gradient that Lightning expects, see above.
        shares = (self.window.length / counts).tolist()
        scaled = [weight * share for weight, share in zip(weights, shares, strict=True)]
        self.write_combined(combine(rows, scaled), scaled if weight_heads else shares)

    def write_combined(
        self, trunk: Gradients, head_scales: Sequence[float] | Sequence[Tensor]
    ) -> None:
        """Write the window's gradients, given those of the shared parameters.

        Args:
            trunk: the shared parameters' gradients, the same on every rank.
            head_scales: what the heads' summed gradients are multiplied by, for the window's tasks.
        """
        write(self.partition.shared, trunk)
        # Every rank writes its own head gradients, of which DDP takes the mean.
        scales = {
            task: torch.as_tensor(scale) * world_size()
            for task, scale in zip(self.window.present, head_scales, strict=True)
        }
        heads = self.window.heads
        self._write_heads(heads, [scales[task] for task in heads])
        if self._fills:
            _write_zeros(self.partition.unused_by(list(heads)))
        self._drop_unused_gradients()

    def record_weights(self, present: Sequence[int], weights: Float[Tensor, " k"]) -> None:
        """Remember the weights that were applied, for the logs."""
        self.window.applied.update(zip(present, weights.detach(), strict=True))

    def _differentiate(
        self, task_specific: Sequence[Sequence[Tensor]], cotangent: Tensor, keep_graph: bool
    ) -> TaskBackward:
        shared = self.partition.shared
        parted = cut(self._roots, shared, self.reach.owners)
        if parted is None:
            return RootBackward(self._roots, task_specific, shared, cotangent)
        return CutBackward(self._roots, parted, task_specific, cotangent, keep_graph)

    def _sum_over_ranks(self) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
        """Each task's loss summed over the ranks, and how many ranks have it.

        In the same message the ranks exchange which parameters they use.
        """
        local = dict(zip(self.local, self._losses, strict=True))
        like = self._losses[0].detach() if self._losses else self.partition.parameters[0].detach()
        dtype = accumulation_dtype(like)
        zero = like.new_zeros((), dtype=dtype)
        every = range(len(self.partition.tasks))
        sums = torch.stack([local[k].detach().to(dtype) if k in local else zero for k in every])
        counts = torch.stack([zero + 1 if k in local else zero for k in every])
        if world_size() > 1:
            usage = self.partition.usage(self.reach, self.local, sums)
            total = sum_over_ranks(torch.cat([sums, counts, usage]))
            sums, counts, usage = total.split([len(sums), len(counts), len(usage)])
            self.window.count_usage(self.partition.used(self.reach), usage)
        return sums, counts

    def _presence(self) -> list[int]:
        """Indices of the tasks that some rank has; waits for the device if this rank lacks one."""
        if world_size() == 1 or len(self.local) == len(self.partition.tasks):
            return self.local
        return self._counts.nonzero().flatten().tolist()

    def _local_scaled(self, weights: Float[Tensor, " k"]) -> list[Tensor]:
        """Weights of this rank's tasks, times R over the number of ranks that have the task here.

        DDP's mean over all ranks then is a mean over the ranks that have the task.
        """
        chosen = select(weights.to(self._sums), [self.present.index(task) for task in self.local])
        if world_size() > 1:
            chosen = chosen * (world_size() / select(self._counts, self.local))
        return list(chosen)

    def _write_heads(self, heads: dict[int, Gradients], scales: Sequence[Tensor]) -> None:
        write(
            *merge(
                (self.partition.task_specific[task], torch._foreach_mul(gradients, scale))
                for (task, gradients), scale in zip(heads.items(), scales, strict=True)
                if gradients
            )
        )

    def _zero_fill_unused(self) -> None:
        """Give DDP a gradient for the parameters that this rank's losses do not reach."""
        if self._fills:
            _write_zeros(self.partition.without_gradient(self.reach))

    def _drop_unused_gradients(self) -> None:
        """Take back the zeros of parameters that no rank used in this window.

        The optimizer then leaves these alone, momentum and decay included.
        """
        if self.last and world_size() > 1:
            for parameter in self.window.unused_parameters(self.partition):
                parameter.grad = None


def _write_zeros(parameters: Sequence[Parameter]) -> None:
    write(parameters, [torch.zeros_like(parameter) for parameter in parameters])
