"""Which parameters the tasks share, and which belong to one task alone."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn import Module, Parameter

from lightning_mtl.distributed import max_over_ranks
from lightning_mtl.engine.graph import Reach, reach


class Partition:
    """Found from the graph at the first step, the same on every rank, complete once all tasks came.

    A task may be absent from the first batches, and from those of other ranks. What is known of
    each parameter therefore only grows: seen from two tasks, it is shared for good.

    Args:
        module: its trainable parameters are parted.
        tasks: the names of all tasks.
        given: the shared parameters as the user names them; `None` to find them from the graph.

    Attributes:
        complete: whether every task has been seen in some batch of some rank.
    """

    def __init__(
        self, module: Module, tasks: Sequence[str], given: Sequence[Parameter] | None = None
    ) -> None:
        self._everything = list(module.parameters())
        self._trainable = [parameter.requires_grad for parameter in self._everything]
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.tasks = tuple(tasks)
        self._index = {parameter: index for index, parameter in enumerate(self.parameters)}
        self._given = None if given is None else self._indices(given)
        # One row a task and a last one for "shared"; a column for each parameter.
        self._seen = torch.zeros(len(tasks) + 1, len(named), dtype=torch.bool)
        self._traced = torch.zeros(len(tasks), dtype=torch.bool)
        self._hidden = False
        self._untouched: dict[tuple[int, ...], list[Parameter]] = {}
        self.complete = False
        self.shared: list[Parameter] = []
        self.own: list[list[Parameter]] = [[] for _ in tasks]

    @property
    def current(self) -> bool:
        """Whether the parameters that are trained are still those that were parted."""
        return [parameter.requires_grad for parameter in self._everything] == self._trainable

    @property
    def undecided(self) -> bool:
        """Whether nothing is known to be shared yet, because some tasks are still to come.

        Raises:
            ValueError: if all came and nothing is shared, or if the graph hides parameters.
        """
        if self._hidden:
            raise ValueError(
                "Part of the network runs under `checkpoint(..., use_reentrant=True)`, which hides"
                " its parameters from the graph, so they would not be trained. Expected"
                " `use_reentrant=False`, with which checkpointing works under every weighting."
            )
        if not self.shared and self.complete:
            raise ValueError(
                "No shared parameters were found, so there are no gradients to balance. Expected at"
                " least one trainable parameter that two tasks use. Found none among the tasks"
                f" {list(self.tasks)}. If the first batch lacked some tasks, name them all in"
                " `task_names`. Otherwise use a loss-level weighting, or override"
                " `shared_parameters()`."
            )
        return not self.shared

    def learn(self, reached: Reach, present: Sequence[int], device: torch.device) -> None:
        """Add what one step's graph shows; a collective call until the partition is complete."""
        for task, leaves in zip(present, reached.own, strict=True):
            self._mark(task, leaves)
            self._traced[task] = True
        self._mark(-1, reached.shared)
        self._hidden = self._hidden or reached.hidden
        both = torch.cat([self._seen.flatten(), self._traced]).to(device, torch.uint8)
        both = max_over_ranks(both).to("cpu", torch.bool)
        self._seen, self._traced = (
            both[: self._seen.numel()].view_as(self._seen),
            both[self._seen.numel() :],
        )
        self.complete = bool(self._traced.all())
        self._assign()

    def untouched(self, roots: Sequence[GradientEdge], present: Sequence[int]) -> list[Parameter]:
        """The parameters that this step's graph leaves without a gradient; walked once a pattern.

        Args:
            roots: of this rank's losses.
            present: the tasks that they belong to.
        """
        key = tuple(present)
        if key not in self._untouched:
            found = reach(roots)
            touched = set(found.shared).union(*found.own)
            self._untouched[key] = [p for p in self.parameters if p not in touched]
        return self._untouched[key]

    def idle(self, present: Sequence[int]) -> list[Parameter]:
        """The parameters that none of the tasks in `present` trains."""
        busy = set(self.shared).union(*(self.own[task] for task in present))
        return [parameter for parameter in self.parameters if parameter not in busy]

    def layer(self, name: str | None) -> list[Parameter]:
        """The parameters of one shared layer.

        Args:
            name: of a submodule or of a parameter; `None` for the last shared layer, which is the
                one that holds the last shared weight (two or more axes) in `named_parameters()`.

        Raises:
            ValueError: if nothing shared and trainable has this name.
        """
        shared = {self.names[self._index[parameter]]: parameter for parameter in self.shared}
        if name is None:
            weights = [key for key, parameter in shared.items() if parameter.ndim >= 2]
            last = (weights or list(shared))[-1]
            name = last.rpartition(".")[0] or last
        layer = [p for key, p in shared.items() if key == name or key.startswith(f"{name}.")]
        if not layer:
            raise ValueError(
                f"No shared trainable parameter lies under the layer {name!r}. Expected the name of"
                " a submodule or parameter that at least two tasks use. Shared here:"
                f" {', '.join(shared) or 'nothing'}."
            )
        return layer

    def describe(self) -> str:
        """One line for people: how many parameters are shared, in which part, and each head's."""
        names = [self.names[self._index[parameter]].split(".")[:-1] for parameter in self.shared]
        common = [words[0] for words in zip(*names, strict=False) if len(set(words)) == 1]
        parts = [".".join(common)] if common else dict.fromkeys(name[0] for name in names if name)
        place = f" in {', '.join(parts)}" if parts else ""
        heads = ", ".join(
            f"{task} {_size(own)}" for task, own in zip(self.tasks, self.own, strict=True)
        )
        return f"shared: {_size(self.shared)}{place}; heads: {heads}"

    def _indices(self, given: Sequence[Parameter]) -> set[int]:
        trainable = [parameter for parameter in given if parameter.requires_grad]
        foreign = [tuple(p.shape) for p in trainable if p not in self._index]
        if foreign:
            raise ValueError(
                "`shared_parameters()` should name parameters of the module. Found others, such as"
                f" one of shape {foreign[0]}."
            )
        return {self._index[parameter] for parameter in trainable}

    def _mark(self, row: int, leaves: Sequence[Tensor]) -> None:
        for leaf in leaves:
            column = self._index.get(leaf)  # type: ignore[call-overload]
            if column is not None:
                self._seen[row, column] = True

    def _assign(self) -> None:
        tasks = self._seen[:-1]
        if self._given is None:
            shared = self._seen[-1] | (tasks.sum(0) > 1)
        else:
            shared = torch.tensor([i in self._given for i in range(len(self.parameters))])
        self.shared = self._pick(shared)
        # What several tasks use but the user does not count as shared is trained by each of them.
        self.own = [self._pick((row | self._seen[-1]) & ~shared) for row in tasks]

    def _pick(self, mask: Tensor) -> list[Parameter]:
        return [self.parameters[index] for index in mask.nonzero().flatten().tolist()]


def _size(parameters: Sequence[Parameter]) -> str:
    """The number of parameters, in thousands or millions if there are as many."""
    count = sum(parameter.numel() for parameter in parameters)
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if round(count / unit, 1) >= 1:
            return f"{count / unit:.1f} {name}"
    return str(count)
