"""Train the toy that counts its labels on two gloo ranks, as a user's script would."""

import sys
import warnings

import torch
import torch.distributed as dist

from tests.support.counted import train_routes


def main() -> None:
    warnings.simplefilter("ignore")
    results = {accumulate: train_routes(2, accumulate) for accumulate in (1, 2)}
    if dist.get_rank() == 0:
        torch.save(results, sys.argv[1])
    dist.barrier()


if __name__ == "__main__":
    main()
