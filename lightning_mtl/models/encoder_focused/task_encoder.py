"""Copies of an encoder that share its convolutions, and have other parts of their own."""

from copy import deepcopy

from jaxtyping import Float
from timm.models import regnet
from timm.models import resnet as timm_resnet
from timm.models._efficientnet_blocks import (
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
)
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import mobilenetv2, resnet
from torchvision.ops import SqueezeExcitation

__all__ = ["ParallelAdapter", "task_encoder"]

RESIDUAL_BLOCKS = (
    *(resnet.BasicBlock, resnet.Bottleneck, mobilenetv2.InvertedResidual),
    *(timm_resnet.BasicBlock, timm_resnet.Bottleneck, regnet.Bottleneck),
    *(InvertedResidual, DepthwiseSeparableConv, EdgeResidual),
)
"""The blocks of ResNets, RegNets, MobileNets and EfficientNets."""

SHORTCUTS = ("downsample", "shortcut")
"""How torchvision and timm name the projections beside a residual branch."""


class ParallelAdapter(nn.Module):
    """A convolution plus a 1 x 1 convolution of the same input, which starts at zero.

    Args:
        convolution: what the adapter is added to.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.adapter = nn.Conv2d(
            convolution.in_channels,
            convolution.out_channels,
            1,
            stride=convolution.stride,  # type: ignore[arg-type]
            bias=False,
        )
        nn.init.zeros_(self.adapter.weight)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        """The sum of both convolutions."""
        return self.convolution(x) + self.adapter(x)


def task_encoder(encoder: nn.Module, adapters: bool, reduction: int) -> nn.Module:
    """A copy of an encoder for one task: its parameters are shared, those of batch norm are not.

    Args:
        encoder: what is copied, and stays as it is.
        adapters: whether to add a `ParallelAdapter` to each convolution that is larger than 1 x 1,
            outside of the stem.
        reduction: by how much squeeze-and-excitation at the end of each residual branch narrows its
            channels; 0 for none.

    Raises:
        ValueError: if the encoder has no residual blocks of a known kind.
    """
    norms = {
        id(parameter)
        for module in encoder.modules()
        if isinstance(module, _BatchNorm)
        for parameter in module.parameters()
    }
    # What is in the memo counts as copied already.
    shared = {id(p): p for p in encoder.parameters() if id(p) not in norms}
    copy = deepcopy(encoder, shared)
    blocks = [module for module in copy.modules() if isinstance(module, RESIDUAL_BLOCKS)]
    if not blocks:
        raise ValueError(
            "The encoder of a task should be a ResNet, RegNet, MobileNet or EfficientNet, whose"
            f" residual blocks are known. Found `{type(encoder).__name__}` without one. Take one of"
            " these, such as resnet18."
        )
    for block in blocks:
        if reduction:
            _add_squeeze_excitation(block, reduction)
        if adapters:
            _add_adapters(block)
    return copy


def _add_squeeze_excitation(block: nn.Module, reduction: int) -> None:
    """Put it behind the last batch norm of the residual branch, before the shortcut is added."""
    own = [
        (name, module)
        for name, module in block.named_modules()
        if isinstance(module, _BatchNorm) and not name.startswith(SHORTCUTS)
    ]
    if own:
        name, norm = own[-1]
        width = norm.num_features
        squeeze = SqueezeExcitation(width, max(width // reduction, 1))
        _replace(block, name, nn.Sequential(norm, squeeze))


def _add_adapters(block: nn.Module) -> None:
    own = [
        (name, module)
        for name, module in block.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size > (1, 1)
    ]
    for name, convolution in own:
        _replace(block, name, ParallelAdapter(convolution))


def _replace(block: nn.Module, name: str, module: nn.Module) -> None:
    path, _, last = name.rpartition(".")
    setattr(block.get_submodule(path), last, module)
