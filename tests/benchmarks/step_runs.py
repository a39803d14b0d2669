"""Training a variant for a few steps, and what is noted meanwhile, for `bench_step`."""

import time
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from tests.benchmarks.step_networks import Batch, Split
from tests.benchmarks.step_variants import Variant


class Clock(L.Callback):
    """The time from the start of each batch to that of the next one, after some to warm up.

    Args:
        warmup: how many batches of a fit do not count.
    """

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.times: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        cuda = pl_module.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        if batch_idx > self.warmup:
            self.times.append(now - self.start)
        if cuda and batch_idx == self.warmup:
            torch.cuda.reset_peak_memory_stats()
        self.start = now


class Alive(TorchDispatchMode):
    """The largest number of bytes alive at once, of those allocated meanwhile, within 1 %."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.total = self.peak = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        known = {_key(tensor) for tensor in _tensors((args, kwargs))}
        result = function(*args, **kwargs or {})
        new = {_key(tensor): tensor.untyped_storage() for tensor in _tensors(result)}
        for key, storage in new.items():
            if key not in known and storage.device.type != "meta":
                _, before = self.alive.get(key, (None, 0))
                self.alive[key] = StorageWeakRef(storage), storage.nbytes()
                self.total += storage.nbytes() - before
        if self.total > 1.01 * self.peak:
            self.forget_the_dead()
            self.peak = max(self.peak, self.total)
        return result

    def forget_the_dead(self) -> None:
        """Called only when there may be a new peak, since it takes long."""
        self.alive = {key: own for key, own in self.alive.items() if not own[0].expired()}
        self.total = sum(size for _, size in self.alive.values())


class PeakOfStep(L.Callback):
    """How many bytes one step allocates at its peak, on the CPU.

    Args:
        batch: the number of the step.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.peak = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx == self.batch:
            self.mode = Alive()
            self.mode.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if batch_idx == self.batch:
            self.mode.__exit__(None, None, None)
            self.peak = self.mode.peak
            del self.mode


class Contestant:
    """A variant that trains a network of its own, a few steps at a time.

    Weightings stay from one fit to the next, so that those that average over steps get past their
    first ones.

    Args:
        variant: what to train.
        network: copied for nobody else.
        arguments: of the Trainer.
    """

    def __init__(self, variant: Variant, network: Split, arguments: dict[str, Any]) -> None:
        self.module = variant.module(network)
        self.callbacks = variant.callbacks()
        self.arguments = arguments
        self.times: list[float] = []
        self.peak = 0

    def fit(self, batches: Sequence[Batch], observer: L.Callback) -> None:
        """Train on each batch once."""
        trainer = L.Trainer(
            devices=1,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[*self.callbacks, observer],
            **self.arguments,
        )
        trainer.fit(self.module, DataLoader(batches, batch_size=None))

    def take_turn(self, batches: Sequence[Batch], warmup: int) -> None:
        """Train, and note times and, on a GPU, the memory that is taken at most."""
        clock = Clock(warmup)
        self.fit(batches, clock)
        self.times += clock.times
        if batches[0]["image"].is_cuda:
            self.peak = max(self.peak, torch.cuda.max_memory_allocated())

    def weigh(self, batches: Sequence[Batch]) -> None:
        """On the CPU, train three steps, and note what the last one allocates at its peak."""
        observer = PeakOfStep(2)
        self.fit([batches[0]] * 3, observer)
        self.peak = observer.peak


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
