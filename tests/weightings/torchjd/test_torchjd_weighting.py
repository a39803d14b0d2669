"""The adapter, and agreement of our own rules with TorchJD where it is right."""

import sys

import pytest
import torch

from lightning_mtl.callbacks import (
    IMTLG,
    IMTLL,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    ExcessMTL,
    FairGrad,
    GradDrop,
    GradVac,
    MoDo,
    NashMTL,
    PCGrad,
    SDMGrad,
    TorchJDWeighting,
    UPGrad,
)
from lightning_mtl.weightings import graddrop
from tests.support.jacobians import agreeing_jacobian, random_jacobian

jd = pytest.importorskip("torchjd.aggregation", reason="the extra `torchjd` is not installed")


def solver(build):
    """TorchJD's rules that need solvers of their own say so when they are built."""
    try:
        return build()
    except ImportError as missing:
        pytest.skip(str(missing))


def exact_cone():
    from torchjd.linalg import QuadprogProjector

    return QuadprogProjector(norm_eps=0.0, reg_eps=1e-12)


PAIRS = {
    "AlignedMTL": (AlignedMTL, lambda: jd.AlignedMTL(), 1e-10),
    "AlignedMTL(median)": (
        lambda: AlignedMTL(scale="median"),
        lambda: jd.AlignedMTL(scale_mode="median"),
        1e-10,
    ),
    "AlignedMTL(rmse)": (
        lambda: AlignedMTL(scale="rmse"),
        lambda: jd.AlignedMTL(scale_mode="rmse"),
        1e-10,
    ),
    "CAGrad": (lambda: CAGrad(c=0.4), lambda: jd.CAGrad(c=0.4), 1e-3),
    "ConFIG": (ConFIG, lambda: jd.ConFIG(), 1e-9),
    "DualProj": (DualProj, lambda: jd.DualProj(projector=exact_cone()), 1e-8),
    "FairGrad": (lambda: FairGrad(alpha=2.0), lambda: jd.FairGrad(alpha=2.0), 1e-5),
    "IMTLG": (IMTLG, lambda: jd.IMTLG(), 1e-9),
    # Theirs is Frank-Wolfe, which comes within 1 / √steps of the solution.
    "MGDA": (MGDA, lambda: jd.MGDA(epsilon=1e-9, max_iters=4000), 5e-2),
    "UPGrad": (UPGrad, lambda: jd.UPGrad(projector=exact_cone()), 1e-8),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("make", [random_jacobian, agreeing_jacobian])
@pytest.mark.parametrize("tasks", [2, 3, 5, 10, 20])
def test_our_rules_agree_with_torchjd_where_it_is_right(name: str, make, tasks: int) -> None:
    ours, theirs, tolerance = PAIRS[name]
    aggregator = solver(theirs)
    for seed in range(3):
        rows = make(tasks, tasks + 20, seed)
        rows = rows / rows.norm(dim=1).mean()
        expected = aggregator(rows)
        found = ours().weights(torch.ones(tasks), rows @ rows.T) @ rows
        if name == "IMTLG":  # theirs ascends every loss where the weights sum to a negative number
            expected = expected * torch.sign((rows @ expected)[0])
        assert (found - expected).norm() < tolerance * expected.norm()


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem:UserWarning")
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_the_bargain_agrees_with_theirs(tasks: int) -> None:
    """Theirs approaches the solution by convex steps, and remembers the last one: built anew."""
    for seed in range(3):
        aggregator = solver(lambda: jd.NashMTL(n_tasks=tasks, optim_niter=100))
        rows = random_jacobian(tasks, tasks + 20, seed)
        rows = rows / rows.norm(dim=1).mean()
        found = NashMTL().weights(torch.ones(tasks), rows @ rows.T) @ rows
        expected = aggregator(rows)
        assert (found - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("leak", [0.0, 0.3])
def test_dropped_signs_agree_draw_by_draw(leak: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_jacobian(4, 200)
    drawn: list[torch.Tensor] = []
    draw = graddrop.uniform
    monkeypatch.setattr(graddrop, "uniform", lambda *a: drawn.append(draw(*a)) or drawn[-1])
    found = GradDrop(leak=leak).combine(torch.ones(4), rows)
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: torch.cat(drawn))
    expected = jd.GradDrop(leak=torch.full((4,), leak, dtype=torch.float64))(rows)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, rows.sum(0))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(PCGrad, "PCGrad"), (GradVac, "GradVac")], ids=["PCGrad", "GradVac"]
)
def test_rules_in_random_order_agree_on_two_tasks(ours, theirs: str) -> None:
    weighting, aggregator = ours(), getattr(jd, theirs)()
    for seed in range(10):
        rows = random_jacobian(2, 9, seed)
        found = weighting.weights(torch.ones(2), rows @ rows.T) @ rows
        torch.testing.assert_close(found, aggregator(rows), rtol=1e-6, atol=1e-6)


def test_rules_with_a_state_agree_over_many_steps() -> None:
    pairs = [
        (SDMGrad(), jd.SDMGradWeighting()),
        (MoDo(gamma=0.01, rho=0.1), jd.MoDoWeighting(gamma=0.01, rho=0.1)),
    ]
    excess, their_excess = ExcessMTL(warmup_steps=2), jd.ExcessMTL(n_warmup_steps=2)
    for seed in range(10):
        rows = random_jacobian(4, 9, seed)
        for weighting, theirs in pairs:
            found = weighting.weights(torch.ones(4), rows @ rows.T)
            torch.testing.assert_close(found, theirs(rows @ rows.T), rtol=1e-6, atol=1e-6)
        found = excess.combine(torch.ones(4), rows)
        torch.testing.assert_close(found, their_excess(rows), rtol=1e-4, atol=1e-4)


def test_loss_scales_agree() -> None:
    losses = torch.rand(3) + 0.1
    scalarizer = pytest.importorskip("torchjd.scalarization").IMTLL(3)
    leaf = losses.clone().requires_grad_()
    (expected,) = torch.autograd.grad(scalarizer(leaf), leaf)
    torch.testing.assert_close(IMTLL().weights(losses), expected)


def test_an_aggregator_gives_its_direction() -> None:
    rows = random_jacobian(3, 9)
    found = TorchJDWeighting(jd.ConFIG()).combine(torch.ones(3), rows)
    torch.testing.assert_close(found, jd.ConFIG()(rows))


def test_a_weighting_receives_the_statistic_that_its_class_is_declared_for() -> None:
    rows = random_jacobian(3, 9)
    gramian = TorchJDWeighting(jd.MGDAWeighting())
    expected = jd.MGDAWeighting()(rows @ rows.T)
    torch.testing.assert_close(gramian.combine(torch.ones(3), rows), expected @ rows)
    torch.testing.assert_close(gramian.weights(rows @ rows.T), expected)
    matrix = TorchJDWeighting(jd.SumWeighting())
    torch.testing.assert_close(matrix.combine(torch.ones(3), rows), rows.sum(0))


def test_the_global_random_numbers_are_left_alone() -> None:
    """T17."""
    state = torch.get_rng_state()
    TorchJDWeighting(jd.PCGrad()).combine(torch.ones(3), random_jacobian(3, 9))
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_no_weighting_is_refused() -> None:
    with pytest.raises(TypeError, match=r"should be a Weighting or an Aggregator.*Found Linear"):
        TorchJDWeighting(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"statistic=\)` should be .*Found 'matrix'"):
        TorchJDWeighting(jd.MeanWeighting(), statistic="matrix")


@pytest.mark.peer("T19")
def test_without_torchjd_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(ImportError, match=r"lightning_mtl\[torchjd\]"):
        TorchJDWeighting(jd.Mean())
