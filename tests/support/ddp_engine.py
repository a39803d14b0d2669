"""What DDP makes of unusual steps, on two gloo ranks, as a user's script would run them."""

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from lightning_mtl.callbacks import AlternatingUpdates
from tests.support.ranks import distance_between_replicas, save_of_first
from tests.support.toy import TASKS, Graded, GradedData, parameters, quiet_trainer
from tests.support.weightings import EXAMPLES, ROUTES

RULES: dict[str, Callable[[], L.Callback] | None] = {
    "none": None,
    **{name: EXAMPLES[name] for name in ("EqualWeighting", *ROUTES.values())},
    "AlternatingUpdates": lambda: AlternatingUpdates(seed=0),
}
STRATEGIES = ("ddp", "ddp_find_unused_parameters_true")


class Late(Graded):
    """A layer that joins at the third batch: for all tasks, or for the first task of one rank."""

    everywhere = True

    def __init__(self) -> None:
        super().__init__(torch.optim.AdamW, lr=0.01)
        self.late = nn.Linear(6, 2)

    @property
    def joins(self) -> bool:
        here = self.everywhere or self.trainer.global_rank == 1
        return here and self.trainer.fit_loop.batch_idx >= 2

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.joins:
            for task in TASKS if self.everywhere else TASKS[:1]:
                losses[task] = losses[task] + self.late(batch[0]).square().mean()
        return losses


class LateOnOneRank(Late):
    """The second rank uses the layer for its first task; the first rank never does."""

    everywhere = False


class Apart(Graded):
    """Each rank has tasks of its own, of which one has a loss in float64."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.trainer.global_rank == 0:
            return {"one": losses["one"].double()}
        return {task: losses[task] for task in TASKS[1:]}


def trained(
    network: type[Graded], name: str, strategy: Any, batch_size: int = 4, devices: int = 2
) -> Tensor | str:
    """The parameters after a short run; an error's text where there is one."""
    module, build = network(), RULES[name]
    if devices == 1:
        strategy = "auto"
    trainer = quiet_trainer(
        callbacks=[build()] if build else [],
        devices=devices,
        strategy=strategy,
        limit_train_batches=5,
    )
    try:
        trainer.fit(module, GradedData(batch_size))
    except ValueError as error:
        return str(error)
    return parameters(module)


def main() -> None:
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {}
    file, *names = sys.argv[1:]
    for name in names:
        for strategy in STRATEGIES:
            for network in (Late, LateOnOneRank, Apart):
                found = trained(network, name, strategy)
                assert isinstance(found, Tensor), found
                run = f"{network.__name__} {strategy} {name}"
                results[run] = found, distance_between_replicas(found)
        found = trained(Graded, name, DDPStrategy(static_graph=True))
        results[f"static {name}"] = found
        results[f"dynamic {name}"] = trained(Graded, name, "ddp")
    save_of_first(results, file)


if __name__ == "__main__":
    main()
