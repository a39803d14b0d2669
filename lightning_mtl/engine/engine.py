"""What stands behind a `MultiTaskModule`: from the losses of its tasks to `.grad`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, stack, tensor

from lightning_mtl.distributed import max_over_ranks, union_over_ranks, world_size
from lightning_mtl.engine.balancer import Balancer, Observer, PlainSum
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.graph import Reach, root_edge
from lightning_mtl.engine.hooks import count_handles
from lightning_mtl.engine.known_graphs import KnownGraphs
from lightning_mtl.engine.loss_guard import (
    check_automatic,
    check_finite,
    check_finite_buffers,
    check_losses,
)
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.module_checks import explained, no_gradients, whole_graph
from lightning_mtl.engine.module_hooks import ModuleHooks
from lightning_mtl.engine.optimizer_step import OptimizerStep
from lightning_mtl.engine.prior import check_prior_names, prior_weights
from lightning_mtl.engine.shared_parameters import Partition
from lightning_mtl.engine.step_log import StepLog
from lightning_mtl.engine.strategies import Reduction, reduction_of
from lightning_mtl.engine.task_output import TaskOutput, read_output
from lightning_mtl.engine.trainer_facts import steps_after_this_batch
from lightning_mtl.engine.transfers import LateChecks
from lightning_mtl.engine.window import Window


class Engine:
    """Runs the training steps of one `MultiTaskModule`, which holds it in a single attribute.

    All it knows is reset when a run starts, also after a search for a learning rate, so that no run
    depends on an earlier one.

    Args:
        module: the `MultiTaskModule`.
        names_shared: whether the module names its shared parameters, by its own
            `shared_parameters`.

    Attributes:
        balancer: the weighting of the Trainer; the plain sum without one.
        observers: callbacks that look at gradients.
        partition: of the module's parameters; `None` before the first step of a run.
        log: what is logged of each step.
    """

    def __init__(self, module: Any, names_shared: bool) -> None:
        self.module = module
        self._names_shared = names_shared
        self.balancer: Balancer = PlainSum()
        self.observers: list[Observer] = []
        self.log = StepLog()
        self._step: OptimizerStep | None = None
        self.begin_run()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Engine":
        """A new engine for the copy of the module, which takes no part in the run."""
        return Engine(memo.get(id(self.module), self.module), self._names_shared)

    def begin_run(self) -> None:
        """Forget what belongs to the run before. Called when a run starts, ends or breaks off."""
        self.partition: Partition | None = None
        self._prior: Tensor | None = None
        self._checks = LateChecks()
        self._graphs = KnownGraphs()
        self._micro_batch: MicroBatch | None = None
        self._reduction = Reduction()
        self._may_repeat = True
        self._announced: set[str] = set()
        self._uncertain: set[str] = set()
        self.reset_window()

    def reset_window(self) -> None:
        """Start a new window. Called at the start of each epoch, as one may have broken off."""
        self._window = Window()
        self._deferred: list[tuple[MicroBatch, Tensor]] = []
        self.log.clear()

    def training_step(self, batch: Any) -> Tensor:
        """Compute the task losses, and the total that Lightning differentiates."""
        module = self.module
        check_automatic(module)
        if ModuleHooks.attach(module.trainer, self):
            self.begin_run()
        if self._step is not None:
            self._begin_evaluation(self._step)
        if self.partition is None:
            # The strategy has wrapped the module by now.
            self._reduction = reduction_of(module.trainer.strategy)
        if self._window.length == 0:
            self.balancer.begin_window()
        last = steps_after_this_batch(module.trainer)
        leaves = self._prepare(batch, last)
        handles = count_handles()
        output = read_output(type(module).__name__, self._task_losses(batch))
        losses = output.losses
        partition = self._partition_for(losses)
        present = [task for task in partition.tasks if task in losses]
        step = module.trainer.global_step
        positive_for = type(self.balancer).__name__ if self.balancer.positive_losses else None
        stacked = stack([losses[task] for task in present])
        self._checks.add(stacked, partial(check_losses, present, step, positive_for))
        reached = self._follow_graph(partition, output)
        active = self.balancer.active(partition.tasks)
        self.balancer.observe_losses(output)
        trained = {task: losses[task] for task in present if task in active}
        every = len(trained) == len(present)
        self._micro_batch = MicroBatch(
            trained,
            partition,
            self._window,
            last=last,
            global_step=step,
            features=self._features,
            counts=output.counts,
            reduction=self._reduction,
            reached=reached if every else None,
            handles=handles,
            checks=self._checks,
            graphs=self._graphs,
            stacked=stacked if every else None,
            leaves=leaves,
            prior=self._prior,
        )
        return self.balancer.total(self._micro_batch)

    def _prepare(self, batch: Any, last: bool) -> list[Tensor]:
        """Let weighting and observers get ready; the leaves that they will add to the graph."""
        alone = last and self._window.length == 0
        coming = Coming(self.module, batch, self.partition or self._remembered(), alone)
        leaves = list(self.balancer.prepare(coming))
        for observer in self.observers:
            leaves += observer.prepare(coming)
        return leaves

    def _remembered(self) -> Partition | None:
        """The partition of the run that this one goes on with, before losses name its tasks."""
        balancer = self.balancer
        if not (balancer.tasks and balancer.learned):
            return None
        return self._new_partition(balancer.tasks)

    def _new_partition(self, names: tuple[str, ...]) -> Partition:
        """A partition for the tasks of these names, which goes on from what was learned."""
        given = self.module.shared_parameters if self._names_shared else None
        return Partition(self.module, names, given, self.balancer.learned)

    def _task_losses(self, batch: Any) -> Any:
        """What the module returns, which must not have run a backward pass."""
        name = type(self.module).__name__
        # Flat gradients of the step before get new tensors as units gather their parameters.
        watched = [] if self._reduction.flat else self.module.trainer.optimizers
        with (
            no_gradients(name, watched),
            explained(name, first=self.partition is None),
        ):
            return self.module.task_losses(batch)

    def backward(self, loss: Tensor) -> None:
        """Write the gradients, given the total as Lightning has scaled it.

        Raises:
            RuntimeError: if the total is not that of `training_step`.
        """
        micro_batch = self._take_micro_batch()
        name = type(self.module).__name__
        if micro_batch is None:
            check_automatic(self.module)
            raise RuntimeError(
                f"`{name}.training_step` should be the one of `MultiTaskModule`, which sets up the"
                f" backward pass. Found one of `{name}` that does not call it. Put the work of a"
                " step into `task_losses`, or call `super().training_step(batch, batch_idx)`."
            )
        if self._waits(micro_batch):
            self._deferred.append((micro_batch, loss))
            return
        with whole_graph(name):
            for earlier, total in (*self._deferred, (micro_batch, loss)):
                for observer in self.observers:
                    observer.observe(earlier)
                self.balancer.backward(earlier, total)
        self._deferred = []
        self._graphs.release()
        if micro_batch.last:
            reports = [observer.conclude(micro_batch) for observer in self.observers]
            self._finish(micro_batch)
            for report in reports:
                self.log.add(report)

    def optimizer_step(self, optimizer: Any, step: Callable[[], Any]) -> None:
        """Let the weighting step, once or more often. Called in place of the optimizer's step.

        Args:
            optimizer: Lightning's wrapper of it.
            step: runs the forward and backward pass, then steps.
        """
        self.balancer.optimizer_step(optimizer, partial(self._step_once, optimizer, step))

    def conclude_backward(self) -> None:
        """Catch up where a strategy, such as DeepSpeed's, ran `backward` without calling ours."""
        micro_batch = self._take_micro_batch()
        self._graphs.release()
        if micro_batch is not None:
            self.balancer.catch_up(micro_batch)
            if micro_batch.last:
                self._finish(micro_batch)

    def check_state(self) -> None:
        """Check losses, parameters and buffers. Called before each checkpoint is written.

        Raises:
            ValueError: if one of them has been NaN or infinite.
        """
        self._checks.run()
        check_finite(self.module.named_parameters())
        check_finite_buffers(self.module)

    def end_run(self) -> None:
        """Look at the last losses, and forget the run."""
        self._checks.run()
        self.begin_run()

    def _step_once(self, optimizer: Any, step: Callable[[], Any]) -> None:
        scaled = getattr(self.module.trainer.precision_plugin, "scaler", None) is not None
        inner = getattr(optimizer, "optimizer", optimizer)
        current = self._step = OptimizerStep(self.balancer, inner, scaled, self._may_repeat)
        try:
            current.run(step)
            # An optimizer that evaluated the losses once at the first step goes on to do so.
            self._may_repeat = current.evaluations > 1
        finally:
            self._step = None

    def _begin_evaluation(self, step: OptimizerStep) -> None:
        """Prepare for the first evaluation of a step, or another one.

        Raises:
            ValueError: if another one comes under gradient accumulation.
        """
        step.begin_evaluation()
        batches = self.module.trainer.accumulate_grad_batches
        if step.evaluations > 1 and batches > 1:
            raise ValueError(
                "An optimizer that evaluates the losses several times in a step should have"
                f" `accumulate_grad_batches=1`. Found {batches}: gradients of the last batch alone"
                " would be added up again and again. Use a larger batch."
            )

    def _waits(self, micro_batch: MicroBatch) -> bool:
        """Whether to differentiate a micro-batch later, with the next one of its window.

        So it is in the first window of a run whose tasks come one after the other: nothing is known
        to be shared before the second one.
        """
        partition = micro_batch.partition
        follows = self.balancer.follows_graph
        return follows and not micro_batch.last and not partition.complete and partition.undecided

    def _take_micro_batch(self) -> MicroBatch | None:
        """The current micro-batch; its graph is let go of before the optimizer runs."""
        micro_batch, self._micro_batch = self._micro_batch, None
        return micro_batch

    def _finish(self, micro_batch: MicroBatch) -> None:
        tasks, balancer = micro_batch.partition.tasks, self.balancer
        reweights = balancer.reweights or self._prior is not None
        self.log.add_window(micro_batch.window, tasks, reweights)
        self.log.add_details(balancer.logs())
        self._window = Window()

    def _partition_for(self, losses: dict[str, Tensor]) -> Partition:
        """The partition of this run, for the names of its tasks."""
        if self._reduction.sharded and world_size() > 1:
            self._check_presence(losses)
        names = self.partition.tasks if self.partition is not None else self._names(losses)
        if self.balancer.tasks and self.balancer.tasks != names:
            raise ValueError(
                "A weighting should continue with the tasks of its training, in an earlier run or"
                f" in its checkpoint: {self.balancer.tasks}. Found the tasks {names}. Use the same"
                " tasks in the same order, or a new weighting."
            )
        self.balancer.tasks = names
        if self.partition is None:
            prior = self.balancer.prior
            check_prior_names(type(self.balancer).__name__, prior, names)
            self.partition = self._new_partition(names)
            self._prior = prior_weights(prior, names, self.partition.like)
        unknown = [task for task in losses if task not in names]
        if unknown:
            raise ValueError(
                f"`{type(self.module).__name__}.task_losses` should return losses of the tasks"
                f" {list(names)} only. Found {unknown} besides. Tasks are taken from `task_names`,"
                " or from the first batch: set `task_names` if some are absent from it."
            )
        return self.partition

    def _names(self, losses: dict[str, Tensor]) -> tuple[str, ...]:
        named = tuple(self.module.task_names) or self.balancer.tasks
        return named or tuple(union_over_ranks(list(losses)))

    def _follow_graph(self, partition: Partition, output: TaskOutput) -> Reach | None:
        """Walk this step's graph, and keep the partition up to date.

        Returns:
            Which parameters each loss reaches; `None` where nobody needs to know.
        """
        learns = not partition.complete
        counted = bool(output.counts)
        follows = self.balancer.follows_graph or bool(self.observers)
        if counted and self.module.trainer.accumulate_grad_batches > 1:
            self._announce_counting()
        if not learns and not follows and world_size() == 1:
            partition.counted = partition.counted or counted
            return None
        losses = output.losses
        present = [index for index, task in enumerate(partition.tasks) if task in losses]
        roots = [root_edge(losses[partition.tasks[index]]) for index in present]
        reached = self._graphs.reach(roots)
        if learns or (follows and self._any_rank_has_news(partition, reached, present)):
            self._learn(partition, reached, present, counted)
        return reached

    def _announce_counting(self) -> None:
        if self._reduction.takes_task_gradients:
            self._announce(
                "Losses count by their numbers of labels over accumulated micro-batches, which are"
                " known after the last one: each batch costs K trunk passes, under every weighting"
                " and without one. Return losses without counts to take the mean of their means."
            )
        else:
            self._announce(
                "Numbers of labels are not used over accumulated micro-batches, as this strategy"
                " has no task gradients: a task's loss is the mean of its means there. Use a"
                ' strategy that keeps whole parameters, such as `"ddp"`, where they should count.'
            )

    def _announce(self, text: str) -> None:
        """Tell people once in a run."""
        if text not in self._announced:
            self._announced.add(text)
            rank_zero_info(text)

    def _check_presence(self, losses: dict[str, Tensor]) -> None:
        """Refuse a batch that lacks a task where ranks hold parts of each other's heads.

        Raises:
            ValueError: if a task is missing.
        """
        names = self.partition.tasks if self.partition else tuple(self.module.task_names)
        missing = [task for task in names if task not in losses]
        if missing:
            name = type(self.module).__name__
            raise ValueError(
                f"`{name}.task_losses` should return every task on every rank where parameters are"
                f" sharded, as all ranks take part in each head's passes. Found no {missing}."
                " Return the head's prediction times zero as the loss of a task without labels, or"
                ' use a strategy that keeps whole parameters, such as `"ddp"`.'
            )

    def _any_rank_has_news(
        self, partition: Partition, reached: Reach, present: Sequence[int]
    ) -> bool:
        """All-reduce one number; with several ranks, that waits for the device."""
        news = partition.is_news(reached, present)
        if world_size() == 1:
            return news
        return bool(max_over_ranks(tensor(float(news), device=self.module.device)))

    def _learn(
        self, partition: Partition, reached: Reach, present: Sequence[int], counted: bool
    ) -> None:
        """Learn from this step's graph, and sort the window's gradients accordingly."""
        before, was_complete = partition.groups(), partition.complete
        partition.learn(reached, present, self.module.device, counted)
        self.balancer.learned = partition.state()
        self._window.repartition(before, partition.groups())
        if reached.fused and len(present) > 1:
            rank_zero_warn(
                "One node of the autograd graph holds all parameters, as in a network that was"
                " compiled as a whole: every parameter looks shared, and the backward pass of every"
                " task runs everything. Compile the encoder and each head on its own."
            )
        if not self._names_shared and (self.balancer.follows_graph or self.observers):
            self._warn_of_uncertain(partition, reached)
        if partition.complete and not was_complete and not self._reduction.flat:
            rank_zero_info(partition.describe())
        follows = self.balancer.follows_graph
        alone = len(partition.tasks) == 1 and not isinstance(self.balancer, PlainSum)
        if (follows or alone) and partition.complete and partition.undecided:
            self._announce(partition.why_undecided)

    def _warn_of_uncertain(self, partition: Partition, reached: Reach) -> None:
        """Name the parameters that may be shared by mistake, each of them once in a run."""
        uncertain = set(reached.uncertain)
        names = [name for parameter, name in partition.names.items() if parameter in uncertain]
        new = [name for name in names if name not in self._uncertain]
        self._uncertain.update(new)
        if new:
            more = f" and {len(new) - 5} more" if len(new) > 5 else ""
            rank_zero_warn(
                "The graph should show which parameters each loss depends on. Found losses that are"
                " entries of one tensor, taken or assembled in a way that cannot be followed, so"
                f" that these parameters look shared: {', '.join(new[:5])}{more}. If each of them"
                " belongs to one task, join the losses by `torch.stack` or take them by an integer"
                " index, compute each on its own, or override `shared_parameters()`."
            )

    def _features(self) -> Sequence[Tensor] | None:
        features = self.module.shared_features()
        return [features] if isinstance(features, Tensor) else features
