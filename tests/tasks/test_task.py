"""What every task promises, whatever it is."""

from collections.abc import Callable

import jsonargparse
import pytest
import torch
from torch import Tensor
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

N, H, W = 3, 6, 8


def classes() -> Tensor:
    target = torch.randint(0, 5, (N, H, W))
    return torch.where(torch.rand(N, H, W) < 0.3, 255, target)


def metres() -> Tensor:
    return torch.where(torch.rand(N, 1, H, W) < 0.3, 0, torch.rand(N, 1, H, W) * 3 + 0.5)


def unit_vectors() -> Tensor:
    unit = functional.normalize(torch.randn(N, 3, H, W) + 1, dim=1)
    return torch.where(torch.rand(N, 1, H, W) < 0.3, 0, unit)


def flags() -> Tensor:
    target = (torch.rand(N, H, W) < 0.3).float()
    return torch.where(torch.rand(N, H, W) < 0.3, 255, target)


def heatmaps() -> Tensor:
    return torch.where(torch.rand(N, 2, 1, 1) < 0.3, 0, torch.rand(N, 2, H, W))


# name: task, targets, invalid value
CASES = {
    "segmentation": (Segmentation(num_classes=5), classes, 255),
    "depth": (Depth(), metres, 0),
    "normals": (Normals(), unit_vectors, 0),
    "human_parts": (HumanParts(num_classes=5), classes, 255),
    "disparity": (Disparity(), metres, 0),
    "edges": (Edges(thresholds=5), flags, 255),
    "saliency": (Saliency(), flags, 255),
    "keypoints": (Keypoints(num_keypoints=2), heatmaps, 0),
    "depth_mtan": (Depth("depth_mtan", protocol="mtan"), metres, 0),
    "normals_mtan": (Normals("normals_mtan", protocol="mtan"), unit_vectors, 0),
    "segmentation_survey": (
        Segmentation(5, "segmentation_survey", protocol="survey"),
        classes,
        255,
    ),
    "saliency_atrc": (Saliency("saliency_atrc", protocol="atrc"), flags, 255),
}
DrawTarget = Callable[[], Tensor]
every_task = pytest.mark.parametrize(("task", "targets", "invalid"), CASES.values(), ids=CASES)


def mean_target(task: Task, target: Tensor) -> Tensor:
    total, count = task.pixel_sum(target)
    return (total / count).float()


@every_task
def test_the_loss_is_a_scalar_that_can_be_differentiated(task, targets, invalid):
    prediction = torch.randn(N, task.out_channels, H, W, requires_grad=True)
    loss = task.loss(prediction, targets())
    loss.backward()
    assert loss.shape == ()
    assert prediction.grad.abs().sum() > 0


@every_task
def test_without_a_label_the_loss_is_zero_and_so_is_its_gradient(task, targets, invalid):
    prediction = torch.randn(N, task.out_channels, H, W, requires_grad=True)
    loss = task.loss(prediction, torch.full_like(targets(), invalid))
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


@every_task
def test_the_primary_metric_is_measured_in_the_direction_of_the_task(task, targets, invalid):
    metrics = task.metrics()
    metrics.update(torch.randn(N, task.out_channels, H, W), targets())
    assert task.primary_metric in metrics.compute()
    assert metrics.directions[task.primary_metric] is task.higher_is_better


@every_task
def test_metrics_are_new_each_time(task, targets, invalid):
    task.metrics().update(torch.randn(N, task.out_channels, H, W), targets())
    assert task.metrics().compute() == {}


@every_task
def test_pictures_are_colours_of_the_size_of_the_input(task, targets, invalid):
    target = targets()
    prediction = torch.randn(N, task.out_channels, H, W)
    for picture in (
        task.draw(prediction),
        task.draw(prediction, target),
        task.draw_target(target),
        task.draw_target(torch.full_like(target, invalid)),
        task.draw(torch.full_like(prediction, torch.nan)),
    ):
        assert picture.shape == (N, 3, H, W)
        assert picture.dtype == torch.float32
        assert ((picture >= 0) & (picture <= 1)).all()


@every_task
def test_invalid_pixels_and_only_they_are_black(task, targets, invalid):
    target = targets()
    missing = target == invalid
    missing = missing.all(dim=1) if missing.ndim == 4 else missing
    assert torch.equal((task.draw_target(target) == 0).all(dim=1), missing)


@every_task
def test_sums_over_batches_give_the_mean_of_the_data_set(task, targets, invalid):
    first, second = targets(), targets()
    sums, counts = zip(task.pixel_sum(first), task.pixel_sum(second), strict=True)
    total, count = task.pixel_sum(torch.cat([first, second]))
    assert total.shape == (task.out_channels,)
    torch.testing.assert_close(sum(sums), total)
    assert torch.equal(sum(counts), count)
    assert count.shape in ((), total.shape)


@every_task
def test_no_label_adds_nothing_to_the_sums(task, targets, invalid):
    total, count = task.pixel_sum(torch.full_like(targets(), invalid))
    assert not total.any()
    assert not count.any()


@every_task
def test_the_constant_predictor_is_a_prediction_of_one_value(task, targets, invalid):
    target = targets()
    mean = mean_target(task, target)
    prediction = task.constant(mean, target)
    assert prediction.shape == (N, task.out_channels, H, W)
    assert (prediction == prediction[:1, :, :1, :1]).all()
    task.metrics().update(prediction, target)


@every_task
def test_only_the_check_and_the_numbers_read_values(task, targets, invalid):
    # Tensors on the meta device have no values, so reading one raises.
    target, prediction = (
        targets().to("meta"),
        torch.zeros(N, task.out_channels, H, W, device="meta"),
    )
    assert task.loss(prediction, target).is_meta
    assert task.draw(prediction, target).is_meta
    assert task.draw_target(target).is_meta
    assert all(total.is_meta for total in task.pixel_sum(target))
    assert task.constant(torch.zeros(task.out_channels), target).is_meta


@every_task
def test_good_targets_pass_the_check(task, targets, invalid):
    task.check(targets())
    task.check(torch.full_like(targets(), invalid))


@every_task
def test_a_target_of_the_wrong_shape_is_an_error_that_names_the_task(task, targets, invalid):
    with pytest.raises(
        ValueError, match=rf"target of `\w+ {task.name}` should be of shape.*Found \(3,"
    ):
        task.check(targets()[..., 0])


@every_task
def test_a_target_of_the_wrong_type_is_an_error_that_names_the_task(task, targets, invalid):
    target = targets()
    wrong = target.long() if target.is_floating_point() else target.float()
    with pytest.raises(
        TypeError, match=rf"target of `\w+ {task.name}` should be of .* Found torch"
    ):
        task.check(wrong)


@every_task
def test_shape_and_type_are_checked_on_any_device_and_values_on_the_host(task, targets, invalid):
    target = targets().to("meta")
    task.check(target)
    with pytest.raises(ValueError, match=rf"target of `\w+ {task.name}` should be of shape"):
        task.check(target[..., 0])
    with pytest.raises(TypeError, match=rf"target of `\w+ {task.name}` should be of an? "):
        task.check(target.long() if target.is_floating_point() else target.float())


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: Edges(positive_weight=-1), "positive_weight"),
        (lambda: Saliency(positive_weight=3), "positive_weight"),
        (lambda: Edges(max_dist=-1), "max_dist"),
        (lambda: Edges(thresholds=[5, 10]), "thresholds"),
        (lambda: Edges(workers=-1), "workers"),
        (lambda: Segmentation(300), "ignore_index"),
        (lambda: Segmentation(0), "num_classes"),
        (lambda: HumanParts(256), "ignore_index"),
        (lambda: Classification(300, "left"), "ignore_index"),
        (lambda: Attributes(0), "num_attributes"),
        (lambda: Regression("age", 0), "out_channels"),
        (lambda: Keypoints(0), "num_keypoints"),
        (lambda: Keypoints(2, alpha=-1), "alpha"),
        (lambda: Normals(loss="l2"), "loss"),
    ],
    ids=[
        "weight of edges",
        "weight of saliency",
        "max_dist",
        "thresholds",
        "workers",
        "classes beyond ignore_index",
        "no class",
        "ignored human part",
        "classes of an image beyond ignore_index",
        "no attribute",
        "no output",
        "no keypoint",
        "alpha",
        "loss of normals",
    ],
)
def test_an_argument_out_of_range_is_an_error_that_names_it(build, name):
    with pytest.raises(ValueError, match=rf"`\w+\({name}=\)` should be .* Found"):
        build()


def test_as_many_classes_as_labels_of_eight_bits_leave_are_fine():
    assert Segmentation(255).out_channels == 255
    assert Segmentation(300, ignore_index=-1).out_channels == 300


def given(tasks: list[Task]) -> list[Task]:
    return tasks


def test_tasks_are_built_from_yaml():
    text = """
        - class_path: lightning_mtl.tasks.Segmentation
          init_args: {num_classes: 13, ignore_index: -1}
        - class_path: lightning_mtl.tasks.Depth
        - class_path: lightning_mtl.tasks.Normals
          init_args: {name: surface}
        - class_path: lightning_mtl.tasks.Edges
          init_args: {thresholds: [0.2, 0.5], max_dist: 0.011, protocol: bsds}
        - class_path: lightning_mtl.tasks.Attributes
    """
    tasks = jsonargparse.auto_cli(given, args=["--tasks", text], as_positional=False)
    names = ["segmentation", "depth", "surface", "edges", "attributes"]
    assert [task.name for task in tasks] == names
    assert [task.out_channels for task in tasks] == [13, 1, 3, 1, 40]
    assert tasks[3].metrics().thresholds == (0.2, 0.5)
