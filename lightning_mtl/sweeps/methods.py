"""What a sweep compares: weightings, networks, fixed weights of a grid and single tasks."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_mtl.callbacks import Weighting
from lightning_mtl.catalogue import fixed_weights, needs_arguments, weightings

SCALARISATION = "scalarisation"
"""The name of the fixed weights that are chosen from a grid."""

SINGLE = "single "
"""What the names of single-task runs begin with."""

FAVOUR = 3.0
"""How many times as much as every other task the favoured one weighs, in a point of the grid."""


@dataclass(frozen=True)
class Method:
    """One way to train, which a sweep compares with others.

    Args:
        name: in tables and folders.
        weighting: the value of `weighting` in a config.
        config: the name of the config that it starts from; "" is that of the sweep, others are
            those of networks.
        grid: fixed weights among which trials choose, in place of `weighting`.
        task: the only task of a single-task baseline.
    """

    name: str
    weighting: Any
    config: str = ""
    grid: tuple[Mapping[str, float], ...] = ()
    task: str | None = None

    @property
    def folder(self) -> str:
        """The name without what a file system could object to."""
        return re.sub(r"[^\w.+=-]+", "-", self.name)


def single_tasks(tasks: Sequence[str], measured: Iterable[str]) -> list[Method]:
    """The network trained for one measured task at a time: all other losses have the weight 0.

    Args:
        tasks: all tasks of the module.
        measured: those that have a metric.
    """
    return [
        Method(
            f"{SINGLE}{task}",
            _fixed({other: float(other == task) for other in tasks}),
            task=task,
        )
        for task in measured
    ]


def scalarisation(tasks: Sequence[str]) -> Method:
    """Fixed weights with a mean of 1, from a grid in which each task is favoured once.

    Equal weights are no point of it, as they are a method of their own.

    Args:
        tasks: all tasks of the module.
    """
    scale = len(tasks) / (len(tasks) - 1 + FAVOUR)
    grid = tuple(
        {other: round(scale * (FAVOUR if other == task else 1.0), 4) for other in tasks}
        for task in tasks
    )
    return Method(SCALARISATION, _fixed(grid[0]), grid=grid)


def with_grid_point(method: Method, index: int) -> Any:
    """The weighting of a method at one point of its grid."""
    return _fixed(method.grid[index]) if method.grid else method.weighting


def named_methods(
    names: Iterable[str], networks: Iterable[str], read: Mapping[str, Any]
) -> list[Method]:
    """The methods that were asked for: every weighting on every network.

    Args:
        names: of weightings, such as `gradnorm`, or keys of `read`.
        networks: names of the configs of networks; "" is the sweep's own.
        read: values of `weighting` that were read from config files, by the name of the method.

    Raises:
        ValueError: if there is no such weighting, or two methods have one name.
    """
    methods = []
    for network in networks:
        for name in names:
            value = read[name] if name in read else find_weighting(name).__name__
            methods.append(Method("+".join(filter(None, (network, name))), value, network))
    _check_different(methods)
    return methods


def _check_different(methods: Sequence[Method]) -> None:
    """Raise if two methods would have one folder, or be the same under two names."""
    found = [method.folder for method in methods]
    taken = {name for name in found if found.count(name) > 1 or name == SCALARISATION}
    if taken:
        raise ValueError(
            "Methods should have names of their own, and `scalarisation` is that of the grid."
            f" Found {sorted(taken)} for several. Rename the config files."
        )
    for place, method in enumerate(methods):
        for other in methods[:place]:
            if (other.config, other.weighting) == (method.config, method.weighting):
                raise ValueError(
                    f"`--weightings` should name each weighting once. Found `{other.name}` and"
                    f" `{method.name}`, which are the same. Leave one out."
                )


def find_weighting(name: str) -> type[Weighting]:
    """The weighting of a name such as `gradnorm`, `nash_mtl`, `equal` or `alternating`.

    Raises:
        ValueError: if there is none, or it has to be given arguments.
    """
    kinds = {_short(kind.__name__): kind for kind in weightings()}
    kind = kinds.get(_short(name))
    if kind is None:
        near = difflib.get_close_matches(_short(name), kinds, 3) or sorted(kinds)
        raise ValueError(
            f"`--weightings` should name weightings of this package, or config files. Found"
            f" `{name}`. Near it are: {', '.join(near)}."
        )
    if needs_arguments(kind):
        raise ValueError(
            f"`--weightings` should give `{name}` with its arguments. Found its name alone. Write"
            f" a config that says `weighting:` with its `class_path` and `init_args`, and name that"
            " file."
        )
    return kind


def config_name(path: str) -> str:
    """The name of a method that was given as a config file."""
    return Path(path).stem


def _fixed(weights: Mapping[str, float]) -> dict[str, Any]:
    return {"class_path": fixed_weights().__name__, "init_args": {"weights": dict(weights)}}


def _short(name: str) -> str:
    plain = re.sub(r"[\W_]", "", name).lower()
    return re.sub(r"(weighting|updates|loss)$", "", plain) or plain
