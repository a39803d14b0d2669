"""Train the toy with sharded parameters on two gloo ranks, as a user's script would."""

import sys
import warnings
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from lightning_mtl.callbacks import Weighting
from tests.support.ranks import save_of_first
from tests.support.toy import Toy, ToyData, quiet_trainer
from tests.support.weightings import EXAMPLES, PRIOR

RUNS = [
    ("UncertaintyWeighting", 1, False),
    ("UncertaintyWeighting", 2, False),
    ("UncertaintyWeighting", 2, True),
    ("GeometricLoss", 1, False),
    ("STCH", 1, False),
    ("FAMO", 1, False),
    ("FAMO", 1, True),
    ("GeometricLoss", 2, False),
    ("STCH", 2, False),
    ("FAMO", 2, False),
]
"""Names, numbers of accumulated batches, and whether there are prior weights."""


class Sharded(Toy):
    """A toy whose trunk and heads are spread over the ranks."""

    def configure_model(self) -> None:
        mesh = self.device_mesh["data_parallel"]
        for part in (self.trunk, *self.heads.values()):
            fully_shard(part, mesh=mesh)


def whole(module: nn.Module) -> Tensor:
    """All parameters, gathered from the ranks that hold them."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
    return torch.cat([p.detach().full_tensor().flatten() for p in module.parameters()])


def settings(accumulate: int) -> dict[str, Any]:
    return {"accumulate_grad_batches": accumulate, "max_epochs": 3, "limit_train_batches": 6}


def rule_of(name: str, prior: bool) -> Weighting:
    return EXAMPLES[name](prior=PRIOR) if prior else EXAMPLES[name]()


def trained(name: str, accumulate: int, prior: bool) -> Tensor | str:
    module = Sharded()
    trainer = quiet_trainer(
        callbacks=[rule_of(name, prior)],
        devices=2,
        strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        **settings(accumulate),
    )
    try:
        trainer.fit(module, ToyData(4))
    except ValueError as error:
        return str(error)
    return whole(module)


class Ruler(nn.Module):
    """Its loss has a gradient of one on every rank."""

    def __init__(self) -> None:
        super().__init__()
        self.length = nn.Parameter(torch.ones(2))

    def forward(self) -> Tensor:
        return self.length.sum()


def averages() -> bool:
    """Whether torch itself takes the mean over ranks; with gloo, older releases take the sum."""
    ruler = fully_shard(Ruler(), mesh=init_device_mesh("cpu", (2,)))
    ruler().backward()
    return bool((ruler.length.grad.full_tensor() == 1).all())


def main() -> None:
    warnings.simplefilter("ignore")
    found: dict[Any, Any] = {run: trained(*run) for run in RUNS}
    save_of_first(found | {"averages": averages()}, sys.argv[1])


if __name__ == "__main__":
    main()
