"""`DSelectGate`, the sparse gate of DSelect-k."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["DSelectGate", "smooth_step"]

EPSILON = 1e-6
"""Keeps logarithms and quotients finite; that of the released code."""


def smooth_step(t: Float[Tensor, "*shape"], gamma: float) -> Float[Tensor, "*shape"]:
    """0 below -gamma/2, 1 above gamma/2 and -2 t³/gamma³ + 3 t/(2 gamma) + 1/2 in between.

    Its derivative is continuous; it is zero outside and at both ends.
    """
    t = (t / gamma).clamp(-0.5, 0.5)
    return 0.5 + t * (1.5 - 2 * t * t)


class DSelectGate(nn.Module):
    """The gate of one task: k selectors, each of which comes to choose one of n experts.

    A selector has m = ceil(log2 n) numbers z, one for each bit of the index of an expert, from 0.
    With the smooth step S, expert i gets the share

        r(z)_i = prod_{j in B(i)} S(z_j)  prod_{j not in B(i)} (1 - S(z_j))

    where B(i) are the bits that are 1 in i. The gate weighs selectors by softmax(α):

        q(α, Z)_i = sum_{l=1..k} softmax(α)_l  r(z^(l))_i

    Args:
        experts: number of experts n, from 2.
        k: number of selectors.
        in_features: features by which α and Z are decided for each sample, linearly; `None` learns
            one α and one Z for all samples.
        gamma: width of the part where the smooth step rises.
    """

    bits: Tensor

    def __init__(self, experts: int, k: int, in_features: int | None, gamma: float) -> None:
        super().__init__()
        self.k, self.gamma = k, gamma
        count = (experts - 1).bit_length()
        self.exhausted = experts == 2**count
        self.register_buffer("bits", _bits(experts, count), persistent=False)
        self.codes = _numbers(in_features, k * count, gamma / 100)
        self.logits = _numbers(in_features, k, 0.05)

    def selectors(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "M k n"]:
        """r(z) of each selector, for each sample; M is 1 where it is the same for all samples."""
        step = smooth_step(self.codes(features), self.gamma).unflatten(-1, (self.k, 1, -1))
        return torch.where(self.bits, step, 1 - step).prod(-1)

    def weights(
        self, features: Float[Tensor, "N F"], selectors: Float[Tensor, "M k n"]
    ) -> Float[Tensor, "N n"]:
        """The weight q of each expert for each sample."""
        shares = self.logits(features).softmax(-1)
        weights = (shares.unsqueeze(-1) * selectors).sum(-2)
        return weights.expand(features.shape[0], -1)

    def penalty(self, selectors: Float[Tensor, "M k n"], entropy: float) -> Float[Tensor, ""]:
        """What is added to the loss of the task, a mean over samples.

        It is `entropy` times the entropy of each selector, so that each comes to choose; and,
        where n is no power of two, 1 / sum_i r(z)_i - 1 of each, which keeps it from indices that
        no expert has.
        """
        penalty = -entropy * (selectors * (selectors + EPSILON).log()).sum(-1)
        if not self.exhausted:
            penalty = penalty + 1 / selectors.sum(-1).clamp(min=EPSILON) - 1
        return penalty.sum(-1).mean()


class _Constant(nn.Module):
    """Numbers that are learned, and the same for all samples."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.empty(1, size))

    def forward(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "1 size"]:
        return self.values


def _numbers(in_features: int | None, size: int, bound: float) -> nn.Module:
    """Learned numbers, constant or linear in the features, that start between the bounds."""
    numbers = _Constant(size) if in_features is None else nn.Linear(in_features, size)
    for parameter in numbers.parameters():
        nn.init.uniform_(parameter, -bound, bound)
    return numbers


def _bits(experts: int, count: int) -> Bool[Tensor, "n m"]:
    """The binary digits of each expert's index."""
    return (torch.arange(experts).unsqueeze(-1) >> torch.arange(count)) % 2 == 1
