"""Mean intersection over union and accuracy against loops over pixels."""

import numpy as np
import pytest
import torch

from lightning_mtl.metrics import SegmentationMetrics


def one_hot(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, num_classes).movedim(-1, 1).float()


def literal(prediction: np.ndarray, target: np.ndarray, num_classes: int) -> dict[str, float]:
    pairs = [(p, t) for p, t in zip(prediction.flat, target.flat, strict=True) if t != 255]
    ious = []
    for c in range(num_classes):
        hits = sum(p == c and t == c for p, t in pairs)
        union = sum(p == c or t == c for p, t in pairs)
        if union:
            ious.append(hits / union)
    return {"mIoU": np.mean(ious), "pixel_accuracy": np.mean([p == t for p, t in pairs])}


def test_perfect_predictions_score_one():
    target = torch.randint(0, 5, (2, 6, 7))
    metrics = SegmentationMetrics(5)
    metrics.update(one_hot(target, 5), target)
    assert metrics.compute() == {"mIoU": 1, "pixel_accuracy": 1}


@pytest.mark.parametrize("num_classes", [1, 2, 13])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_values_equal_the_literal_count(num_classes, dtype):
    logits = torch.randn(3, num_classes, 9, 11)
    target = torch.randint(0, num_classes, (3, 9, 11))
    target = torch.where(torch.rand(3, 9, 11) < 0.4, 255, target).to(dtype)
    metrics = SegmentationMetrics(num_classes)
    metrics.update(logits, target)
    expected = literal(logits.argmax(1).numpy(), target.numpy(), num_classes)
    assert metrics.compute() == pytest.approx(expected, abs=1e-6)


def test_one_confusion_matrix_serves_all_images_and_not_one_per_image():
    # Image 1 is all hits on class 0; image 2 misses class 1 everywhere but in one of four pixels.
    target = torch.tensor([[[0, 0, 0, 0]], [[1, 1, 1, 1]]])
    prediction = torch.tensor([[[0, 0, 0, 0]], [[1, 0, 0, 0]]])
    metrics = SegmentationMetrics(2)
    metrics.update(one_hot(prediction, 2), target)
    assert metrics.compute()["mIoU"] == pytest.approx((4 / 7 + 1 / 4) / 2)


@pytest.mark.peer("L21")
@pytest.mark.parametrize(("absent_classes", "expected"), [("skip", 1.0), ("zero", 0.5)])
def test_a_class_that_never_occurs_is_left_out_or_counts_zero(absent_classes, expected):
    target = torch.tensor([[[0, 1]]])
    metrics = SegmentationMetrics(4, absent_classes=absent_classes)
    metrics.update(one_hot(target, 4), target)
    assert metrics.compute()["mIoU"] == expected


def test_a_class_that_is_only_predicted_counts_zero():
    metrics = SegmentationMetrics(2)
    metrics.update(one_hot(torch.tensor([[[0, 1]]]), 2), torch.tensor([[[0, 0]]]))
    assert metrics.compute()["mIoU"] == 0.25


def test_pixels_of_nan_are_wrong_whatever_their_target():
    target = torch.tensor([[[0, 0, 1, 255]]])
    logits = one_hot(torch.tensor([[[0, 0, 1, 0]]]), 2)
    logits[0, 1, 0, 1] = logits[0, :, 0, 3] = torch.nan
    metrics = SegmentationMetrics(2)
    metrics.update(logits, target)
    expected = {"mIoU": (1 / 2 + 1) / 2, "pixel_accuracy": 2 / 3}
    assert metrics.compute() == pytest.approx(expected)
    metrics.reset()
    metrics.update(torch.full((1, 2, 1, 4), torch.nan), target)
    assert metrics.compute() == {"mIoU": 0, "pixel_accuracy": 0}


def test_a_default_ignored_label_among_the_classes_is_an_error():
    with pytest.raises(ValueError, match=r"Found 255 among 300 classes.*such as -1"):
        SegmentationMetrics(300)


def test_the_ignored_label_may_be_a_class_or_negative():
    for ignore_index in (0, -1):
        metrics = SegmentationMetrics(2, ignore_index=ignore_index)
        metrics.update(one_hot(torch.tensor([[[0, 1]]]), 2), torch.tensor([[[ignore_index, 1]]]))
        assert metrics.compute()["pixel_accuracy"] == 1


@pytest.mark.parametrize("wrong", [-1, 3, 254])
def test_a_label_outside_the_classes_is_an_error_that_says_what_to_do(wrong):
    target = torch.tensor([[[0, wrong]]])
    with pytest.raises(ValueError, match=rf"labels from 0 to 2, or 255.*{wrong}.*`num_classes`"):
        SegmentationMetrics(3).update(torch.zeros(1, 3, 1, 2), target)


def test_a_label_outside_the_classes_on_a_device_is_an_error_of_compute(monkeypatch):
    monkeypatch.setattr("lightning_mtl.metrics.segmentation.on_host", lambda tensor: False)
    metrics = SegmentationMetrics(3)
    metrics.update(torch.zeros(1, 3, 1, 3), torch.tensor([[[0, 77, -1]]]))
    with pytest.raises(ValueError, match="labels outside in 2 pixels"):
        metrics.compute()
    metrics.reset()
    assert metrics.compute() == {}


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (
            (1, 4, 2, 2),
            (1, 2, 2),
            r"prediction of `\w+` should be of shape \(N, 3, H, W\). Found \(1, 4, 2, 2\)",
        ),
        (
            (1, 3, 2, 2),
            (1, 1, 2, 2),
            r"target of `\w+` should be of shape \(1, 2, 2\). Found \(1, 1, 2, 2\)",
        ),
        (
            (1, 3, 2, 2),
            (1, 4, 4),
            r"target of `\w+` should be of shape \(1, 2, 2\). Found \(1, 4, 4\)",
        ),
    ],
    ids=["four channels", "target with a channel", "target of another size"],
)
def test_a_wrong_shape_is_an_error_with_both_shapes(logits, target, message):
    with pytest.raises(ValueError, match=message):
        SegmentationMetrics(3).update(torch.zeros(logits), torch.zeros(target, dtype=torch.int64))


def test_floating_labels_are_an_error():
    with pytest.raises(TypeError, match=r"integer type. Found torch.float32"):
        SegmentationMetrics(3).update(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2))


@pytest.mark.parametrize("arguments", [{"num_classes": 0}, {"num_classes": 2, "absent_classes": 0}])
def test_unknown_options_are_errors(arguments):
    with pytest.raises(ValueError, match=r"`SegmentationMetrics\(\w+=\)` should be"):
        SegmentationMetrics(**arguments)
