"""Alternating updates on two gloo ranks, as a user's script would run them."""

import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lightning_mtl.callbacks import AlternatingUpdates, GradientNoiseMonitor
from tests.support.ranks import distance_between_replicas, results_of, save_of_first
from tests.support.toy import PartlyLabelled, Toy, ToyData, parameters, quiet_trainer

ALTERNATING: dict[str, dict[str, Any]] = {
    "per_group": {},
    "shared": {"optimizer_state": "shared"},
    "random": {"group_size": 2, "regroup": "step", "order": "random"},
    "affinity": {"regroup": "affinity", "affinity_decay": 0.2, "affinity_warm_up": 4},
    "conflicts": {
        "regroup": "conflicts",
        "conflict_tolerance": 0.0,
        "conflict_every_n_steps": 3,
        "conflict_decay": 0.5,
    },
}


class EveryOther(Toy):
    """Task three has labels in every other step only, on all ranks at once."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.trainer.global_step % 2:
            losses.pop("three")
        return losses


def train_alternating(name: str, devices: int, batch_size: int) -> Tensor:
    """Parameters after two epochs."""
    settings = {"devices": devices, "max_epochs": 2}
    if devices > 1:
        settings["strategy"] = "ddp"
    kind = EveryOther if name == "absent" else Toy
    module = kind(torch.optim.Adam, lr=0.01)
    weighting = AlternatingUpdates(seed=0, **ALTERNATING.get(name, {}))
    quiet_trainer(callbacks=[weighting], **settings).fit(module, ToyData(batch_size))
    return parameters(module)


def replica_distance(name: str) -> float:
    """How far the replicas are apart after training with tasks that come and go on each rank."""
    module = PartlyLabelled(torch.optim.Adam, lr=0.01)
    monitor = GradientNoiseMonitor(every_n_steps=3)
    with tempfile.TemporaryDirectory() as folder:
        quiet_trainer(
            callbacks=[AlternatingUpdates(seed=0, **ALTERNATING[name]), monitor],
            devices=2,
            strategy="ddp",
            max_epochs=2,
            default_root_dir=folder,
        ).fit(module, ToyData(4))
    return distance_between_replicas(parameters(module))


@cache
def two_ranks() -> dict[str, Any]:
    """The results of this script, run once."""
    return results_of("ddp_alternating")


def main() -> None:
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {
        name: train_alternating(name, devices=2, batch_size=4) for name in (*ALTERNATING, "absent")
    }
    results |= {f"replicas {name}": replica_distance(name) for name in ALTERNATING}
    save_of_first(results, sys.argv[1])


if __name__ == "__main__":
    main()
