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

Prior weights c of the tasks multiply losses and gradients before a weighting sees them: to it the
loss of task k is c_k L_k, and J_krm contains c_k. What is logged are L_k and the weights of the
given losses, c_k w_k.

Where the module says over how many labels c_krm a loss is a mean, J_krm contains c_krm as well, N_k
is the sum of c_krm, and J_k the gradient of the mean over all labels of the window.

Shapes: K are all tasks, k those present on some rank, l those present on this rank.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from lightning_mtl.distributed import sum_over_ranks, world_size
from lightning_mtl.engine.anchor import anchor
from lightning_mtl.engine.gradients import (
    Gradients,
    add,
    combine,
    wide_dtype,
)
from lightning_mtl.engine.graph import Reach, root_edge
from lightning_mtl.engine.hooks import count_handles
from lightning_mtl.engine.known_graphs import KnownGraphs
from lightning_mtl.engine.shared_parameters import Partition
from lightning_mtl.engine.strategies import Reduction
from lightning_mtl.engine.task_backward import TaskBackward, task_backward
from lightning_mtl.engine.task_totals import TaskTotals, exchange, of_one_rank, or_one
from lightning_mtl.engine.transfers import LateChecks
from lightning_mtl.engine.usage import Usage
from lightning_mtl.engine.window import Window, select
from lightning_mtl.engine.writing import write_used, write_zeros
from lightning_mtl.linalg.host import on_host


class MicroBatch:
    """The losses of one micro-batch, and its window.

    Args:
        losses: losses of the tasks that this rank trains in this micro-batch, by their names.
        partition: the shared and the task-specific parameters of the module.
        window: the micro-batches that make one optimizer step, of which this is one.
        last: whether an optimizer step follows this micro-batch.
        global_step: how many optimizer steps were taken before this micro-batch.
        features: returns the shared representation that the module names, or `None`.
        counts: over how many labels a loss is a mean, for the tasks of which the module says so.
        reduction: how gradients are reduced over ranks.
        reached: which parameters these losses reach, if the graph has been walked already.
        handles: how many hooks were registered before the forward pass, see `count_handles`.
        checks: of numbers that the host does not know yet.
        graphs: those that earlier steps have walked.
        leaves: of their graph, beside the parameters; they count as shared ones.
        prior: c, of all tasks; `None` for 1.
        stacked: the losses as one tensor, with their graph, if they have been stacked already.

    Attributes:
        partition, window, last, global_step, features, checks: as given.
        present: indices of the tasks that some rank has in this micro-batch.
        local: indices of those that this rank has.
        alone: whether the window is this micro-batch only.
    """

    def __init__(
        self,
        losses: Mapping[str, Tensor],
        partition: Partition,
        window: Window,
        last: bool,
        global_step: int,
        features: Callable[[], Sequence[Tensor] | None],
        counts: Mapping[str, Tensor] | None = None,
        reduction: Reduction | None = None,
        reached: Reach | None = None,
        handles: int | None = None,
        checks: LateChecks | None = None,
        graphs: KnownGraphs | None = None,
        stacked: Float[Tensor, " l"] | None = None,
        leaves: Sequence[Tensor] = (),
        prior: Float[Tensor, " K"] | None = None,
    ) -> None:
        tasks = partition.tasks
        self.partition = partition
        self.window = window
        self.last = last
        self.global_step = global_step
        self.local = [index for index, task in enumerate(tasks) if task in losses]
        self.features = features
        self.checks = checks or LateChecks()
        self._graphs = graphs or KnownGraphs()
        self._leaves = leaves
        self._prior = prior
        self._losses = [losses[tasks[index]] for index in self.local]
        edges = map(root_edge, self._losses) if reached is None else reached.roots
        self._roots = list(edges)
        if self._losses:
            self._stacked = torch.stack(self._losses) if stacked is None else stacked
        self._labels = {k: counts[tasks[k]] for k in self.local if counts and tasks[k] in counts}
        self._reduction = reduction or Reduction()
        self._handles = count_handles() if handles is None else handles
        self._reach = reached
        self._rows: list[Gradients] | None = None
        self._totals = self._sum_over_ranks()
        self.present = self._presence()
        window.count(self._totals, self.present, prior)
        self.alone = last and window.length == 1

    @property
    def losses(self) -> Float[Tensor, " k"]:
        """The losses of the tasks in `present`: means over the ranks that have them, detached.

        Times the prior weights, as a weighting sees them.
        """
        return self.times_prior(select(self._totals.means, self.present), self.present)

    @property
    def wide(self) -> Float[Tensor, ""]:
        """A number of the device and the dtype of weights."""
        losses = self._totals.losses
        return losses.new_empty((), dtype=wide_dtype(losses.device))

    @property
    def local_losses(self) -> dict[str, Tensor]:
        """The losses of this rank's tasks as the module gives them, by their names."""
        names = (self.partition.tasks[task] for task in self.local)
        return dict(zip(names, self._losses, strict=True))

    @property
    def roots(self) -> Sequence[GradientEdge]:
        """Where the losses of this rank's tasks start in their graph."""
        return self._roots

    @property
    def reach(self) -> Reach:
        """Which parameters each of this rank's losses reaches; the graph is walked once."""
        if self._reach is None:
            self._reach = self._graphs.reach(self._roots)
        return self._reach

    @cached_property
    def usage(self) -> Usage:
        """Which parameters this rank's losses use."""
        return self.partition.usage(self.reach, self.local)

    def used_by(self, tasks: Collection[int]) -> set[Tensor]:
        """The trainable parameters that the losses of some tasks use, on any rank.

        A collective call, before the graph is differentiated. With several ranks, it waits for the
        device.

        Args:
            tasks: their indices.
        """
        pairs = zip(self.local, self._roots, strict=True)
        roots = {task: root for task, root in pairs if task in tasks}
        used: set[Tensor] = set()
        if roots:
            reached = self._graphs.reach(list(roots.values()))
            used = self.partition.usage(reached, list(roots)).used
        if world_size() == 1:
            return used
        flags = [float(parameter in used) for parameter in self.partition.names]
        everywhere = sum_over_ranks(self.partition.like.new_tensor(flags)).tolist()
        return {p for p, ranks in zip(self.partition.names, everywhere, strict=True) if ranks}

    @property
    def local_counts(self) -> Float[Tensor, " l"]:
        """How much the gradients of this rank's tasks count here; 1 where no labels are counted."""
        return torch.stack(self._shares)

    @property
    def is_plain(self) -> bool:
        """Whether one rank has all tasks and counts no labels: its loss is the sum of theirs."""
        return self._totals.alone

    @property
    def waits_for_counts(self) -> bool:
        """Whether a task's mean runs over the labels of several micro-batches.

        How many these are is known at the end of the window only, so that gradients have to be
        collected until there, whatever the weights are.
        """
        several = self.partition.counted and not self.alone
        return several and self._reduction.takes_task_gradients

    def total(self, weights: Float[Tensor, " k"] | None = None) -> Tensor:
        """Σ w_k c_k L_k over this rank's tasks, for `LightningModule.training_step` to return.

        Args:
            weights: w of the tasks in `present`; `None` for Σ c_k L_k, whose gradients are written
                task by task.
        """
        anchored = self._reduction.finds_unused and (weights is None or not self._losses)
        if not self._losses:
            # Nothing to train here, but other ranks may be waiting for this one.
            self._plain = torch.zeros_like(self._totals.losses[0], requires_grad=True)
        elif weights is None:
            self._plain = self.times_prior(self._stacked, self.local).sum()
        else:
            weights = self.times_prior(weights, self.present)
            return (self._stacked * self._local_scaled(weights, self._shares)).sum()
        # DDP looks for what this sum does not reach, and would not expect gradients of it.
        return anchor(self._plain, self.partition.parameters) if anchored else self._plain

    def backward(self, loss: Tensor) -> None:
        """Run the plain backward pass of a total; DDP gets zeros where it writes no gradient."""
        loss.backward()
        if not self._reduction.finds_unused:
            self._zero_fill_unused()
        self._drop_unused_gradients()

    def differentiate(self, loss: Tensor) -> TaskBackward:
        """Differentiate the heads, given `loss`, Lightning's scaled copy of the plain `total()`."""
        # The factor is that of the plain sum: a loss that is part of another would count twice.
        factor = torch.autograd.grad(loss, self._plain)[0]
        self.window.factor = factor
        self.window.used_here |= self.usage.used
        task_specific = [self.partition.task_specific[task] for task in self.local]
        cotangents = [factor * share.to(factor) for share in self._shares]
        if self._prior is not None and cotangents:
            scaled = self.times_prior(torch.stack(cotangents), self.local)
            cotangents = list(scaled.unbind())
        return self._differentiate(task_specific, cotangents, keep_graph=False)

    def differentiate_heads_unscaled(self) -> TaskBackward:
        """Differentiate the heads down to the trunk, without Lightning's factor and prior weights.

        For observers: it keeps the graph, and computes no gradients of the heads' parameters. This
        rank has to have a task. The applied weights belong to these gradients.
        """
        ones = [torch.ones_like(loss) for loss in self._losses]
        return self._differentiate([[] for _ in self.local], ones, keep_graph=True)

    def differentiate_shared(self, loss: Tensor) -> TaskBackward | None:
        """Differentiate the heads, or write the plain gradients if there is nothing to balance.

        Returns:
            `None` if nothing is known to be shared; the gradients have then been written with
            weights of 1, or will be at the end of the window.

        Raises:
            ValueError: if nothing will ever be shared, see `Partition.undecided`.
        """
        undecided = self.partition.undecided
        backward = self.differentiate(loss)
        if not undecided:
            return backward
        if self.alone:
            weights = torch.ones_like(self.losses)
            self.backward_weighted(backward, weights, weight_heads=True)
            self.record_weights(self.present, weights)
        else:
            self.gather_plain(backward)
        return None

    def gather_plain(self, backward: TaskBackward) -> None:
        """Collect this micro-batch's gradients; after the last one, write them unweighted."""
        self.collect(backward)
        if self.last:
            self.write_window(torch.ones_like(self.window.losses))

    def backward_weighted(
        self, backward: TaskBackward, weights: Float[Tensor, " k"], weight_heads: bool
    ) -> None:
        """Apply weights that are known before the trunk is differentiated, in one pass through it.

        Args:
            backward: of this micro-batch.
            weights: of the tasks in `present`.
            weight_heads: whether the heads' gradients are weighted too.
        """
        # The gradients contain the shares of the labels already.
        scaled = self._local_scaled(weights).unbind()
        ones = torch.ones_like(weights)
        heads = scaled if weight_heads else self._local_scaled(ones).unbind()
        gradients = dict(zip(self.local, backward.heads, strict=True))
        write_used(self.partition, gradients, heads, self.usage.used)
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

    def write_window(self, weights: Float[Tensor, " k"], weight_heads: bool = True) -> None:
        """Write the window's gradients, w @ J for the trunk and those of the heads, and record w.

        Args:
            weights: of the window's tasks, on the device, which is not waited for.
            weight_heads: whether the heads' gradients are weighted too.
        """
        # n / N_k turns a summed row into the gradient that Lightning expects, see above.
        shares = self.window.length / self.window.counts
        scaled = weights * shares
        heads = scaled if weight_heads else shares
        trunk = combine(self.window.reduced_rows(), scaled.tolist() if on_host(scaled) else scaled)
        self.write_combined(trunk, heads.unbind())
        self.record_weights(self.window.present, weights)

    def write_combined(self, trunk: Gradients, head_scales: Sequence[Tensor]) -> None:
        """Write the window's gradients, given those of the shared parameters.

        Args:
            trunk: the shared parameters' gradients, the same on every rank.
            head_scales: what the heads' summed gradients are multiplied by, for the window's tasks.
        """
        # Ranks wait for each other's gradients of all parameters, used or not.
        used = self.window.used_here if world_size() == 1 else set(self.partition.parameters)
        # Every rank writes its own head gradients, of which DDP takes the mean.
        scales = {
            task: scale * world_size()
            for task, scale in zip(self.window.present, head_scales, strict=True)
        }
        heads = self.window.heads
        write_used(self.partition, heads, [scales[task] for task in heads], used, trunk)
        if world_size() > 1:
            write_zeros(self.partition.unused_by(list(heads)))
        self._drop_unused_gradients()

    def times_prior(self, values: Float[Tensor, " k"], tasks: Sequence[int]) -> Float[Tensor, " k"]:
        """Numbers of these tasks, times their prior weights."""
        return values if self._prior is None else values * select(self._prior, tasks).to(values)

    def record_weights(self, present: Sequence[int], weights: Float[Tensor, " k"]) -> None:
        """Remember the weights that were applied, c_k w_k, for the logs."""
        applied = self.times_prior(weights.detach(), present)
        self.window.applied.update(zip(present, applied.unbind(), strict=True))

    def _differentiate(
        self,
        task_specific: Sequence[Sequence[Tensor]],
        cotangents: Sequence[Tensor],
        keep_graph: bool,
    ) -> TaskBackward:
        shared: Sequence[Tensor] = self.partition.shared
        if self._leaves:
            shared = [*shared, *self._leaves]
        return task_backward(
            self._roots,
            self._graphs.cut(self.reach, shared),
            self.partition.shared,
            task_specific,
            cotangents,
            keep_graph,
            hooked=count_handles() > self._handles,
            names=self.partition.names,
        )

    @cached_property
    def _shares(self) -> list[Tensor]:
        """For each of this rank's tasks its number of labels, relative to the reference."""
        one = self._totals.counts.new_ones(())
        reference = self._totals.reference
        return [
            self._labels[k].to(reference) / or_one(reference[k]) if k in self._labels else one
            for k in self.local
        ]

    def _sum_over_ranks(self) -> TaskTotals:
        """Exchange the losses; in the same message, which parameters each rank uses."""
        losses = dict(zip(self.local, self._losses, strict=True))
        like = self.partition.like
        message = self.usage.on_device(like) if world_size() > 1 else None
        tasks = len(self.partition.tasks)
        if message is None and not self._labels and len(self.local) == tasks:
            return of_one_rank(self._stacked, like)
        totals, usage = exchange(losses, self._labels, tasks, like, self.window.reference, message)
        if usage is not None:
            self.window.used_here |= self.usage.used
            self.window.count_usage(usage)
        return totals

    def _presence(self) -> list[int]:
        """Indices of the tasks that some rank has; waits for the device if this rank lacks one."""
        if world_size() == 1 or len(self.local) == len(self.partition.tasks):
            return self.local
        return self._totals.ranks.nonzero().flatten().tolist()

    def _local_scaled(
        self, weights: Float[Tensor, " k"], shares: Sequence[Tensor] | None = None
    ) -> Float[Tensor, " l"]:
        """Weights of this rank's tasks, times R over the sum of the counts that the ranks have.

        DDP's mean over all ranks then is a mean over the ranks that have the task, by their labels.

        Args:
            weights: of the tasks in `present`.
            shares: counts of this rank's tasks, where the gradients do not contain them yet.
        """
        local = [self.present.index(task) for task in self.local]
        scaled = select(weights.to(self._totals.losses), local)
        if self.local and (world_size() > 1 or self._labels):
            counts = or_one(select(self._totals.counts, self.local))
            own = torch.ones_like(counts) if shares is None else torch.stack(list(shares))
            scaled = scaled * (own / counts * world_size())
        return scaled

    def _zero_fill_unused(self) -> None:
        """Give DDP a gradient for the parameters that this rank's losses do not reach.

        Where parameters are sharded, the graph does not tell which ones these are, see below, and
        a gradient belongs to the part of a parameter that the rank holds.
        """
        if world_size() > 1 and not self._reduction.sharded:
            write_zeros(self.usage.unused)

    def _drop_unused_gradients(self) -> None:
        """Take back the zeros of parameters that no rank used in this window.

        The optimizer then leaves these alone, momentum and decay included. Where parameters are
        sharded, the graph does not tell: its leaves are gathered copies.
        """
        if self.last and world_size() > 1 and not self._reduction.sharded:
            for parameter in self.window.unused_parameters(self.partition):
                parameter.grad = None
