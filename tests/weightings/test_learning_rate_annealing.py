"""Learning-rate annealing against the aggregator that it follows, and its properties."""

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import LearningRateAnnealing
from tests.support.jacobians import SCALES, random_jacobian
from tests.support.presence import set_present
from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader


def weigh(rule: LearningRateAnnealing, jacobian: Tensor, scale: float = 1.0) -> Tensor:
    """One step, as the engine takes it: each row in two pieces, times a scale."""
    scales = torch.full((len(jacobian),), scale, dtype=torch.float64)
    rows = [list((row * scale).split([4, len(row) - 4])) for row in jacobian]
    rule.brought = rule.observe(rows, scales)
    return rule.weights(torch.ones(len(jacobian)).double(), jacobian @ jacobian.T)


def literal(jacobians: Tensor, alpha: float, reference: int = 0) -> list[float]:
    """The published aggregator on Python numbers, without the constant that it adds."""
    weights = [1.0] * len(jacobians[0])
    for jacobian in jacobians:
        means = [float(row.abs().mean()) for row in jacobian]
        for k, mean in enumerate(means):
            weights[k] *= 1 - alpha
            weights[k] += alpha * means[reference] / mean
    return weights


def jacobians(steps: int = 9, tasks: int = 3) -> Tensor:
    return torch.stack([random_jacobian(tasks, 11, seed) for seed in range(steps)])


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("reference", [0, 2])
def test_weights_are_those_of_the_published_aggregator(alpha: float, reference: int) -> None:
    rule = LearningRateAnnealing(alpha, reference="abc"[reference])
    rule.tasks = ("a", "b", "c")
    for scale, jacobian in enumerate(jacobians(), start=1):
        found = weigh(rule, jacobian, scale)
    assert found.tolist() == pytest.approx(literal(jacobians(), alpha, reference), rel=1e-9)
    assert float(found[reference]) == pytest.approx(1.0)


def test_only_the_ratio_of_scales_matters() -> None:
    plain, scaled = LearningRateAnnealing(1.0), LearningRateAnnealing(1.0)
    for jacobian in jacobians():
        expected = weigh(plain, jacobian)
        for scale in SCALES:
            torch.testing.assert_close(weigh(scaled, jacobian * scale), expected)
    factors = torch.tensor([1.0, 1e-6, 1e6]).double()
    found = weigh(LearningRateAnnealing(1.0), jacobian * factors[:, None])
    torch.testing.assert_close(found * factors, expected)


def test_permuted_tasks_have_permuted_weights() -> None:
    plain, permuted = (LearningRateAnnealing(0.3, reference="a") for _ in range(2))
    plain.tasks, permuted.tasks = ("a", "b", "c"), ("c", "a", "b")
    for jacobian in jacobians():
        expected, found = weigh(plain, jacobian), weigh(permuted, jacobian[[2, 0, 1]])
    torch.testing.assert_close(found, expected[[2, 0, 1]])


def test_an_absent_task_keeps_its_weight_and_without_the_reference_all_do() -> None:
    rule, removed = LearningRateAnnealing(0.3, reference="a"), LearningRateAnnealing(0.3)
    rule.tasks = ("a", "b", "c")
    for jacobian in jacobians():
        set_present(rule, [0, 2])
        found = weigh(rule, jacobian[[0, 2]])
        torch.testing.assert_close(found, weigh(removed, jacobian[[0, 2]]))
        set_present(rule, [1, 2])
        assert weigh(rule, jacobian[1:]).tolist() == [1.0, float(found[1])]


def test_by_default_the_first_task_with_a_gradient_is_the_reference() -> None:
    jacobian, absent, zero = random_jacobian(3, 11), *(LearningRateAnnealing(1.0) for _ in "ab")
    absent.tasks = ("a", "b", "c")
    set_present(absent, [1, 2])
    expected = literal(jacobian[None, 1:], 1.0)
    assert weigh(absent, jacobian[1:]).tolist() == pytest.approx(expected)
    jacobian[0] = 0
    assert weigh(zero, jacobian).tolist() == pytest.approx([1.0, *expected])


@pytest.mark.parametrize("zero", [0, 1])
def test_a_zero_gradient_teaches_nothing(zero: int) -> None:
    jacobian = random_jacobian(3, 11)
    rule = LearningRateAnnealing(0.5, reference="a")
    rule.tasks = ("a", "b", "c")
    before = weigh(rule, jacobian)
    jacobian[zero] = 0
    after = weigh(rule, jacobian)
    assert torch.isfinite(after).all()
    assert after[zero] == before[zero]
    assert torch.equal(after, before) == (zero == 0)


def test_a_saved_state_continues_to_the_bit() -> None:
    whole, resumed = LearningRateAnnealing(0.3), LearningRateAnnealing(0.3)
    first, second = jacobians().split([4, 5])
    for jacobian in first:
        weigh(whole, jacobian)
    resumed.load_state_dict(whole.state_dict())
    for jacobian in second:
        assert torch.equal(weigh(resumed, jacobian), weigh(whole, jacobian))


def by_hand() -> Tensor:
    """The parameters after the aggregator's loop, without Lightning."""
    module, average = Toy(), [1.0] * 3
    trunk, optimizer = list(module.trunk.parameters()), module.configure_optimizers()
    for batch in toy_loader():
        losses = list(module.task_losses(batch).values())
        rows = [torch.autograd.grad(loss, trunk, retain_graph=True) for loss in losses]
        means = [nn.utils.parameters_to_vector(row).abs().mean().item() for row in rows]
        pairs = zip(average, means, strict=True)
        average = [0.7 * old + 0.3 * means[0] / mean for old, mean in pairs]
        optimizer.zero_grad()
        sum(weight * loss for weight, loss in zip(average, losses, strict=True)).backward()
        optimizer.step()
    return parameters(module)


def test_a_run_is_the_loop_that_users_write_by_hand() -> None:
    module = Toy()
    quiet_trainer(callbacks=[LearningRateAnnealing(0.3)]).fit(module, toy_loader())
    torch.testing.assert_close(parameters(module), by_hand())


@pytest.mark.parametrize(
    ("arguments", "price"),
    [
        ({}, "F + H + K B"),
        ({"gradients": "last_layer"}, "F + H + B + K B_last"),
        ({"every_n_steps": 10}, "F + H + B + (K - 1) B / 10"),
    ],
    ids=["everywhere", "one layer", "now and then"],
)
def test_the_price_is_that_of_the_place(arguments: dict, price: str) -> None:
    assert LearningRateAnnealing(**arguments).price == price


@pytest.mark.parametrize(
    "arguments", [{"alpha": 1.5}, {"gradients": "features"}], ids=["alpha", "gradients"]
)
def test_other_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"should .*Found"):
        LearningRateAnnealing(**arguments)


def test_an_unknown_reference_is_refused() -> None:
    rule = LearningRateAnnealing(reference="residual")
    rule.tasks = ("a", "b", "c")
    with pytest.raises(ValueError, match=r"should be one of the tasks.*Found 'residual'. Correct"):
        weigh(rule, random_jacobian(3, 11))
