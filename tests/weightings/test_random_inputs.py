"""Random awkward losses and gradients for every rule: finite, and right by a literal twin.

Gradients have any rank, scales from 1e-38 to 1e38 (of the matrix, and of each row), zero,
duplicated and opposed rows, and denormal numbers; losses likewise. What a rule returns is finite.
Where the problem is well conditioned it is also what the rule's formula says, in float64: by a
literal twin, or by the conditions that define it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import (
    DWA,
    FAMO,
    STCH,
    DynamicTaskPriority,
    GradNorm,
    GramianWeighting,
    JacobianWeighting,
    ReLoBRaLo,
    SoftAdapt,
    Weighting,
)
from lightning_mtl.linalg import project_to_simplex
from lightning_mtl.weightings.bases.loss_weighting import LossWeighting
from tests.support.presence import set_present
from tests.support.toy import TASKS
from tests.support.weightings import EXAMPLES

# One is a rule of another package, and one knows its tasks by name.
RULES = [name for name in EXAMPLES if name not in ("TorchJDWeighting", "FairGrad(priorities)")]
CLOSE = 1e-6
"""Relative error of a twin, on problems whose cosines have a condition of at most `CONDITION`."""

CONDITION = 1e3
MOST_DECADES = 6
"""Of the norms of rows where a twin holds: its own float64 sums lose the smallest ones beyond."""


class Case(NamedTuple):
    """One input; rows have the dtype of the gradients, losses are positive or zero."""

    seed: int
    losses: Tensor
    rows: Tensor

    @property
    def exact(self) -> Tensor:
        return self.rows.double()

    @property
    def well_conditioned(self) -> bool:
        """Whether all rows count, with norms that are not too unequal, and no two nearly agree."""
        norms = self.exact.norm(dim=1)
        if float(norms.min()) < 1e-37 or float(norms.max() / norms.min()) > 10**MOST_DECADES:
            return False
        units = self.exact / norms[:, None]
        values = torch.linalg.eigvalsh(units @ units.T)
        return bool(values[0] * CONDITION > values[-1])


def cases(count: int, seed: int) -> Iterator[Case]:
    for number in range(count):
        generator = torch.Generator().manual_seed(10**6 * seed + number)
        tasks = 40 if number % 25 == 24 else pick(generator, 1, 12)
        yield Case(number, random_losses(generator, tasks), random_rows(generator, tasks))


def pick(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def decades(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return 10 ** (low + (high - low) * torch.rand(shape, generator=generator).double())


def random_losses(generator: torch.Generator, tasks: int) -> Tensor:
    kind = pick(generator, 0, 4)
    losses = decades(generator, -1, 1, tasks)
    if kind == 1:
        losses = losses * decades(generator, -36, 36)
    if kind == 2:
        losses = decades(generator, -38, 38, tasks)
    if kind == 3:
        losses[pick(generator, 0, tasks - 1)] = 0
    if kind == 4:
        losses = losses * 0 + losses[0]
    return losses


def random_rows(generator: torch.Generator, tasks: int) -> Tensor:
    """Every kind of awkward gradients, in float32 or float64."""
    size = pick(generator, 1, 30) + (tasks if pick(generator, 0, 2) else 0)
    rank = pick(generator, 1, min(tasks, size))
    if pick(generator, 0, 1):
        rank = min(tasks, size)
    left = torch.randn(tasks, rank, generator=generator).double()
    rows = left @ torch.randn(rank, size, generator=generator).double()
    if not pick(generator, 0, 3):
        rows = rows + 2 * rows.abs().mean()
    one, other = pick(generator, 0, tasks - 1), pick(generator, 0, tasks - 1)
    change = pick(generator, 0, 9)
    if change == 1:
        rows[one] = 0
    elif change == 2:
        rows[one] = rows[other].clone()
    elif change == 3:
        rows[one] = -3 * rows[other]
    elif change == 4:
        rows[one] = -rows[other] * (1 + decades(generator, -9, -3))
    elif change == 5:
        rows[:, pick(generator, 0, size - 1)] = 0
    elif change == 6:
        rows = rows * 0
    rows = rows / rows.abs().max().clamp(min=1e-300)
    scale = pick(generator, 0, 5)
    if scale == 1:
        rows = rows * decades(generator, -38, 36)
    elif scale == 2:
        rows = rows * decades(generator, -3, 3, tasks)[:, None]
    elif scale == 3:  # far apart, and yet none so small that float32 would not hold its weight
        rows = rows * decades(generator, -30, 30, tasks)[:, None]
    elif scale == 4:  # denormal
        rows = rows * decades(generator, -44, -38)
    return rows.to(torch.float32 if pick(generator, 0, 3) else torch.float64)


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest error, as a share of the largest number."""
    size = float(expected.abs().max())
    return float((found.double() - expected).abs().max()) / (size or 1.0)


# How far the weights of a Gramian rule are from what defines them, on well conditioned problems.


def project_rows(w: Tensor, case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """The direction, its projections on unit rows, and the norms of the rows."""
    direction, norms = w.double() @ case.exact, case.exact.norm(dim=1)
    return direction, case.exact @ direction / norms, norms


def dual_cone_error(w: Tensor, case: Case, least: float) -> float:
    """v >= 1/K, J d >= 0."""
    _, along, norms = project_rows(w, case)
    size = (w.double().abs() * norms).sum()
    return max(float(-(along / size).min()), float(least - w.double().min()), 0.0)


def upgrad_error(w: Tensor, case: Case) -> float:
    return dual_cone_error(w, case, 1 / len(w))


def dualproj_error(w: Tensor, case: Case) -> float:
    """And what is above 1/K has no slack."""
    _, along, norms = project_rows(w, case)
    added = (w.double() - 1 / len(w)) * norms
    size = (w.double().abs() * norms).sum()
    slack = float((added * along).abs().max() / size**2)
    return max(dual_cone_error(w, case, 1 / len(w)), slack)


def mgda_error(w: Tensor, case: Case) -> float:
    """On the simplex, g_i·d >= ||d||²."""
    direction, _, _ = project_rows(w, case)
    products, square = case.exact @ direction, direction @ direction
    outside = max(float(-w.min()), abs(float(w.sum()) - 1))
    scale = case.exact.norm(dim=1) * direction.norm()
    return max(outside, float(((square - products) / scale).max()))


def cagrad_error(w: Tensor, case: Case) -> float:
    """The gap between the least progress and its bound by the dual problem."""
    rows, mean = case.exact, case.exact.mean(0)
    added = w.double() - 1 / len(w)
    radius = 0.4 * mean.norm()
    if float(mean.norm()) < 1e-6 * float(rows.norm(dim=1).max()):
        return 0.0
    deviation = added @ rows
    outside = float(deviation.norm() / radius) - 1
    if float(added.sum()) <= 1e-9:
        return outside
    share = added / added.sum()
    bound = share @ rows @ mean + radius * (share @ rows).norm()
    least = (rows @ (mean + deviation)).min()
    return max(outside, float((bound - least) / (rows.norm(dim=1).max() * mean.norm())))


def equal_cosines_error(w: Tensor, case: Case) -> float:
    _, along, _ = project_rows(w, case)
    return relative(along, along.mean().expand_as(along))


def config_error(w: Tensor, case: Case) -> float:
    direction, _, _ = project_rows(w, case)
    length = (case.exact @ direction).sum() / direction.norm()
    return max(equal_cosines_error(w, case), abs(float(direction.norm() / length) - 1))


def impartial_error(w: Tensor, case: Case) -> float:
    total = float(w.sum())
    sums_to_one = 0.0 if float(w.abs().sum()) > 1e5 else abs(abs(total) - 1)
    return max(equal_cosines_error(w, case), sums_to_one)


def fair_error(w: Tensor, case: Case) -> float:
    """w (G w) is the same for every task."""
    gain = w.double() * (case.exact @ (w.double() @ case.exact))
    return relative(gain, gain.mean().expand_as(gain))


def aligned_error(w: Tensor, case: Case) -> float:
    values, vectors = torch.linalg.eigh(case.exact @ case.exact.T)
    mean = torch.full_like(values, 1 / len(values))
    if float(values[0]) < 1e-10 * float(values[-1]):
        return 0.0
    expected = values[0].sqrt() * vectors @ ((vectors.T @ mean) / values.sqrt())
    return relative(w, expected)


def pair_error(w: Tensor, case: Case) -> float:
    """Of two tasks in conflict each loses its component along the other; without one, none does."""
    gramian = case.exact @ case.exact.T
    if len(w) == 2:
        cut = -gramian[0, 1].clamp(max=0) / gramian.diagonal()
        return relative(w, 1 + cut)
    return relative(w, torch.ones_like(w).double()) if float(gramian.min()) >= 0 else 0.0


def modo_error(w: Tensor, case: Case) -> float:
    start = torch.full_like(w.double(), 1 / len(w))
    gradient = case.exact @ (start @ case.exact) + 0.1 * start
    return relative(w, project_to_simplex(start - 1e-3 * gradient))


def simplex_error(w: Tensor, case: Case) -> float:
    return max(float(-w.min()), abs(float(w.sum()) - 1))


def norms_error(w: Tensor, case: Case) -> float:
    """All weighted norms are the root mean square."""
    norms = case.exact.norm(dim=1)
    return relative(w * norms, norms.square().mean().sqrt().expand_as(norms))


def annealing_error(w: Tensor, case: Case) -> float:
    """The first step from 1 towards the mean absolute entry of the first task."""
    means = case.exact.abs().mean(1)
    return relative(w, 0.99 + 0.01 * means[0] / means)


def kernels_error(w: Tensor, case: Case) -> float:
    """The authors' formula, with squared norms for the largest eigenvalues."""
    squares = case.exact.square().sum(1)
    return relative(w, (squares.sum() / squares).sqrt())


GRAMIAN_TWINS: dict[str, Callable[[Tensor, Case], float]] = {
    "AlignedMTL": aligned_error,
    "CAGrad": cagrad_error,
    "ConFIG": config_error,
    "DualProj": dualproj_error,
    "FairGrad": fair_error,
    "GradVac": pair_error,
    "IMTL": impartial_error,
    "IMTLG": impartial_error,
    "LearningRateAnnealing": annealing_error,
    "MGDA": mgda_error,
    "MGDA(every_n_steps)": mgda_error,
    "MGDA(features)": mgda_error,
    "MGDA(last_layer)": mgda_error,
    "MaxGNR": lambda w, case: relative(w, torch.ones_like(w).double()),  # in its warm-up
    "MaxGNR(features)": lambda w, case: relative(w, torch.ones_like(w).double()),
    "MoDo": modo_error,
    "NashMTL": fair_error,
    "NTKMTL": kernels_error,
    "NormBalance": norms_error,
    "NormBalance(decay)": norms_error,
    "PCGrad": pair_error,
    "SDMGrad": simplex_error,
    "UPGrad": upgrad_error,
}


def check_gramian_rule(name: str, case: Case) -> None:
    """Several steps, as averages and momenta may leave the range only then."""
    rule = EXAMPLES[name]()
    assert isinstance(rule, GramianWeighting)
    rule.tasks = tuple(map(str, range(len(case.losses))))
    gramian = case.exact @ case.exact.T
    for step in range(5 if rule.needs_rows else 2):
        if rule.needs_rows:
            rule.brought = rule.observe([[row] for row in case.rows], torch.ones_like(case.losses))
        weights = rule.weights(case.losses, gramian)
        assert weights.shape == case.losses.shape
        assert torch.isfinite(weights).all(), f"step {step}: {weights.tolist()}"
        if step == 0 and case.well_conditioned:
            error = GRAMIAN_TWINS[name](weights, case)
            assert error < CLOSE, f"error {error}"
    assert all(torch.isfinite(value).all() for value in rule.logs().values()) or rule.needs_rows


# Rules on the rows: the direction of two steps, by the formula in float64.


def moco_twin(case: Case) -> Iterator[Tensor]:
    weights = torch.full_like(case.losses, 1 / len(case.losses))
    for step in (1, 2):
        gradient = case.exact @ (weights @ case.exact)
        weights = project_to_simplex(weights - 0.1 / step**0.5 * gradient)
        yield weights @ case.exact


def dbmtl_twin(case: Case) -> Iterator[Tensor]:
    losses = case.losses.clamp(min=torch.finfo(case.rows.dtype).tiny)
    logarithmic = case.exact / losses[:, None] * (case.losses > 0)[:, None]
    norms = logarithmic.norm(dim=1)
    units = logarithmic / norms.where(norms > 0, torch.inf)[:, None]
    for _ in (1, 2):
        yield norms.max() * units.sum(0)


def excess_twin(case: Case) -> Iterator[Tensor]:
    """α = 1/K, then by E / E(0) = 1 / √2 for every task that has a gradient."""
    weights = torch.full_like(case.losses, 1 / len(case.losses))
    yield weights @ case.exact
    moved = torch.softmax(case.exact.abs().amax(1).sign() / 2**0.5, 0)
    yield moved @ case.exact


def sum_twin(case: Case) -> Iterator[Tensor]:
    """Its gradients; what it makes of them is the optimizer's."""
    yield case.exact.sum(0)
    yield case.exact.sum(0)


JACOBIAN_TWINS = {
    "AdaTask": sum_twin,
    "DBMTL": dbmtl_twin,
    "ExcessMTL": excess_twin,
    "MoCo": moco_twin,
}


def check_jacobian_rule(name: str, case: Case) -> None:
    rule, losses = EXAMPLES[name](), case.losses.to(case.rows.dtype)
    assert isinstance(rule, JacobianWeighting)
    largest = torch.finfo(case.rows.dtype).max
    if name == "GradDrop":
        check_graddrop(rule, case)
        return
    for step, expected in enumerate(JACOBIAN_TWINS[name](case)):
        found = rule.combine(losses, case.rows.clone())
        if float(expected.abs().max()) > largest / 100:  # refused by the base class
            return
        assert torch.isfinite(found).all(), f"step {step}"
        size = float(case.exact.abs().max())
        if size > 1e-36 and float(expected.abs().max()) > 1e-36 and case.well_conditioned:
            limit = 1e-4 if case.rows.dtype == torch.float32 else CLOSE
            scale = max(float(expected.abs().max()), size if name != "DBMTL" else 0.0)
            error = float((found.double() - expected).abs().max()) / scale
            assert error < limit, f"step {step}: error {error}"


def check_graddrop(rule: JacobianWeighting, case: Case) -> None:
    """Every parameter follows the positive gradients, the negative ones, or none."""
    found = rule.combine(case.losses, case.rows.clone()).double()
    positive, negative = case.exact.clamp(min=0).sum(0), case.exact.clamp(max=0).sum(0)
    assert torch.isfinite(found).all()
    choices = torch.stack([positive, negative, torch.zeros_like(positive)])
    nearest = (choices - found).abs().amin(0)
    assert (nearest <= 1e-5 * case.exact.abs().sum(0) + 1e-44).all()


# Rules on the losses, step by step; those that learn are given the same losses again.


def geometric_twin(losses: Tensor) -> Tensor:
    kept = losses > 0
    mean = losses[kept].log().mean().exp()
    return torch.where(kept, mean / (kept.sum() * losses.where(kept, 1.0)), 0.0)


def stch_twin(losses: Tensor) -> Tensor:
    return torch.where(losses > 0, 1 / losses.where(losses > 0, 1.0), 0.0)


def famo_twin(losses: Tensor) -> Tensor:
    inverse = stch_twin(losses)
    return inverse / inverse.sum()


def ones_twin(losses: Tensor) -> Tensor:
    return (losses > 0).double()


def soft_twin(losses: Tensor) -> Tensor:
    inverse = stch_twin(losses)
    mean = inverse.sum() / (losses > 0).sum()
    return torch.softmax(torch.where(losses > 0, inverse / mean, -torch.inf), 0)


LOSS_TWINS: dict[str, Callable[[Tensor], Tensor]] = {
    "DWA": torch.ones_like,
    "EqualWeighting": torch.ones_like,
    "FAMO": famo_twin,
    "GeometricLoss": geometric_twin,
    "GradNorm": torch.ones_like,
    "IMTLL": torch.ones_like,
    "ReLoBRaLo": ones_twin,
    "STCH": stch_twin,
    "SoftAdapt": ones_twin,
    "SoftAdapt(cycle)": torch.ones_like,
    "SoftOptimalUncertainty": soft_twin,
}


def check_loss_rule(name: str, case: Case) -> None:
    rule = EXAMPLES[name]()
    if name in ("FixedWeighting", "UncertaintyWeighting", "DynamicTaskPriority"):
        # These know their tasks by name.
        case = case._replace(losses=case.losses[: len(TASKS)])
        rule.tasks = TASKS
        set_present(rule, range(len(case.losses)))
    losses = case.losses.to(case.rows.dtype)
    for step in range(6):
        weights = rule.weights(losses)
        assert weights.shape == losses.shape
        assert torch.isfinite(weights).all(), f"step {step}: {weights.tolist()}"
        assert weights.min() >= 0
        if step == 0 and name in LOSS_TWINS:
            expected = LOSS_TWINS[name](losses.double())
            if float(expected.max()) < torch.finfo(losses.dtype).max and losses.min() > 1e-37:
                torch.testing.assert_close(weights.double(), expected, rtol=1e-4, atol=1e-30)
        learn(rule, losses, case)
        losses = losses * (1 + 0.1 * step)
        losses = losses.clamp(max=1e38)
    assert all(torch.isfinite(value).all() for value in rule.memory.tensors.values()) or isinstance(
        rule, DWA | GradNorm | DynamicTaskPriority | ReLoBRaLo | SoftAdapt
    )  # these have NaN for what they have not seen


def learn(rule: Weighting, losses: Tensor, case: Case) -> None:
    """As after an optimizer step that ends an epoch."""
    if isinstance(rule, GradNorm):
        rule.update(losses, case.rows.double().norm(dim=1).to(losses))
    elif isinstance(rule, FAMO):
        rule.learn(losses, losses.flip(0))
    elif isinstance(rule, LossWeighting):
        rule.update(losses)
    if isinstance(rule, DWA | STCH):
        rule.end_epoch()


def check(name: str, case: Case) -> None:
    rule = EXAMPLES[name]()
    if isinstance(rule, GramianWeighting):
        check_gramian_rule(name, case)
    elif isinstance(rule, JacobianWeighting):
        check_jacobian_rule(name, case)
    else:
        check_loss_rule(name, case)


def effort(name: str) -> int:
    """How many times as long a case takes: an iterative search, in three of five steps."""
    return 10 if "MaxGNR" in name else 1


def failures(name: str, count: int, seed: int) -> list[str]:
    """What is wrong with a rule's answers, one line for each case."""
    return [wrong for case in cases(count, seed) if (wrong := failure(name, case))]


def failure(name: str, case: Case) -> str:
    try:
        check(name, case)
    except AssertionError as error:
        return f"case {case.seed}: {error}"
    return ""


@pytest.mark.parametrize("name", RULES)
def test_random_awkward_inputs_have_finite_and_right_answers(name: str) -> None:
    assert not failures(name, 150 // effort(name), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_twenty_thousand_random_awkward_inputs_have_finite_and_right_answers(name: str) -> None:
    assert not failures(name, 20_000 // effort(name), seed=1)


def test_every_rule_has_a_twin() -> None:
    kinds = {name: EXAMPLES[name]() for name in RULES}
    gramian = {name for name, rule in kinds.items() if isinstance(rule, GramianWeighting)}
    jacobian = {name for name, rule in kinds.items() if isinstance(rule, JacobianWeighting)}
    assert gramian == set(GRAMIAN_TWINS)
    assert jacobian == {*JACOBIAN_TWINS, "GradDrop"}
