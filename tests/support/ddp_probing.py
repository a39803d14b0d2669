"""Train by probes in float64, on one or two gloo ranks under the strategies that share parameters.

Probes before the rule is solved for are few, so that short runs have weights.
"""

import sys
import warnings
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from lightning_mtl.callbacks import MGDA
from lightning_mtl.weightings.bases.gramians import probe_memory
from tests.support.ddp_probes import whole
from tests.support.ranks import save_of_first
from tests.support.toy import Toy, ToyData, quiet_trainer

STEPS = 8
KINDS = {"plain": {}, "accumulated": {"accumulate_grad_batches": 2}, "seldom": {}}


class Wide(Toy):
    """A toy in float64, with a layer of an odd number of rows."""

    def __init__(self) -> None:
        super().__init__(lr=0.02)
        self.trunk.insert(1, nn.Linear(16, 5))
        self.trunk.insert(2, nn.Linear(5, 16))
        self.double()

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        return super().task_losses([part.double() for part in batch])


class Sharded(Wide):
    """The same, spread over the ranks."""

    def configure_model(self) -> None:
        mesh = self.device_mesh["data_parallel"]
        for part in (self.trunk[0], self.trunk, *self.heads.values()):
            fully_shard(part, mesh=mesh)


def strategy_of(name: str) -> Any:
    if name == "one":
        return "auto"
    if name == "ddp":
        return DDPStrategy(process_group_backend="gloo")
    if name == "static":
        return DDPStrategy(process_group_backend="gloo", static_graph=True)
    return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)


def trained(name: str, kind: str) -> dict[str, Any]:
    module = Sharded() if name == "fsdp2" else Wide()
    rule = MGDA(gradients="probes", every_n_steps=3 if kind == "seldom" else 1)
    devices = 1 if name == "one" else 2
    torch.manual_seed(3)
    trainer = quiet_trainer(
        callbacks=[rule],
        devices=devices,
        strategy=strategy_of(name),
        max_steps=STEPS,
        max_epochs=-1,
        **KINDS[kind],
    )
    trainer.fit(module, ToyData(8 // devices))
    return {
        "parameters": whole(module),
        "weights": torch.stack([w.detach() for w in module.task_weights.values()]),
        "moment": rule.memory.tensors["probe_moment"],
    }


def main() -> None:
    warnings.simplefilter("ignore")
    probe_memory.WARM_UP = 2
    file, devices = sys.argv[1:]
    names = ("one",) if devices == "1" else ("ddp", "static", "fsdp2")
    # Torch has no static graph over several backward passes that are not reduced.
    runs = [(n, k) for n in names for k in KINDS if (n, k) != ("static", "accumulated")]
    results = {f"{name} {kind}": trained(name, kind) for name, kind in runs}
    save_of_first(results, file)


if __name__ == "__main__":
    main()
