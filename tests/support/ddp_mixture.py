"""An adaptive mixture on two gloo ranks, whose loader is left to the Trainer as it is."""

import sys
import tempfile
import warnings
from typing import Any

import torch
import torch.distributed as dist

from tests.support.mixed import Linear, adaptive, mixed_loader
from tests.support.ranks import results_of, save_of_first
from tests.support.toy import quiet_trainer


def mixed_ranks() -> list[dict[str, Any]]:
    """For each rank, the samples that it has seen, the state of its loader and its parameters."""
    loader = mixed_loader((1.0, 0.2), (3.0, 1.0), batches=6)
    module = Linear()
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(
            callbacks=adaptive(0.3, 0.1), devices=2, strategy="ddp", default_root_dir=folder
        )
        # Each rank has a seed of its own.
        torch.manual_seed(trainer.global_rank)
        trainer.fit(module, loader)
        trainer.strategy.barrier()
    seen = [{task: part.tolist() for task, part in batch.items()} for batch in module.seen]
    mine = {"seen": seen, "state": loader.state_dict(), "shared": module.shared.tolist()}
    gathered: list[dict[str, Any]] = [{} for _ in range(2)]
    dist.all_gather_object(gathered, mine)
    return gathered


def two_ranks() -> list[dict[str, Any]]:
    """The results of this script."""
    return results_of("ddp_mixture")


def main() -> None:
    warnings.simplefilter("ignore")
    save_of_first(mixed_ranks(), sys.argv[1])


if __name__ == "__main__":
    main()
