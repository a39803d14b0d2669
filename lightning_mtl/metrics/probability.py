"""The predictions of binary metrics as probabilities."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.checks import check_shape
from lightning_mtl.metrics.pooled import on_host

__all__ = ["as_probability"]


def as_probability(
    owner: str, prediction: Float[Tensor, "N H W"] | Float[Tensor, "N 1 H W"], logits: bool
) -> Float[Tensor, "N H W"]:
    """The probabilities of a batch in float32, without a graph.

    Args:
        owner: who expects them, for the message.
        prediction: probabilities or logits.
        logits: which of the two.

    Raises:
        ValueError: if the shape does not fit, or probabilities on the host are not from 0 to 1.
    """
    if prediction.ndim == 4:
        check_shape(owner, "prediction", prediction, ("N", 1, "H", "W"))
        prediction = prediction[:, 0]
    check_shape(owner, "prediction", prediction, ("N", "H", "W"))
    values = prediction.detach().float()
    if logits:
        return torch.sigmoid(values)
    if on_host(values) and ((values < 0) | (values > 1)).any():
        raise ValueError(
            f"The prediction of `{owner}` should be probabilities from 0 to 1. Found values from"
            f" {float(values.min()):g} to {float(values.max()):g}. Set `logits=True` for the raw"
            " output of a network."
        )
    return values
