"""What a network costs: parameters and multiply-adds, by the tasks that need them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from lightning_mtl.engine.graph import SHARED, SPLIT, find_owners, leaf_of, root_edge
from lightning_mtl.models.deep_supervision import DeeplySupervisedNetwork

__all__ = ["Cost", "NetworkCost", "network_cost"]


@dataclass(frozen=True)
class Cost:
    """A number of parameters and of multiply-adds.

    Attributes:
        parameters: how many numbers are learned or frozen.
        trainable: how many of them are learned.
        multiply_adds: how many the convolutions, matrix products and attention of one image take;
            half of what torch counts as FLOPs.
    """

    parameters: int = 0
    trainable: int = 0
    multiply_adds: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters,
            self.trainable + other.trainable,
            self.multiply_adds + other.multiply_adds,
        )


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs.

    Attributes:
        shared: of what at least two tasks depend on.
        tasks: of what only one task depends on, by task.
        unused: of what no prediction depends on.
    """

    shared: Cost
    tasks: Mapping[str, Cost]
    unused: Cost

    @property
    def total(self) -> Cost:
        """What the tasks share, what each needs for itself, and what nothing needs."""
        return sum(self.tasks.values(), self.shared + self.unused)


def network_cost(network: nn.Module, inputs: Float[Tensor, "N ..."]) -> NetworkCost:
    """The cost of a network for one input, found by running it once, with all its predictions.

    The network is in evaluation mode meanwhile, and nothing about it changes. On the device "meta"
    nothing is computed, so that a network of any size can be measured.

    Args:
        network: what maps the input to a dict of predictions.
        inputs: an input of one sample.
    """
    with _measurable(network):
        operations, predictions = _run(network, inputs)
    owners = find_owners([root_edge(_total(found)) for found in predictions.values()])
    costs: dict[int | None, Cost] = defaultdict(Cost)
    leaves = {leaf_of(node): owner for node, owner in owners.items()}
    for parameter in network.parameters():
        number = parameter.numel()
        trainable = number if parameter.requires_grad else 0
        costs[_owner(leaves.get(parameter))] += Cost(number, trainable)
    for node, multiply_adds in operations.items():
        costs[_owner(owners.get(node))] += Cost(multiply_adds=multiply_adds)
    tasks = {task: costs[index] for index, task in enumerate(predictions)}
    return NetworkCost(costs[SHARED], tasks, costs[None])


def _run(network: nn.Module, inputs: Tensor) -> tuple[dict[Node, int], Mapping[str, Any]]:
    """The multiply-adds at the nodes of the graph, and the predictions that the graph is of."""
    inputs = inputs.detach().clone().requires_grad_(inputs.is_floating_point())
    predict = network.supervised if isinstance(network, DeeplySupervisedNetwork) else network
    with (
        torch.enable_grad(),
        torch.compiler.set_stance("force_eager"),  # compiled parts would hide their operations
        FlopCounterMode(display=False) as counter,
        _Operations(counter) as operations,
    ):
        predictions = predict(inputs)
    return operations.found, predictions


class _Operations(TorchFunctionMode):
    """Notes the multiply-adds of each operation at the node of the graph that it makes."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self.counter = counter
        self.found: dict[Node, int] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        before = self.counter.get_total_flops()
        output = function(*args, **(kwargs or {}))
        flops = self.counter.get_total_flops() - before
        first = output[0] if isinstance(output, tuple) and output else output
        if flops and isinstance(first, Tensor) and first.grad_fn is not None:
            self.found[first.grad_fn] = flops // 2
        return output


@contextmanager
def _measurable(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, with a graph that also holds frozen parameters; as before afterwards."""
    training = {module: module.training for module in network.modules()}
    frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    network.eval()
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, mode in training.items():
            module.training = mode


def _total(found: Tensor | list[Tensor]) -> Tensor:
    """A number that depends on all predictions of a task."""
    predictions = [found] if isinstance(found, Tensor) else found
    return torch.stack([prediction.sum() for prediction in predictions]).sum()


def _owner(owner: int | None) -> int | None:
    """The task, `SHARED`, or `None` for what nothing depends on."""
    return SHARED if owner == SPLIT else owner
