"""The number of labels of a loss: with it, the losses of parts give that of the whole batch."""

import pytest
import torch
from torch import Tensor

from lightning_mtl import tasks
from lightning_mtl.tasks import Edges, Saliency, Task
from tests.tasks import test_per_image, test_task

CASES = test_task.CASES | test_per_image.CASES
# Its default weight is the share of negatives in the batch, of which parts have their own.
CASES |= {
    name: (Saliency(name, positive_weight=0.7), *case)
    for name, (task, *case) in CASES.items()
    if isinstance(task, Saliency)
}
CASES |= {
    f"normals_{loss}": (tasks.Normals(loss=loss), test_task.unit_vectors, 0)
    for loss in ("l1_per_pixel", "cosine")
}
every_task = pytest.mark.parametrize(("task", "targets", "invalid"), CASES.values(), ids=CASES)


def test_every_ready_made_task_is_here() -> None:
    found = {type(task).__name__ for task, *_ in CASES.values()}
    assert found == set(tasks.__all__) - {"Task"}


def predictions(task: Task, target: Tensor) -> Tensor:
    size = target.shape[-2:] if target.ndim > 2 else (1, 1)
    return torch.randn(len(target), task.out_channels, *size)


def mean_over_parts(task: Task, prediction: Tensor, target: Tensor, sizes: list[int]) -> Tensor:
    parts = list(zip(prediction.split(sizes), target.split(sizes), strict=True))
    counts = torch.stack([task.count(target) for _, target in parts])
    assert len(set(counts.tolist())) > 1
    losses = torch.stack([task.loss(*part) for part in parts])
    return (counts * losses).sum() / counts.sum()


def labels(targets, invalid: float) -> Tensor:
    """Four batches of samples: one with few labels, two with many, and one with none."""
    first, *rest = (targets() for _ in range(3))
    first[1:] = invalid
    return torch.cat([first, *rest, torch.full_like(first, invalid)])


@every_task
def test_the_mean_of_parts_by_their_counts_is_the_loss_of_the_whole(task, targets, invalid) -> None:
    torch.manual_seed(0)
    target = labels(targets, invalid)
    prediction, samples, part = predictions(task, target), len(target), len(targets())
    whole = task.loss(prediction, target)
    for sizes in ([part, samples - part], [samples - part, part], [2, 1, samples - 3]):
        parts = mean_over_parts(task, prediction, target, sizes)
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-6)


@every_task
def test_the_count_is_a_floating_scalar_that_is_zero_without_labels(task, targets, invalid) -> None:
    target = targets()
    count = task.count(target)
    assert count.shape == ()
    assert count.dtype == torch.float32
    assert 0 < count <= target.numel()
    assert task.count(torch.full_like(target, invalid)) == 0


@every_task
def test_counting_waits_for_no_device(task, targets, invalid) -> None:
    # Tensors on the meta device have no values, so reading one raises.
    assert task.count(targets().to("meta")).is_meta


@pytest.mark.parametrize(
    "task", [Saliency(), Edges(positive_weight=None)], ids=["saliency", "edges"]
)
def test_with_a_weight_from_the_batch_it_is_so_for_equal_shares_of_negatives(task) -> None:
    """Parts of unequal counts, of which each has the pixels of the first one, shuffled."""
    torch.manual_seed(0)
    first = test_task.flags()
    target = torch.cat([first, first.flip(1), first.flip(2)])
    prediction = predictions(task, target)
    parts = mean_over_parts(task, prediction, target, [len(first), 2 * len(first)])
    torch.testing.assert_close(parts, task.loss(prediction, target), atol=1e-6, rtol=1e-6)


class Halved(tasks.Depth):
    """A user's task that counts only half of what is valid."""

    def valid(self, target: Tensor) -> Tensor:
        return super().valid(target) & (torch.arange(target.shape[-1]) % 2 == 0)


def test_loss_sums_and_count_follow_the_labels_that_a_task_calls_valid() -> None:
    target = torch.ones(2, 1, 3, 4)
    target[..., 1::2] = 9
    task = Halved()
    assert task.loss(torch.ones_like(target), target) == 0
    assert task.count(target) == 12
    assert [float(value) for value in task.pixel_sum(target)] == [12, 12]
