"""Train sharded parameters on two gloo ranks, of which the second lacks a task in a batch."""

import sys
import warnings
from collections.abc import Sequence

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from tests.support.ddp_sharded import Sharded
from tests.support.toy import ToyData, quiet_trainer
from tests.support.weightings import EXAMPLES


class Lacking(Sharded):
    """The second rank has no labels of the last task in its second batch."""

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        if self.trainer.global_rank == 1 and self.trainer.fit_loop.batch_idx == 1:
            del losses["three"]
        return losses


def main() -> None:
    warnings.simplefilter("ignore")
    names = sys.argv[1:]
    trainer = quiet_trainer(
        callbacks=[EXAMPLES[name]() for name in names],
        devices=2,
        strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        limit_train_batches=4,
    )
    trainer.fit(Lacking(), ToyData(4))


if __name__ == "__main__":
    main()
