"""Which parameters the tasks share, and which belong to one task alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, Parameter

from lightning_mtl.distributed import max_over_ranks
from lightning_mtl.engine.gradients import accumulation_dtype, real
from lightning_mtl.engine.graph import Reach
from lightning_mtl.engine.usage import Usage

CACHED = 256
"""How many graphs are recognised by the identities of their leaves."""

NAMED = 4
"""How many shared parts are named, before the rest is counted."""

Signature = tuple[tuple[int, ...], ...]
"""The tasks of a graph, and the identities of the parameters that they reach."""

SEVERAL = ""
"""Key of the parameters that several tasks were seen to use together; no task has this name."""


class Partition:
    """Splits the parameters of a module into shared and task-specific ones.

    It follows the autograd graphs of a run, and is the same on every rank. A task may be absent
    from the first batches, a layer may be used for the first time later, and both may happen on one
    rank only. What has been seen of a parameter therefore only grows: once two tasks have used it,
    it stays shared.

    Args:
        module: whose trainable parameters are parted.
        tasks: the names of all tasks.
        given: returns the shared parameters as the user names them; `None` to find them from the
            graph.
        learned: what `state` returned in the run that this one goes on with.

    Attributes:
        complete: whether every task has been seen in some batch of some rank.
        counted: whether a loss of some rank came with the number of its labels.
        names: the name of every parameter, frozen or not.
        parameters: the trainable parameters.
        shared: those that at least two tasks use, or those that the user names.
        task_specific: for each task, those that only this task uses.
    """

    def __init__(
        self,
        module: Module,
        tasks: Sequence[str],
        given: Callable[[], Sequence[Parameter]] | None = None,
        learned: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self.complete = False
        self.counted = False
        self.parameters: list[Parameter] = []
        self.shared: list[Parameter] = []
        self.task_specific: list[list[Parameter]] = [[] for _ in tasks]
        self._module = module
        self._given = given
        self.names: dict[Parameter, str] = {}
        self._usages: dict[Signature, Usage] = {}
        self._trainable: list[bool] = []
        # One row a task and a last one for "shared"; a column for each parameter, frozen or not.
        self._seen = torch.zeros(len(tasks) + 1, 0, dtype=torch.bool)
        self._traced = torch.zeros(len(tasks), dtype=torch.bool)
        self._hidden = False
        # Parameters of other modules, which the losses reach and nobody asked to train.
        self._external: set[Parameter] = set()
        self._learned: dict[Signature, None] = {}
        # Known by the list of its shared leaves, which graphs of one shape have in common.
        self._latest: tuple[list[Tensor], Signature] | None = None
        # What is asked for in every step, until parameters come, go or turn out to be shared.
        self._layers: dict[str | None, list[Parameter]] = {}
        self._identities: dict[tuple[int, ...], list[str]] = {}
        self._like: tuple[tuple[torch.device, torch.dtype], Tensor] | None = None
        self._read_parameters()
        if learned:
            self._restore(learned)

    def state(self) -> dict[str, list[str]]:
        """What has been learned of the graphs: by task, the parameters that it was seen to use.

        Saved with checkpoints, so that a run that resumes with a batch without some tasks goes on
        as if it had never stopped. A task that no batch has had yet has no entry.
        """
        names = list(self.names.values())
        rows = {task: self._seen[k] for k, task in enumerate(self.tasks) if self._traced[k]}
        rows[SEVERAL] = self._seen[-1]
        return {
            task: [name for name, seen in zip(names, row.tolist(), strict=True) if seen]
            for task, row in rows.items()
        }

    def _restore(self, learned: Mapping[str, Sequence[str]]) -> None:
        columns = {name: column for column, name in enumerate(self.names.values())}
        for row, task in enumerate([*self.tasks, SEVERAL]):
            if task in learned:
                known = [columns[name] for name in learned[task] if name in columns]
                self._seen[row, known] = True
                if task != SEVERAL:
                    self._traced[row] = True
        self.complete = bool(self._traced.all())
        self._assign()

    def is_news(self, reached: Reach, present: Sequence[int]) -> bool:
        """Whether `learn` has to be called: a leaf is new for its task, or was frozen or thawed.

        Cheap enough for every micro-batch: graphs with the same leaves as an earlier one are
        recognised by the identities of these leaves.

        Args:
            reached: the leaves that this rank's losses reach.
            present: the tasks that these losses belong to.
        """
        if [parameter.requires_grad for parameter in self.names] != self._trainable:
            return True
        signature = self._signature(reached, present)
        if signature not in self._learned:
            if self._has_new_leaf(reached, present):
                return True
            self._learned[signature] = None
            _limit(self._learned)
        return False

    def learn(
        self,
        reached: Reach,
        present: Sequence[int],
        device: torch.device,
        counted: bool = False,
    ) -> None:
        """Add what one step's graph shows. A collective call: every rank makes it, or none.

        Args:
            reached: the leaves that this rank's losses reach.
            present: the tasks that these losses belong to.
            device: the device of the collective call.
            counted: whether one of the losses came with the number of its labels.
        """
        self._read_parameters()
        for task, leaves in zip(present, reached.task_specific, strict=True):
            self._mark(task, leaves)
            self._traced[task] = True
        self._mark(-1, reached.shared)
        facts = torch.tensor([self._hidden or reached.hidden, self.counted or counted])
        local = torch.cat([self._seen.flatten(), self._traced, facts])
        total = max_over_ranks(local.to(device, torch.uint8)).to("cpu", torch.bool)
        seen, self._traced, facts = total.split([self._seen.numel(), len(self.tasks), 2])
        self._seen = seen.view_as(self._seen)
        self._hidden, self.counted = facts.tolist()
        self.complete = bool(self._traced.all())
        self._assign()

    @property
    def undecided(self) -> bool:
        """Whether there is nothing to balance now, so that every task trains by its own gradient.

        So it is while some tasks are still to come, while everything that they share is frozen, and
        where there is one task only.

        Raises:
            ValueError: if nothing will ever be shared, or if the graph hides parameters.
        """
        if self._hidden:
            raise ValueError(
                "The network should not hide parameters from the graph, or they would not be"
                " trained. Found a part of it under `checkpoint(..., use_reentrant=True)`. Use"
                " `use_reentrant=False`, with which checkpointing works under every weighting."
            )
        if not self.shared and self.complete:
            if len(self.tasks) == 1 or len(self.parameters) < len(self.names):
                return True
            raise ValueError(
                "At least two tasks should use a trainable parameter together, or there are no"
                f" gradients to balance. Found no shared parameters among the tasks"
                f" {list(self.tasks)}. If the first batch lacked some tasks, name them all in"
                " `task_names`. Otherwise use a loss-level weighting, or override"
                " `shared_parameters()`."
            )
        return not self.shared

    @property
    def why_undecided(self) -> str:
        """One line for people: why there is nothing to balance."""
        if len(self.tasks) == 1:
            return (
                f"There is one task only, `{self.tasks[0]}`, and nothing to balance: a weighting is"
                " not needed. If the first batch lacked some tasks, name them all in `task_names`."
            )
        return (
            "Nothing that the tasks share is trained now, as it is frozen: every task trains by its"
            " own gradient until something is thawed."
        )

    @property
    def like(self) -> Float[Tensor, ""]:
        """A number of the device and dtype of sums over ranks.

        The dtype is that of a parameter, which is the same on every rank; a loss may have another.
        """
        parameter = self.parameters[0]
        known = self._like
        if known is None or known[0] != (parameter.device, parameter.dtype):
            dtype = accumulation_dtype(real(parameter.detach()))
            like = torch.empty((), dtype=dtype, device=parameter.device)
            known = self._like = (parameter.device, parameter.dtype), like
        return known[1]

    def groups(self) -> tuple[list[Parameter], list[list[Parameter]]]:
        """The shared parameters, and for each task those that only this task uses."""
        return self.shared, self.task_specific

    def usage(self, reached: Reach, present: Sequence[int]) -> Usage:
        """Which trainable parameters a step's graph reaches.

        Args:
            reached: the leaves that this rank's losses reach.
            present: the tasks that these losses belong to.
        """
        signature = self._signature(reached, present)
        if signature not in self._usages:
            leaves = set(reached.shared).union(*reached.task_specific)
            self._usages[signature] = Usage(list(self.names), self.parameters, leaves)
            _limit(self._usages)
        return self._usages[signature]

    def unused_by(self, present: Sequence[int]) -> list[Parameter]:
        """The trainable parameters that none of the tasks in `present` trains."""
        used = set(self.shared).union(*(self.task_specific[task] for task in present))
        return [parameter for parameter in self.parameters if parameter not in used]

    def layer(self, name: str | None) -> list[Parameter]:
        """The parameters of one shared layer.

        Args:
            name: of a submodule or of a parameter; `None` for the last shared layer, which is the
                one that holds the last shared weight (two or more axes) in `named_parameters()`.

        Raises:
            ValueError: if nothing shared and trainable has this name.
        """
        if name not in self._layers:
            self._layers[name] = self._find_layer(name)
        return self._layers[name]

    def _find_layer(self, name: str | None) -> list[Parameter]:
        shared = {self.names[parameter]: parameter for parameter in self.shared}
        if name is None:
            weights = [key for key, parameter in shared.items() if parameter.ndim >= 2]
            last = (weights or list(shared))[-1]
            name = last.rpartition(".")[0] or last
        layer = [p for key, p in shared.items() if key == name or key.startswith(f"{name}.")]
        if not layer:
            raise ValueError(
                "`layer` should be the name of a submodule or parameter that at least two tasks"
                f" use. Found {name!r}, under which no shared trainable parameter lies. Use one of"
                f" the shared parameters: {', '.join(shared) or 'there are none'}."
            )
        return layer

    def identity(self, parameters: Sequence[Parameter]) -> list[str]:
        """Names and shapes of parameters: what averages of their gradients belong to."""
        key = tuple(map(id, parameters))
        if key not in self._identities:
            named = ((self.names[parameter], parameter) for parameter in parameters)
            self._identities[key] = [f"{name} {tuple(p.shape)}" for name, p in named]
        return self._identities[key]

    def describe(self) -> str:
        """One line for people: how many parameters are shared, in which parts, and each head's."""
        parts = self._shared_parts()
        more = f" and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
        place = f" in {', '.join(parts[:NAMED])}{more}" if parts else ""
        heads = ", ".join(
            f"{task} {_size(parameters)}"
            for task, parameters in zip(self.tasks, self.task_specific, strict=True)
        )
        return f"shared: {_size(self.shared)}{place}; heads: {heads}"

    def _shared_parts(self) -> list[str]:
        """The largest modules all of whose trainable parameters are shared.

        A shared parameter whose own module has others is named itself.
        """
        shared = dict.fromkeys(self.names[parameter] for parameter in self.shared)
        others = [self.names[p] for p in self.parameters if self.names[p] not in shared]
        mixed = {prefix for name in others for prefix in _prefixes(name)}
        whole = (next(part for part in _prefixes(name) if part not in mixed) for name in shared)
        return list(dict.fromkeys(whole))

    def _read_parameters(self) -> None:
        """Take over what the module has: layers may have been added, frozen or thawed."""
        before = {parameter: column for column, parameter in enumerate(self.names)}
        self.names = {parameter: name for name, parameter in self._module.named_parameters()}
        self._trainable = [parameter.requires_grad for parameter in self.names]
        seen = torch.zeros(len(self.tasks) + 1, len(self.names), dtype=torch.bool)
        for column, parameter in enumerate(self.names):
            if parameter in before:
                seen[:, column] = self._seen[:, before[parameter]]
        self._seen = seen
        self._usages.clear()
        self._learned.clear()
        self._columns = {parameter: column for column, parameter in enumerate(self.names)}
        self.parameters = [parameter for parameter in self.names if parameter.requires_grad]

    def _has_new_leaf(self, reached: Reach, present: Sequence[int]) -> bool:
        """Whether a leaf has not been seen from its task before, and is not shared already."""
        shared = self._seen[-1] | (self._seen[:-1].sum(0) > 1)
        groups = [(shared, reached.shared)]
        for task, leaves in zip(present, reached.task_specific, strict=True):
            groups.append((shared | self._seen[task], leaves))
        for seen, leaves in groups:
            seen_here = seen.tolist()
            for leaf in leaves:
                if isinstance(leaf, Parameter) and leaf not in self._external:
                    column = self._columns.get(leaf)
                    if column is None or not seen_here[column]:
                        return True
        return False

    def _signature(self, reached: Reach, present: Sequence[int]) -> Signature:
        """The tasks and the identities of the parameters that each of them reaches."""
        groups = (reached.shared, *reached.task_specific)
        if self._latest is None or self._latest[0] is not reached.shared:
            # Inputs that require gradients are leaves too, and new ones in every batch.
            leaves = (tuple(id(p) for p in group if isinstance(p, Parameter)) for group in groups)
            self._latest = reached.shared, tuple(leaves)
        return (tuple(present), *self._latest[1])

    def _mark(self, row: int, leaves: Sequence[Tensor]) -> None:
        for leaf in leaves:
            if isinstance(leaf, Parameter):
                column = self._columns.get(leaf)
                if column is None:
                    self._external.add(leaf)
                else:
                    self._seen[row, column] = True

    def _assign(self) -> None:
        self._layers.clear()
        self._identities.clear()
        trainable = torch.tensor(self._trainable, dtype=torch.bool)
        tasks = self._seen[:-1]
        shared = self._seen[-1] | (tasks.sum(0) > 1)
        if self._given is not None:
            shared = torch.zeros_like(trainable)
            shared[self._columns_of(self._given())] = True
        self.shared = self._pick(shared & trainable)
        # Each task adds its gradient to what several tasks use but the user does not name.
        self.task_specific = [
            self._pick((row | self._seen[-1]) & ~shared & trainable) for row in tasks
        ]

    def _columns_of(self, given: Sequence[Parameter]) -> list[int]:
        foreign = [tuple(p.shape) for p in given if p not in self._columns and p.requires_grad]
        if foreign:
            raise ValueError(
                "`shared_parameters()` should return parameters of the module. Found others, such"
                f" as one of shape {foreign[0]}. Return a part of `self.parameters()`."
            )
        return [self._columns[parameter] for parameter in given if parameter in self._columns]

    def _pick(self, mask: Tensor) -> list[Parameter]:
        parameters = list(self.names)
        return [parameters[column] for column in mask.nonzero().flatten().tolist()]


def _limit(cache: dict[Signature, Any]) -> None:
    """Drop the oldest entry of a cache: tasks may come in very many combinations."""
    if len(cache) > CACHED:
        del cache[next(iter(cache))]


def _prefixes(name: str) -> list[str]:
    """The modules around a parameter, from the outside, and the parameter itself."""
    words = name.split(".")
    return [".".join(words[:count]) for count in range(1, len(words) + 1)]


def _size(parameters: Sequence[Parameter]) -> str:
    """The number of parameters, in thousands or millions if there are as many."""
    count = sum(parameter.numel() for parameter in parameters)
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if round(count / unit, 1) >= 1:
            return f"{count / unit:.1f} {name}"
    return str(count)
