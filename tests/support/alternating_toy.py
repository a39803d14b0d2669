"""The toy trained by hand, one group of tasks after the other, and networks with special trunks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tests.support.toy import TASKS, Toy, toy_loader

Build = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Build] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.003, momentum=0.5),
}


def built_by(build: Build, kind: type[Toy] = Toy) -> Toy:
    """A toy with this optimizer."""
    module = kind()
    module.configure_optimizers = lambda: build(list(module.parameters()))
    return module


def literal(
    module: Toy, groups: Sequence[Sequence[str]], build: Build, epochs: int, shared: bool
) -> list[Tensor]:
    """The trunk before, and after every sub-step: a whole optimizer for each group, or one."""
    trunk = list(module.trunk.parameters())
    own = {task: list(module.heads[task].parameters()) for task in TASKS}
    if shared:
        optimizers = [build(list(module.parameters()))] * len(groups)
    else:
        optimizers = [build([*trunk, *(p for task in g for p in own[task])]) for g in groups]
    path = [torch.cat([p.detach().flatten() for p in trunk])]
    for _ in range(epochs):
        for batch in toy_loader():
            for group, optimizer in zip(groups, optimizers, strict=True):
                losses = module.task_losses(batch)
                present = [losses[task] for task in group if task in losses]
                module.zero_grad(set_to_none=True)
                if present:
                    sum(present).backward()
                optimizer.step()
                path.append(torch.cat([p.detach().flatten() for p in trunk]))
    return path


class TwoTrunks(Toy):
    """Tasks one and two share `trunk`, tasks two and three share `side`; three comes late."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Sequential(nn.Linear(6, 8), nn.Tanh())

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        trunk, side = self.trunk(x), self.side(x)
        features = {"one": trunk, "two": trunk + side, "three": side}
        losses = {
            task: nn.functional.mse_loss(self.heads[task](features[task]), target)
            for task, target in zip(TASKS, targets, strict=True)
        }
        if self.trainer.global_step < 5:
            losses.pop("three")
        return losses
