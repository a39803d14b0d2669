"""Multi-layer perceptrons, of which experts, nodes and towers are built."""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise

from torch import nn

from lightning_mtl.checks import check_number

__all__ = ["check_layers", "mlp", "towers"]


def mlp(in_features: int, hidden: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """A linear layer, ReLU and dropout for each width in `hidden`."""
    layers = (
        (nn.Linear(width, following), nn.ReLU(), nn.Dropout(dropout))
        for width, following in pairwise([in_features, *hidden])
    )
    return nn.Sequential(*chain.from_iterable(layers))


def towers(
    channels: Mapping[str, int], in_features: int, hidden: Sequence[int], dropout: float = 0.0
) -> nn.ModuleDict:
    """The tower of each task: a multi-layer perceptron that ends in its logits."""
    width = [in_features, *hidden][-1]
    return nn.ModuleDict(
        {
            task: nn.Sequential(*mlp(in_features, hidden, dropout), nn.Linear(width, out))
            for task, out in channels.items()
        }
    )


def check_layers(owner: str, hidden: Sequence[int], tower: Sequence[int], dropout: float) -> None:
    """Raise unless `hidden` has a layer, all layers have features and `dropout` is a probability.

    Args:
        owner: whose arguments they are, for the message.
        hidden: widths of an expert or a node.
        tower: widths of a tower.
        dropout: probability of a feature to be zero in training.

    Raises:
        ValueError: if one of them is something else.
    """
    if not hidden:
        raise ValueError(
            f"`{owner}(hidden=)` should have the width of at least one layer. Found none. Add one,"
            " such as 64."
        )
    for name, widths in (("hidden", hidden), ("tower", tower)):
        for width in widths:
            check_number(owner, name, width, 1)
    check_number(owner, "dropout", dropout, 0, 1)
