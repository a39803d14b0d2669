"""Losses that a user gives a task: what they see, and what is made of their values."""

import jsonargparse
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_mtl.tasks import (
    Attributes,
    Classification,
    Depth,
    Disparity,
    Edges,
    HumanParts,
    Keypoints,
    Normals,
    Regression,
    Saliency,
    Segmentation,
    Task,
)
from lightning_mtl.vectors import unit
from tests.tasks import test_per_image, test_task
from tests.tasks.test_count import labels, mean_over_parts, predictions

L1 = nn.L1Loss(reduction="none")
SQUARE = nn.MSELoss(reduction="none")
BINARY = nn.BCEWithLogitsLoss(reduction="none")
CLASSES = nn.CrossEntropyLoss(reduction="none")


def cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """A value for each pixel, without an axis of channels."""
    return 1 - functional.cosine_similarity(prediction, target, dim=1)


def log_ratio(prediction: Tensor, target: Tensor) -> Tensor:
    """NaN where anything is 0."""
    return (prediction.abs().log() - target.log()).abs()


# name: task with its own loss, task with that loss given, targets, invalid value
CASES = {
    "depth": (Depth(), Depth(loss=L1), test_task.metres, 0),
    "disparity": (Disparity(), Disparity(loss=L1), test_task.metres, 0),
    "segmentation": (Segmentation(5), Segmentation(5, loss=CLASSES), test_task.classes, 255),
    "human parts": (HumanParts(5), HumanParts(5, loss=CLASSES), test_task.classes, 255),
    "normals": (Normals(), Normals(loss=L1), test_task.unit_vectors, 0),
    "normals by pixel": (Normals(loss="cosine"), Normals(loss=cosine), test_task.unit_vectors, 0),
    "edges": (
        Edges(positive_weight=0.5),
        Edges(loss=lambda p, t: BINARY(p, t) / 2),
        test_task.flags,
        255,
    ),
    "saliency": (
        Saliency(positive_weight=0.5),
        Saliency(loss=lambda p, t: BINARY(p, t) / 2),
        test_task.flags,
        255,
    ),
    "keypoints": (Keypoints(2), Keypoints(2, loss=SQUARE), test_task.heatmaps, 0),
    "attributes": (Attributes(3), Attributes(3, loss=BINARY), test_per_image.attributes, 255),
    "classification": (
        Classification(3, "left"),
        Classification(3, "left", loss=CLASSES),
        test_per_image.classes,
        255,
    ),
    "regression": (
        Regression("age", 3),
        Regression("age", 3, loss=SQUARE),
        test_per_image.numbers,
        torch.nan,
    ),
}
every_task = pytest.mark.parametrize(
    ("own", "given", "targets", "invalid"), CASES.values(), ids=CASES
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@every_task
def test_the_loss_of_a_task_given_to_it_changes_nothing(own, given, targets, invalid):
    target = targets()
    prediction = predictions(own, target)
    pair = [prediction.clone().requires_grad_() for _ in range(2)]
    values = [task.loss(one, target) for task, one in zip((own, given), pair, strict=True)]
    gradients = [torch.autograd.grad(*both)[0] for both in zip(values, pair, strict=True)]
    torch.testing.assert_close(values[1], values[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-5)


@every_task
def test_the_mean_of_parts_by_their_counts_is_that_of_the_whole(own, given, targets, invalid):
    target = labels(targets, invalid)
    prediction = predictions(given, target)
    parts = mean_over_parts(given, prediction, target, [2, len(target) - 2])
    torch.testing.assert_close(parts, given.loss(prediction, target), atol=1e-6, rtol=1e-5)


@every_task
def test_without_a_label_it_is_zero_and_so_is_its_gradient(own, given, targets, invalid):
    target = torch.full_like(targets(), invalid)
    prediction = predictions(given, target).requires_grad_()
    loss = given.loss(prediction, target)
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


@every_task
def test_a_scalar_is_used_as_it_is(own, given, targets, invalid):
    target = targets()
    prediction = predictions(own, target)
    seen = {}

    def scalar(first: Tensor, second: Tensor) -> Tensor:
        seen["pair"] = first, second
        return first.sum()

    task = with_loss(own, scalar)
    assert task.loss(prediction, target) == seen["pair"][0].sum()
    assert all(values.isfinite().all() for values in seen["pair"])
    assert seen["pair"][0].dtype == torch.float32


def with_loss(task: Task, loss: object) -> Task:
    kind, name = type(task), {"name": task.name}
    if kind in (Segmentation, HumanParts, Keypoints, Attributes, Classification):
        return kind(task.out_channels, **name, loss=loss)
    return kind(**name, loss=loss, **({"out_channels": 3} if kind is Regression else {}))


@pytest.mark.parametrize(
    ("task", "targets", "shape"),
    [
        (Depth(loss=log_ratio), test_task.metres, (3, 1, 6, 8)),
        (Regression("age", 3, loss=log_ratio), lambda: test_per_image.numbers().abs(), (4, 3)),
        (Keypoints(2, loss=log_ratio), test_task.heatmaps, (3, 2, 6, 8)),
    ],
    ids=["depth", "regression", "keypoints"],
)
def test_what_invalid_elements_hold_makes_no_gradient_nan(task, targets, shape):
    target = targets()
    valid = task.valid(target)
    assert not valid.all()
    prediction = torch.where(valid, torch.rand(shape) + 0.1, 0).requires_grad_()
    task.loss(prediction, target).backward()
    assert prediction.grad.isfinite().all()
    assert not prediction.grad[~valid].any()


def test_the_elements_without_a_label_are_predicted_without_an_error():
    """So that what a loss in its own reduction says is off by the number of elements alone."""
    target = test_task.classes()
    prediction = torch.randn(3, 5, 6, 8)
    share = float((target != 255).float().mean())
    own = Segmentation(5).loss(prediction, target)
    given = Segmentation(5, loss=nn.CrossEntropyLoss()).loss(prediction, target)
    assert float(given) == pytest.approx(share * float(own), rel=1e-5)


def test_a_given_loss_of_normals_sees_unit_vectors_on_both_sides():
    seen = {}

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        seen["pair"] = prediction, target
        return (prediction - target).square()

    target, prediction = test_task.unit_vectors(), 7 * torch.randn(3, 3, 6, 8)
    Normals(loss=loss).loss(prediction, target)
    for values in seen["pair"]:
        torch.testing.assert_close(values.norm(dim=1), torch.ones(3, 6, 8))
    valid = (target != 0).any(dim=1, keepdim=True).expand_as(target)
    torch.testing.assert_close(seen["pair"][0][valid], unit(prediction)[valid])


def test_values_that_fit_no_element_are_an_error():
    task = Depth(loss=lambda prediction, target: torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"loss of `Depth depth` should return .* \(3, 5\)"):
        task.loss(torch.zeros(3, 1, 6, 8), torch.ones(3, 1, 6, 8))
    with pytest.raises(TypeError, match=r"should return a tensor\. Found `float`"):
        Depth(loss=lambda prediction, target: 0.5).loss(
            torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
        )


def test_a_target_that_would_be_broadcast_is_an_error():
    with pytest.raises(ValueError, match=r"target of `Depth depth` should be of shape"):
        Depth(loss=L1).loss(torch.zeros(3, 1, 6, 8), torch.ones(1, 1, 6, 8))


class Moved(nn.Module):
    """A loss that holds a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.scale * (prediction - target).abs()


def test_a_module_is_moved_to_the_predictions_and_nothing_is_read_from_the_device():
    pair = torch.zeros(1, 1, 2, 2, device="meta"), torch.ones(1, 1, 2, 2, device="meta")
    assert Depth(loss=Moved()).loss(*pair).is_meta


def test_losses_and_extra_metrics_are_given_in_yaml():
    def given(tasks: list[Task]) -> list[Task]:
        return tasks

    text = """
        - class_path: lightning_mtl.tasks.Depth
          init_args:
            loss: {class_path: torch.nn.SmoothL1Loss, init_args: {reduction: none}}
            extra_metrics:
              huber: {class_path: torchmetrics.MeanSquaredError}
        - class_path: lightning_mtl.tasks.Normals
          init_args: {loss: cosine}
        - class_path: lightning_mtl.tasks.Normals
          init_args:
            name: other
            loss: {class_path: torch.nn.MSELoss, init_args: {reduction: none}}
        - class_path: lightning_mtl.tasks.Regression
          init_args: {name: age, loss: torch.nn.functional.smooth_l1_loss}
        - class_path: lightning_mtl.tasks.Segmentation
          init_args: {num_classes: 2, class_names: [wall, floor], class_weights: [1, 0.5]}
    """
    tasks = jsonargparse.auto_cli(given, args=["--tasks", text], as_positional=False)
    depth, cosine, other, age, segmentation = tasks
    prediction, target = torch.full((1, 1, 2, 2), 5.0), torch.full((1, 1, 2, 2), 2.0)
    assert depth.loss(prediction, target) == 2.5
    assert list(depth.extra_metrics) == ["huber"]
    vectors = torch.zeros(1, 3, 1, 1).index_fill(1, torch.tensor(0), 1)
    assert [float(task.loss(-vectors, vectors)) for task in (cosine, other)] == [
        2,
        pytest.approx(4 / 3),
    ]
    assert age.loss(torch.full((1, 1), 5.0), torch.full((1, 1), 2.0)) == 2.5
    assert list(segmentation.palette) == ["wall", "floor"]
    assert segmentation.count(torch.tensor([[[0, 1, 1, 255]]])) == 2
