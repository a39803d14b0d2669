"""GradNorm: its closed form, its targets, and what it keeps."""

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import GradNorm
from tests.support.presence import set_present
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader

FLOAT = torch.float64


def positive(count: int = 4) -> Tensor:
    return torch.rand(count, dtype=FLOAT) + 0.1


def started(weighting: GradNorm, losses: Tensor) -> GradNorm:
    """As after a first step with these losses."""
    weighting.gradient(torch.ones_like(losses), losses, torch.ones_like(losses))
    return weighting


def literal_gradient(
    weights: Tensor, losses: Tensor, initial: Tensor, norms: Tensor, alpha: float
) -> Tensor:
    """Algorithm 1 by autograd: the objective of eq. 2, with targets that are constants."""
    weights = weights.clone().requires_grad_()
    weighted = (weights * norms).abs()
    ratio = losses / initial
    target = (weighted.mean() * (ratio / ratio.mean()) ** alpha).detach()
    (gradient,) = torch.autograd.grad((weighted - target).abs().sum(), weights)
    return gradient


@pytest.mark.peer("O4")
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_is_the_gradient_of_the_papers_objective(alpha, seed):
    torch.manual_seed(seed)
    initial, losses, weights, norms = (positive() for _ in range(4))
    found = started(GradNorm(alpha), initial).gradient(weights, losses, norms)
    torch.testing.assert_close(found, literal_gradient(weights, losses, initial, norms, alpha))


def test_the_closed_form_is_the_double_backward_pass_through_the_network():
    """The slow way of the paper: differentiate the norms of the weighted losses at the layer."""
    module = Toy().double()
    batch = [tensor.double() for tensor in next(iter(toy_loader()))]
    layer = list(module.trunk[3].parameters())
    weights = torch.tensor([0.5, 0.7, 1.8], dtype=FLOAT, requires_grad=True)
    losses = list(module.task_losses(batch).values())
    lengths = []
    for weight, loss in zip(weights, losses, strict=True):
        parts = torch.autograd.grad(weight * loss, layer, create_graph=True)
        lengths.append(torch.cat([part.flatten() for part in parts]).norm())
    weighted = torch.stack(lengths)
    values = torch.stack(losses).detach()
    initial = torch.tensor([1.0, 2.0, 0.1], dtype=FLOAT)
    ratio = values / initial
    target = (weighted.mean() * (ratio / ratio.mean()) ** 1.5).detach()
    (expected,) = torch.autograd.grad((weighted - target).abs().sum(), weights)
    norms = (weighted / weights).detach()
    found = started(GradNorm(1.5), initial).gradient(weights.detach(), values, norms)
    torch.testing.assert_close(found, expected)


@pytest.mark.peer("O1")
def test_a_slow_task_gains_weight_and_a_fast_one_loses_it():
    """One package has this sign inverted (peers O1)."""
    weighting = started(GradNorm(alpha=1.0), torch.ones(2))
    for _ in range(10):
        weighting.update(torch.tensor([0.9, 0.1]), torch.ones(2))
    slow, fast = weighting.weights(torch.ones(2)).tolist()
    assert slow > 1 > fast


def test_without_alpha_weights_even_out_the_norms():
    weighting = GradNorm(alpha=0.0, lr=0.005)
    norms = torch.tensor([4.0, 1.0, 2.0])
    history = []
    for _ in range(2000):
        weighting.update(torch.ones(3), norms)
        history.append(weighting.weights(torch.ones(3)) * norms)
    late = torch.stack(history[-500:]).mean(0)
    torch.testing.assert_close(late / late.mean(), torch.ones(3), atol=0.02, rtol=0)


def test_weights_stay_positive_and_sum_to_k_even_if_losses_differ_a_thousandfold():
    weighting = GradNorm(alpha=0.12)
    smallest = []
    for step in range(300):
        losses = torch.tensor([1.0, 1000.0]) * (0.99**step)
        weighting.update(losses, torch.tensor([1.0, 1000.0]))
        weights = weighting.weights(losses)
        torch.testing.assert_close(weights.sum(), torch.tensor(2.0))
        smallest.append(float(weights.min()))
    assert min(smallest) > 0


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e12])
def test_the_direction_does_not_depend_on_the_scale_of_the_gradients(scale):
    losses = [positive(3) for _ in range(20)]
    norms = [positive(3) for _ in range(20)]
    weighting = GradNorm()
    for loss, norm in zip(losses, norms, strict=True):
        weights = weighting.weights(loss)
        plain = weighting.gradient(weights, loss, norm)
        scaled = weighting.gradient(weights, loss, norm * scale)
        torch.testing.assert_close(scaled / scale, plain)
        weighting.update(loss, norm)


def test_scaled_losses_scale_nothing_once_their_start_is_scaled_too():
    """r depends on L / L(0) only: a loss in millimetres trains as one in metres."""
    plain, scaled = GradNorm(alpha=1.5), GradNorm(alpha=1.5)
    factor = torch.tensor([1.0, 1000.0])
    for _ in range(10):
        losses, norms = positive(2), positive(2)
        for weighting, times in ((plain, torch.ones(2)), (scaled, factor)):
            weighting.update(losses * times, norms)
    torch.testing.assert_close(plain.weights(torch.ones(2)), scaled.weights(torch.ones(2)))


def test_the_theoretical_initial_loss_is_taken_instead_of_the_first():
    initial = {"a": 0.5, "b": 4.0}
    theoretical = GradNorm(initial_loss="theoretical", theoretical_losses=initial)
    first = started(GradNorm(), torch.tensor([0.5, 4.0]))
    for _ in range(5):
        losses, norms = torch.rand(2) + 0.1, torch.rand(2) + 0.1
        theoretical.update(losses, norms)
        first.update(losses, norms)
    assert torch.equal(theoretical.weights(torch.ones(2)), first.weights(torch.ones(2)))
    assert "initial" not in theoretical.memory.tensors


@pytest.mark.parametrize("given", [{"one": 1.0}, {"one": 1.0, "two": 1.0, "three": 0.0}])
def test_theoretical_losses_must_be_positive_and_of_all_tasks(given):
    weighting = GradNorm(initial_loss="theoretical", theoretical_losses=given)
    with pytest.raises(ValueError, match=r"positive number for each of \['one', 'three', 'two'\]"):
        quiet_trainer(callbacks=[weighting]).fit(Toy(), toy_loader())


def test_a_first_batch_without_valid_labels_is_not_taken_for_the_start():
    """Its loss is zero: every later ratio would be infinite, and the weights would drift."""
    weighting = GradNorm()
    weighting.update(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
    weighting.update(torch.tensor([1.0, 3.0]), torch.ones(2))
    assert weighting.memory.tensors["initial"].tolist() == [1.0, 3.0]


def test_an_absent_task_keeps_its_weight_and_its_start():
    weighting = GradNorm()
    weighting.tasks = ("a", "b", "c")
    set_present(weighting, [0, 1, 2])
    weighting.update(torch.ones(3), torch.tensor([1.0, 2.0, 3.0]))
    before = weighting.weights(torch.ones(3))
    set_present(weighting, [0, 1])
    weighting.update(torch.ones(2), torch.tensor([1.0, 2.0]))
    assert weighting.weights(torch.ones(2)).sum() == pytest.approx(2.0)
    set_present(weighting, [0, 1, 2])
    after = weighting.memory.tensors
    assert after["weights"][2] == before[2]
    assert after["adam_steps"].tolist() == [2.0, 2.0, 1.0]


def test_infinite_norms_of_an_overflown_loss_scale_leave_the_weights_alone():
    weighting = GradNorm()
    weighting.update(torch.ones(2), torch.tensor([float("inf"), 1.0]))
    assert weighting.weights(torch.ones(2)).tolist() == [1.0, 1.0]


def test_the_layer_may_be_named():
    trained = {}
    for layer in (None, "trunk.3", "trunk.0"):
        module = Toy()
        quiet_trainer(callbacks=[GradNorm(layer=layer)]).fit(module, toy_loader())
        trained[layer] = parameters(module)
    assert torch.equal(trained[None], trained["trunk.3"])
    assert not torch.equal(trained[None], trained["trunk.0"])


def test_the_network_steps_with_the_weights_of_before_the_update():
    module = Toy()
    weighting = GradNorm()
    quiet_trainer(callbacks=[weighting], max_steps=1).fit(module, toy_loader())
    assert [float(module.task_weights[task]) for task in TASKS] == [1.0, 1.0, 1.0]
    assert not torch.allclose(weighting.memory.tensors["weights"], torch.ones(3))


@pytest.mark.peer("O2")
def test_no_second_order_terms_reach_the_network():
    """Peers O2: a backward pass through the norms adds to the gradients of the model."""

    class Curved(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())

    found = []
    for callbacks in ([], [GradNorm()]):
        module = Curved()
        module.on_before_optimizer_step = lambda optimizer, module=module: found.append(
            torch.cat([p.grad.flatten() for p in module.parameters()])
        )
        quiet_trainer(callbacks=callbacks, max_steps=1).fit(module, toy_loader())
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=0)


class Measured(Toy):
    """Keeps the norm of every task's gradient over all parameters of the last shared layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norms: list[Tensor] = []

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        layer = list(self.trunk[3].parameters())
        rows = [torch.autograd.grad(loss, layer, retain_graph=True) for loss in losses.values()]
        lengths = [torch.cat([part.flatten() for part in row]).norm() for row in rows]
        self.norms.append(torch.stack(lengths))
        return losses


@pytest.mark.peer("O3")
def test_norms_are_of_the_whole_layer_and_the_optimizer_of_the_weights_keeps_its_moments(
    monkeypatch: pytest.MonkeyPatch,
):
    """Peers O3: one port measures the first parameter only, and makes a new Adam in every step."""
    weighting, module = GradNorm(), Measured()
    weights = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=weighting.lr)
    gradient = weighting.gradient

    def spy(now: Tensor, losses: Tensor, norms: Tensor) -> Tensor:
        # The roundings of 20 steps: 20 times 1.2e-7, and a factor of four.
        torch.testing.assert_close(norms, module.norms[-1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(now, weights.detach(), rtol=1e-5, atol=1e-5)
        weights.grad = gradient(now, losses, norms)
        optimizer.step()
        with torch.no_grad():
            weights.clamp_(min=1e-3).mul_(len(weights) / weights.sum())
        return weights.grad

    monkeypatch.setattr(weighting, "gradient", spy)
    quiet_trainer(callbacks=[weighting]).fit(module, toy_loader())
    assert len(module.norms) == 20
    found = weighting.memory.tensors["weights"]
    torch.testing.assert_close(found, weights.detach(), rtol=1e-5, atol=1e-5)
