"""Rules that ask for products of independent parts get them from an accumulation window."""

import pytest
import torch
from torch import Tensor

from tests.support.ddp_cross_gramian import KINDS, Witness
from tests.support.ranks import results_of
from tests.support.toy import TASKS, Toy, quiet_trainer, toy_data, toy_loader


def rows(module: Toy, batch: list[Tensor]) -> Tensor:
    trunk = list(module.trunk.parameters())
    losses = module.task_losses(batch).values()
    gradients = [torch.autograd.grad(loss, trunk, retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in gradients])


@pytest.mark.parametrize("parts", [2, 4])
def test_the_gramian_is_the_mean_over_pairs_of_different_micro_batches(parts: int) -> None:
    batches = list(toy_loader())[:parts]
    jacobians = [rows(Toy(), batch) for batch in batches]
    pairs = [a @ b.T for i, a in enumerate(jacobians) for j, b in enumerate(jacobians) if i != j]
    weighting = Witness()
    trainer = quiet_trainer(max_steps=1, accumulate_grad_batches=parts, callbacks=[weighting])
    trainer.fit(Toy(), toy_loader())
    torch.testing.assert_close(
        weighting.seen.float(), torch.stack(pairs).mean(0), atol=1e-6, rtol=1e-4
    )


def test_a_single_part_gives_its_own_gramian() -> None:
    jacobian = rows(Toy(), next(iter(toy_loader())))
    weighting = Witness()
    quiet_trainer(max_steps=1, callbacks=[weighting]).fit(Toy(), toy_loader())
    torch.testing.assert_close(weighting.seen.float(), jacobian @ jacobian.T, atol=1e-6, rtol=1e-4)


@pytest.fixture(scope="module")
def of_two_ranks() -> dict[str, Tensor]:
    """The matrices that a rule is given on two gloo ranks."""
    return results_of("ddp_cross_gramian")


def literal(kind: str, place: str, accumulate: int) -> Tensor:
    """Pair by pair of tasks, over the parts that have both; one that no two parts have is plain."""
    module = KINDS[kind]()
    parameters = list((module.trunk if place == "shared" else module.trunk[3]).parameters())
    parts: list[dict[str, Tensor]] = []
    for batch in range(accumulate):
        for rank in range(2):
            # Ranks take turns in drawing samples.
            samples = torch.arange(rank, 80, 2)[4 * batch : 4 * batch + 4]
            losses = module.task_losses(toy_data()[samples])
            gradients = {
                task: torch.autograd.grad(loss, parameters, retain_graph=True)
                for task, loss in losses.items()
            }
            parts.append({t: torch.cat([g.flatten() for g in row]) for t, row in gradients.items()})
    present = [task for task in TASKS if any(task in part for part in parts)]
    matrix = torch.zeros(len(present), len(present))
    for i, a in enumerate(present):
        for j, b in enumerate(present):
            products = [
                left[a] @ right[b]
                for r, left in enumerate(parts)
                for s, right in enumerate(parts)
                if r != s and a in left and b in right
            ]
            own = [part[a] @ part[b] for part in parts if a in part and b in part]
            matrix[i, j] = torch.stack(products or own).mean()
    return matrix


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["shared", "last_layer"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_ranks_and_micro_batches_are_the_parts(
    kind: str, place: str, accumulate: int, of_two_ranks: dict[str, Tensor]
) -> None:
    found = of_two_ranks[f"{kind} {place} {accumulate}"].float()
    expected = literal(kind, place, accumulate)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_the_parts_tell_from_the_whole() -> None:
    """What the ranks are compared with is neither the Gramian of the mean nor its mean."""
    batches = [toy_data()[torch.arange(rank, 80, 2)[:4]] for rank in range(2)]
    first, second = (rows(Toy(), batch) for batch in batches)
    mean = (first + second) / 2
    crossed = literal("toy", "shared", 1)
    torch.testing.assert_close(crossed, (first @ second.T + second @ first.T) / 2)
    assert (mean @ mean.T - crossed).norm() > 0.05 * crossed.norm()
