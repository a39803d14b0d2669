"""Train by sketches on one or two gloo ranks, in float64."""

import sys
import warnings
from typing import Any

import torch

from lightning_mtl.distributed import world_size
from tests.support.convolutions import Convolutions, build, measured_at
from tests.support.ranks import distance_between_replicas, save_of_first
from tests.support.toy import ToyData, parameters, quiet_trainer


class Noted(Convolutions):
    """Keeps what was measured last."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.measured = measured_at(self.trainer.callbacks[0])


def trained(name: str, devices: int) -> dict[str, Any]:
    # Every rank draws from a seed of its own, but for what the ranks agree on.
    module = Noted(dtype=torch.float64)
    torch.manual_seed(3)
    strategy = "auto" if devices == 1 else "ddp"
    trainer = quiet_trainer(
        callbacks=[build(name)], devices=devices, strategy=strategy, max_steps=4
    )
    trainer.fit(module, ToyData(8 // devices))
    return {
        "parameters": parameters(module),
        "weights": torch.stack(list(module.task_weights.values())),
        "measured": module.measured,
    }


def main() -> None:
    warnings.simplefilter("ignore")
    file, devices, *names = sys.argv[1:]
    results: dict[str, Any] = {}
    for name in names:
        results[name] = trained(name, int(devices))
        if world_size() > 1:
            results[name]["distance"] = distance_between_replicas(results[name]["parameters"])
    save_of_first(results, file)


if __name__ == "__main__":
    main()
