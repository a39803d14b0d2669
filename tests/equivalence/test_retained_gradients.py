"""With weights of 1 a hook sees, and `retain_grad` keeps, what it would in plain training."""

from collections.abc import Callable, Sequence

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import EqualWeighting, GradNorm, Weighting
from tests.support.toy import Toy, quiet_trainer, toy_loader
from tests.support.twins import GramianOnes, JacobianOnes

# All have weights of 1 in their first step.
ROUTES: dict[str, Callable[[], Weighting]] = {
    "losses": EqualWeighting,
    "norms at a layer": GradNorm,
    "Gramian": GramianOnes,
    "Gramian at a layer": lambda: GramianOnes(gradients="last_layer"),
    "Gramian at the features": lambda: GramianOnes(gradients="features"),
    "Jacobian": JacobianOnes,
}


class Watched(Toy):
    """Keeps the gradients of inner tensors, and adds up what their hooks see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Tensor] = {}

    def watch(self, name: str, values: Tensor) -> None:
        def see(gradient: Tensor) -> None:
            self.seen[name] = self.seen.get(name, torch.zeros(())) + gradient

        values.register_hook(see)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        self.hidden = self.trunk[:3](x)
        self.features = self.trunk[3:](self.hidden)
        for name in ("hidden", "features"):
            getattr(self, name).retain_grad()
            self.watch(name, getattr(self, name))
        return {
            task: torch.nn.functional.mse_loss(self.heads[task](self.features), target)
            for task, target in zip(self.task_names, targets, strict=True)
        }


def one_step(callbacks: list[L.Callback]) -> Watched:
    module = Watched()
    quiet_trainer(callbacks=callbacks, max_steps=1).fit(module, toy_loader())
    return module


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["features", "hidden"])
def test_what_is_seen_and_kept_adds_up_to_the_gradient_of_plain_training(
    route: str, name: str
) -> None:
    """At the cut and inside the trunk: once for all tasks or once for each, but no task twice."""
    found, plain = one_step([ROUTES[route]()]), one_step([])
    kept, expected = getattr(found, name).grad, getattr(plain, name).grad
    torch.testing.assert_close(kept, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.seen[name], plain.seen[name], atol=1e-6, rtol=1e-5)
