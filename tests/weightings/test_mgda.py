"""MGDA: what its normalisations do, and where its gradients are measured."""

import pytest
import torch

from lightning_mtl.callbacks import MGDA
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_loader


def of_rows(*rows: list[float]) -> torch.Tensor:
    jacobian = torch.tensor(rows, dtype=torch.float64)
    return jacobian @ jacobian.T


def test_two_tasks_have_the_closed_form_of_the_paper():
    """Sener & Koltun, eq. 4: the point of the segment nearest to the origin."""
    for _ in range(20):
        a, b = torch.randn(2, 3, dtype=torch.float64)
        gamma = ((b - a) @ b / (b - a).square().sum()).clamp(0, 1)
        weights = MGDA().weights(torch.ones(2), torch.stack([a, b]) @ torch.stack([a, b]).T)
        torch.testing.assert_close(weights, torch.stack([gamma, 1 - gamma]))


@pytest.mark.peer("L7")
def test_a_vertex_is_reached_exactly():
    """Peers L7 keeps 0.001 of the long gradient."""
    weights = MGDA().weights(torch.ones(2), of_rows([1.0, 0.0], [10.0, 0.0]))
    assert weights.tolist() == [1.0, 0.0]


@pytest.mark.peer("L6")
@pytest.mark.parametrize("scale", [1e-12, 1e5, 1e12])
def test_large_and_small_gradients_give_the_same_weights(scale):
    """Peers L6 fails where squared norms exceed 1e8."""
    gramian = of_rows([1.0, 2.0, 0.0], [0.0, 1.0, -1.0], [-2.0, 0.5, 1.0])
    losses = torch.ones(3)
    plain = MGDA().weights(losses, gramian)
    torch.testing.assert_close(MGDA().weights(losses, gramian * scale**2), plain)


@pytest.mark.parametrize(
    ("normalize", "divisor"),
    [("l2", [1.0, 2.0]), ("loss", [0.1, 5.0]), ("loss+", [0.1, 10.0])],
)
def test_a_normalisation_solves_for_the_divided_gradients(normalize, divisor):
    rows = [[1.0, 0.0], [1.2, 1.6]]
    losses = torch.tensor([0.1, 5.0], dtype=torch.float64)
    divided = [[x / by for x in row] for row, by in zip(rows, divisor, strict=True)]
    expected = MGDA().weights(losses, of_rows(*divided))
    torch.testing.assert_close(MGDA(normalize).weights(losses, of_rows(*rows)), expected)


@pytest.mark.parametrize("normalize", ["l2", "loss", "loss+"])
def test_zero_gradients_and_losses_divide_nothing(normalize):
    weights = MGDA(normalize).weights(torch.zeros(2).double(), of_rows([0.0, 0.0], [1.0, 0.0]))
    assert torch.isfinite(weights).all()
    assert float(weights.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("place", ["shared", "last_layer", "features"])
def test_kept_weights_are_those_of_the_last_solution(place):
    module = Toy()
    seen = []
    module.on_before_optimizer_step = lambda optimizer: seen.append(
        [float(module.task_weights[task]) for task in TASKS]
    )
    trainer = quiet_trainer(callbacks=[MGDA(gradients=place, every_n_steps=3)], max_steps=7)
    trainer.fit(module, toy_loader())
    assert seen[0] == seen[1] == seen[2]
    assert seen[3] == seen[4] == seen[5]
    assert seen[0] != seen[3] != seen[6]


def test_the_heads_are_weighted_only_on_request():
    gradients = {}
    for weight_heads in (False, True):
        module = Toy()
        module.on_before_optimizer_step = lambda optimizer, module=module, on=weight_heads: (
            gradients.update({on: {t: h.weight.grad.clone() for t, h in module.heads.items()}})
        )
        weighting = MGDA(weight_heads=weight_heads)
        quiet_trainer(callbacks=[weighting], max_steps=1).fit(module, toy_loader())
    for task in TASKS:
        expected = gradients[False][task] * float(module.task_weights[task])
        torch.testing.assert_close(gradients[True][task], expected)


@pytest.mark.peer("L8")
@pytest.mark.parametrize("normalize", ["none", "l2", "loss", "loss+"])
def test_a_normalisation_changes_the_weights_and_not_what_they_are_applied_to(normalize):
    """Peers L8 applies the divided gradients."""
    module = Toy()
    batch = next(iter(toy_loader()))
    trunk = list(module.trunk.parameters())
    losses = module.task_losses(batch).values()
    rows = [torch.autograd.grad(loss, trunk, retain_graph=True) for loss in losses]
    applied: list[torch.Tensor] = []
    module.on_before_optimizer_step = lambda optimizer: applied.extend(
        parameter.grad.clone() for parameter in trunk
    )
    quiet_trainer(callbacks=[MGDA(normalize)], max_steps=1).fit(module, toy_loader())
    weights = [float(module.task_weights[task]) for task in TASKS]
    for index, gradient in enumerate(applied):
        expected = sum(w * row[index] for w, row in zip(weights, rows, strict=True))
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("normalize", ["none", "l2", "loss", "loss+"])
def test_a_task_without_a_gradient_counts_as_removed(normalize):
    """Peers T3: a batch without labels for one task must not stop the others."""
    losses = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64)
    weights = MGDA(normalize).weights(losses, of_rows([1.0, 0.0], [0.0, 0.0], [-1.0, 2.0]))
    others = MGDA(normalize).weights(losses[[0, 2]], of_rows([1.0, 0.0], [-1.0, 2.0]))
    assert weights[1] == 0
    torch.testing.assert_close(weights[[0, 2]], others)
