"""Task losses: pure functions, each a mean over the valid elements.

Without a valid element a loss is zero and still has a graph, so its gradient is zeros, not NaN.
Everything is computed in float32, also under autocast, and nothing waits for the device.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.nn import functional

from lightning_mtl.checks import check_choice, check_number, check_shape
from lightning_mtl.vectors import has_length, unit

__all__ = [
    "balanced_binary_cross_entropy",
    "binary_cross_entropy",
    "cross_entropy",
    "labelled",
    "masked_l1",
    "masked_squared_error",
    "normal_cosine",
    "normal_l1",
    "weights_of_labels",
]

# A prediction shorter than this is divided by it, which bounds the gradient at a zero vector by
# 1e3 per component: small enough for a scaled loss in float16.
SHORTEST_NORMAL = 1e-3

Divisor = Literal["elements", "pixels"]


def labelled(target: Num[Tensor, "*shape"], ignore_index: int = 255) -> Bool[Tensor, "*shape"]:
    """Where a target has a label: what cross entropies are means over.

    Args:
        target: labels.
        ignore_index: label of what has none.
    """
    return target != ignore_index


def cross_entropy(
    logits: Float[Tensor, "N C H W"],
    target: Int[Tensor, "N H W"],
    ignore_index: int = 255,
    class_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:
    """Cross entropy, the mean over pixels that are not `ignore_index` of `-log softmax(logits)`.

    With weights of the classes it is the weighted mean, `sum w l / sum w`, as in torch.

    Args:
        logits: unnormalised log-probabilities of the C classes.
        target: class of each pixel, 0 to C - 1 or `ignore_index`.
        ignore_index: label of pixels without a class.
        class_weights: how much a pixel of each class counts; by default 1.
    """
    weights = None if class_weights is None else _on_device(class_weights, logits)
    total = functional.cross_entropy(
        logits.float(), target.long(), weights, ignore_index=ignore_index, reduction="sum"
    )
    if class_weights is None:
        return total / labelled(target, ignore_index).sum().clamp(min=1)
    weight = weights_of_labels(target, class_weights, ignore_index)
    return total / torch.where(weight > 0, weight, 1)


def weights_of_labels(
    target: Int[Tensor, "*shape"], class_weights: Float[Tensor, " C"], ignore_index: int = 255
) -> Float[Tensor, ""]:
    """The sum of the weights of all labels: what the weighted cross entropy is a mean over.

    Args:
        target: classes.
        class_weights: how much a label of each class counts.
        ignore_index: label of what has no class.
    """
    known = labelled(target, ignore_index)
    weights = _on_device(class_weights, target)[torch.where(known, target.long(), 0)]
    return torch.where(known, weights, 0).sum()


def binary_cross_entropy(
    logits: Float[Tensor, "N A"],
    target: Num[Tensor, "N A"],
    positive_weights: Float[Tensor, " A"] | None = None,
    ignore_index: int = 255,
) -> Float[Tensor, ""]:
    """Binary cross entropy, the mean over elements that are not `ignore_index`.

    Args:
        logits: of A attributes.
        target: shape of `logits`, positive where at least 0.5; `ignore_index` is invalid.
        positive_weights: by what a positive label of each attribute is multiplied, the
            `pos_weight` of torch; by default 1.
        ignore_index: label of invalid elements.
    """
    check_shape("loss", "target", target, tuple(logits.shape))
    valid = labelled(target, ignore_index)
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(),
        (target >= 0.5).float(),
        reduction="none",
        pos_weight=None if positive_weights is None else _on_device(positive_weights, logits),
    )
    return _mean(torch.where(valid, losses, 0), valid)


def masked_l1(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], valid: Bool[Tensor, "..."]
) -> Float[Tensor, ""]:
    """Absolute error, the mean over valid elements of `|prediction - target|`.

    Args:
        prediction: any shape and unit.
        target: shape and unit of `prediction`.
        valid: which elements count; broadcasts to `prediction`.
    """
    return _mean(_error(prediction, target, valid).abs(), valid)


def masked_squared_error(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], valid: Bool[Tensor, "..."]
) -> Float[Tensor, ""]:
    """Squared error, the mean over valid elements of `(prediction - target)^2`, as for heatmaps.

    Args:
        prediction: any shape and unit.
        target: shape and unit of `prediction`.
        valid: which elements count; broadcasts to `prediction`.
    """
    return _mean(_error(prediction, target, valid).square(), valid)


def normal_l1(
    prediction: Float[Tensor, "N 3 H W"],
    target: Float[Tensor, "N 3 H W"],
    divisor: Divisor = "elements",
) -> Float[Tensor, ""]:
    """Absolute error of the normalised prediction, `sum |p / |p| - n| / count` over valid pixels.

    Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey" (TPAMI 2021)
    count elements, three per pixel; Bruggemann et al., "Exploring Relational Context for
    Multi-Task Dense Prediction" (ICCV 2021) count pixels, which makes the loss three times larger.

    Args:
        prediction: vectors of any length. Those shorter than 1e-3 are not stretched to unit length.
        target: unit vectors; a vector of zero length is invalid.
        divisor: what the mean is over.
    """
    check_choice("normal_l1", "divisor", divisor, get_args(Divisor))
    loss = masked_l1(unit(prediction, SHORTEST_NORMAL), target, has_length(target))
    return loss if divisor == "elements" else loss * prediction.shape[1]


def normal_cosine(
    prediction: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]
) -> Float[Tensor, ""]:
    """Cosine distance, the mean over valid pixels of `1 - <p / |p|, n>`, from 0 to 2.

    Liu et al., "End-to-End Multi-Task Learning with Attention" (CVPR 2019), plus one.

    Args:
        prediction: vectors of any length. Those shorter than 1e-3 are not stretched to unit length.
        target: unit vectors; a vector of zero length is invalid.
    """
    check_shape("normal_cosine", "target", target, tuple(prediction.shape))
    valid = has_length(target)
    cosine = (unit(prediction, SHORTEST_NORMAL) * target.float()).sum(dim=1, keepdim=True)
    return _mean(torch.where(valid, 1 - cosine, 0), valid)


def balanced_binary_cross_entropy(
    logits: Float[Tensor, "*shape"],
    target: Num[Tensor, "*shape"],
    positive_weight: float | None = None,
    ignore_index: int = 255,
) -> Float[Tensor, ""]:
    """Class-balanced binary cross entropy, `(w sum_pos l + (1 - w) sum_neg l) / count`.

    The sums and the count run over the valid elements of the whole batch. Edges fix `w` at 0.95,
    saliency takes the share of negatives in the batch (Vandenhende et al., TPAMI 2021). This is not
    the `pos_weight` of torch: the weights of both classes add up to one.

    Args:
        logits: any shape.
        target: shape of `logits`, positive where at least 0.5; `ignore_index` is invalid.
        positive_weight: `w`, from 0 to 1. By default the share of negatives, so that a batch
            without negatives costs nothing, nor does one without positives.
        ignore_index: label of invalid elements.
    """
    if positive_weight is not None:
        owner = "balanced_binary_cross_entropy"
        check_number(owner, "positive_weight", positive_weight, 0, 1)
    valid = labelled(target, ignore_index)
    positive = (target >= 0.5) & valid
    count = valid.sum().clamp(min=1)
    share: Tensor | float = 1 - positive.sum() / count
    weight = share if positive_weight is None else positive_weight
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(), positive.float(), reduction="none"
    )
    weighted = torch.where(positive, weight * losses, (1 - weight) * losses)
    return torch.where(valid, weighted, 0).sum() / count


def _error(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    # A broadcast target would be an error in every pixel and yet a finite loss.
    check_shape("loss", "target", target, tuple(prediction.shape))
    # Masked before any nonlinearity, so that no sentinel of the target reaches the gradient.
    return torch.where(valid, prediction.float() - target.float(), 0)


def _on_device(weights: Tensor, values: Tensor) -> Tensor:
    # Few numbers are copied at once, so that nothing waits for the device.
    return weights.to(values.device, torch.float32, non_blocking=True)


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return values.sum() / valid.expand_as(values).sum().clamp(min=1)
