"""What a run of a sweep costs: the time of a step and the memory at its peak."""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

WARMUP = 5
"""Batches before the clock starts."""

TIMED = 200
"""Batches that are timed, so that a long run is not made to wait for its device for ever."""


class CostMeter(L.Callback):
    """Writes the seconds of a training batch and the peak memory of a run into a file.

    The time is that from the start to the end of a batch, without what loads it: the median of at
    most 200 batches after the first five. Memory is, on a GPU, the most that tensors took at once,
    and otherwise the most that the process had, less what it had before training. Runs side by
    side on one machine slow each other down, so compare times of one sweep only.

    Args:
        file: where to write `{"step_seconds": ..., "peak_bytes": ..., "device": ...}`.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self._seconds: list[float] = []
        self._batches = 0
        self._start = 0.0
        self._before = 0
        self._device = torch.device("cpu")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the device and the memory in use. Called before the first batch."""
        self._device = pl_module.device
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._before = _peak_of_process()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock. Called before each batch."""
        self._start = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop the clock once the device is done. Called after each batch."""
        self._batches += 1
        if not WARMUP < self._batches <= WARMUP + TIMED:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds.append(time.perf_counter() - self._start)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file. Called when training ends."""
        if not trainer.is_global_zero:
            return
        # By now the strategy has brought the module back to the host.
        device = self._device
        on_gpu = device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(device) if on_gpu else _peak_of_process()
        costs = {
            "step_seconds": statistics.median(self._seconds) if self._seconds else None,
            "peak_bytes": max(0, peak - self._before),
            "device": torch.cuda.get_device_name(device) if on_gpu else str(device),
        }
        self.file.write_text(json.dumps(costs), encoding="utf-8")


def _peak_of_process() -> int:
    """The most memory that the process has had, in bytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
