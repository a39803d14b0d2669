"""Tasks with one vector per image: attributes, classification and regression."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lightning_mtl.metrics.per_image import per_image
from lightning_mtl.tasks import Attributes, Classification, Regression

N = 4


def attributes() -> Tensor:
    return torch.where(torch.rand(N, 3) < 0.3, 255, (torch.rand(N, 3) < 0.5).float())


def classes() -> Tensor:
    return torch.tensor([0, 2, 255, 1])


def numbers() -> Tensor:
    return torch.where(torch.rand(N, 3) < 0.3, torch.nan, torch.randn(N, 3))


# name: task, targets, invalid value
CASES = {
    "attributes": (Attributes(3), attributes, 255),
    "classification": (Classification(3, "left"), classes, 255),
    "regression": (Regression("age", 3), numbers, torch.nan),
}
every_task = pytest.mark.parametrize(("task", "targets", "invalid"), CASES.values(), ids=CASES)
every_prediction = pytest.mark.parametrize("shape", [(N, 3), (N, 3, 2, 5)])


@every_task
@every_prediction
def test_the_loss_can_be_differentiated_and_is_zero_without_a_label(task, targets, invalid, shape):
    prediction = torch.randn(shape, requires_grad=True)
    task.loss(prediction, targets()).backward()
    assert prediction.grad.abs().sum() > 0
    prediction.grad = None
    nothing = task.loss(prediction, torch.full_like(targets(), invalid))
    nothing.backward()
    assert nothing == 0
    assert not prediction.grad.any()


@every_task
def test_a_dense_prediction_counts_by_its_mean(task, targets, invalid):
    target, dense = targets(), torch.randn(N, 3, 2, 5)
    whole, pooled = task.metrics(), task.metrics()
    whole.update(dense, target)
    pooled.update(per_image(dense), target)
    assert whole.compute() == pooled.compute()
    assert task.loss(dense, target) == task.loss(per_image(dense), target)
    assert torch.equal(task.draw(dense), task.draw(per_image(dense)))


@every_task
def test_the_primary_metric_is_measured_in_the_direction_of_the_task(task, targets, invalid):
    metrics = task.metrics()
    assert metrics.compute() == {}
    metrics.update(torch.randn(N, 3), targets())
    assert task.primary_metric in metrics.compute()
    assert metrics.directions[task.primary_metric] is task.higher_is_better


@every_task
def test_pictures_are_colours_and_black_where_unknown(task, targets, invalid):
    target = targets()
    picture = task.draw_target(target)
    assert picture.shape == task.draw(torch.randn(N, 3)).shape
    assert ((picture >= 0) & (picture <= 1)).all()
    unknown = target.isnan() if invalid != 255 else target == 255
    assert torch.equal((picture == 0).all(dim=1).flatten(), unknown.flatten())


@every_task
def test_the_constant_predictor_beats_others_in_the_loss(task, targets, invalid):
    target = targets() if task.name == "left" else torch.tensor([[1.0, 0, 0]] * 3 + [[0.0, 0, 1]])
    total, count = task.pixel_sum(target)
    constant = task.constant((total / count).float(), target)
    assert constant.shape == (N, 3)
    if task.name != "left":
        assert task.loss(constant, target) < task.loss(constant + 0.1, target)
        assert task.loss(constant, target) < task.loss(constant - 0.1, target)
    assert (constant == constant[:1]).all()


def test_the_trivial_predictor_of_each_attribute_is_its_mean_where_it_is_known():
    target = torch.tensor([[1.0, 255.0, 255.0], [1.0, 0.0, 255.0], [0.0, 255.0, 255.0]])
    true, known = Attributes(3).pixel_sum(target)
    assert (true.tolist(), known.tolist()) == ([2, 0, 0], [3, 1, 0])
    total, count = Regression("age", 2).pixel_sum(torch.tensor([[2.0, torch.nan], [4.0, 5.0]]))
    assert (total / count).tolist() == [3, 5]


@every_task
def test_good_targets_pass_the_check_and_others_do_not(task, targets, invalid):
    task.check(targets())
    with pytest.raises(ValueError, match=rf"target of `\w+ {task.name}` should be of shape"):
        task.check(targets()[None])


def test_the_loss_of_attributes_is_plain_cross_entropy():
    logits, target = torch.randn(N, 3), (torch.rand(N, 3) < 0.5).float()
    expected = functional.binary_cross_entropy_with_logits(logits, target)
    assert Attributes(3).loss(logits, target) == pytest.approx(expected.item())


def test_the_loss_of_a_classification_is_cross_entropy():
    logits = torch.randn(N, 3)
    expected = functional.cross_entropy(logits, classes(), ignore_index=255)
    assert Classification(3, "left").loss(logits, classes()) == pytest.approx(expected.item())


def test_the_loss_of_a_regression_is_the_squared_error_of_known_numbers():
    target = torch.tensor([[1.0, torch.nan], [3.0, 0.0]])
    assert Regression("age", 2).loss(torch.zeros(2, 2), target) == pytest.approx(10 / 3)


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        (
            Attributes(2),
            torch.tensor([[1.0, -1.0]]),
            "labels of 0 and 1.*1 other value, such as -1\\. CelebA",
        ),
        (Classification(2, "left"), torch.tensor([2]), "labels from 0 to 1"),
        (Regression("age", 2), torch.tensor([[1.0, torch.inf]]), "finite numbers"),
    ],
    ids=["attributes", "classification", "regression"],
)
def test_values_that_are_no_label_fail_the_check(task, target, message):
    with pytest.raises(ValueError, match=message):
        task.check(target)
