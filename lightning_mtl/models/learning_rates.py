"""Learning rates that differ between the parameters of a network by constant factors."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from lightning_mtl.models.network import MultiTaskNetwork

__all__ = ["check_learning_rates", "multiply_learning_rates", "parameter_groups"]

MULTIPLIER = "lr_multiplier"
"""The entry of a parameter group that says what its learning rate is multiplied by."""


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """The parameters of a module, those with the same multiplier of the learning rate together.

    Args:
        module: the networks in it, and in what these are made of, say what to multiply by.
    """
    multipliers = dict.fromkeys(module.parameters(), 1.0)
    for network in module.modules():
        if isinstance(network, MultiTaskNetwork):
            for name, parameter in network.named_parameters():
                multipliers[parameter] *= network.lr_multiplier(name)
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter, multiplier in multipliers.items():
        groups.setdefault(multiplier, []).append(parameter)
    return [{"params": params, MULTIPLIER: factor} for factor, params in groups.items()]


def multiply_learning_rates(optimizer: Optimizer) -> None:
    """Multiply the learning rate of each group; called before a schedule is built.

    Schedules of torch take these as the rates to begin with, and change all by the same factor.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.get(MULTIPLIER, 1.0)


def check_learning_rates(optimizer: Optimizer, scheduler: Any) -> None:
    """Raise unless the learning rates still differ by the multipliers; called after it is built.

    Raises:
        ValueError: if the schedule has given the groups other rates, as `OneCycleLR` and `CyclicLR`
            do with a single number.
    """
    groups = [group for group in optimizer.param_groups if group.get(MULTIPLIER, 1.0) > 0]
    bases = [float(group["lr"]) / group.get(MULTIPLIER, 1.0) for group in groups]
    if bases and max(bases) - min(bases) > 1e-6 * max(bases):
        rates = [group.get(MULTIPLIER, 1.0) for group in groups]
        raise ValueError(
            "`DensePrediction(scheduler=)` should keep the ratio of the learning rates, because the"
            f" network multiplies them by {rates}. Found `{type(scheduler).__name__}`, which sets"
            " each to a number of its own. Give it a list, with one number for each of these"
            " groups, or take another schedule."
        )
