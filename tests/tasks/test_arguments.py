"""Names and weights of classes, and metrics that a user adds to a task."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import BinaryAUROC, MulticlassF1Score
from torchmetrics.regression import CosineSimilarity, LogCoshError

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
from tests.tasks import test_per_image, test_task
from tests.tasks.test_count import labels, mean_over_parts, predictions

WEIGHTS = (0.2, 3.0, 0.0, 1.0, 7.0)
WEIGHED = {
    "segmentation": (Segmentation(5, class_weights=WEIGHTS), test_task.classes),
    "human parts": (HumanParts(5, class_weights=WEIGHTS), test_task.classes),
    "classification": (
        Classification(3, "left", class_weights=WEIGHTS[:3]),
        test_per_image.classes,
    ),
}
every_weighed = pytest.mark.parametrize(("task", "targets"), WEIGHED.values(), ids=WEIGHED)


@every_weighed
def test_with_weights_of_classes_the_loss_is_the_weighted_mean_of_torch(task, targets):
    target = targets()
    logits = predictions(task, target)
    flat = logits[..., 0, 0] if target.ndim == 1 else logits
    weights = torch.tensor(WEIGHTS[: task.out_channels])
    expected = functional.cross_entropy(flat, target, weights, ignore_index=255)
    assert float(task.loss(logits, target)) == pytest.approx(float(expected), rel=1e-5)


@every_weighed
def test_the_count_is_the_sum_of_weights_so_that_parts_give_the_whole(task, targets):
    target = labels(targets, 255)
    assert float(task.count(target)) == pytest.approx(
        sum(WEIGHTS[label] for label in target.flatten().tolist() if label != 255), rel=1e-5
    )
    prediction = predictions(task, target)
    for sizes in ([2, len(target) - 2], [1, 2, len(target) - 3]):
        parts = mean_over_parts(task, prediction, target, sizes)
        torch.testing.assert_close(parts, task.loss(prediction, target))


def test_a_batch_of_classes_without_weight_is_like_one_without_labels():
    prediction = torch.randn(1, 5, 2, 2, requires_grad=True)
    target = torch.full((1, 2, 2), 2)
    task = Segmentation(5, class_weights=WEIGHTS)
    loss = task.loss(prediction, target)
    loss.backward()
    assert (loss, task.count(target)) == (0, 0)
    assert not prediction.grad.any()


@every_weighed
def test_weights_of_classes_wait_for_no_device(task, targets):
    target = targets().to("meta")
    assert task.count(target).is_meta
    assert task.loss(predictions(task, target).to("meta"), target).is_meta


def test_weights_of_true_attributes_are_those_of_torch():
    target, logits = test_per_image.attributes(), torch.randn(4, 3)
    weights, known = torch.tensor([0.5, 1.0, 4.0]), target != 255
    losses = functional.binary_cross_entropy_with_logits(
        logits, target.clamp(max=1), pos_weight=weights, reduction="none"
    )
    found = Attributes(3, positive_weights=weights.tolist()).loss(logits, target)
    torch.testing.assert_close(found, losses[known].mean())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda **given: Segmentation(3, **given), "Segmentation"),
        (lambda **given: HumanParts(3, **given), "HumanParts"),
        (lambda **given: Classification(3, "left", **given), "Classification"),
    ],
    ids=["segmentation", "human parts", "classification"],
)
def test_names_and_weights_that_do_not_fit_are_errors_that_name_the_task(build, message):
    for names, found in (
        (["a", "b"], "3 names, one for each class in its order. Found 2 names"),
        ("abc", "3 names, .* Found 'abc'"),
        (["a", "b", "a"], r"names that differ. Found \['a'\]"),
    ):
        with pytest.raises(ValueError, match=rf"`{message}\(class_names=\)` should be {found}"):
            build(class_names=names)
    for weights in ([1, 2], [1, 2, -1], [0, 0, 0], [1, 2, float("nan")], [1, 2, float("inf")]):
        with pytest.raises(ValueError, match=rf"`{message}\(class_weights=\)` should be 3 finite"):
            build(class_weights=weights)
    with pytest.raises(ValueError, match=rf"`{message}\(class_weights=\)` .* without a `loss`"):
        build(class_weights=[1, 2, 3], loss=torch.nn.CrossEntropyLoss())


def test_names_and_weights_of_attributes_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match=r"`Attributes\(class_names=\)` should be 2 names"):
        Attributes(2, class_names=["old"])
    with pytest.raises(ValueError, match=r"`Attributes\(positive_weights=\)` should be 2 positive"):
        Attributes(2, positive_weights=[1, 0])
    with pytest.raises(ValueError, match=r"`Attributes\(positive_weights=\)` .* without a `loss`"):
        Attributes(2, positive_weights=[1, 2], loss=torch.nn.BCEWithLogitsLoss())


ONE_NUMBER = {"squared": MeanSquaredError()}
TWO_CLASSES = {"AUROC": BinaryAUROC()}
# name: task, targets
WITH_EXTRA: dict[str, tuple[Task, object]] = {
    "depth": (Depth(extra_metrics=ONE_NUMBER), test_task.metres),
    "disparity": (Disparity(extra_metrics={"cosh": LogCoshError()}), test_task.metres),
    "regression": (Regression("age", 3, extra_metrics=ONE_NUMBER), test_per_image.numbers),
    "keypoints": (Keypoints(2, extra_metrics=ONE_NUMBER), test_task.heatmaps),
    "normals": (
        Normals(extra_metrics={"cosine": CosineSimilarity("mean")}),
        test_task.unit_vectors,
    ),
    "segmentation": (
        Segmentation(5, extra_metrics={"F1": MulticlassF1Score(5)}),
        test_task.classes,
    ),
    "human parts": (HumanParts(5, extra_metrics={"F1": MulticlassF1Score(5)}), test_task.classes),
    "classification": (
        Classification(3, "left", extra_metrics={"F1": MulticlassF1Score(3)}),
        test_per_image.classes,
    ),
    "edges": (Edges(extra_metrics=TWO_CLASSES), test_task.flags),
    "saliency": (Saliency(extra_metrics=TWO_CLASSES), test_task.flags),
    "attributes": (Attributes(3, extra_metrics=TWO_CLASSES), test_per_image.attributes),
}
every_extra = pytest.mark.parametrize(("task", "targets"), WITH_EXTRA.values(), ids=WITH_EXTRA)


@every_extra
def test_metrics_of_torchmetrics_take_the_elements_of_a_task(task, targets):
    """The value does not depend on what is predicted where there is no label."""
    torch.manual_seed(0)
    target = targets()
    prediction = predictions(task, target)
    (metric,) = task.extra_metrics.values()
    values = []
    for invalid in (0.3, 9.0):
        metric.update(*task.elements(hidden(task, prediction, target, invalid), target))
        values.append(float(metric.compute()))
        metric.reset()
    assert values[0] == values[1]
    assert values[0] > 0


def hidden(task: Task, prediction: Tensor, target: Tensor, value: float) -> Tensor:
    """The prediction, with another value wherever there is no label."""
    valid = task.valid(target)
    if target.ndim < 3:  # of whole images
        prediction = prediction[..., 0, 0]
    valid = valid if valid.ndim == prediction.ndim else valid.unsqueeze(1)
    assert not valid.all()
    return torch.where(valid, prediction, value)


@every_extra
def test_there_are_as_many_elements_as_labels(task, targets):
    target = targets()
    prediction, true = task.elements(predictions(task, target), target)
    assert len(prediction) == len(true) == task.valid(target).sum()
    assert prediction.dtype == torch.float32


def test_elements_of_binary_maps_are_probabilities_and_integers():
    logits = torch.tensor([0.0, 30.0, 0.0]).view(1, 1, 1, 3)
    found = Edges().elements(logits, torch.tensor([[[0.0, 1.0, 255.0]]]))
    assert [part.tolist() for part in found] == [[0.5, 1], [0, 1]]
    assert not found[1].is_floating_point()


def test_elements_of_normals_are_unit_vectors():
    prediction = torch.tensor([[0.0, 3.0, 4.0], [1.0, 1.0, 1.0]]).T.view(1, 3, 1, 2)
    target = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).T.view(1, 3, 1, 2)
    found = Normals().elements(prediction, target)
    torch.testing.assert_close(found[0], torch.tensor([[0, 0.6, 0.8]]))
    assert found[1].tolist() == [[0, 0, 1]]


def test_an_extra_metric_of_a_name_in_use_is_an_error():
    for name in ("RMSE", "", "a.b"):
        with pytest.raises(
            ValueError, match=r"`Depth\(extra_metrics=\)` should have names without"
        ):
            Depth(extra_metrics={name: MeanSquaredError()})
    with pytest.raises(ValueError, match=r"`HumanParts\(extra_metrics=\)` .* Found \['mIoU'\]"):
        HumanParts(extra_metrics={"mIoU": MeanSquaredError()})


@pytest.mark.parametrize(
    "wrong", [MeanSquaredError, MetricCollection({})], ids=["class", "several"]
)
def test_an_extra_metric_that_is_none_is_an_error(wrong):
    with pytest.raises(TypeError, match=r"`Depth\(extra_metrics=\)` should be metrics of torch"):
        Depth(extra_metrics={"squared": wrong})


def test_a_task_of_a_user_that_calls_no_constructor_has_the_defaults():
    class Own(Depth):
        def __init__(self) -> None:
            self.name = "own"

    class Bare(Task):
        loss = metrics = draw = draw_target = pixel_sum = check_form = check_content = None

    prediction, target = torch.randn(2, 3), torch.randn(2, 3)
    for task in (Own(), Bare()):
        assert dict(task.extra_metrics) == {}
    assert Bare().activate(prediction) is prediction
    assert Bare().elements(prediction, target) == (prediction, target)
