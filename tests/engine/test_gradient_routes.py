"""What reaches `.grad`: against `torch.func`, and how many passes it takes."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from lightning_mtl.callbacks import MGDA, EqualWeighting, GradNorm, UncertaintyWeighting
from lightning_mtl.engine.gradients import gramian
from lightning_mtl.linalg import simplex_min_norm
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader


class Recorder(Toy):
    """Keeps the gradients of its first step, and counts passes through trunk and heads."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = dict.fromkeys(("trunk", *TASKS), 0)
        self.gradients: dict[str, Tensor] = {}
        self.applied: dict[str, float] = {}
        # A hook on an inner layer's node sees every pass through it, whoever asked for it.
        self.trunk[2].register_forward_hook(self._count("trunk"))
        for task, head in self.heads.items():
            head.register_forward_hook(self._count(task))

    def _count(self, name: str):
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            def passed(grad_inputs: object, grad_outputs: object) -> None:
                self.passes[name] += 1

            output.grad_fn.register_hook(passed)

        return hook

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.gradients:
            self.gradients = {n: p.grad.clone() for n, p in self.named_parameters()}
            self.applied = {task: float(w) for task, w in self.task_weights.items()}


def jacobian(module: Toy, batch: list[Tensor]) -> dict[str, Tensor]:
    """(K, ...) gradients of the task losses by `torch.func.jacrev`."""
    values = {name: p.detach() for name, p in module.named_parameters()}

    class Losses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self) -> Tensor:
            return torch.stack(list(self.module.task_losses(batch).values()))

    losses = Losses()

    def evaluate(parameters: dict[str, Tensor]) -> Tensor:
        named = {f"module.{name}": value for name, value in parameters.items()}
        return functional_call(losses, named, ())

    return jacrev(evaluate)(values)


def first_step(weighting) -> tuple[Recorder, dict[str, Tensor]]:
    expected = jacobian(Toy(), next(iter(toy_loader())))
    module = Recorder()
    quiet_trainer(max_steps=1, callbacks=[weighting]).fit(module, toy_loader())
    return module, expected


@pytest.mark.parametrize("place", ["shared", "last_layer", "features"])
def test_shared_gradient_is_w_j_and_heads_get_their_own(place: str) -> None:
    module, expected = first_step(MGDA(gradients=place))
    weights = torch.tensor([module.applied[task] for task in TASKS])
    for name, gradient in module.gradients.items():
        rows = expected[name]
        wanted = torch.tensordot(weights, rows, 1) if name.startswith("trunk") else rows.sum(0)
        torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-4)


def test_mgda_solves_the_gramian_of_the_exact_jacobian() -> None:
    module, expected = first_step(MGDA())
    rows = [[expected[n][k] for n in expected if n.startswith("trunk")] for k in range(3)]
    weights = simplex_min_norm(gramian(rows).double())
    applied = torch.tensor([module.applied[task] for task in TASKS], dtype=torch.float64)
    torch.testing.assert_close(applied, weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize("weighting", [EqualWeighting, GradNorm, UncertaintyWeighting])
def test_loss_level_weights_reach_the_heads_too(weighting) -> None:
    module, expected = first_step(weighting())
    weights = torch.tensor([module.applied[task] for task in TASKS])
    for name, gradient in module.gradients.items():
        wanted = torch.tensordot(weights, expected[name], 1)
        torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.peer("O9")
@pytest.mark.parametrize(
    ("weighting", "trunk_passes"),
    [
        (EqualWeighting(), 1),
        (GradNorm(layer="trunk.3"), 1),
        (MGDA(gradients="features"), 1),
        (MGDA(gradients="last_layer", layer="trunk.3"), 1),
        (MGDA(), 3),
    ],
    ids=["equal", "gradnorm", "features", "last_layer", "shared"],
)
def test_every_head_is_passed_once_and_the_trunk_as_often_as_promised(
    weighting, trunk_passes: int
) -> None:
    module, _ = first_step(weighting)
    assert module.passes == {"trunk": trunk_passes, **dict.fromkeys(TASKS, 1)}


def test_kept_weights_cost_one_pass_through_the_trunk() -> None:
    module = Recorder()
    trainer = quiet_trainer(max_steps=4, callbacks=[MGDA(every_n_steps=4)])
    trainer.fit(module, toy_loader())
    assert module.passes == {"trunk": 3 + 1 + 1 + 1, **dict.fromkeys(TASKS, 4)}


class Stacked(Toy):
    """Hands out the entries of one tensor of losses, as many a script does (peers T13)."""

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        losses = torch.stack(list(super().task_losses(batch).values()))
        return dict(zip(TASKS, (losses[0], losses[1], losses[-1]), strict=True))


@pytest.mark.peer("T13")
def test_stacked_losses_train_like_separate_ones() -> None:
    trained = []
    for module in (Toy(), Stacked()):
        quiet_trainer(callbacks=[MGDA()]).fit(module, toy_loader())
        trained.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    torch.testing.assert_close(*trained, atol=1e-6, rtol=0)
