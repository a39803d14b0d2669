"""The callback that prints what a network costs, when training starts."""

from typing import Any

import lightning as L
from rich.table import Table
from torch import Tensor

from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.engine.strategies import shards
from lightning_mtl.engine.terminal import show
from lightning_mtl.models.cost import Cost, NetworkCost, network_cost

__all__ = ["NetworkTable"]


class NetworkTable(L.Callback):
    """Shows parameters and multiply-adds of the network: shared, of each task, and in all.

    What at least two tasks depend on counts as shared. Multiply-adds are those of one sample of the
    first batch, which is sent through the network once in evaluation mode, before it is trained on.
    The command line adds this callback. It shows nothing where parameters are sharded, as no rank
    has them all, and for modules other than `DensePrediction`.
    """

    def on_train_batch_start(  # noqa: D102
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        first = trainer.fit_loop.epoch_loop.global_step == 0 and batch_idx == 0
        if not (first and trainer.is_global_zero and isinstance(pl_module, DensePrediction)):
            return
        inputs = batch.get(pl_module.input)
        if isinstance(inputs, Tensor) and not shards(trainer.strategy):
            with trainer.precision_plugin.forward_context():
                cost = network_cost(pl_module.network, inputs[:1])
            size = "x".join(map(str, inputs.shape[1:]))
            show(trainer, _table(cost, f"Network, for one input of {size}"))


def _table(cost: NetworkCost, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("part", "parameters", "trainable", "multiply-adds"):
        table.add_column(column, justify="left" if column == "part" else "right")
    table.add_row(*_row("shared", cost.shared))
    for task, own in cost.tasks.items():
        table.add_row(*_row(task, own))
    if cost.unused != Cost():
        table.add_row(*_row("unused", cost.unused))
    table.add_section()
    table.add_row(*_row("all", cost.total))
    return table


def _row(name: str, cost: Cost) -> tuple[str, str, str, str]:
    return name, _short(cost.parameters), _short(cost.trainable), _short(cost.multiply_adds)


def _short(number: int) -> str:
    """Three digits and a unit, such as "11.2 M"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
