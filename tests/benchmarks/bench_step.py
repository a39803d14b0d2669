"""Step time of every route as a ratio to plain equal weighting and to the floor of exact methods.

    python tests/benchmarks/bench_step.py [--rounds 5] [--threads 2] [--size 96 128] [--batch 4]

All variants take turns in one run, a few steps each; the figure is the median over all steps of a
variant, divided by that of its reference. The floor is what exact task gradients cost at least: one
forward pass, each head differentiated once, the trunk K times, written by hand here.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import (
    DWA,
    MGDA,
    AlternatingUpdates,
    EqualWeighting,
    GradientNoiseMonitor,
    GradNorm,
    MaxGNR,
    UncertaintyWeighting,
)
from lightning_mtl.models import SharedEncoder
from lightning_mtl.tasks import Depth, Normals, Segmentation

TASKS = (Segmentation(5), Depth(), Normals())


class Plain(L.LightningModule):
    """What a user would write without this package: the sum of the losses."""

    def __init__(self, decoder: str) -> None:
        super().__init__()
        channels = {task.name: task.out_channels for task in TASKS}
        self.network = SharedEncoder(channels, decoder=decoder)

    def losses(self, batch: dict[str, Tensor], predictions: dict[str, Tensor]) -> list[Tensor]:
        return [task.loss(predictions[task.name], batch[task.name]) for task in TASKS]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return sum(self.losses(batch, self.network(batch["image"])))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Floor(Plain):
    """Exact task gradients by hand: heads down to detached features, the trunk once per task."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        network = self.network
        image = (batch["image"] - network.mean) / network.std
        self.features = network.encoder(image)[1:]
        self.leaves = [feature.detach().requires_grad_() for feature in self.features]
        predictions = {
            task: network.heads[task](decoder([image, *self.leaves]))
            for task, decoder in network.decoders.items()
        }
        self.parts = self.losses(batch, predictions)
        return sum(self.parts)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        trunk = list(self.network.encoder.parameters())
        rows = []
        for index, part in enumerate(self.parts):
            for leaf in self.leaves:
                leaf.grad = None
            part.backward()
            used = [(f, x.grad) for f, x in zip(self.features, self.leaves, strict=True)]
            used = [(f, g) for f, g in used if g is not None]
            keep = index < len(self.parts) - 1
            rows.append(
                torch.autograd.grad(
                    [f for f, _ in used], trunk, [g for _, g in used], retain_graph=keep
                )
            )
        for parameter, *gradients in zip(trunk, *rows, strict=True):
            parameter.grad = gradients[0] + gradients[1] + gradients[2]
        del self.parts, self.leaves, self.features


class Clock(L.Callback):
    """The time of every batch but the first of a fit."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.wait(trainer)
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.wait(trainer)
        if batch_idx:
            self.times.append(time.perf_counter() - self.start)

    def wait(self, trainer) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()


def ready_made(decoder: str) -> L.LightningModule:
    return DensePrediction(list(TASKS), lambda channels: SharedEncoder(channels, decoder=decoder))


VARIANTS: dict[str, tuple[Callable[[str], L.LightningModule], Callable[[], list[L.Callback]]]] = {
    "plain Lightning": (Plain, list),
    "floor": (Floor, list),
    "no weighting": (ready_made, list),
    "EqualWeighting": (ready_made, lambda: [EqualWeighting()]),
    "UncertaintyWeighting": (ready_made, lambda: [UncertaintyWeighting()]),
    "DWA": (ready_made, lambda: [DWA()]),
    "GradNorm": (ready_made, lambda: [GradNorm()]),
    "MGDA last_layer": (ready_made, lambda: [MGDA(gradients="last_layer")]),
    "MGDA features": (ready_made, lambda: [MGDA(gradients="features")]),
    "MGDA shared": (ready_made, lambda: [MGDA()]),
    "MaxGNR shared": (ready_made, lambda: [MaxGNR(warmup_steps=0)]),
    "AlternatingUpdates": (ready_made, lambda: [AlternatingUpdates(track_path=False)]),
    # Measured at each step here; with every_n_steps=50 its extra cost is a fiftieth of this.
    "monitor every step": (ready_made, lambda: [GradientNoiseMonitor(every_n_steps=1)]),
}


def batches(count: int, size: tuple[int, int], batch: int) -> list[dict[str, Tensor]]:
    data = []
    for _ in range(count):
        normals = torch.randn(batch, 3, *size)
        data.append(
            {
                "image": torch.rand(batch, 3, *size),
                "segmentation": torch.randint(0, 5, (batch, *size)),
                "depth": torch.rand(batch, 1, *size) + 1,
                "normals": normals / normals.square().sum(1, keepdim=True).sqrt(),
            }
        )
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--decoder", default="unet")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = batches(options.steps + 1, tuple(options.size), options.batch)
    folder = tempfile.mkdtemp()  # what monitors draw
    times: dict[str, list[float]] = {name: [] for name in options.only}
    modules = {name: VARIANTS[name][0](options.decoder) for name in options.only}
    for _ in range(options.rounds):
        for name in options.only:
            clock = Clock()
            trainer = L.Trainer(
                accelerator="auto",
                devices=1,
                max_epochs=1,
                logger=False,
                default_root_dir=folder,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[*VARIANTS[name][1](), clock],
            )
            trainer.fit(modules[name], DataLoader(data, batch_size=None))
            times[name] += clock.times
    medians = {name: statistics.median(values) for name, values in times.items()}
    table = Table(
        title=f"Step time, K = 3, ResNet-18 + {options.decoder}, {options.threads} threads"
    )
    for column in ("variant", "median ms", "quartiles ms", "/ plain", "/ floor"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, median in medians.items():
        low, _, high = statistics.quantiles(times[name], n=4)
        table.add_row(
            name,
            f"{1e3 * median:.1f}",
            f"{1e3 * low:.1f}-{1e3 * high:.1f}",
            f"{median / medians['plain Lightning']:.3f}",
            f"{median / medians['floor']:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
