"""Images a second of the ready-made module, with one more of its options for speed at a time.

    python tests/benchmarks/bench_options.py [--weighting MGDA] [--out options.json]

The rows are cumulative, but for the last two, which compare loaders: the others are given batches
that lie in memory. They take turns, and the figure is the median over the rounds. On a GPU, with
the network of NYUv2:

    python tests/benchmarks/bench_options.py --encoder resnet50 --decoder deeplabv3 \
        --output-stride 8 --size 288 384 --rounds 5 --steps 20
"""

import argparse
import json
import logging
import statistics
import time
import warnings
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl import DensePrediction, callbacks
from lightning_mtl.data import RoomsDataModule
from lightning_mtl.models import SharedEncoder
from lightning_mtl.tasks import Depth, Normals, Segmentation

MIXED: dict[str, Any] = {"precision": "bf16-mixed"}
LAID_OUT = MIXED | {"channels_last": True}
COMPILED = LAID_OUT | {"compile": True}
FUSED = COMPILED | {"fused": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "+ bf16-mixed": MIXED,
    "+ channels last": LAID_OUT,
    "+ compiled parts": COMPILED,
    "+ fused optimizer": FUSED,
    "all, rooms drawn in turn": FUSED | {"workers": 0},
    "all, rooms drawn ahead": FUSED | {"workers": "auto"},
}


class Clock(L.Callback):
    """The time of the batches of a fit after the first ones, with what loads them."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if batch_idx == self.warmup - 1:
            self.start = self.now(trainer)

    def on_train_end(self, trainer, pl_module) -> None:
        self.seconds = self.now(trainer) - self.start

    def now(self, trainer) -> float:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def built(options: argparse.Namespace, channels_last: bool, compiled: bool) -> DensePrediction:
    torch.manual_seed(0)
    network = partial(
        SharedEncoder,
        encoder=options.encoder,
        decoder=options.decoder,
        output_stride=options.output_stride,
    )
    return DensePrediction(
        [Segmentation(5), Depth(), Normals()],
        network=network,
        log_tasks=False,
        prog_bar=False,
        channels_last=channels_last,
        compile={"backend": options.backend, "dynamic": False} if compiled else False,
    )


def rooms(options: argparse.Namespace, workers: int | str) -> RoomsDataModule:
    return RoomsDataModule(
        tuple(options.size),
        options.batch * (options.warmup + options.steps),
        1,
        1,
        batch_size=options.batch,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )


def in_memory(options: argparse.Namespace) -> list[dict[str, Tensor]]:
    """A few batches, over and over."""
    data = rooms(options, 0)
    data.setup("fit")
    loaded = [batch for batch, _ in zip(data.train_dataloader(), range(4), strict=False)]
    return [loaded[index % len(loaded)] for index in range(options.warmup + options.steps)]


def images_per_second(
    options: argparse.Namespace, module: DensePrediction, variant: dict[str, Any], batches: Any
) -> float:
    module.fused = variant.get("fused", False)
    clock = Clock(options.warmup)
    weighting = [getattr(callbacks, options.weighting)()] if options.weighting else []
    trainer = L.Trainer(
        accelerator=options.accelerator,
        devices=1,
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        precision=variant.get("precision", "32-true"),
        callbacks=[*weighting, clock],
    )
    if "workers" in variant:
        trainer.fit(module, datamodule=rooms(options, variant["workers"]))
    else:
        trainer.fit(module, DataLoader(batches, batch_size=None))
    return options.steps * options.batch / clock.seconds


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--decoder", default="fpn")
    parser.add_argument("--output-stride", type=int, default=32)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 96))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--weighting", help="a class of `lightning_mtl.callbacks`; none by default")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--backend", default="inductor", help="of the compiler")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    return parser.parse_args()


def show(options: argparse.Namespace, speeds: dict[str, list[float]]) -> None:
    first = statistics.median(next(iter(speeds.values())))
    network = f"{options.encoder} + {options.decoder}, {options.size[0]} x {options.size[1]}"
    weighting = options.weighting or "no weighting"
    table = Table(title=f"{network}, batches of {options.batch}, {weighting}")
    for column in ("variant", "images / s", "range", "/ first"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, of_rounds in speeds.items():
        median = statistics.median(of_rounds)
        spread = f"{min(of_rounds):.1f}-{max(of_rounds):.1f}"
        table.add_row(name, f"{median:.1f}", spread, f"{median / first:.2f}")
    Console().print(table)


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    batches = in_memory(options)
    variants = {name: VARIANTS[name] for name in options.only}
    # One module for all that have the same network: it is compiled once.
    module = cache(partial(built, options))
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, variant in variants.items():
            chosen = module(variant.get("channels_last", False), variant.get("compile", False))
            speeds[name].append(images_per_second(options, chosen, variant, batches))
    show(options, speeds)
    if options.out is not None:
        facts = {key: value for key, value in vars(options).items() if key != "out"}
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        found = {"options": facts, "device": device, "images_per_second": speeds}
        options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
