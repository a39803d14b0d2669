import pytest
import torch
from scipy.optimize import minimize

from lightning_mtl.callbacks import CAGrad
from tests.support.jacobians import SCALES, random_jacobian


@pytest.mark.peer("T2")
@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_the_direction_is_that_of_the_dual_problem(c: float, tasks: int) -> None:
    """T2: at every scale, where TorchJD's weights are zero for small gradients."""
    for seed in range(4):
        rows = random_jacobian(tasks, 9, seed)
        mean = rows.mean(0)
        radius = c * mean.norm()

        def objective(w, rows=rows, mean=mean, radius=radius):
            shared = torch.from_numpy(w) @ rows
            return float(shared @ mean + radius * shared.norm())

        found = minimize(
            objective,
            [1 / tasks] * tasks,
            bounds=[(0, 1)] * tasks,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        shared = torch.from_numpy(found.x) @ rows
        expected = mean + radius * shared / shared.norm()
        for scale in SCALES:
            scaled = rows * scale
            weights = CAGrad(c=c).weights(torch.ones(tasks), scaled @ scaled.T)
            assert (weights @ scaled / scale - expected).norm() < 2e-3 * expected.norm()
            assert (rows @ (weights @ rows)).min() >= (rows @ expected).min() - 1e-9


def test_without_radius_it_is_the_mean() -> None:
    rows = random_jacobian(4, 9)
    weights = CAGrad(c=0.0).weights(torch.ones(4), rows @ rows.T)
    assert weights.tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("rescale", "divisor"), [("none", 1.0), ("quadratic", 1.16), ("linear", 1.4)]
)
def test_conventions_of_scale_differ_by_their_constants(rescale, divisor: float) -> None:
    rows = random_jacobian(3, 9)
    plain = CAGrad().weights(torch.ones(3), rows @ rows.T)
    weights = CAGrad(rescale=rescale).weights(torch.ones(3), rows @ rows.T)
    torch.testing.assert_close(weights * divisor, plain)


@pytest.mark.peer("T3")
def test_a_zero_gradient_does_not_stop_the_others() -> None:
    """T3: TorchJD's update is zero as soon as one row is."""
    rows = random_jacobian(3, 9)
    zero = rows.clone()
    zero[1] = 0
    found = CAGrad().weights(torch.ones(3), zero @ zero.T) @ zero
    others = CAGrad().weights(torch.ones(2), rows[[0, 2]] @ rows[[0, 2]].T) @ rows[[0, 2]]
    torch.testing.assert_close(found, others)


def test_at_a_pareto_stationary_point_nobody_is_opposed() -> None:
    rows = torch.tensor([[1.0, 0.0, 1.0], [-2.0, 0.0, 0.5], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    weights = CAGrad(c=2.0).weights(torch.ones(4), rows @ rows.T)
    assert (rows @ (weights @ rows)).min() > -1e-5
    assert (weights @ rows).norm() > 0.1


@pytest.mark.parametrize("wrong", [{"c": -1.0}, {"rescale": "twice"}])
def test_wrong_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="CAGrad"):
        CAGrad(**wrong)
