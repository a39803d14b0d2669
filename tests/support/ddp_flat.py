"""Train the toy under FSDP1, whose parameters are flat, on gloo ranks: as a user's script would."""

import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from lightning_mtl.callbacks import MGDA, AlternatingUpdates, LossWeighting
from tests.support.ranks import save_of_first
from tests.support.toy import Graded, GradedData, parameters, quiet_trainer
from tests.support.weightings import EXAMPLES

OF_LOSSES = [name for name, build in EXAMPLES.items() if isinstance(build(), LossWeighting)]
OF_GRADIENTS = [name for name in EXAMPLES if name not in OF_LOSSES]

BESIDE: dict[str, Callable[[], L.Callback]] = {
    "AlternatingUpdates": AlternatingUpdates,
    "MGDA(probes)": lambda: MGDA(gradients="probes"),
}


class Run(NamedTuple):
    """What is trained, and how.

    Attributes:
        name: of the weighting, or "none".
        accumulate: over how many micro-batches.
        nested: whether the trunk is a unit of its own, which is gathered for its forward pass only.
    """

    name: str
    accumulate: int = 1
    nested: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Of the Trainer, on one device as well."""
        build = (EXAMPLES | BESIDE).get(self.name)
        return {
            "callbacks": [build()] if build else [],
            "accumulate_grad_batches": self.accumulate,
            "max_epochs": 3,
            "limit_train_batches": 6,
        }


SIZE = 8
"""Of a batch, over all ranks."""

VARIANTS = [(1, False), (1, True), (2, True)]
"""How many micro-batches a step has, and whether units are nested."""

RUNS = [
    *(Run(name, *variant) for name in ("none", *OF_LOSSES) for variant in VARIANTS),
    *(Run("MGDA(probes)", nested=nested) for nested in (False, True)),
    *(Run(name) for name in (*OF_GRADIENTS, "AlternatingUpdates")),
]


class OnHost(FSDPStrategy):
    """Lightning's strategy, which asks for a GPU, without one."""

    def _setup_model(self, model: nn.Module) -> nn.Module:
        host = torch.device("cpu")
        return FullyShardedDataParallel(model, device_id=host, **self.kwargs)


def trained(run: Run, ranks: int) -> Tensor | str:
    """All parameters after a short run, gathered from the ranks; an error's text if it failed."""
    module = Graded()
    units = {"auto_wrap_policy": {nn.Sequential}} if run.nested else {}
    strategy = OnHost(process_group_backend="gloo", **units)
    trainer = quiet_trainer(devices=ranks, strategy=strategy, **run.settings)
    try:
        trainer.fit(module, GradedData(SIZE // ranks))
    except ValueError as error:
        return str(error)
    with FullyShardedDataParallel.summon_full_params(strategy.model, writeback=False):
        return parameters(module).clone()


def main() -> None:
    warnings.simplefilter("ignore")
    file, ranks = sys.argv[1:]
    save_of_first({tuple(run): trained(run, int(ranks)) for run in RUNS}, file)


if __name__ == "__main__":
    main()
