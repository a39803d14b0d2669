"""Train the toy with every weighting on two gloo ranks, as a user's script would."""

import sys
import warnings

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_mtl import MultiTaskModule
from tests.support.toy import Graded, GradedData, PartlyGraded, parameters, quiet_trainer
from tests.support.weightings import EXAMPLES


def weights(module: MultiTaskModule) -> Tensor:
    """Those that were applied last; none if the combined gradient is no weighted sum."""
    return torch.tensor([float(weight) for weight in module.task_weights.values()])


def train_all(devices: int, batch_size: int) -> dict[str, Tensor]:
    """Parameters and weights after a few short epochs, plain and with accumulation."""
    settings = {"devices": devices, "max_epochs": 3, "limit_train_batches": 4}
    if devices > 1:
        settings["strategy"] = "ddp"
    results = {}
    for name, build in EXAMPLES.items():
        for variant, accumulate in (("", 1), ("accumulated ", 2)):
            module = Graded()
            trainer = quiet_trainer(
                callbacks=[build()], accumulate_grad_batches=accumulate, **settings
            )
            trainer.fit(module, GradedData(batch_size))
            results[variant + name] = parameters(module)
            results[f"weights {variant}{name}"] = weights(module)
    return results


def replica_distances() -> dict[str, float]:
    """How far the replicas are apart after training with tasks that come and go on each rank."""
    distances = {}
    for name, build in EXAMPLES.items():
        module = PartlyGraded()
        trainer = quiet_trainer(
            callbacks=[build()], devices=2, strategy="ddp", max_epochs=3, limit_train_batches=3
        )
        trainer.fit(module, GradedData(4))
        mine = parameters(module)
        other = mine.clone()
        dist.broadcast(other, src=0)
        gap = (mine - other).abs().max()
        dist.all_reduce(gap, op=dist.ReduceOp.MAX)
        distances[f"replicas {name}"] = float(gap)
    return distances


def main() -> None:
    warnings.simplefilter("ignore")
    results = {**train_all(devices=2, batch_size=4), **replica_distances()}
    if dist.get_rank() == 0:
        torch.save(results, sys.argv[1])
    dist.barrier()


if __name__ == "__main__":
    main()
