"""Words that tasks write on pictures."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

__all__ = ["number_words", "range_words"]

FEW = 3
"""Numbers of an image that have room on its picture."""


def number_words(values: Float[Tensor, "N C"], names: Sequence[str] | None = None) -> list[str]:
    """The numbers of each image with two digits, "?" for NaN; nothing if there are more than three.

    Args:
        values: C numbers per image.
        names: what to write before each number.

    Example:
        >>> import torch
        >>> number_words(torch.tensor([[0.5, torch.nan]]))
        ['0.5 ?']
        >>> number_words(torch.tensor([[0.5, 1.0]]), ["old", "happy"])
        ['old 0.5 happy 1']
    """
    if values.shape[1] > FEW:
        return [""] * len(values)
    before = [""] * values.shape[1] if names is None else [f"{name} " for name in names]
    return [
        " ".join(
            name + ("?" if v != v else f"{v:.2g}") for name, v in zip(before, row, strict=True)
        )
        for row in values.tolist()
    ]


def range_words(target: Float[Tensor, "N 1 H W"]) -> list[str]:
    """The smallest and the largest positive value of each target; nothing where none is positive.

    Args:
        target: values whose range the colours of a picture span.

    Example:
        >>> import torch
        >>> range_words(torch.tensor([0.0, 1.0, 8.0]).view(1, 1, 1, 3))
        ['1-8']
    """
    valid = [values[values > 0] for values in target.float()]
    return [f"{float(v.min()):.2g}-{float(v.max()):.2g}" if v.numel() else "" for v in valid]
