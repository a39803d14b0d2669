"""Train the toy with some weightings on several gloo ranks, as a user's script would."""

import sys
import warnings

import torch
import torch.distributed as dist

from tests.support.equivalence import fit, rank_run
from tests.support.parts import Parts, PartsData
from tests.support.toy import parameters


def distance_between_replicas(module: Parts) -> float:
    """How far any rank's parameters are from those of the first."""
    mine = parameters(module)
    first = mine.clone()
    dist.broadcast(first, src=0)
    gap = (mine - first).abs().max()
    dist.all_reduce(gap, op=dist.ReduceOp.MAX)
    return float(gap)


def main() -> None:
    file, column, *names = sys.argv[1:]
    warnings.simplefilter("ignore")
    run = rank_run(column)
    results = {}
    for name in names:
        for accumulate in run.windows(name):
            module = fit(
                name,
                Parts(),
                PartsData(run.batches),
                devices=run.ranks,
                strategy="ddp",
                accumulate_grad_batches=accumulate,
            )
            results[name, accumulate] = parameters(module), distance_between_replicas(module)
    if dist.get_rank() == 0:
        torch.save(results, file)
    dist.barrier()


if __name__ == "__main__":
    main()
