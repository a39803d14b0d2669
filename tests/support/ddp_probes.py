"""Probe a toy on gloo ranks, under the strategy that is named, within a training step."""

import os
import sys
import warnings
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import (
    FSDPModule,
    FullyShardedDataParallel,
    ShardingStrategy,
    fully_shard,
)

from lightning_mtl.distributed import sum_over_ranks, world_size
from lightning_mtl.engine.probing.perturbation import perturbed
from lightning_mtl.engine.probing.probe import probe, slopes
from lightning_mtl.engine.probing.usage import learn_usage, shared_names
from lightning_mtl.engine.replay import RandomState, without_trace
from tests.support.ranks import save_of_first
from tests.support.toy import TASKS, Toy, ToyData, quiet_trainer, toy_data

SAMPLES = 8
MANY = 600


class Probed(Toy):
    """A toy in float64 that probes before each step, and trains by the plain sum of its losses."""

    def __init__(self, probes: int) -> None:
        super().__init__()
        # A layer of an odd number of rows, which two ranks cannot share evenly.
        self.trunk.insert(1, nn.Linear(16, 5))
        self.trunk.insert(2, nn.Linear(5, 16))
        self.double()
        self.probes = probes
        self.found: dict[str, Any] = {}

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        return super().task_losses([part.double() for part in batch])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.probes:
            # Those of the second step, for which the first one has left gathered parameters behind.
            self.found = found_by(self, batch)
        return torch.stack(list(self.task_losses(batch).values())).sum()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        loss.backward()


class Sharded(Probed):
    """The same, spread over the ranks: a part of its trunk within the trunk, and its heads."""

    def configure_model(self) -> None:
        mesh = self.device_mesh["data_parallel"]
        for part in (self.trunk[0], self.trunk, *self.heads.values()):
            fully_shard(part, mesh=mesh)


class Flat(Probed):
    """The same as a plain network under FSDP1, whose forward pass takes the part of a step."""

    def forward(self, batch: Any, model: Any = None) -> dict[str, Any]:
        if model is None:
            return self.task_losses(batch)
        names = shared_names(learn_usage(self, lambda: self.task_losses(batch)))
        before, losses = local_parts(self), self.task_losses(batch)
        z = []
        for seed in range(self.probes):
            with perturbed(model, self, names, seed) as size:
                moved = self.task_losses(batch)
            z.append(sum_over_ranks(slopes(moved, losses, size)) / world_size())
        again = self.task_losses(batch)
        exact = all(torch.equal(again[task], losses[task]) for task in TASKS)
        exact = exact and same(before, local_parts(self))
        return {"names": names, "exact": exact, "z": torch.stack(z)}


def found_by(module: Probed, batch: Any) -> dict[str, Any]:
    trainer = module.trainer

    def losses_of_two() -> dict[str, Tensor]:
        """Of another two tasks on each rank; of all tasks on one rank."""
        with without_trace(trainer, module, RandomState.now(module.device)):
            losses = module.task_losses(batch)
        absent = {1: None, 2: TASKS[2 * trainer.global_rank]}[world_size()]
        return {task: loss for task, loss in losses.items() if task != absent}

    learned = learn_usage(module, losses_of_two)
    before = local_parts(module)
    found = [z_of(module, batch, shared_names(learned), seed) for seed in range(module.probes)]
    exact = same(before, local_parts(module))
    return {"learned": learned, "exact": exact, "z": torch.stack(found)}


def z_of(module: Probed, batch: Any, names: list[str], seed: int) -> Tensor:
    """The slopes of the mean losses, of which those at θ are computed after the probe."""
    found = probe(module.trainer, module, batch, names, seed)
    with without_trace(module.trainer, module, RandomState.now(module.device)):
        losses = module.task_losses(batch)
    return sum_over_ranks(slopes(found.output.losses, losses, found.size)) / world_size()


def local_parts(module: nn.Module) -> list[Tensor]:
    release(module)
    found = [parameter.detach() for parameter in module.parameters()]
    return [getattr(part, "_local_tensor", part).clone() for part in found]


def whole(module: nn.Module) -> Tensor:
    release(module)
    found = [parameter.detach() for parameter in module.parameters()]
    gathered = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in found]
    return torch.cat([part.flatten() for part in gathered])


def release(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def same(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def trained(kind: str, probes: int) -> dict[str, Any]:
    """What the second step's probes find, and the parameters after it."""
    module = Sharded(probes) if kind == "fsdp2" else Probed(probes)
    strategy: Any = {
        "one": lambda: "auto",
        "ddp": lambda: DDPStrategy(process_group_backend="gloo"),
        "static": lambda: DDPStrategy(process_group_backend="gloo", static_graph=True),
        "fsdp2": lambda: ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
    }[kind]()
    devices = 1 if kind == "one" else 2
    trainer = quiet_trainer(devices=devices, strategy=strategy, limit_train_batches=2)
    trainer.fit(module, ToyData(SAMPLES // devices))
    return module.found | {"parameters": whole(module)}


def flat(name: str) -> dict[str, Any]:
    """Under torch's own wrapper, as Lightning's `FSDPStrategy` asks for a GPU."""
    root_only, strategy = name.split()
    settings: dict[str, Any] = {
        "device_id": torch.device("cpu"),
        "use_orig_params": True,
        "sharding_strategy": ShardingStrategy[strategy],
    }
    module = Flat(MANY)
    if root_only != "root":
        module.trunk = FullyShardedDataParallel(module.trunk, **settings)
    model = FullyShardedDataParallel(module, **settings)
    batch = [part[dist.get_rank() : SAMPLES : 2] for part in toy_data().tensors]
    torch.stack(list(model(batch).values())).sum().backward()
    try:
        return model(batch, model)
    except ValueError as error:
        return {"error": str(error)}


def main() -> None:
    warnings.simplefilter("ignore")
    file, probes, *kinds = sys.argv[1:]
    results: dict[str, Any] = {}
    for kind in kinds:
        if " " in kind and not dist.is_initialized():
            os.environ["RANK"] = os.environ["LOCAL_RANK"]
            dist.init_process_group("gloo")
        results[kind] = flat(kind) if " " in kind else trained(kind, int(probes))
    save_of_first(results, file)


if __name__ == "__main__":
    main()
